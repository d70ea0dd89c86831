"""What became of one client's probes: when each was sent, when it was answered. Pure.

All times are seconds of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass
class Echoes:
    """A client's probes; number n is the n-th."""

    sent: list[float] = field(default_factory=list)
    """By number."""
    answered: dict[int, float] = field(default_factory=dict)
    """Number -> when its first answer came."""
    heard: list[float] = field(default_factory=list)
    """When answers came, in order; each probe once."""

    def send(self, number: int, at: float) -> None:
        """Take note of a probe. They come in order."""
        if number != len(self.sent):
            message = f"probe {number} after {len(self.sent)} of them"
            raise ValueError(message)
        self.sent.append(at)

    def hear(self, number: int, at: float) -> None:
        """Take note of an answer; a second one of the same probe says nothing new."""
        if number not in self.answered:
            self.answered[number] = at
            self.heard.append(at)

    def last(self, before: float = float("inf")) -> float | None:
        """When the last answer up to `before` came."""
        place = bisect_right(self.heard, before)
        return self.heard[place - 1] if place else None

    def first(self, after: float) -> float | None:
        """When the first answer after that moment came."""
        place = bisect_right(self.heard, after)
        return self.heard[place] if place < len(self.heard) else None

    def first_fresh(self, after: float) -> float | None:
        """When the first answer to a probe came that was itself sent after that moment."""
        place = bisect_right(self.sent, after)
        found = [self.answered[n] for n in range(place, len(self.sent)) if n in self.answered]
        return min(found, default=None)

    def probes(self, begin: float, end: float) -> range:
        """The numbers of the probes sent from `begin` to before `end`."""
        return range(bisect_left(self.sent, begin), bisect_left(self.sent, end))

    def lost(self, begin: float, end: float) -> list[int]:
        """The probes of that time which were never answered.

        `end` must lie so far back that an answer would have come by now.
        """
        return [number for number in self.probes(begin, end) if number not in self.answered]

    def longest_silence(self, begin: float, end: float) -> float:
        """The longest time without an answer between these moments, both counted as its ends."""
        inside = self.heard[bisect_left(self.heard, begin) : bisect_right(self.heard, end)]
        return max(later - earlier for earlier, later in pairwise([begin, *inside, end]))
