"""Obtains the keys that are to be served, and compares those kept on disk with the registry."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.aws import reason
from gateway.custody import KeyPending
from gateway.keys import KeyRefused
from gateway.messages import KeyFault, KeyReady
from gateway.poller import EXPECTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.keys import KeyKeeper
    from gateway.messages import Message
    from gateway.status import Board

INTERVAL = 0.5
LOOK_AGAIN = 30.0
"""Seconds before a refused key is looked at again: somebody may have mended it."""


class KeyWatch:
    """One step of the keys' poller."""

    def __init__(
        self,
        keeper: KeyKeeper,
        board: Board,
        post: Callable[[Message], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keeper, self._board, self._post, self._now = keeper, board, post, now
        self._not_before: dict[int, float] = {}

    def step(self) -> float:
        """Try every generation that is due; returns the seconds until the next time."""
        for generation in self._board.status.state.unverified():
            if self._now() >= self._not_before.get(generation, 0.0):
                self._post(self._try(generation))
        return INTERVAL

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
