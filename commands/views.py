"""`peers list | show`: what the registry says."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import check, print_json, print_utf8
from registry import validation

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    from registry.items import Unreadable

tell = partial(terminal.tell, "peers")


def list_peers(args: argparse.Namespace) -> None:
    """Every peer, one a line."""
    check(lambda: validation.stack_name(args.stack))
    from client import describe
    from commands.stacks import connect
    from registry.environment import explained

    with explained():
        peers, unreadable = connect(args.stack).registry.peers()
    now = datetime.now(UTC)
    tell(*(f"{item.key} does not parse and lets nobody in: {item.why}" for item in unreadable))
    if args.json:
        everyone = [describe.peer_json(peer, now) for peer in peers]
        print_json({"stack": args.stack, "peers": everyone, "unreadable": faults(unreadable)})
        return
    rows = [describe.row(peer, now) for peer in peers]
    print_utf8("\n".join(describe.table(describe.COLUMNS, rows)) + "\n")


def show(args: argparse.Namespace) -> None:
    """One peer, an attribute a line."""
    check(lambda: validation.stack_name(args.stack), lambda: validation.peer_name(args.name))
    from client import describe
    from commands.stacks import connect
    from registry.environment import explained

    with explained():
        peer = connect(args.stack).wanted(args.name)
    now = datetime.now(UTC)
    if args.json:
        print_json({"stack": args.stack, "peer": describe.peer_json(peer, now)})
    else:
        print_utf8("\n".join(describe.lines(peer, now)) + "\n")


def faults(unreadable: Iterable[Unreadable]) -> list[dict[str, str]]:
    """Items that do not parse."""
    return [{"key": item.key, "why": item.why} for item in unreadable]
