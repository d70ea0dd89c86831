"""`peers revoke | extend`: until when somebody may enter, and proof that it is over."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import DONE, FAILED, Interrupted, check, print_json, print_utf8
from registry import validation

if TYPE_CHECKING:
    import argparse

    from registry.operators import Revocation
    from registry.stack import Stack
    from registry.waiting import Waited

NEVER = "never"

tell = partial(terminal.tell, "peers")


def revoke(args: argparse.Namespace) -> int:
    """Let a peer in no more, and wait until every gateway has confirmed it."""
    check(lambda: validation.stack_name(args.stack), lambda: validation.peer_name(args.name))
    from commands.confirming import complain, teller
    from commands.stacks import connect
    from registry.environment import explained
    from registry.revoking import settle

    with explained():
        stack = connect(args.stack)
        revocation = _written(stack, args.name)
        if args.no_wait:
            return _unwaited(args, revocation)
        try:
            waited = settle(
                stack,
                revocation,
                began=args.began,
                timeout=args.timeout,
                tell=teller(quiet=args.json),
            )
        except KeyboardInterrupt as err:
            raise Interrupted(
                f"interrupted: {args.name} is revoked, but not every gateway has confirmed; "
                f"`peers revoke {args.name}` waits again"
            ) from err
    _report(args, revocation, waited)
    if waited.complete:
        return DONE
    complain("peers", stack, waited, f"{args.name} is cut off")
    return FAILED


def _written(stack: Stack, name: str) -> Revocation:
    caller = stack.caller
    try:
        revocation = stack.registry.revoke_peer(name, caller=caller)
    except KeyboardInterrupt as err:
        raise Interrupted(
            f"interrupted: {name} may be revoked or not; `peers revoke {name}` makes sure"
        ) from err
    if revocation.again:
        tell(f"{name} was revoked before, by change {revocation.generation}; waiting again")
    return revocation


def _unwaited(args: argparse.Namespace, revocation: Revocation) -> int:
    if args.json:
        print_json({**_facts(args, revocation), "confirmed": None, "gateways": []})
    else:
        tell(f"{args.name} is revoked, not confirmed; `peers revoke {args.name}` waits for that")
    return DONE


def _facts(args: argparse.Namespace, revocation: Revocation) -> dict[str, object]:
    return {
        "stack": args.stack,
        "name": revocation.name,
        "address": str(revocation.address),
        "generation": revocation.generation,
        "revoked_before": revocation.again,
        "seconds": round(time.monotonic() - args.began, 3),
    }


def _report(args: argparse.Namespace, revocation: Revocation, waited: Waited) -> None:
    from client.describe import waited_json

    if args.json:
        facts = _facts(args, revocation)
        print_json({**facts, "confirmed": waited.complete, "gateways": waited_json(waited)})
        return
    seconds = time.monotonic() - args.began
    if waited.complete:
        number = len(waited.answers)
        print_utf8(f"{args.name} is cut off on all {number} gateways after {seconds:.2f} s\n")
    else:
        print_utf8(f"{args.name} is revoked, not confirmed after {seconds:.2f} s\n")


def extend(args: argparse.Namespace) -> None:
    """Set when a peer's access ends."""
    now = datetime.now(UTC)
    _, _, expires = check(
        lambda: validation.stack_name(args.stack),
        lambda: validation.peer_name(args.name),
        lambda: None if args.expires == NEVER else validation.expiry(args.expires, now),
    )
    from client import describe
    from commands.stacks import connect
    from registry.environment import explained

    with explained():
        stack = connect(args.stack)
        try:
            altered = stack.registry.alter_peer(
                args.name,
                lambda peer: replace(peer, expires=expires),
                action="extend",
                caller=stack.caller,
            )
        except KeyboardInterrupt as err:
            raise Interrupted(
                f"interrupted: the change may have been made; see `peers show {args.name}`"
            ) from err
    if args.json:
        print_json({"stack": args.stack, "peer": describe.peer_json(altered.peer, now)})
    else:
        before, after = describe.end(altered.former, now), describe.end(altered.peer, now)
        tell(f"{args.name} may enter until {after} (before: {before})")
