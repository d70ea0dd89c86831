"""Tells the registry who last used which generation of the server's key, while two are served."""

from __future__ import annotations

import operator
import time
from typing import TYPE_CHECKING

from gateway.generations import interface_of
from registry.key_slots import slot_of
from registry.sessions import Sessions, Use, merged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Network

    from gateway.status import Board, Status
    from registry.store import Registry

LOOK = 5.0
"""Seconds between looks at the published devices; costs nothing while they are the same."""

REFRESH = 30.0
"""Seconds after which an unchanged item is written again, so that its age says something."""

ENTRIES_A_SECOND = 80
"""How many entries are written for each second of waiting before: one write unit (1 KB) of them,
so that ten thousand peers cost a write every two minutes and not every five seconds."""


def uses_of(status: Status, pool: IPv4Network) -> dict[int, Use]:
    """Each peer's last handshake here, by the number of its address in the pool. Pure."""
    found: dict[int, Use] = {}
    for generation in status.state.served:
        device = status.devices.get(interface_of(slot_of(generation)))
        if device is None or device.public_key != status.state.keys.get(generation):
            continue
        for key, peer in device.peers.items():
            address = status.admitted.addresses.get(key)
            if address is not None and peer.latest_handshake:
                number = int(address) - int(pool.network_address)
                use = Use(peer.latest_handshake, generation)
                found[number] = max(found.get(number, use), use)
    return found


class SessionWatch:
    """One step of its poller.

    What was seen is remembered: a peer that is put back on its interface, as a takeover does, has
    no handshake any more.
    """

    def __init__(
        self,
        registry: Registry,
        board: Board,
        pool: IPv4Network,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._registry, self._board, self._pool, self._wall = registry, board, pool, wall
        self._uses: dict[int, Use] = {}
        self._recalled = False
        self._seen: list[object] = []
        self._written: Sessions | None = None

    def step(self) -> float:
        """Look, and write what is new; returns the seconds until the next time."""
        status = self._board.status
        identity, served = status.state.identity, status.state.served
        self._note(status)
        if identity is None or len(served) == 1 or not served:
            self._written = None
            return LOOK
        if not self._recalled:
            for own in self._registry.sessions([identity.arn]):
                self._merge(own.uses, served)
            self._recalled = True
        now = int(self._wall())
        before, said = self._written, Sessions(identity.arn, served, now, dict(self._uses))
        same = before is not None and (before.generations, before.uses) == (served, said.uses)
        if before is None or not same or now - before.at >= REFRESH:
            self._registry.put_sessions(said)
            self._written = said
        return max(LOOK, len(said.uses) / ENTRIES_A_SECOND)

    def _note(self, status: Status) -> None:
        peers = [device.peers for device in status.devices.values()]
        same = len(peers) == len(self._seen) and all(map(operator.is_, peers, self._seen))
        if not same:
            self._seen = [*peers]
            self._merge(uses_of(status, self._pool), status.state.served)

    def _merge(self, uses: Mapping[int, Use], served: tuple[int, ...]) -> None:
        newest = served[-1] if served else 0
        both = merged((self._uses, uses), newest)
        self._uses = {number: use for number, use in both.items() if use.generation in served}
