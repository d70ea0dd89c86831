"""`gateways drain`: a gateway hands its clients over and waits, without any, to be used again."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import DONE, FAILED, Interrupted, check, print_json, print_utf8
from effects import Refusal
from registry import validation

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable

    from commands.stacks import Stack
    from registry.items import Command, GatewayRecord
    from registry.situation import Gateway, Situation

KEEP = 3600
"""Seconds that an order to drain is good for: then a forgotten gateway serves again."""

PAUSE = 1.0
"""Seconds between looks."""

SAY_EVERY = 10.0
"""Seconds between two words about a wait in which nothing new happens."""

tell = partial(terminal.tell, "gateways")


def drain(args: argparse.Namespace) -> int:
    """Order a gateway to drain and wait until it has; or take the order back."""
    check(lambda: validation.stack_name(args.stack), lambda: validation.instance_id(args.id))
    from commands.stacks import connect
    from registry.environment import explained
    from registry.items import DRAINED
    from registry.situation import look

    with explained():
        stack = connect(args.stack)
        if args.withdraw:
            return _take_back(args, stack)
        until = order(stack, args.id, look(stack))
        try:
            record = await_drained(stack, args.id, timeout=args.timeout, began=args.began)
        except KeyboardInterrupt as err:
            raise Interrupted(_interrupted(stack, args.id)) from err
    seconds = time.monotonic() - args.began
    done = record is not None and record.state == DRAINED
    if args.json:
        print_json(
            {
                "stack": args.stack,
                "id": args.id,
                "drained": done,
                "seconds": round(seconds, 3),
                "until": _clock(until),
            }
        )
    elif done:
        print_utf8(f"{args.id} has drained after {seconds:.2f} s\n")
    back = f"`scripts/gateways --stack {args.stack} drain {args.id} --withdraw`"
    if done:
        tell(f"it serves again from {_clock(until)} on, or after {back}")
        return DONE
    tell(
        f"{args.id} has not drained after {seconds:.2f} s: {described(record)}",
        f"the order stands until {_clock(until)}; take it back with {back}",
    )
    return FAILED


def order(stack: Stack, instance_id: str, situation: Situation) -> int:
    """Write the order; the epoch second until which it is good. Raises `Refusal` for the last one.

    Whether it is the last one is judged on the orders as they are when this one is written.
    """
    from registry.items import DrainOrder
    from registry.store import now

    at, caller, until = now(), stack.caller, int(time.time()) + KEEP

    def alter(command: Command) -> Command:
        refuse_last(instance_id, situation.gateways, command)
        wanted = DrainOrder(until, caller, at)
        return replace(command, drain={**command.drain, instance_id: wanted})

    stack.orders.change(alter)
    return until


def refuse_last(instance_id: str, gateways: Iterable[Gateway], command: Command) -> None:
    """Refuse to drain what is no gateway in service, or the last one that clients could go to."""
    from registry.situation import IN_SERVICE

    members = {gateway.member.instance_id: gateway for gateway in gateways}
    if instance_id not in members:
        raise Refusal(
            f"gateway {instance_id}",
            "not one of this stack",
            f"its gateways are {', '.join(sorted(members)) or 'none'}",
        )
    lifecycle = members[instance_id].member.lifecycle
    if lifecycle != IN_SERVICE:
        raise Refusal(
            f"gateway {instance_id}",
            f"it is {lifecycle}: it comes or goes already",
            "`list` shows it",
        )
    left = [
        name
        for name, gateway in members.items()
        if name != instance_id and gateway.healthy and name not in command.drain
    ]
    if not left:
        raise Refusal(
            f"gateway {instance_id}",
            "no other gateway is healthy and not draining: every tunnel would end",
            "wait until `list` shows another one",
        )


def take_back(stack: Stack, instance_id: str) -> bool:
    """Take an order back; whether there was one."""
    found = []

    def alter(command: Command) -> Command:
        found[:] = [name for name in command.drain if name == instance_id]
        left = {name: one for name, one in command.drain.items() if name != instance_id}
        return replace(command, drain=left)

    stack.orders.change(alter)
    return bool(found)


def await_drained(
    stack: Stack, instance_id: str, *, timeout: float, began: float | None = None
) -> GatewayRecord | None:
    """Wait until the gateway says that it has drained; its last word, whatever that is."""
    from registry.items import DRAINED

    return await_word(
        stack, instance_id, lambda state: state == DRAINED, timeout=timeout, began=began
    )


def await_word(
    stack: Stack,
    instance_id: str,
    reached: Callable[[str], bool],
    *,
    timeout: float,
    began: float | None = None,
) -> GatewayRecord | None:
    """Wait until what a gateway says of itself is so; tells each new word, and that it waits.

    What it tells begins with the seconds since `began` (monotonic), which is now if not given.
    """
    from registry.confirmation import Member

    since = said_at = time.monotonic()
    began = since if began is None else began
    said = ""
    while True:
        record = stack.fleet.records([Member(instance_id)]).get(instance_id)
        now = time.monotonic()
        if (record is not None and reached(record.state)) or now - since >= timeout:
            return record
        if (word := described(record)) != said or now - said_at >= SAY_EVERY:
            tell(f"{now - began:5.1f} s  {instance_id} {word}")
            said, said_at = word, now
        time.sleep(PAUSE)


def described(record: GatewayRecord | None) -> str:
    """What a gateway says, for people."""
    if record is None:
        return "has never said anything"
    trouble = f" ({'; '.join(record.faults)})" if record.faults else ""
    return f"is {record.state or 'silent about it'}{trouble}"


def _take_back(args: argparse.Namespace, stack: Stack) -> int:
    from registry.items import DRAINED, DRAINING

    was = take_back(stack, args.id)
    record = await_word(
        stack, args.id, lambda state: state not in {DRAINED, DRAINING}, timeout=args.timeout
    )
    seconds = time.monotonic() - args.began
    back = record is not None and record.state not in {DRAINED, DRAINING}
    if args.json:
        facts = {"stack": args.stack, "id": args.id, "withdrawn": was, "drained": not back}
        print_json({**facts, "seconds": round(seconds, 3)})
    elif back:
        print_utf8(f"{args.id} {described(record)} after {seconds:.2f} s\n")
    if not was:
        tell(f"there was no order for {args.id}")
    if not back:
        tell(f"{args.id} has not come back after {seconds:.2f} s: {described(record)}")
    return DONE if back else FAILED


def _interrupted(stack: Stack, instance_id: str) -> str:
    try:
        take_back(stack, instance_id)
    except Exception as err:  # noqa: BLE001 - whatever it was, the operator has to know
        return (
            f"interrupted, and the order to drain {instance_id} could not be taken back ({err}): "
            f"`scripts/gateways --stack {stack.name} drain {instance_id} --withdraw`"
        )
    return f"interrupted: the order is taken back, {instance_id} serves again"


def _clock(moment: int) -> str:
    from client import describe

    return describe.instant(moment)
