"""`peers audit`: who changed what, and who reached what, in one list."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import check, print_json, print_utf8
from commands.views import faults
from effects import Refusal
from registry import validation

if TYPE_CHECKING:
    import argparse

    from registry.connections import Connections
    from registry.items import Audit
    from registry.stack import Stack

RECENT = timedelta(days=1)
"""How far back connections are read unless told: there may be a million a day."""

tell = partial(terminal.tell, "peers")


def audit(args: argparse.Namespace) -> None:
    """The registry's changes and the gateways' records of connections, oldest first."""
    now = datetime.now(UTC)
    _, _, since = check(
        lambda: validation.stack_name(args.stack),
        lambda: None if args.name is None else validation.peer_name(args.name),
        lambda: None if args.since is None else validation.since(args.since, now),
    )
    from client import describe
    from commands.stacks import connect
    from registry.environment import explained

    with explained():
        stack = connect(args.stack)
        entries, unreadable = stack.registry.audit(args.name)
        entries = [entry for entry in entries if since is None or _moment(entry) >= since]
        found = None if args.changes_only else _connections(stack, args.name, since or now - RECENT)
    tell(*(f"{item.key} does not parse: {item.why}" for item in unreadable))
    if found is not None and not found.complete:
        tell("there are more connections than were read: give a later --since, or a NAME")
    if args.json:
        said = {
            "stack": args.stack,
            "audit": [describe.audit_json(entry) for entry in entries],
            "unreadable": faults(unreadable),
        }
        print_json(said if found is None else {**said, **describe.connections_json(found)})
        return
    rows = [(entry.at, describe.audit_row(entry)) for entry in entries]
    if found is not None:
        rows += describe.connection_rows(found)
    # by their time alone: of two with the same time the change came first
    rows.sort(key=lambda row: datetime.fromisoformat(row[0]))
    columns = describe.table(describe.AUDIT_COLUMNS, [row for _, row in rows])
    print_utf8("\n".join(columns) + "\n")


def _connections(stack: Stack, name: str | None, since: datetime) -> Connections | None:
    """What the gateways recorded; None where the stack has no such log yet."""
    from botocore.exceptions import ClientError

    from registry import connections
    from registry.environment import DENIED

    group = stack.environment.connection_log
    if not group:
        tell("this stack was built without a log of connections; deploy it again to have one")
        return None
    try:
        return connections.read(
            stack.cloud.client("logs"), group, since=since, name=name, tell=tell
        )
    except ClientError as err:
        if err.response.get("Error", {}).get("Code") not in DENIED:
            raise
        raise Refusal(
            f"connections of stack {stack.name}",
            f"you may not read the log group {group}",
            f"ask for the policy gatepair-{stack.name}-auditor, or give --changes-only",
        ) from err


def _moment(entry: Audit) -> datetime:
    return datetime.fromisoformat(entry.at)
