"""What became of TCP connections that were open while something happened. Pure.

Both ends of a connection write down when something arrived and how it ended, as records of one
size. All times are seconds of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD = struct.Struct("<IBd")
"""Connection's number, what happened, when."""

BEAT, HEARD, CLOSED, RESET, FAILED, WRONG = range(6)
"""BEAT, of number 0: the program itself was awake."""
ENDS = {CLOSED: "closed", RESET: "reset", FAILED: "failed", WRONG: "wrong bytes"}
SILENT = "silent"

TALKS = 1.0
"""Seconds of silence up to which a stream that sends several times a second is at work."""
BROKEN_AFTER = 30.0
"""Seconds of silence after which people take a connection for dead, whatever TCP says."""


@dataclass
class Course:
    """One connection."""

    both_ways: bool
    """Something arrives at both ends all the time; else at the client's only."""
    near: list[float] = field(default_factory=list)
    """When something arrived at the client, in order."""
    far: list[float] = field(default_factory=list)
    """The same at the host."""
    ended: tuple[float, str] | None = None
    """When it first was over for one of the ends, and how."""

    def note(self, what: int, at: float, *, far: bool) -> None:
        """Take down a record of one end."""
        if what == HEARD:
            (self.far if far else self.near).append(at)
        elif self.ended is None or at < self.ended[0]:
            self.ended = (at, ENDS[what])

    @property
    def ways(self) -> tuple[Sequence[float], ...]:
        """When something arrived, for each direction that is used."""
        return (self.near, self.far) if self.both_ways else (self.near,)

    def over(self, at: float) -> bool:
        """Whether it has ended by then."""
        return self.ended is not None and self.ended[0] <= at

    def silence(self, at: float) -> float:
        """Seconds since something arrived, in the direction that is silent for longer."""
        return max(at - _last(times, at) for times in self.ways)

    def talks(self, at: float) -> bool:
        """Whether it is at work in every direction."""
        return not self.over(at) and self.silence(at) <= TALKS

    def decided(self, at: float) -> bool:
        """Whether waiting is over: it talks, it has ended, or it counts as broken."""
        return self.over(at) or not TALKS < self.silence(at) <= BROKEN_AFTER


@dataclass(frozen=True)
class Outcome:
    """What an event has done to a connection."""

    broken: str
    """How: reset, closed, ..., silent; empty if it was not."""
    stall: float
    """The longest time in which nothing arrived, in the worse direction. Of one that ended: until
    then; of one that stays silent: until nobody looked any more."""


def judge(course: Course, begin: float, end: float) -> Outcome | None:
    """What happened to a connection from `begin` to `end`; None if it was not at work at `begin`.

    A stall that began before and lasted into that time counts as a whole.
    """
    if not course.talks(begin):
        return None
    over = course.ended is not None and course.ended[0] <= end
    until = course.ended[0] if over and course.ended is not None else end
    stall = max(longest(times, begin, until) for times in course.ways)
    if over and course.ended is not None:
        return Outcome(course.ended[1], stall)
    return Outcome(SILENT if stall > BROKEN_AFTER else "", stall)


def longest(times: Sequence[float], begin: float, end: float) -> float:
    """The longest time without any of these moments that touches the span; `end` counts as one."""
    first = max(0, bisect_right(times, begin) - 1)
    inside = times[first : bisect_right(times, end)]
    return max((later - earlier for earlier, later in pairwise([*inside, end])), default=0.0)


def _last(times: Sequence[float], at: float) -> float:
    place = bisect_right(times, at)
    return times[place - 1] if place else float("-inf")
