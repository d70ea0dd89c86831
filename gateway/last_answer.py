"""When the registry last answered, kept over restarts: the age of what is served goes on counting.

On disk it is a moment of the clock that peers expire by (gateway/ratchet.py), which never goes
back. That clock is asked once, at the start; from then on the age counts by the monotonic clock,
and no step of any clock moves it. The moment is in the file's text, not in its modification time:
it is on disk when the write returns, and a copy of the state directory keeps it.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from effects import write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

log = logging.getLogger(__name__)

KEEP_EVERY = 60.0
"""Seconds between writes while the registry answers every second. After a crash the age is too high
by up to as much, and never too low: an alarm on hours or days does not see that."""


class LastAnswer:
    """The moment with its file."""

    def __init__(
        self,
        path: Path,
        now: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path, self._now, self._monotonic = path, now, monotonic
        self._noted = self._kept = float("-inf")

    def recall(self) -> float | None:
        """The moment before this start, in monotonic seconds (negative if before the boot).

        None when the registry never answered here, or when that is not known. A moment that is
        still to come, by a clock that nobody can vouch for any more, was just now at the earliest.
        """
        try:
            kept = float(self._path.read_text())
        except (OSError, ValueError):
            return None
        if not math.isfinite(kept):
            return None
        return self._monotonic() - max(0.0, self._now() - kept)

    def note(self, at: float) -> None:
        """It answered at `at`, monotonic seconds. Written now and then."""
        self._noted = at
        if at - self._kept >= KEEP_EVERY:
            self.keep()

    def keep(self) -> None:
        """Put on disk what is not there yet. That it cannot be written costs nobody's service."""
        if self._noted <= self._kept:
            return
        self._kept = self._noted
        moment = self._now() - (self._monotonic() - self._noted)
        try:
            write_atomic(self._path, f"{moment:.3f}\n", mode=0o600)
        except OSError as err:
            log.warning("when the registry last answered cannot be kept: %s", err)
