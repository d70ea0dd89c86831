"""`gateways list | wait`: the gateways as Auto Scaling, load balancer and they themselves say."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

from functools import partial
from time import monotonic, sleep, time
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import DONE, FAILED, check, print_json, print_utf8
from registry import validation
from registry.situation import look

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from registry.situation import Gateway, Situation

COLUMNS = (
    "GATEWAY",
    "ZONE",
    "LIFECYCLE",
    "HEALTH",
    "APPLIED",
    "CURRENT",
    "KEYS",
    "HEARD",
    "STATE",
    "ROUTES",
    "FAULTS",
)

PAUSE = 1.0
"""Seconds between looks."""

SILENT_AFTER = 30
"""Seconds after which a gateway's word of itself is old: it says something every ten
(gateway/heartbeat.py), and that may be read late."""

tell = partial(terminal.tell, "gateways")


# ------------------------------------------------------------------ commands


def list_gateways(args: argparse.Namespace) -> None:
    """Every gateway, one a line."""
    check(lambda: validation.stack_name(args.stack))
    from client import describe
    from commands.stacks import connect
    from registry.environment import explained

    with explained():
        situation = look(connect(args.stack))
    if args.json:
        print_json({"stack": args.stack, **describe.situation_json(situation)})
        return
    rows = [_row(gateway, time()) for gateway in situation.gateways]
    print_utf8("\n".join(describe.table(COLUMNS, rows)) + "\n")
    tell(
        f"{len(situation.gateways)} gateways of {situation.desired}, "
        f"registry at change {situation.generation}"
    )


def wait(args: argparse.Namespace) -> int:
    """Wait until all is well."""
    check(lambda: validation.stack_name(args.stack))
    from client import describe
    from commands.stacks import connect
    from registry.environment import AwsFailed, explained

    with explained():
        stack = connect(args.stack)
    deadline = monotonic() + args.timeout
    situation, trouble = None, ""
    while situation is None or not situation.well:
        if monotonic() > deadline:
            tell(*([f"{trouble}"] if trouble else ()))
            tell(*(f"after {args.timeout:.0f} s {what}" for what in _missing(situation)))
            return FAILED
        if situation is not None or trouble:
            sleep(PAUSE)
        try:
            with explained():
                situation, trouble = look(stack), ""
        except AwsFailed as err:
            trouble = str(err)
    seconds = monotonic() - args.began
    if args.json:
        facts = {"stack": args.stack, "seconds": round(seconds, 3)}
        print_json({**facts, **describe.situation_json(situation)})
    else:
        number = len(situation.gateways)
        print_utf8(f"{number} gateways are healthy and up to date after {seconds:.2f} s\n")
    return DONE


def _missing(situation: Situation | None) -> Iterator[str]:
    """What is still to wait for, in words."""
    if situation is None:
        yield "nothing is known of the gateways"
        return
    if len(situation.gateways) < situation.desired:
        yield f"{len(situation.gateways)} gateways are there of {situation.desired}"
    for gateway in situation.gateways:
        name = gateway.member.instance_id
        faults = "; ".join(_faults(gateway, time()))
        why = f" ({faults})" if faults else ""
        if not gateway.healthy:
            health = "/".join(gateway.health) or "no target of the load balancer"
            yield f"{name} is {gateway.member.lifecycle}, {health}{why}"
        elif gateway.confirmed is None:
            applied = gateway.record.applied if gateway.record else 0
            yield f"{name} has applied change {applied} of {situation.generation}{why}"


# ------------------------------------------------------------------ as text and as JSON


def _row(gateway: Gateway, now: float) -> tuple[str, ...]:
    record, confirmed = gateway.record, gateway.confirmed
    current = "no"
    if confirmed is not None:
        current = f"by {confirmed.relayed_by}" if confirmed.relayed_by else "yes"
    return (
        gateway.member.instance_id,
        gateway.member.zone,
        gateway.member.lifecycle,
        "/".join(word or "-" for word in gateway.health) or "-",
        "-" if record is None else str(record.applied),
        current,
        "-" if record is None else ",".join(map(str, sorted(record.keys))) or "none",
        "never" if record is None else f"{max(0, int(now) - record.updated)} s ago",
        (record.state if record is not None else "") or "-",
        ",".join(gateway.routes) or "-",
        "; ".join(_faults(gateway, now)) or "-",
    )


def _faults(gateway: Gateway, now: float) -> tuple[str, ...]:
    """What a gateway says is wrong with it; first of all, if so, that it says nothing any more.

    What it said of itself before stays in the registry, and would look like a gateway that is well.
    """
    record = gateway.record
    if record is None:
        return ()
    age = int(now) - record.updated
    silent = f"silent: nothing was heard for {age} s, all it said is that old"
    return (*((silent,) if age > SILENT_AFTER else ()), *record.faults)
