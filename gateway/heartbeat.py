"""Writes this gateway's own item: what it has applied, which keys it serves, what is wrong."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.status import Board, Status
    from registry.items import GatewayRecord
    from registry.store import Registry

REFRESH = 10.0
"""Seconds after which an unchanged item is written again, so that its age says something."""


class Heartbeat:
    """One step of the heartbeat's poller."""

    def __init__(
        self, registry: Registry, board: Board, wall: Callable[[], float] = time.time
    ) -> None:
        self._registry, self._board, self._wall = registry, board, wall
        self._written: GatewayRecord | None = None

    def step(self) -> float:
        """Wait for something new (or for the refresh) and write it; no pause afterwards."""
        self._board.wait_until(self._news, REFRESH)
        record = self._board.status.record
        if record is not None:
            self._registry.put_gateway(replace(record, updated=int(self._wall())))
            self._written = record
        return 0.0

    def _news(self, status: Status) -> bool:
        return status.record is not None and status.record != self._written
