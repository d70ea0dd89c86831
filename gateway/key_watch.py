"""Obtains the keys that are to be served, compares kept ones with the registry, and dates them."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from gateway.aws import reason
from gateway.custody import KeyPending
from gateway.keys import KeyRefused
from gateway.messages import KeyDated, KeyFault, KeyReady
from gateway.poller import EXPECTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.keys import KeyKeeper
    from gateway.messages import Message
    from gateway.status import Board

INTERVAL = 0.5
LOOK_AGAIN = 30.0
"""Seconds before a refused key is looked at again: somebody may have mended it. So with a date."""


class KeyWatch:
    """One step of the keys' poller."""

    def __init__(
        self,
        keeper: KeyKeeper,
        board: Board,
        post: Callable[[Message], None],
        now: Callable[[], float] = time.monotonic,
        *,
        published_at: Callable[[int], int],
    ) -> None:
        """`published_at`: when a generation's public key was, as the registry says."""
        self._keeper, self._board, self._post, self._now = keeper, board, post, now
        self._published_at = published_at
        self._not_before: dict[int, float] = {}
        self._no_date_before: dict[int, float] = {}

    def step(self) -> float:
        """Try every generation that is due; returns the seconds until the next time."""
        state = self._board.status.state
        for generation in state.unverified():
            if self._now() >= self._not_before.get(generation, 0.0):
                self._post(self._try(generation))
        for generation in state.undated():
            if self._now() >= self._no_date_before.get(generation, 0.0):
                self._date(generation)
        return INTERVAL

    def _date(self, generation: int) -> None:
        """For the metrics alone: without it everything works, so that it is no fault."""
        self._no_date_before[generation] = self._now() + LOOK_AGAIN
        with contextlib.suppress(*EXPECTED):
            self._post(KeyDated(generation, self._published_at(generation)))

    def _try(self, generation: int) -> Message:
        try:
            message = KeyReady(generation, self._keeper.obtain(generation))
        except KeyRefused as err:
            self._not_before[generation] = self._now() + LOOK_AGAIN
            return KeyFault(generation, str(err), refused=True)
        except (KeyPending, *EXPECTED) as err:
            why = str(err) if isinstance(err, KeyPending) else reason(err)
            self._not_before[generation] = self._now() + 2 * INTERVAL
            return KeyFault(generation, why, refused=False)
        # the status shows it as verified a moment later: not twice until then
        self._not_before[generation] = self._now() + 2 * INTERVAL
        return message
