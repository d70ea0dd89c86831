"""Who had a tunnel address when. Pure, but for reading what the agent keeps on disk.

A connection that is cut because its peer was revoked ends after the peer is gone: so whoever had an
address is remembered for as long as this process runs.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING

from gateway.peer_cache import PeerCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv4Address
    from pathlib import Path

    from registry.items import Peer

FORMER = 4
"""Holders of one address that are remembered. A freed address rests until every gateway has
confirmed, so that more than two within one connection's time are not to be expected."""

AT_LEAST = 1.0
"""Seconds between readings."""
SHARE = 0.05
"""Of the time, that may go into readings: ten thousand peers take some tenths of a second."""


class Holders:
    """Tunnel address -> names, with the moment from which each had it."""

    def __init__(self) -> None:
        self._held: dict[IPv4Address, tuple[tuple[float, str], ...]] = {}

    def learn(self, peers: Iterable[Peer], now: float) -> None:
        """Take in the peers that are known at `now` (epoch seconds)."""
        for peer in peers:
            before = self._held.get(peer.address, ())
            if not before or before[-1][1] != peer.name:
                since = _moment(peer.created, now) if before else float("-inf")
                self._held[peer.address] = (*before, (since, peer.name))[-FORMER:]

    def at(self, address: IPv4Address, moment: float) -> str:
        """Who had the address at `moment` (epoch seconds); empty if nobody is known."""
        held = self._held.get(address, ())
        for since, name in reversed(held):
            if since <= moment:
                return name
        return held[0][1] if held else ""

    def __contains__(self, address: IPv4Address) -> bool:
        """Whether anybody had it."""
        return address in self._held


def _moment(text: str, default: float) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return default


class Known:
    """The peers as the agent last wrote them, read again when they have changed."""

    def __init__(
        self,
        directory: Path,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory, self._wall, self._monotonic = directory, wall, monotonic
        self._seen: Mapping[str, tuple[int, int]] = {}
        self._not_before = float("-inf")
        self.holders = Holders()

    def refresh(self) -> None:
        """Read what is new, unless that was done just now."""
        began = self._monotonic()
        if began < self._not_before:
            return
        self._not_before = began + AT_LEAST
        files = self._signature()
        if files == self._seen:
            return
        known = PeerCache(self._directory).load()
        if known is not None:
            self.holders.learn(known.peers.values(), self._wall())
        # as it was before reading: what has changed meanwhile is read again
        self._seen = files
        now = self._monotonic()
        self._not_before = now + max(AT_LEAST, (now - began) / SHARE)

    def name(self, address: IPv4Address, moment: float) -> str:
        """Who had the address then; empty if nobody is known."""
        if address not in self.holders:
            self.refresh()
        return self.holders.at(address, moment)

    def _signature(self) -> dict[str, tuple[int, int]]:
        found = {}
        for name in ("peers.set", "peers.journal"):
            try:
                state = (self._directory / name).stat()
            except OSError:
                continue
            found[name] = state.st_mtime_ns, state.st_size
        return found
