"""What a client noticed of an event: how long it was silent, and whether that came again. Pure.

Times are seconds of the machine's monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.echoes import Echoes

FRESH = 0.5
"""A client was there if a probe was answered that it sent so shortly before the event."""
SECOND_WITHIN = 60.0
"""Seconds after it had resumed in which a client that is silent again has had a second outage."""


@dataclass(frozen=True)
class Outage:
    """From the last answer to what was sent before an event to the first to what was sent after."""

    last: float
    resumed: float | None
    seen_until: float

    @property
    def gap(self) -> float:
        """Seconds of silence; so many at least, if the client has not resumed."""
        return (self.seen_until if self.resumed is None else self.resumed) - self.last


def outage(echoes: Echoes, event: float, now: float) -> Outage | None:
    """What an event has done to a client; None if it was silent before, so nothing can be said.

    `event` is when it had happened: what was sent before may have been lost already.
    """
    before = [
        echoes.answered[number]
        for number in echoes.probes(event - FRESH, event)
        if number in echoes.answered
    ]
    if not before:
        return None
    return Outage(max(before), echoes.first_fresh(event), now)


@dataclass(frozen=True)
class Aftermath:
    """The time after a client had resumed."""

    watched: float
    """Seconds, 60 at most: until the next event, or the end."""
    longest_silence: float


def aftermath(echoes: Echoes, resumed: float, until: float) -> Aftermath:
    """How it went on, up to `until`."""
    end = min(until, resumed + SECOND_WITHIN)
    return Aftermath(end - resumed, echoes.longest_silence(resumed, end))
