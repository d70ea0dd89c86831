"""The clock, as chrony sees it. Pure but for the command's name.

A client ignores a handshake older than the last one it saw, from whichever gateway that was.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass

TRACKING = ("chronyc", "-h", "127.0.0.1", "-c", "tracking")

TOLERATED = 1.0
"""Seconds by which a clock that follows its source may be off; one that is well is within a
millisecond. One that has jumped stays far off for many minutes: chrony steps only just after its
start, and then slews. Meanwhile clients would take the other gateways' handshakes for old ones,
gossip would be refused (gateway/gossip.py, WINDOW), and peers expire at the wrong time."""

_FIELDS = 14
_REFERENCE, _STRATUM, _OFFSET, _LEAP = 0, 2, 4, 13


@dataclass(frozen=True)
class Clock:
    """Whether the clock follows a source, and how far it is from it (seconds, signed)."""

    synchronised: bool
    offset: float = 0.0
    why: str = ""


UNKNOWN = Clock(synchronised=False, why="chrony has not been asked yet")


def parse_tracking(text: str) -> Clock:
    """The clock from `chronyc -c tracking`: one line, comma separated."""
    rows = list(csv.reader(text.splitlines()))
    if not rows or len(rows[0]) != _FIELDS:
        return Clock(synchronised=False, why="chronyc's answer is not understood")
    row = rows[0]
    try:
        stratum, offset = int(row[_STRATUM]), float(row[_OFFSET])
    except ValueError:
        return Clock(synchronised=False, why="chronyc's answer is not understood")
    if row[_LEAP] == "Not synchronised" or stratum == 0:
        return Clock(synchronised=False, offset=offset, why="chrony has no source yet")
    if abs(offset) > TOLERATED:
        return Clock(synchronised=False, offset=offset, why=f"it is off by {abs(offset):.1f} s")
    return Clock(synchronised=True, offset=offset)
