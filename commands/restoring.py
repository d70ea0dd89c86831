"""`peers restore`: the registry as it was, less what was taken away since."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import CHANGES, DONE, FAILED, Interrupted, check, print_json, print_utf8
from registry import validation

if TYPE_CHECKING:
    import argparse

    from commands.stacks import Stack
    from registry.recovery import Recovery
    from registry.restoration import Restoration, Source
    from registry.waiting import Waited

SIGNS = {"remove": "-", "change": "~", "add": "+"}

tell = partial(terminal.tell, "peers")


def restore(args: argparse.Namespace) -> int:
    """Print what would be restored, or restore it and wait until every gateway has it."""
    now = datetime.now(UTC)
    to, _ = check(
        lambda: validation.moment(args.to, now), lambda: validation.stack_name(args.stack)
    )
    from commands.stacks import connect
    from registry.environment import explained
    from registry.restoration import Restoration

    with explained():
        stack = connect(args.stack)
        found = stack.environment
        client = stack.cloud.client("dynamodb")
        restoration = Restoration(client, found.table, stack.registry.archive, stack.caller)
        source = _source(restoration, client, found.table, to)
        records = restoration.records(source, from_archive=args.from_archive)
        planned = restoration.plan(source, records, lost=args.from_archive)
        if args.plan:
            return _planned(args, client, source, planned)
        if planned.needed:
            planned = _carried_out(args, restoration, source)
        _forget(client, source)
        waited = None if args.no_wait else _confirmed(args, stack)
    return _report(args, stack, source, planned, waited)


def _source(restoration: Restoration, client: object, table: str, to: datetime) -> Source:
    """What the registry was, in a table beside it."""
    from registry import backups

    restoration.refuse_other(f"{to:%Y-%m-%dT%H:%M:%SZ}")
    try:
        name = backups.bring(client, table, to, tell)
        return restoration.source(name, f"{to:%Y-%m-%dT%H:%M:%SZ}")
    except KeyboardInterrupt as err:
        raise Interrupted(
            f"interrupted, nothing was changed; {backups.name_of(table, to)} may be in the making: "
            "call again to use it, or delete it"
        ) from err


def _carried_out(args: argparse.Namespace, restoration: Restoration, source: Source) -> Recovery:
    """Restore; what was done."""
    cure = (
        f"`peers restore --to {source.to}{' --from-archive' if args.from_archive else ''}` goes on "
        "with it; until then gateways keep the peers they have, and no peer can be changed"
    )
    try:
        restoring = restoration.lock(
            source, restoration.records(source, from_archive=args.from_archive)
        )
        return restoration.carry_out(restoring, source, from_archive=args.from_archive)
    except KeyboardInterrupt as err:
        raise Interrupted(f"interrupted: the restore may be half done; {cure}") from err
    except BaseException:
        if restoration.under_way():
            tell(f"the restore is half done; {cure}")
        raise


def _forget(client: object, source: Source) -> None:
    from registry import backups

    try:
        backups.delete(client, source.table)
    except KeyboardInterrupt as err:
        raise Interrupted(f"interrupted: all is restored; delete the table {source.table}") from err


def _confirmed(args: argparse.Namespace, stack: Stack) -> Waited:
    """Wait for every gateway; then the addresses of those who went are free."""
    from commands.confirming import confirm
    from registry.confirmation import Awaited

    head = stack.registry.head()
    try:
        waited = confirm(
            stack,
            Awaited(head.generation, head.epoch),
            began=args.began,
            timeout=args.timeout,
            quiet=args.json,
        )
    except KeyboardInterrupt as err:
        raise Interrupted(
            "interrupted: all is restored, but not every gateway has confirmed; "
            f"see `scripts/gateways --stack {args.stack} list`"
        ) from err
    if waited.complete:
        stack.registry.free_addresses(head.generation)
    return waited


# ------------------------------------------------------------------ for people and programs


def _planned(args: argparse.Namespace, client: object, source: Source, planned: Recovery) -> int:
    if args.json:
        print_json(_facts(args, source, planned))
    else:
        print_utf8("".join(f"{line}\n" for line in _lines(planned)))
    if not planned.needed:
        _forget(client, source)
        return DONE
    tell(f"{source.table} is kept for `peers restore --to {source.to}`, which deletes it")
    return CHANGES


def _lines(planned: Recovery) -> list[str]:
    said = []
    for step in planned.steps:
        said.append(f"{SIGNS[step.action]} {step.action} {step.name}")
        said += [f"    {line}" for line in step.what]
    said += [f"  {name} stays out: {why}" for name, why in planned.kept_out.items()]
    said += [f"  {name} was let in later and is not restored" for name in planned.not_restored]
    counts = {action: planned.count(action) for action in SIGNS}
    return [*said, "{add} to add, {change} to change, {remove} to remove".format(**counts)]


def _facts(args: argparse.Namespace, source: Source, planned: Recovery) -> dict[str, object]:
    return {
        "stack": args.stack,
        "to": source.to,
        "needed": planned.needed,
        "steps": [asdict(step) for step in planned.steps],
        "kept_out": dict(planned.kept_out),
        "not_restored": list(planned.not_restored),
    }


def _report(
    args: argparse.Namespace,
    stack: Stack,
    source: Source,
    planned: Recovery,
    waited: Waited | None,
) -> int:
    from client.describe import waited_json
    from commands.confirming import complain

    if args.json:
        answers = [] if waited is None else waited_json(waited)
        confirmed = None if waited is None else waited.complete
        facts = _facts(args, source, planned)
        print_json({**facts, "confirmed": confirmed, "gateways": answers})
    else:
        print_utf8("".join(f"{line}\n" for line in _lines(planned)))
        tell(f"the registry is that of {source.to}, less what was taken away since")
    if waited is None or waited.complete:
        return DONE
    complain("peers", stack, waited, "it has the restored peers")
    return FAILED
