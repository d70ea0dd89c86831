"""`gateways fence`: a gateway that does not answer is cut off, whatever it does itself."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import DONE, FAILED, Interrupted, check, print_json, print_utf8
from effects import Refusal
from registry import validation

if TYPE_CHECKING:
    import argparse

    from registry.stack import Stack

PAUSE = 1.0
"""Seconds between looks at the instance."""

tell = partial(terminal.tell, "gateways")


def fence(args: argparse.Namespace) -> int:
    """Move a gateway to a security group without rules, then terminate it."""
    check(lambda: validation.stack_name(args.stack), lambda: validation.instance_id(args.id))
    from commands.quarantine import Quarantine
    from commands.stacks import connect
    from registry.environment import explained
    from registry.membership import TERMINATED

    with explained():
        stack = connect(args.stack)
        _refuse(args, stack)
        quarantine = Quarantine(stack.cloud.client("ec2"), stack.name)
        try:
            quarantine.isolate(args.id)
            fenced = time.monotonic() - args.began
            tell(f"{args.id} is in a security group without rules after {fenced:.2f} s")
            quarantine.terminate(args.id)
            terminated = False
            if not args.no_wait:
                deadline = time.monotonic() + args.timeout
                while not (terminated := stack.fleet.power(args.id) == TERMINATED):
                    if time.monotonic() > deadline:
                        break
                    time.sleep(PAUSE)
            if terminated:
                quarantine.dissolve()
        except KeyboardInterrupt as err:
            raise Interrupted(
                f"interrupted: {args.id} may be cut off or not; call again to make sure"
            ) from err
    seconds = time.monotonic() - args.began
    if args.json:
        facts = {"stack": args.stack, "id": args.id, "fenced_seconds": round(fenced, 3)}
        print_json({**facts, "terminated": terminated, "seconds": round(seconds, 3)})
    elif terminated:
        print_utf8(f"{args.id} is terminated after {seconds:.2f} s\n")
    if not terminated and not args.no_wait:
        tell(f"{args.id} is cut off, but not terminated after {seconds:.2f} s")
        return FAILED
    return DONE


def _refuse(args: argparse.Namespace, stack: Stack) -> None:
    """Refuse what is no gateway of this stack, or the last one that serves."""
    from registry.situation import look

    gateways = look(stack).gateways
    members = {gateway.member.instance_id for gateway in gateways}
    if args.id not in members:
        raise Refusal(
            f"gateway {args.id}",
            f"not one of stack {args.stack}",
            f"its gateways are {', '.join(sorted(members)) or 'none'}",
        )
    others = [gateway for gateway in gateways if gateway.member.instance_id != args.id]
    if not args.force and not any(gateway.healthy for gateway in others):
        raise Refusal(
            f"gateway {args.id}",
            "no other gateway is healthy: every tunnel would end",
            "wait until `list` shows another one, or add --force",
        )
