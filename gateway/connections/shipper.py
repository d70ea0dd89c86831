"""Sends what waits on disk to CloudWatch Logs.

What AWS takes in one request is in its API reference, "PutLogEvents": 1,048,576 bytes, counted
with 26 for each event; 10,000 events; in order of time, within 24 hours of each other; none older
than 14 days or more than 2 hours ahead. Requests to one stream are not limited, an account's are.
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html

A request whose answer was lost is sent again: a record may be there twice, with the same id, and
whoever reads it counts it once (registry/connections.py).
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from gateway.aws import ERRORS, reason
from gateway.connections import spool
from gateway.connections.limits import REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.connections.records import Line
    from gateway.connections.spool import Spool

log = logging.getLogger(__name__)

MOST_EVENTS, MOST_BYTES, OVERHEAD = 10_000, 1_048_576, 26
SPAN = 24 * 3600 * 1000
"""Milliseconds."""

PAUSE, LONGEST_PAUSE = 1.0, 60.0
"""Seconds between looks, and at most between tries."""

_ABSENT, _THERE = "ResourceNotFoundException", "ResourceAlreadyExistsException"


def batches(lines: Iterable[Line]) -> list[list[Line]]:
    """The records in order of time, as many in one request as AWS takes. Pure."""
    found: list[list[Line]] = []
    size = 0
    for line in sorted(lines, key=lambda line: line.at):
        cost = len(line.text.encode()) + OVERHEAD
        if (
            not found
            or size + cost > MOST_BYTES
            or len(found[-1]) >= MOST_EVENTS
            or line.at - found[-1][0].at >= SPAN
        ):
            found.append([])
            size = 0
        found[-1].append(line)
        size += cost
    return found


def rejected(answer: dict[str, Any], sent: int) -> int:
    """How many of the `sent` events AWS has not kept, as its answer says. Pure.

    Too old and too far ahead are at the ends, the former counted from the first.
    """
    info = answer.get("rejectedLogEventsInfo") or {}
    old = max(info.get("tooOldLogEventEndIndex", 0), info.get("expiredLogEventEndIndex", 0))
    return min(sent, old) + sent - min(sent, info.get("tooNewLogEventStartIndex", sent))


class Shipper(threading.Thread):
    """Ships what is sealed, oldest first, until told to stop."""

    def __init__(
        self,
        spool: Spool,
        client: Callable[[], Any],
        *,
        group: str,
        stream: Callable[[], str],
        left_out: Callable[[str, int], None],
    ) -> None:
        """`client` makes a client of CloudWatch Logs, `stream` says the instance's id: once each,
        when there is something to ship. `left_out` hears why how many were not kept."""
        super().__init__(name="shipper", daemon=True)
        self._spool, self._make, self._group, self._name = spool, client, group, stream
        self._left_out = left_out
        self._client: Any = None
        self._stream = self._trouble = ""
        self._pause = PAUSE
        self._ended = threading.Event()
        self.shipped = 0
        """Records, since the start."""

    def run(self) -> None:
        """Until `stop()`."""
        while not self._ended.is_set():
            try:
                self.turn()
            except Exception:
                log.exception("shipping")  # and on: what waits is on disk
            self._ended.wait(self._pause)

    def stop(self) -> None:
        """Ask the thread to end; it does after its present request."""
        self._ended.set()

    def turn(self) -> bool:
        """Ship all that waits; False if that failed, and the next try comes later."""
        try:
            for path in self._spool.sealed():
                self._ship(spool.read(path))
                self._spool.done(path)
        except (*ERRORS, OSError, ValueError) as err:
            why = reason(err)
            self._pause = min(LONGEST_PAUSE, max(PAUSE, self._pause * 2))
        else:
            why, self._pause = "", PAUSE
        if why != self._trouble:
            log.log(logging.WARNING if why else logging.INFO, "shipping: %s", why or "well")
            self._trouble = why
        return not why

    def _ship(self, lines: list[Line]) -> None:
        self._client = self._client or self._make()
        self._stream = self._stream or self._name()
        for batch in batches(lines):
            answer = self._put(batch)
            refused = rejected(answer, len(batch))
            self._left_out(REFUSED, refused)
            self.shipped += len(batch) - refused

    def _put(self, batch: list[Line]) -> dict[str, Any]:
        request = {
            "logGroupName": self._group,
            "logStreamName": self._stream,
            "logEvents": [{"timestamp": line.at, "message": line.text} for line in batch],
        }
        try:
            return self._client.put_log_events(**request)
        except ClientError as err:
            if err.response.get("Error", {}).get("Code") != _ABSENT:
                raise
        try:
            self._client.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        except ClientError as err:
            if err.response.get("Error", {}).get("Code") != _THERE:
                raise
        return self._client.put_log_events(**request)
