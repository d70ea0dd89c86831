"""Turns events into records on disk, within the limits."""

from __future__ import annotations

import logging
import time
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from gateway.connections import events
from gateway.connections.limits import KERNEL, LIMIT, QUEUE, LeftOut, Limits
from gateway.connections.records import END, OPEN, is_long

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.connections.events import Flow
    from gateway.connections.records import Describer, Line
    from gateway.connections.spool import Spool

log = logging.getLogger(__name__)

SEAL_EVERY = 5.0
SAY_EVERY = 15.0
LOOK_EVERY = 3600.0
LOOK_AT_MOST_EVERY = 10.0
"""Seconds: until records may be shipped, until what was left out is said, between the looks at
connections that go on, and between those at connections of clients that have gone elsewhere."""


class Recorder:
    """Owned by one thread. `dropped` says how many events the kernel has dropped so far,
    `listing` gives the bodies of all that is tracked, `held` the clients whose sessions are here.
    """

    def __init__(
        self,
        describer: Describer,
        spool: Spool,
        *,
        dropped: Callable[[], int],
        listing: Callable[[], Iterable[bytes]],
        held: Callable[[], frozenset[IPv4Address]],
        limits: Limits | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._describer, self._spool, self._dropped = describer, spool, dropped
        self._listing, self._wall, self._monotonic = listing, wall, monotonic
        self._held = held
        self._holding, self._gone = held(), frozenset[IPv4Address]()
        now = monotonic()
        self._limits = limits or Limits(now)
        self._known_dropped = 0
        self._sealed_at = self._said_at = self._looked_at = now
        self._followed_at = now - LOOK_AT_MOST_EVERY
        self.left_out = LeftOut()
        self.recorded = 0
        """Records, since the start."""

    def take(self, bodies: Iterable[bytes]) -> None:
        """Connections that have ended."""
        for body in bodies:
            self._record(body, END)

    def tick(self) -> None:
        """What is due, about once a second."""
        now, dropped = self._monotonic(), self._dropped()
        self.left_out.add(KERNEL, dropped - self._known_dropped)
        self._known_dropped = dropped
        if now - self._looked_at >= LOOK_EVERY:
            self._looked_at = now
            self._look(self._long)
        self._follow(now)
        if now - self._said_at >= SAY_EVERY:
            self._say(now)
        self._disk(self._spool.flush)
        if now - self._sealed_at >= SEAL_EVERY:
            self._sealed_at = now
            self._disk(self._spool.seal)

    def finish(self) -> None:
        """This process ends: a record of each connection that goes on, and everything on disk."""
        self._look(lambda _flow, _client: True)
        self._say(self._monotonic())
        self._disk(self._spool.seal)

    def _follow(self, now: float) -> None:
        """Clients whose sessions were here and are not: the kernel remembers their connections for
        long, and this gateway sees no more of them."""
        holding = self._held()
        self._gone = (self._gone | (self._holding - holding)) - holding
        self._holding = holding
        if self._gone and now - self._followed_at >= LOOK_AT_MOST_EVERY:
            gone, self._gone, self._followed_at = self._gone, frozenset(), now
            self._look(lambda _flow, client: client in gone)

    def _long(self, flow: Flow, _client: IPv4Address) -> bool:
        return is_long(flow, self._wall())

    def _look(self, wanted: Callable[[Flow, IPv4Address], bool]) -> None:
        try:
            for body in self._listing():
                self._record(body, OPEN, wanted)
        except OSError as err:
            log.warning("connections that go on are not told of: %s", err)

    def _record(
        self,
        body: bytes,
        event: str,
        wanted: Callable[[Flow, IPv4Address], bool] = lambda _flow, _client: True,
    ) -> None:
        flow = events.flow(body, self._describer.pool)
        client = self._describer.client(flow) if flow else None
        if flow is None or client is None or not wanted(flow, client):
            return
        if not self._limits.allow(client, self._monotonic()):
            self.left_out.add(LIMIT, client=client)
            return
        self._write(self._describer.line(flow, client, event, self._wall()), client)

    def _write(self, line: Line, client: IPv4Address | None) -> None:
        try:
            kept = self._spool.add(line)
        except OSError as err:
            log.warning("the queue cannot be written: %s", err)
            kept = False
        if kept:
            self.recorded += 1
        else:
            self.left_out.add(QUEUE, client=client)

    def _say(self, now: float) -> None:
        """Not limited: one record each time for each client and reason."""
        self._said_at = now
        taken = self.left_out.take()
        if taken:
            total = sum(count for _, _, count in taken)
            reasons = ", ".join(sorted({why for _, why, _ in taken}))
            log.warning("%d connections have no record: %s", total, reasons)
        for client, why, count in taken:
            line = self._describer.left_out(client, why, count, self._wall())
            if not self._kept(line):
                self.left_out.owe(why, count, client)

    def _kept(self, line: Line) -> bool:
        try:
            return self._spool.add(line)
        except OSError:
            return False

    def _disk(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as err:
            log.warning("the queue cannot be written: %s", err)
