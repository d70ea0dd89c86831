"""What clients saw of a fault, and whether it is what was promised. Pure.

All moments are seconds of the machine's monotonic clock; a fault begins at its `begin`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.echoes import Echoes

TWO = 2
"""Healthy gateways: what redundancy is."""


@dataclass(frozen=True)
class Health:
    """From this moment on these gateways were healthy, by the load balancer's word."""

    at: float
    gateways: frozenset[str]


def left(history: Iterable[Health], gateway: str, begin: float) -> float | None:
    """When the load balancer let go of a gateway after `begin`; None if it did not."""
    return next((one.at for one in history if one.at > begin and gateway not in one.gateways), None)


def redundant_after(history: Sequence[Health], begin: float) -> float | None:
    """Seconds from `begin` until two gateways were healthy again; 0 if they were all the time.

    None if they are not yet.
    """
    known = [one for one in history if one.at <= begin][-1:]
    known += [one for one in history if one.at > begin]
    if not known or len(known[-1].gateways) < TWO:
        return None
    since = 0.0
    for before, after in pairwise(known):
        if len(before.gateways) < TWO <= len(after.gateways):
            since = after.at - begin
    return since


@dataclass(frozen=True)
class Seen:
    """What several clients saw, the worst of it."""

    clients: int
    silence: float
    """The longest time without an answer that any of them had."""
    lost: int
    """Pings without an answer, of all of them."""
    sent: int


def seen(echoes: Iterable[Echoes], begin: float, end: float) -> Seen | None:
    """Between these moments; None if there are no clients."""
    each = list(echoes)
    if not each:
        return None
    return Seen(
        clients=len(each),
        silence=max(one.longest_silence(begin, end) for one in each),
        lost=sum(len(one.lost(begin, end)) for one in each),
        sent=sum(len(one.probes(begin, end)) for one in each),
    )


def resumed(echoes: Iterable[Echoes], moved: float) -> float | None:
    """Seconds from the moment their flows moved until the last of them was answered again.

    An answer counts if its ping was sent after that moment. None if one was not answered.
    """
    firsts = [one.first_fresh(moved) for one in echoes]
    return None if None in firsts or not firsts else max(one for one in firsts if one) - moved


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What the design promises of a fault; None: nothing about that."""

    resumed: float | None = None
    """Seconds from the load balancer's moving a client until it is answered."""
    silence: float | None = None
    """Seconds without an answer, of anybody."""
    lost: int | None = None
    """Pings of the clients that are there."""
    others_lost: int | None = 0
    """Pings of everybody else."""
    back: float | None = None
    """Seconds until two gateways are healthy again."""

    def words(self) -> str:
        """For the table."""
        parts = []
        if self.lost == 0:
            parts.append("nothing is lost")
        if self.resumed is not None:
            parts.append(f"answered within {self.resumed:g} s of the move")
        if self.silence is not None:
            parts.append(f"silent for at most {self.silence:g} s")
        if self.others_lost == 0 and self.lost != 0:
            parts.append("the others lose nothing")
        if self.back is not None:
            parts.append(f"two serve after at most {self.back:g} s")
        return ", ".join(parts)


@dataclass(frozen=True)
class Check:
    """Something else that has to be so."""

    what: str
    so: bool


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A fault that was tried."""

    name: str
    there: Seen | None = None
    """Clients of the gateway that had it; everybody, if both had."""
    others: Seen | None = None
    detection: float | None = None
    """Seconds until the load balancer let go of the gateway; None if it did not."""
    resumed: float | None = None
    back: float | None = None
    lost_after: int | None = None
    """Pings of anybody since the fault had ended; None for one that has no end of its own."""
    checks: tuple[Check, ...] = ()
    error: str = ""
    """Why there is no figure."""

    def as_json(self) -> dict[str, Any]:
        """A sample."""
        return asdict(self)


def from_json(sample: Mapping[str, Any]) -> Outcome:
    """From a sample."""
    there, others = sample["there"], sample["others"]
    return Outcome(
        name=sample["name"],
        there=Seen(**there) if there else None,
        others=Seen(**others) if others else None,
        detection=sample["detection"],
        resumed=sample["resumed"],
        back=sample["back"],
        lost_after=sample["lost_after"],
        checks=tuple(Check(**one) for one in sample["checks"]),
        error=sample["error"],
    )


def broken(promise: Promise, outcome: Outcome) -> list[str]:
    """What was promised and is not so, in words; nothing if all of it is."""
    if outcome.error:
        return [outcome.error]
    there, others = outcome.there, outcome.others
    worst = max((one.silence for one in (there, others) if one), default=None)
    found = [
        *_more("not answered again for", outcome.resumed, promise.resumed),
        *_more("silent for", worst, promise.silence),
        *_more("two gateways serve only after", outcome.back, promise.back),
    ]
    if promise.lost is not None and there and there.lost > promise.lost:
        found.append(f"{there.lost} of {there.sent} pings lost there")
    if promise.others_lost is not None and others and others.lost > promise.others_lost:
        found.append(f"{others.lost} of {others.sent} pings lost elsewhere")
    if outcome.lost_after:
        found.append(f"{outcome.lost_after} pings lost after it had ended")
    return [*found, *(f"not so: {check.what}" for check in outcome.checks if not check.so)]


def _more(what: str, got: float | None, most: float | None) -> list[str]:
    if most is None:
        return []
    if got is None:
        return [f"{what} any time"]
    return [f"{what} {got:.2f} s, not {most:g} s at most"] if got > most else []
