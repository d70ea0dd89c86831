"""Telling facts to others until all have them. Pure.

A gateway numbers its own facts in the order it learns them; a part of its journal says which
numbers it covers. So whoever misses one knows that, and asks for all that came after the last it
has without a gap. Facts that are over leave the journal, but not their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.takeover.sessions import LIFETIME, Claim, Session

if TYPE_CHECKING:
    from collections.abc import Iterator

Fact = Session | Claim

PART = 23
"""Facts in one part: with a datagram's other contents below 1,200 bytes."""


@dataclass(frozen=True)
class Part:
    """All facts of one journal after number `after` up to number `upto` that still matter."""

    journal: int
    after: int
    upto: int
    facts: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class _Entry:
    number: int
    noted: int
    fact: Fact


class Journal:
    """A gateway's own facts. `name` tells one start of the agent from another."""

    def __init__(self, name: int) -> None:
        self.name = name
        self._last = 0
        self._told = 0
        self._entries: dict[tuple, _Entry] = {}

    def note(self, fact: Fact, now: int) -> None:
        """Add a fact; an earlier one about the same thing leaves."""
        key = (fact.slot, fact.index) if isinstance(fact, Session) else fact.place
        key = (type(fact), *key)
        self._entries.pop(key, None)
        self._last += 1
        self._entries[key] = _Entry(self._last, now, fact)

    def news(self) -> list[Part]:
        """What has not been told to anybody yet."""
        after, self._told = self._told, self._last
        return list(self.since(after)) if after < self._last else []

    def since(self, after: int) -> Iterator[Part]:
        """All that somebody lacks who has everything up to `after`; at least an empty part."""
        some: list[_Entry] = []
        # numbers rise in the order of the dictionary, so that only its end is of interest
        for entry in reversed(self._entries.values()):
            if entry.number <= after:
                break
            some.append(entry)
        some.reverse()
        for start in range(0, max(len(some), 1), PART):
            batch = some[start : start + PART]
            upto = batch[-1].number if start + PART < len(some) else self._last
            yield Part(self.name, min(after, upto), upto, tuple(entry.fact for entry in batch))
            after = upto

    def beat(self) -> Part:
        """How far this journal goes: whoever lacks something notices."""
        return Part(self.name, self._last, self._last)

    def expire(self, now: int, *, keep: frozenset = frozenset()) -> None:
        """Take out what is over; claims of the places in `keep` stay."""
        for key, entry in list(self._entries.items()):
            fact = entry.fact
            kept = isinstance(fact, Claim) and fact.place in keep
            if now - entry.noted > LIFETIME and not kept:
                del self._entries[key]


class Follower:
    """How much of another gateway's journal has come."""

    def __init__(self) -> None:
        self.journal = 0
        self.upto = 0
        self._behind = False

    def take(self, part: Part) -> bool:
        """Note a part; true when it is the first one of a journal.

        The facts in it count in any case.
        """
        fresh = part.journal != self.journal
        if fresh:
            self.journal, self.upto = part.journal, 0
        if part.after <= self.upto:
            self.upto, self._behind = max(self.upto, part.upto), False
        else:
            self._behind = True
        return fresh

    @property
    def behind(self) -> bool:
        """Whether something is missing."""
        return self._behind
