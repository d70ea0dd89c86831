"""Clients whose sessions have just come here, in routed mode: their stalled TCP goes on at once.

The packet filter shows two segments a second of each of their connections (gateway.takeover.rules).
What follows from it (gateway.takeover.kick) waits until the session is there: WireGuard queues 128
packets for a peer without one, and those should be the segments themselves.

That follows from what an end says, and while its own timer runs a stalled end says nothing. So both
ends of every connection that the client's last gateway has told of (gateway.takeover.connections)
are asked (gateway.takeover.question), and what they answer is such a segment.

Clients of a gateway that has fallen silent are expected, too: what hosts send them meanwhile goes
to that gateway. If it is dead that is lost, and the host is told so once the client is here.
"""

from __future__ import annotations

import heapq
import logging
import math
import secrets
import socket
import time
from typing import TYPE_CHECKING, NamedTuple

from gateway.takeover.ipv4 import destination
from gateway.takeover.kick import COPIES, Kick, kick
from gateway.takeover.question import back, questions
from gateway.takeover.rules import RESUMED_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Address, IPv4Network

    from gateway.takeover.connections import Connection

log = logging.getLogger(__name__)

ASK_AFTER, ASK_EVERY, ASK_FOR = 0.1, 0.6, 20.0
"""Seconds after a session has come, at which the ends of its connections are asked: not before the
filter shows what they answer, and again until the host is heard, then some times more: Linux passes
over an ICMP error while a program has the connection in hands. The host is not heard while a route
of the VPC still leads to a dead gateway: a client may have come before the load balancer has left
that one, by another of its addresses. Linux answers twice a second."""

ASK_MORE = 3
"""Times."""

ASKS, ASKS_EVERY = 50, 0.1
"""Connections that are asked about in so many seconds: as many as the filter shows answers of."""


class Sender:
    """Sends whole IPv4 packets. Effects.

    The kernel adds the checksum and a missing source, and the packet filter finds the tunnel for
    it as for all that the gateway itself sends. It never blocks: a kick is worth nothing late.
    """

    def __init__(self) -> None:
        self._plug: socket.socket | None = None
        self._why = ""

    def __call__(self, packet: bytes) -> None:
        """Send it; it may get lost."""
        try:
            if self._plug is None:
                self._plug = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
                self._plug.setblocking(False)
            self._plug.sendto(packet, (destination(packet), 0))
            why = ""
        except OSError as err:
            why = f"no ICMP to those whose connections stall: {err}"
        if why and why != self._why:
            log.warning("takeover: %s", why)
        self._why = why

    def close(self) -> None:
        """Give the socket back."""
        if self._plug is not None:
            self._plug.close()


class _Ask(NamedTuple):
    due: float
    connection: Connection
    until: float
    more: int
    """Times, once the host is heard."""


class Resumption:
    """Who is expected, who has come, and what their connections' ends are told."""

    def __init__(
        self,
        send: Callable[[bytes], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        open_of: Callable[[IPv4Address], Iterable[Connection]] = lambda _client: (),
    ) -> None:
        """`open_of`: the connections of a client that another gateway had."""
        self._send, self._monotonic, self._open_of = send or Sender(), monotonic, open_of
        self._to_ask: list[_Ask] = []
        """A heap."""
        self._ask_after = -math.inf
        self._hosts: set[bytes] = set()
        """Connections to be asked about whose host has been heard, as `Kick.connection`."""
        self.pool: IPv4Network | None = None
        """The clients'; None: not in routed mode, and nothing is done."""
        self._expected: dict[IPv4Address, tuple[float, dict[bytes, Kick]]] = {}
        """Client -> since when, and the latest segment of each of its connections."""
        self.unshown: set[IPv4Address] = set()
        """Whose segments the filter should show from now on; to be emptied by whoever tells it."""

    def expect(self, *clients: IPv4Address) -> None:
        """Their sessions may be here in a moment."""
        if self.pool is None:
            return
        now = self._monotonic()
        self._expected = {
            one: (since, held)
            for one, (since, held) in self._expected.items()
            if now - since < RESUMED_LIFETIME
        }
        for client in clients:
            self._expected.setdefault(client, (now, {}))
        self.unshown.update(clients)

    def arrived(self, client: IPv4Address) -> None:
        """Its session is here, and was elsewhere or nowhere."""
        if self.pool is None:
            return
        self.unshown.add(client)
        self._tell_held(client)
        now = self._monotonic()
        for connection in self._open_of(client):
            self._hosts.discard(back(connection))
            ask = _Ask(now + ASK_AFTER, connection, now + ASK_FOR, ASK_MORE)
            heapq.heappush(self._to_ask, ask)

    def found(self, client: IPv4Address) -> None:
        """Its session is at another gateway, which is heard: what was held is told."""
        self._tell_held(client)
        if self._to_ask:
            self._to_ask = [one for one in self._to_ask if one.connection.client != client]
            heapq.heapify(self._to_ask)

    def ask(self) -> None:
        """Ask those whose turn has come, some at a time."""
        now = self._monotonic()
        if now < self.next_ask:
            return
        self._ask_after = now + ASKS_EVERY
        for _ in range(ASKS):
            if not self._to_ask or self._to_ask[0].due > now:
                break
            one = heapq.heappop(self._to_ask)
            for packet in questions(one.connection, secrets.randbits(32)):
                self._send(packet)
            more = one.more - (back(one.connection) in self._hosts)
            if more >= 0 and now + ASK_EVERY < one.until:
                again = one._replace(due=now + ASK_EVERY, more=more)
                heapq.heappush(self._to_ask, again)
        if not self._to_ask:
            self._hosts.clear()

    @property
    def next_ask(self) -> float:
        """Monotonic seconds; infinity if nobody is to be asked."""
        return max(self._to_ask[0].due, self._ask_after) if self._to_ask else math.inf

    def _tell_held(self, client: IPv4Address) -> None:
        _since, held = self._expected.pop(client, (0.0, {}))
        for one in held.values():
            self._tell(one.packet)
            self._tell(one.lost)

    def segment(self, packet: bytes) -> bool:
        """The filter shows a segment; whether anything follows from it.

        That the number held does not grow without end is up to the filter's limit.
        """
        found = None if self.pool is None else kick(packet, self.pool)
        if found is None:
            return False
        if self._to_ask:
            self._hosts.add(found.connection)
        if found.client in self._expected:
            self._expected[found.client][1][found.connection] = found
        else:
            self._tell(found.packet)
        return True

    def _tell(self, packet: bytes) -> None:
        for _ in range(COPIES):
            self._send(packet)
