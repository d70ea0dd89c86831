"""What to do next about the routes. Pure: from what is known to steps, reads before writes.

A route may be taken when nobody holds it, when its holder has given it up or says that it drains,
and when its holder is dead: it has been silent for `SILENT` seconds AND it is no member of the
group any more, or the load balancer says that it is not healthy. Silence alone is no death: when
gossip is cut and both gateways live, both stay as they are and nobody takes anything.

Among several who may take it the one with the fewest routes does, at once; the others after `TURN`
seconds. The item decides: one conditional write wins, and only its winner writes the route. Whoever
writes a route has read the item after it looked at the route table. That leaves the time of that
one request: a write that arrives late is put right by the item's holder, which looks again after
`LOOK_AFTER` and then every `LOOK_EVERY` seconds.

At rest nothing is written. What is read then, per gateway: the items every `READ_EVERY` seconds
(one read unit each), and each minute one DescribeInstances and, with a route, one
DescribeRouteTables: eight requests a minute. Only while a holder is silent or a route is free are
the items and the targets' health read every `HURRY` seconds, and after `HURRY_FOR` of that every
`SLOW`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from gateway.presence import SILENT
from registry.items import DRAINED, DRAINING, SERVING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.presence import Other
    from registry.items import RouteHold

UNEASY = 1.0
"""Seconds without a word, after which it is watched closely."""

HURRY, HURRY_FOR, SLOW = 0.5, 60.0, 5.0
"""Seconds between reads while something is to be decided; for how long; and from then on."""

FRESH = 1.5
"""Seconds for which the load balancer's word counts."""

READ_EVERY = 10.0
LOOK_EVERY = 60.0
LOOK_AFTER = (3.0, 10.0)
"""Seconds after a take, at which the route tables are looked at again: a request of the gateway
that has lost the route lasts at most 8 s (gateway/aws.py: two tries, 2 s to connect and 2 s to
read)."""

TURN = 1.0
"""Seconds for which the gateway whose turn it is has a free route to itself."""

SERVED_FOR = 60.0
"""Seconds a gateway must have served before it takes a route from another that is well."""

MORE = 2
"""Routes that other must have more than it, or nothing would be gained."""

CALM = 10.0
"""Seconds between two routes that are taken from gateways that are well."""

UNWELL_FOR = 3.0
"""Seconds after which a gateway that is not well leaves its routes to one that is."""

HEALTHY, INITIAL, UNAVAILABLE = "healthy", "initial", "unavailable"
"""A target's states that do not say it is ill (ELBv2 API reference, TargetHealth); the others,
`unhealthy`, `draining`, `unused`, do."""

_GONE = ("Terminating:Proceed", "Terminated", "Detaching", "Detached")
NEVER = float("-inf")


# ------------------------------------------------------------------ what is known


@dataclass(frozen=True, kw_only=True)
class Own:
    """This gateway."""

    name: str
    """Instance id."""
    interface: str
    word: str = ""
    """What it does for clients."""
    word_since: float = NEVER
    """Since when it has said that; monotonic seconds."""
    ending: bool = False
    """Its instance is to be terminated."""
    in_step: bool = False
    """It hears all the others that live, and is as far as they are."""


@dataclass(frozen=True)
class Route:
    """A route to the clients' pool, as a route table has it."""

    interface: str = ""
    """Network interface it leads to; empty if it leads to something else, or nowhere any more."""
    target: str = ""
    """That something else."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the outside said, and when; times are monotonic seconds.

    `holds_no`, `found_no` and `wrote_no` number what was done, so that which was later is certain.
    """

    holds: Mapping[str, RouteHold] = field(default_factory=dict)
    """By route table."""
    unreadable: frozenset[str] = frozenset()
    """Route tables whose item does not parse: nobody touches them."""
    holds_at: float = NEVER
    holds_no: int = -1
    found: Mapping[str, Route | None] = field(default_factory=dict)
    """Of each route table that there is: its route; None if it has none."""
    found_at: float = NEVER
    found_no: int = -1
    health: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Instance id -> what each target group says of it, empty where it is no target."""
    health_at: float = NEVER
    check: bool | None = None
    """Whether the source/destination check is on."""
    check_at: float = NEVER
    took_at: float = NEVER
    """When this gateway last took a route."""
    wrote_no: int = -1
    """When it last took, wrote or deleted one."""
    moved_at: float = NEVER
    """When it last took one from a gateway that is well."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All that a decision depends on."""

    now: float
    """Monotonic seconds."""
    own: Own
    tables: tuple[str, ...] = ()
    """Route tables that are to have the route; none unless the stack is routed."""
    touched: bool = True
    """Whether this gateway may have left something behind that a stack with none must not have."""
    others: Mapping[str, Other] = field(default_factory=dict)
    """By instance id."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Of the Auto Scaling group, with this gateway: instance id -> lifecycle state."""
    known: Known = field(default_factory=Known)
    free_since: Mapping[str, float] = field(default_factory=dict)
    """Route table -> since when it may be taken."""
    uneasy_since: float | None = None
    """Since when there has been something to decide."""
    held_back: frozenset[Step] = frozenset()
    """Steps that failed a moment ago."""


# ------------------------------------------------------------------ what to do


@dataclass(frozen=True)
class ReadHolds:
    """Read the items."""


@dataclass(frozen=True)
class LookAtTables:
    """See what the route tables really say."""

    tables: tuple[str, ...]


@dataclass(frozen=True)
class AskHealth:
    """Ask the load balancer about the targets."""


@dataclass(frozen=True)
class LookAtCheck:
    """See whether the source/destination check is on."""


@dataclass(frozen=True)
class SetCheck:
    """Switch it on or off."""

    on: bool


@dataclass(frozen=True)
class Take:
    """Become the holder of a table's route."""

    table: str
    why: str = field(compare=False, default="")
    moves: bool = field(compare=False, default=False)
    """From a gateway that is well."""


@dataclass(frozen=True)
class Point:
    """Let the route of a table lead here."""

    table: str
    anew: bool
    """There is none yet."""


@dataclass(frozen=True)
class GiveUp:
    """Leave a table's route to another gateway; until that has it, it leads here."""

    table: str
    why: str = field(compare=False, default="")


@dataclass(frozen=True)
class DeleteRoute:
    """Take the route out of a table."""

    table: str


@dataclass(frozen=True)
class DeleteHold:
    """Take the item away."""

    table: str


Step: TypeAlias = (
    ReadHolds
    | LookAtTables
    | AskHealth
    | LookAtCheck
    | SetCheck
    | Take
    | Point
    | GiveUp
    | DeleteRoute
    | DeleteHold
)


def decide(facts: Facts) -> tuple[Step, ...]:
    """The next steps; after them, with what they brought, it is called again, until there is none.

    Those that failed a moment ago are left out.
    """
    reads = _allowed(facts, _reads(facts))
    return reads or _allowed(facts, _writes(facts))


def _allowed(facts: Facts, steps: Iterable[Step]) -> tuple[Step, ...]:
    return tuple(step for step in steps if step not in facts.held_back)


# ------------------------------------------------------------------ what the facts mean


def mine(facts: Facts) -> tuple[str, ...]:
    """The route tables whose route this gateway holds."""
    holds = facts.known.holds
    return tuple(sorted(table for table, hold in holds.items() if hold.holder == facts.own.name))


def pointing(facts: Facts) -> tuple[str, ...]:
    """The route tables whose route led here at the last look."""
    own = facts.own.interface
    return tuple(
        sorted(table for table, route in facts.known.found.items() if _leads_to(route, own))
    )


def _leads_to(route: Route | None, interface: str) -> bool:
    return route is not None and route.interface == interface


def running(facts: Facts, name: str) -> bool:
    """Whether a gateway is a member; one that cannot see itself there knows of nobody that is not.

    Membership comes from Auto Scaling: an instance that hangs is one all the same.
    """
    if facts.own.name not in facts.members:
        return True
    state = facts.members.get(name)
    return state is not None and not state.startswith(_GONE)


def alive(facts: Facts, name: str) -> bool:
    """Whether something was heard of another gateway a moment ago."""
    other = facts.others.get(name)
    return other is not None and other.silent < SILENT


def dead(facts: Facts, name: str) -> str:
    """Why another gateway counts as dead; empty if it does not."""
    other, known = facts.others.get(name), facts.known
    if other is None or other.silent < SILENT:
        return ""
    silent = f"{name} has been silent for {other.silent:.1f} s"
    if not running(facts, name):
        return f"{silent} and is no member of the group"
    if facts.now - known.health_at > FRESH or facts.own.name not in known.health:
        return ""
    words = known.health.get(name, ())
    ill = [word for word in words if word not in (HEALTHY, INITIAL, UNAVAILABLE, "")]
    there = [word for word in words if word]
    # One that said it serves was healthy in every slot; of another, one slot may be ill for long
    if not there or (ill and (other.word == SERVING or len(ill) == len(there))):
        return f"{silent} and is {'/'.join(words) or 'no target'} to the load balancer"
    return ""


def able(facts: Facts) -> bool:
    """Whether this gateway may take routes: it serves, and lets pass what is not its own."""
    own, known = facts.own, facts.known
    return own.word == SERVING and not own.ending and known.check is False


def takers(facts: Facts) -> frozenset[str]:
    """The other gateways that can take routes."""
    return frozenset(
        name
        for name, other in facts.others.items()
        if other.silent < SILENT and other.word == SERVING
    )


def leaving(facts: Facts) -> bool:
    """Whether this gateway should hold no route, if another can."""
    own = facts.own
    if own.ending or own.word in (DRAINING, DRAINED):
        return True
    return own.word not in (SERVING, "") and facts.now - own.word_since >= UNWELL_FOR


def alone(facts: Facts) -> bool:
    """Whether every other member is gone or about to go."""
    return facts.own.name in facts.members and not any(
        running(facts, name) and not state.startswith("Terminat")
        for name, state in facts.members.items()
        if name != facts.own.name
    )


def free(facts: Facts) -> dict[str, str]:
    """The wanted tables that anybody may take: table -> why."""
    found: dict[str, str] = {}
    for table in facts.tables:
        if table in facts.known.unreadable:
            continue
        hold = facts.known.holds.get(table)
        if hold is None:
            found[table] = "nobody holds it"
        elif not hold.holder:
            found[table] = "its holder has given it up"
        elif hold.holder != facts.own.name and (why := _leaves(facts, hold.holder)):
            found[table] = why
    return found


def _leaves(facts: Facts, holder: str) -> str:
    other = facts.others.get(holder)
    if other is not None and other.silent < SILENT and other.word in (DRAINING, DRAINED):
        return f"{holder} is {other.word}"
    return dead(facts, holder)


def uneasy(facts: Facts) -> bool:
    """Whether there is something to decide, so that waiting would be felt."""
    own, known = facts.own, facts.known
    if leaving(facts) and (mine(facts) or pointing(facts)):
        return True
    if not able(facts):
        return False
    if free(facts):
        return True
    holders = {known.holds[table].holder for table in facts.tables if table in known.holds}
    return any(
        facts.others[name].silent >= UNEASY or facts.others[name].word not in (SERVING, "")
        for name in holders - {own.name, ""}
        if name in facts.others
    )


def faults(facts: Facts) -> Iterator[str]:
    """What is wrong and not ours to mend, in words."""
    known = facts.known
    for table in sorted(known.unreadable & set(facts.tables)):
        yield f"registry item route/{table} does not parse: nobody may hold that route"
    for table in mine(facts):
        if table not in facts.tables or known.found_at == NEVER:
            continue
        route = known.found.get(table)
        if table not in known.found:
            yield f"{table}: there is no such route table"
        elif route is not None and route.target:
            yield f"{table}: its route to the clients leads to {route.target}: not ours to replace"
    if facts.tables and known.check:
        yield "the source/destination check of this instance is on"


# ------------------------------------------------------------------ reads


def _pace(facts: Facts) -> float:
    since = facts.uneasy_since
    return HURRY if since is not None and facts.now - since < HURRY_FOR else SLOW


def _reads(facts: Facts) -> Iterator[Step]:
    now, known = facts.now, facts.known
    if not facts.tables and not facts.touched:
        return
    every = READ_EVERY if facts.uneasy_since is None else _pace(facts)
    if now - known.holds_at >= every:
        yield ReadHolds()
    if known.check is None or now - known.check_at >= LOOK_EVERY:
        yield LookAtCheck()
    if _look_due(facts):
        yield LookAtTables(tuple(sorted({*facts.tables, *mine(facts), *_unwanted(facts)})))
    elif known.holds_no < known.found_no and _written(facts):
        yield ReadHolds()  # who holds it now, before a route is written
    if _health_due(facts):
        yield AskHealth()


def _look_due(facts: Facts) -> bool:
    now, known = facts.now, facts.known
    if known.holds_at == NEVER:
        return False
    if mine(facts) or _unwanted(facts):
        if known.found_at == NEVER or known.found_no < known.wrote_no:
            return True
        if any(known.found_at < known.took_at + after <= now for after in LOOK_AFTER):
            return True
    if leaving(facts) and known.found_at < facts.own.word_since:
        return True  # whether one leads here although the item names another
    every = _look_every(facts)
    return every is not None and now - known.found_at >= every


def _look_every(facts: Facts) -> float | None:
    if leaving(facts) and (mine(facts) or pointing(facts)):
        return _pace(facts)
    if _unwanted(facts) or (pointing(facts) and not mine(facts)):
        return SLOW  # until none leads here any more
    return LOOK_EVERY if mine(facts) else None


def _health_due(facts: Facts) -> bool:
    """Only a holder that is silent is worth asking about, and only by one who could take over."""
    known = facts.known
    if not able(facts) or facts.now - known.health_at < _pace(facts):
        return False
    holders = {known.holds[table].holder for table in facts.tables if table in known.holds}
    return any(
        facts.others[name].silent >= SILENT and running(facts, name)
        for name in holders - {facts.own.name, ""}
        if name in facts.others
    )


# ------------------------------------------------------------------ writes


def _written(facts: Facts) -> tuple[Step, ...]:
    """What is to be written into route tables."""
    return (*_repairs(facts), *_removals(facts))


def _writes(facts: Facts) -> Iterator[Step]:
    if facts.known.holds_at == NEVER:
        return
    known = facts.known
    if facts.tables and known.check:
        yield SetCheck(on=False)
    if known.found_no < known.holds_no:
        yield from _written(facts)
    if leaving(facts):
        yield from _given_up(facts)
    elif able(facts):
        yield from _taken(facts)
    if not facts.tables and known.check is False and not mine(facts) and not pointing(facts):
        yield SetCheck(on=True)


def _repairs(facts: Facts) -> Iterator[Step]:
    """Routes of ours that do not lead here."""
    known = facts.known
    if known.found_no < known.wrote_no or _removes_own(facts) or known.check is not False:
        return
    for table in mine(facts):
        if table not in facts.tables or table not in known.found:
            continue
        route = known.found[table]
        if route is None:
            yield Point(table, anew=True)
        elif not route.target and route.interface != facts.own.interface:
            yield Point(table, anew=False)


def _unwanted(facts: Facts) -> tuple[str, ...]:
    """Tables that should have no route, or none any more, and whose item is this gateway's to end.

    Its own; and what a gateway has left behind that is no member any more.
    """
    if _removes_own(facts):
        tables: Iterable[str] = facts.known.holds
    else:
        tables = (table for table in facts.known.holds if table not in facts.tables)
    return tuple(
        sorted(
            table
            for table in tables
            if (holder := facts.known.holds[table].holder) in (facts.own.name, "")
            or not running(facts, holder)
        )
    )


def _removes_own(facts: Facts) -> bool:
    """The last one: nobody is left to hold a route."""
    return facts.own.ending and alone(facts)


def _removals(facts: Facts) -> Iterator[Step]:
    known = facts.known
    for table in _unwanted(facts):
        if known.found_at == NEVER or known.found_no < known.wrote_no:
            return
        route, hold = known.found.get(table), known.holds[table]
        if _leads_to(route, hold.interface) or _leads_to(route, facts.own.interface):
            yield DeleteRoute(table)
        else:
            yield DeleteHold(table)


def _given_up(facts: Facts) -> Iterator[Step]:
    if _removes_own(facts) or not takers(facts):
        return
    for table in mine(facts):
        if table in facts.tables:
            yield GiveUp(table, "it is to be terminated" if facts.own.ending else facts.own.word)


def _counts(facts: Facts) -> dict[str, int]:
    """How many wanted routes each gateway has that could take one."""
    found = dict.fromkeys((facts.own.name, *takers(facts)), 0)
    for table in facts.tables:
        hold = facts.known.holds.get(table)
        if hold is not None and hold.holder in found:
            found[hold.holder] += 1
    return found


def _taken(facts: Facts) -> Iterator[Step]:
    counts, own, now = _counts(facts), facts.own.name, facts.now
    may = free(facts)
    for table in sorted(may):
        turn = min(counts, key=lambda name: (counts[name], name))
        counts[turn] += 1
        if turn == own or now - facts.free_since.get(table, now) >= TURN:
            yield Take(table, may[table])
    if not may and facts.uneasy_since is None:
        yield from _evened(facts, counts)


def _evened(facts: Facts, counts: Mapping[str, int]) -> Iterator[Step]:
    """A route from a gateway that is well and has too many; one at a time."""
    own, now = facts.own, facts.now
    if not own.in_step or now - own.word_since < SERVED_FOR or now - facts.known.moved_at < CALM:
        return
    if min(counts, key=lambda name: (counts[name], name)) != own.name:
        return
    for table in sorted(facts.tables):
        hold = facts.known.holds.get(table)
        if hold is None or hold.holder not in takers(facts):
            continue
        if counts[hold.holder] - counts[own.name] >= MORE:
            yield Take(table, f"{hold.holder} has {counts[hold.holder]} routes", moves=True)
            return
