"""In routed mode each gateway tells the others which TCP connections its clients have open.

So that whoever takes a client over can ask the ends of each where it stands, at once
(gateway.takeover.resume): nothing that follows from a connection is lost if one is not told of.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from gateway.circle import others
from gateway.connections import conntrack, events
from gateway.gossip import Kind
from gateway.held_clients import held
from gateway.takeover import connections, ipv4
from gateway.takeover.sessions import LIFETIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from ipaddress import IPv4Address, IPv4Network

    from gateway.gossip import Frame
    from gateway.gossip_link import Link
    from gateway.status import Board
    from gateway.takeover.connections import Connection, Open

EVERY = 1.0
"""Seconds between looks; a connection that is younger than that stalls as if nobody asked."""

SHARE = 0.01
"""Of a processor, that may go into it: with thousands of connections it is done more rarely."""

AGAIN = 20.0
"""Seconds before the same is told again: a datagram may have been lost, a gateway have come."""

KEEP = LIFETIME / 1000
"""Seconds that a word counts, if there is no later one: as long as a session that moves."""


class ConnectionWatch:
    """One step of the poller that looks and tells; and what was heard."""

    def __init__(
        self,
        link: Link,
        board: Board,
        *,
        listing: Callable[[int], Iterable[bytes]] = conntrack.listing,
        monotonic: Callable[[], float] = time.monotonic,
        cost: Callable[[], float] = time.thread_time,
    ) -> None:
        self._link, self._board = link, board
        self._listing, self._monotonic, self._cost = listing, monotonic, cost
        self._told: dict[IPv4Address, tuple[float, frozenset[Connection]]] = {}
        self._heard: dict[IPv4Address, tuple[float, frozenset[Connection]]] = {}
        self._tidied_at = float("-inf")
        link.on(Kind.CONNECTIONS, self._on_connections)

    def step(self) -> float:
        """Tell what is new or was not told for a while. Raises `OSError`."""
        status, began, cost = self._board.status, self._monotonic(), self._cost()
        control, circle = status.state.control, others(status.state)
        if control is None or not control.routed or not circle:
            self._told.clear()
            return EVERY
        mine = held(status)
        found = connections.choose(self._found(control.client_pool), mine)
        told = {client: self._told[client] for client in self._told if client in mine}
        ended: Open = {client: frozenset() for client, (_, some) in told.items() if some}
        news = {
            client: some
            for client, some in {**ended, **found}.items()
            if client not in told or told[client][1] != some or began - told[client][0] >= AGAIN
        }
        for body in connections.pack(news):
            self._link.send(Kind.CONNECTIONS, body, circle)
        self._told = told | {client: (began, some) for client, some in news.items()}
        return max(EVERY, (self._cost() - cost) / SHARE)

    def _found(self, pool: IPv4Network) -> Iterator[tuple[int, Connection]]:
        for body in self._listing(ipv4.TCP):
            found = events.open_tcp(body, pool)
            if found is not None:
                yield found

    def of(self, client: IPv4Address) -> frozenset[Connection]:
        """What the gateway that it was on has told last."""
        at, some = self._heard.get(client, (float("-inf"), frozenset()))
        return some if self._monotonic() - at < KEEP else frozenset()

    def _on_connections(self, frame: Frame, _source: IPv4Address) -> None:
        now = self._monotonic()
        said = connections.unpack(frame.body)
        self._heard.update((client, (now, some)) for client, some in said.items())
        # now and then: a gateway with many clients tells of them in many datagrams
        if now - self._tidied_at >= AGAIN:
            self._tidied_at = now
            for client in [one for one, (at, _) in self._heard.items() if now - at >= KEEP]:
                del self._heard[client]
