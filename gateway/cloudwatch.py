"""What Amazon CloudWatch is told: some numbers a minute, in one request, however many the peers.

Each gateway of a stack tells the same metrics with the same dimension, and CloudWatch puts them
together: the largest lag, the sum of the clients, the number of those that told anything. So there
is exactly one number a gateway and minute, with the minute's own time. The alarms on them are in
components/alarms.py; a test compares the names.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.chrony import TOLERATED
from gateway.connections import counts as connections
from gateway.connections import spool
from gateway.kernel_counts import KernelCounts
from gateway.metrics import online_peers
from gateway.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.connections.counts import Counts
    from gateway.status import Board, Status

NAMESPACE = "gatepair"
DIMENSION = "stack"

MINUTE = 60
MOMENT = 30
"""Second of the minute at which it is told: a poller's jitter leaves it in the same minute."""

DAY = 86400.0
"""Seconds. What is older, or was never, is told as this: CloudWatch takes no infinite number."""

HALF_AN_HOUR = 1800
"""Seconds. The count of clients is told a second time under a time so far ahead; there it says what
it was then, with gateways counted in that are gone by now. CloudWatch takes times up to two hours
ahead (API reference, "PutMetricData"), and its alarms cannot look back by themselves."""


@dataclass(frozen=True)
class Point:
    """One number of one minute."""

    name: str
    value: float
    unit: str = "Count"
    """One of CloudWatch's."""
    ahead: int = 0
    """Seconds from the minute to the time that it is told under."""


@dataclass(frozen=True)
class Kernel:
    """What the kernel counts, where it does: else None."""

    tracked: float | None = None
    """Percent of the flows that can be kept track of."""
    refused: int | None = None
    """Packets that EC2 dropped since the last time, for want of tracked connections."""


@dataclass(frozen=True)
class ConnectionLog:
    """How its process fares; as it is here, there is none."""

    working: bool = False
    left_out: int = 0
    """Connections without a record, since the last time."""
    queued: float = 0.0
    """Percent of what may wait on disk."""


def points(
    status: Status,
    kernel: Kernel,
    log: ConnectionLog,
    known_before: int,
    *,
    wall: float,
    monotonic: float,
) -> Iterator[Point]:
    """All numbers of one minute; what is not known is left out. Pure.

    `known_before`: the last change that was known a minute ago.
    """
    state, clock = status.state, status.clock
    online = online_peers(status, wall)
    serves = status.healthy and not status.drain.begun and not status.stuck(monotonic)
    yield Point("Serving", int(serves))
    yield Point("Faults", len(status.faults))
    yield Point("OnlineClients", online)
    yield Point("OnlineClientsHalfAnHourAgo", online, ahead=HALF_AN_HOUR)
    if state.known is not None and not status.drained:
        # who has no interface, or has never had peers, lets nobody in who should be out
        yield Point("ChangesKnownAMinuteAgo", known_before)
        yield Point("ChangesInForce", status.applied)
    age = DAY if state.contact is None else min(DAY, max(0.0, monotonic - state.contact))
    yield Point("RegistryAge", age, "Seconds")
    dates = [state.key_dates[number] for number in state.served if number in state.key_dates]
    if dates:
        yield Point("KeyAge", max(0.0, wall - max(dates)), "Seconds")
    offset = abs(clock.offset)
    yield Point("ClockOffset", offset if clock.synchronised else max(offset, TOLERATED), "Seconds")
    if kernel.tracked is not None:
        yield Point("TrackedFlows", kernel.tracked, "Percent")
    if kernel.refused is not None:
        yield Point("PacketsOverAllowance", kernel.refused)
    yield Point("RecordsConnections", int(log.working))
    yield Point("ConnectionsLeftOut", log.left_out)
    yield Point("ConnectionQueue", log.queued, "Percent")


def request(stack: str, minute: int, found: Iterator[Point]) -> dict[str, Any]:
    """The parameters of PutMetricData for a minute (epoch seconds). Pure."""
    return {
        "Namespace": NAMESPACE,
        "MetricData": [
            {
                "MetricName": point.name,
                "Dimensions": [{"Name": DIMENSION, "Value": stack}],
                "Timestamp": datetime.fromtimestamp(minute + point.ahead, UTC),
                "Value": float(point.value),
                "Unit": point.unit,
            }
            for point in found
        ],
    }


class CloudWatchTeller:
    """One step of CloudWatch's poller."""

    def __init__(
        self,
        client: Any,
        stack: str,
        board: Board,
        counts: KernelCounts | None = None,
        *,
        recorded: Callable[[], Counts | None] | None = None,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._stack, self._board = client, stack, board
        self._counts = counts or KernelCounts()
        self._recorded = recorded or partial(connections.read, Paths().connection_counts)
        self._wall, self._monotonic = wall, monotonic
        self._minute = self._known = 0
        self._refused: int | None = None
        self._left_out: int | None = None

    def step(self) -> float:
        """Tell this minute, unless it has begun before this process or is told already.

        Returns the seconds until the next one's time. A minute that could not be told is lost.
        """
        wall = self._wall()
        minute = int(wall) // MINUTE * MINUTE
        before, self._minute = self._minute, minute
        if before and minute != before:
            self._tell(minute, wall)
        return minute + MINUTE + MOMENT - wall

    def _tell(self, minute: int, wall: float) -> None:
        status, known = self._board.status, self._known
        self._known = status.state.head_generation
        log = self._log()
        found = points(status, self._kernel(), log, known, wall=wall, monotonic=self._monotonic())
        self._client.put_metric_data(**request(self._stack, minute, found))

    def _kernel(self) -> Kernel:
        flows, before = self._counts.flows(), self._refused
        self._refused = now = self._counts.refused_by_ec2()
        return Kernel(
            tracked=100.0 * flows.entries / flows.limit if flows and flows.limit else None,
            refused=None if now is None else max(0, now - (now if before is None else before)),
        )

    def _log(self) -> ConnectionLog:
        counts, before = self._recorded(), self._left_out
        if counts is None:
            return ConnectionLog()
        self._left_out = now = sum(counts.left_out.values())
        before = now if before is None else before
        return ConnectionLog(
            working=counts.working(self._monotonic()),
            # the process may have been started anew, and counts from nothing
            left_out=now - before if now >= before else now,
            queued=100.0 * counts.queue_bytes / spool.LIMIT,
        )
