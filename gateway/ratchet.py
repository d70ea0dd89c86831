"""The time that peers expire by: this machine's clock, but never one that goes back.

The highest reading of a synchronised clock is a floor that rises with the time that passes; it is
on disk, so that a restart with a clock set back lets nobody in again.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effects import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEEP_EVERY = 600.0
"""Seconds between writes when nobody expires. Whenever somebody does it is written at once."""

BEHIND = 5.0
"""Seconds that the clock may be behind the floor before it counts as set back."""


@dataclass(frozen=True)
class Floor:
    """`wall` (epoch seconds) was reached at `at` (monotonic seconds)."""

    wall: float
    at: float

    def now(self, wall: float, monotonic: float) -> float:
        """The time at a reading of both clocks. Pure."""
        return max(wall, self.wall + max(0.0, monotonic - self.at))


class Ratchet:
    """The clock with its file."""

    def __init__(
        self,
        path: Path,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._wall, self._monotonic = path, wall, monotonic
        self._floor = Floor(float("-inf"), monotonic())
        self._kept_at = float("-inf")
        with contextlib.suppress(OSError, ValueError):
            self._floor = Floor(float(path.read_text()), monotonic())

    def now(self) -> float:
        """Epoch seconds."""
        return self._floor.now(self._wall(), self._monotonic())

    def raise_floor(self) -> None:
        """Take the clock's reading for true: it is synchronised. Written now and then."""
        wall, monotonic = self._wall(), self._monotonic()
        if wall >= self._floor.now(wall, monotonic):
            self._floor = Floor(wall, monotonic)
        if monotonic - self._kept_at >= KEEP_EVERY:
            self.keep()

    def keep(self) -> None:
        """Put the time on disk."""
        self._kept_at = self._monotonic()
        write_atomic(self._path, f"{self.now():.3f}\n", mode=0o600)

    @property
    def fault(self) -> str:
        """What is wrong with the clock, if it has been set back."""
        behind = self.now() - self._wall()
        return (
            "the clock has been set back: peers expire by the time before"
            if behind > BEHIND
            else ""
        )
