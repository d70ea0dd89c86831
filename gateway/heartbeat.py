"""Writes this gateway's own item: what it has applied, which keys it serves, what is wrong."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.status import Board, Status
    from registry.items import Ack, GatewayRecord
    from registry.store import Registry

REFRESH = 10.0
"""Seconds after which an unchanged item is written again, so that its age says something."""


class Heartbeat:
    """One step of the heartbeat's poller."""

    def __init__(
        self,
        registry: Registry,
        board: Board,
        acks: Callable[[], Mapping[str, Ack]] = dict,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._registry, self._board, self._acks, self._wall = registry, board, acks, wall
        self._written: tuple[GatewayRecord, dict[str, Ack]] | None = None

    def step(self) -> float:
        """Wait for something new (or for the refresh) and write it; no pause afterwards."""
        self._board.wait_until(self._news, REFRESH)
        record, acks = self._board.status.record, self._acks()
        if record is not None:
            now = int(self._wall())
            self._registry.put_gateway(replace(record, updated=now, acks=acks))
            self._written = record, _timeless(acks)
        return 0.0

    def _news(self, status: Status) -> bool:
        record = status.record
        return record is not None and (record, _timeless(self._acks())) != self._written


def _timeless(acks: Mapping[str, Ack]) -> dict[str, Ack]:
    """What is worth a write; the same heard again is not."""
    return {name: replace(ack, at=0) for name, ack in acks.items()}
