"""`keys status | wait`: which generations are served, and who still uses the old one."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep, time
from typing import TYPE_CHECKING

from commands import terminal
from commands.terminal import DONE, FAILED, check, print_json, print_utf8
from effects import Refusal
from registry import validation
from registry.errors import RegistryError
from registry.key_slots import port_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from commands.stacks import Stack
    from registry.confirmation import Member
    from registry.items import Control, GatewayRecord, Head
    from registry.whereabouts import Whereabouts

COLUMNS = ("GENERATION", "UDP PORT", "PUBLIC KEY", "SERVED BY", "PEERS")

PAUSE = 1.0
"""Seconds between looks."""

SHOWN = 20
"""Peers named by `status` as text; --json has all."""

tell = partial(terminal.tell, "keys")


@dataclass(frozen=True)
class Situation:
    """The server's keys at one moment."""

    control: Control
    public_keys: Mapping[int, str | None]
    """Generation -> what the registry has published."""
    members: tuple[Member, ...]
    records: Mapping[str, GatewayRecord]
    peers: tuple[Whereabouts, ...]
    """With what they used last, while two generations are served."""
    left_behind: tuple[Whereabouts, ...]
    untold: Mapping[str, str]
    """Gateway -> why it is not known what its peers use."""
    burnt: tuple[int, ...]
    """Generations that do not come back."""

    @property
    def overlap(self) -> bool:
        """Whether two generations are to be served."""
        return len(self.control.key_generations) > 1

    @property
    def ready(self) -> bool:
        """Whether nobody is left on the old key, and every gateway is known to serve what it
        should."""
        return not self.untold and not self.left_behind

    def serving(self, generation: int) -> list[str]:
        """The gateways that serve it with the published key."""
        key = self.public_keys.get(generation)
        return [
            member.instance_id
            for member in self.members
            if key is not None
            and member.instance_id in self.records
            and self.records[member.instance_id].keys.get(generation) == key
        ]

    def using(self, generation: int | None) -> int:
        """How many peers used it last; None: how many have not been seen."""
        return sum(one.generation == generation for one in self.peers)


def control_of(stack: Stack, head: Head) -> Control:
    """The control item of a stack. Raises `Refusal` or `RegistryError` without one."""
    if head.control_fault:
        raise RegistryError(
            f"registry item control/control: {head.control_fault}; deploy the stack again"
        )
    if head.control is None:
        from registry.stack import NO_CONTROL

        raise Refusal(f"stack {stack.name}", *NO_CONTROL)
    return head.control


def look(stack: Stack, *, days: float, everybody: bool = False) -> Situation:
    """Ask everybody."""
    from registry.whereabouts import left_behind, untold, whereabouts

    head = stack.registry.head()
    control, now = control_of(stack, head), time()
    # One that lost its power may stand in the group for as long as its hook lasts
    members = tuple(member for member in stack.fleet.group().members if not member.leaving)
    arns = {stack.environment.instance_arn(one.instance_id): one.instance_id for one in members}
    records = stack.fleet.records(members)
    overlap = len(control.key_generations) > 1
    said = stack.registry.sessions(arns) if overlap else []
    peers, _ = stack.registry.peers() if overlap else ([], [])
    found = whereabouts(peers, control.client_pool, said, control.newest, now)
    return Situation(
        control,
        {number: stack.registry.server_key(number) for number in control.key_generations},
        members,
        records,
        tuple(found),
        tuple(left_behind(found, control.newest, now, days=days, everybody=everybody)),
        untold(members, control, records, {arns[one.arn]: one for one in said}, now),
        tuple(sorted(head.command.burnt if head.command else ())),
    )


# ------------------------------------------------------------------ commands


def status(args: argparse.Namespace) -> None:
    """What is served, and who uses what."""
    check(lambda: validation.stack_name(args.stack))
    from client import describe
    from commands.stacks import connect
    from registry.environment import explained

    with explained():
        situation = look(connect(args.stack), days=args.days)
    if args.json:
        print_json({"stack": args.stack, **_json(situation, time())})
        return
    rows = [_row(situation, number) for number in situation.control.key_generations]
    text = [*describe.table(COLUMNS, rows), *_lines(situation, time(), args.days)]
    print_utf8("\n".join(text) + "\n")
    tell(*(f"{name} {why}" for name, why in situation.untold.items()))
    tell(*_faults(situation))


def wait(args: argparse.Namespace) -> int:
    """Wait until the old key may be retired."""
    check(lambda: validation.stack_name(args.stack))
    from commands.stacks import connect
    from registry.environment import AwsFailed, explained

    with explained():
        stack = connect(args.stack)
    deadline = monotonic() + args.timeout
    situation, trouble = None, ""
    while situation is None or not situation.ready:
        if monotonic() > deadline:
            tell(*([trouble] if trouble else ()))
            tell(*(f"after {args.timeout:.0f} s {what}" for what in missing(situation)))
            if args.json and situation is not None:
                print_json({"stack": args.stack, **_json(situation, time())})
            return FAILED
        if situation is not None or trouble:
            sleep(PAUSE)
        try:
            with explained():
                situation, trouble = look(stack, days=args.days, everybody=args.all), ""
        except AwsFailed as err:
            trouble = str(err)
    seconds = monotonic() - args.began
    if args.json:
        facts = {"stack": args.stack, "seconds": round(seconds, 3)}
        print_json({**facts, **_json(situation, time())})
    else:
        print_utf8(f"{_done(situation)} after {seconds:.2f} s\n")
    return DONE


def _done(situation: Situation) -> str:
    newest, count = situation.control.newest, len(situation.members)
    if not situation.overlap:
        return f"{count} gateways serve server key {newest} and no other"
    return f"nobody is left behind: {situation.using(newest)} peers use server key {newest}"


def missing(situation: Situation | None) -> Iterator[str]:
    """What is still to wait for, in words."""
    if situation is None:
        yield "nothing is known of the gateways"
        return
    for name, why in situation.untold.items():
        yield f"{name} {why}"
    for one in situation.left_behind[:SHOWN]:
        yield f"{one.peer.name} {_used(one, time())}"
    if len(situation.left_behind) > SHOWN:
        yield f"so do {len(situation.left_behind) - SHOWN} more"


def _faults(situation: Situation) -> Iterator[str]:
    """What gateways say is wrong with a key."""
    for name, record in sorted(situation.records.items()):
        for fault in record.faults:
            if "key generation" in fault or "control" in fault:
                yield f"{name}: {fault}"


# ------------------------------------------------------------------ as text and as JSON


def _row(situation: Situation, generation: int) -> tuple[str, ...]:
    newest = " (newest)" if generation == situation.control.newest else ""
    serving = len(situation.serving(generation))
    return (
        f"{generation}{newest}",
        str(port_of(generation, situation.control.port)),
        situation.public_keys.get(generation) or "not made yet",
        f"{serving} of {len(situation.members)}",
        str(situation.using(generation)) if situation.overlap else "-",
    )


def _lines(situation: Situation, now: float, days: float) -> Iterator[str]:
    if situation.burnt:
        yield f"burnt: {', '.join(map(str, situation.burnt))}"
    if not situation.overlap:
        return
    left = situation.left_behind
    yield ""
    yield f"on the old key, of those who were here within {days:g} days: {len(left)}"
    for one in left[:SHOWN]:
        yield f"  {one.peer.name} {_used(one, now)}"
    if len(left) > SHOWN:
        yield f"  and {len(left) - SHOWN} more: --json names them"
    yield f"not seen: {situation.using(None)}"


def _used(one: Whereabouts, now: float) -> str:
    if one.use is None:
        return "has not been seen"
    return f"used server key {one.use.generation} {_age(now - one.use.at)} ago"


def _age(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _json(situation: Situation, now: float) -> dict[str, object]:
    control = situation.control
    return {
        "key_generations": list(control.key_generations),
        "newest": control.newest,
        "ready": situation.ready,
        "burnt": list(situation.burnt),
        "generations": [
            {
                "generation": number,
                "port": port_of(number, control.port),
                "public_key": situation.public_keys.get(number),
                "served_by": situation.serving(number),
                "peers": situation.using(number) if situation.overlap else None,
            }
            for number in control.key_generations
        ],
        "gateways": [
            {
                "id": member.instance_id,
                "keys": {
                    str(number): key
                    for number, key in sorted(situation.records[member.instance_id].keys.items())
                }
                if member.instance_id in situation.records
                else {},
                "untold": situation.untold.get(member.instance_id),
            }
            for member in situation.members
        ],
        "faults": list(_faults(situation)),
        "left_behind": [_peer_json(one) for one in situation.left_behind],
        "peers": [_peer_json(one) for one in situation.peers],
        "now": int(now),
    }


def _peer_json(one: Whereabouts) -> dict[str, object]:
    from client import describe

    at = None if one.use is None else describe.instant(one.use.at)
    return {"name": one.peer.name, "generation": one.generation, "at": at}
