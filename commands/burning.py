"""`keys burn`: a generation of the server's key that may be known to others never comes back."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

from dataclasses import replace
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import DONE, FAILED, check, print_json, print_utf8
from effects import Refusal
from registry import validation

if TYPE_CHECKING:
    import argparse

    from commands.stacks import Stack
    from registry.items import Command
    from registry.membership import Fleet

PAUSE = 0.5
"""Seconds between looks at the gateways' items."""

tell = partial(terminal.tell, "keys")


def burn(args: argparse.Namespace) -> int:
    """Write it down, then wait until no gateway serves it."""
    check(lambda: validation.stack_name(args.stack))
    from commands.stacks import connect
    from registry.environment import explained
    from registry.items import Burnt
    from registry.orders import Orders
    from registry.store import now

    number = args.generation
    with explained():
        stack = connect(args.stack)
        _refuse(stack, number)
        once = Burnt(now(), stack.caller)

        def alter(command: Command) -> Command:
            return replace(command, burnt={number: once, **command.burnt})

        orders = Orders(stack.cloud.client("dynamodb"), stack.environment.table)
        said = orders.change(alter).burnt[number]
        serving = _serving(stack.fleet, number)
        while serving and monotonic() - args.began < args.timeout:
            sleep(PAUSE)
            serving = _serving(stack.fleet, number)
    if args.json:
        facts = {"stack": args.stack, "generation": number, "serving": serving}
        print_json({**facts, "at": said.at, "by": said.by})
    else:
        print_utf8(f"generation {number} is burnt since {said.at}, by {said.by}\n")
    tell(
        *(
            f"{name} still serves it, as far as it has said; cut it off with "
            f"`scripts/gateways --stack {args.stack} fence {name}`"
            for name in serving
        )
    )
    return FAILED if serving else DONE


def _refuse(stack: Stack, number: int) -> None:
    from commands.rotation import control_of

    control = control_of(stack, stack.registry.head())
    if number in control.key_generations:
        others = [one for one in control.key_generations if one != number] or [number + 1]
        raise Refusal(
            f"generation {number}",
            "the stack still has it served: burnt, it would go on until then",
            f"retire it first, with keyGenerations: {others}",
        )
    if stack.registry.server_key(number) is None:
        raise Refusal(
            f"generation {number}",
            "no gateway has ever made a key of it",
            "see `keys status` for those there are",
        )


def _serving(fleet: Fleet, number: int) -> list[str]:
    """The gateways that said last that they serve it."""
    members = [member for member in fleet.group().members if not member.gone]
    said = fleet.records(members)
    left = [member for member in members if member.instance_id in said]
    left = [member for member in left if number in said[member.instance_id].keys]
    return [member.instance_id for member in fleet.without_terminated(left) if not member.gone]
