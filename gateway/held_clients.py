"""Whose sessions are here, on disk for the connection log, which is another process."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from effects import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.status import Board, Status

EVERY = 2.0
"""Seconds between looks; nothing is written while nothing changes."""


def held(status: Status) -> frozenset[IPv4Address]:
    """The tunnel addresses of all clients whose sessions are here. Pure."""
    addresses = status.admitted.addresses
    return frozenset(addresses[key] for _, key in status.sessions.holding if key in addresses)


class HeldClients:
    """One step of a poller: the tunnel addresses of all clients that are held."""

    def __init__(self, board: Board, path: Path) -> None:
        self._board, self._path = board, path
        self._before: frozenset[IPv4Address] | None = None

    def step(self) -> float:
        """Write what has changed. Raises `OSError`."""
        now = held(self._board.status)
        if now != self._before:
            write_atomic(self._path, json.dumps(sorted(map(str, now))), mode=0o600)
            self._before = now
        return EVERY


def read(path: Path) -> frozenset[IPv4Address]:
    """What was written last; nobody when that cannot be read."""
    try:
        return frozenset(map(IPv4Address, json.loads(path.read_text())))
    except (OSError, ValueError, TypeError):
        return frozenset()
