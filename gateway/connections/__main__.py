"""The connection log's process: one thread records, another ships."""

from __future__ import annotations

import logging
import os
import select
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import boto3

from effects import Refusal
from gateway import environment, held_clients, notify
from gateway.aws import CONFIG
from gateway.connections import conntrack, counts
from gateway.connections.events import CLOSING
from gateway.connections.holders import Known
from gateway.connections.recorder import Recorder
from gateway.connections.records import Describer
from gateway.connections.shipper import Shipper
from gateway.connections.spool import Spool
from gateway.metadata import Metadata
from gateway.paths import Paths
from gateway.process import end_on_signals, log_to_journal

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from pathlib import Path

    from gateway.environment import Environment

TICK = 1.0
COUNT_EVERY = 5.0
LAST_REQUESTS = 8.0
"""Seconds for a request that is under way when the process is told to end."""

log = logging.getLogger(__name__)


def lingering(sysctl: Path) -> dict[str, float]:
    """State of TCP -> seconds that the kernel keeps a closed connection."""
    found = {}
    for state in CLOSING.values():
        try:
            path = sysctl / "net/netfilter" / f"nf_conntrack_tcp_timeout_{state}"
            found[state] = float(path.read_text())
        except (OSError, ValueError):
            continue
    return found


def record(
    recorder: Recorder,
    watch: conntrack.Watch,
    known: Known,
    ended: Callable[[], bool],
    tell: Callable[[], None],
) -> None:
    """Until `ended()`; `tell` is called about once a second."""
    ticked = float("-inf")
    while not ended():
        select.select([watch], [], [], TICK)
        recorder.take(watch.read())
        if time.monotonic() - ticked >= TICK:
            ticked = time.monotonic()
            known.refresh()
            recorder.tick()
            tell()
    recorder.take(watch.read())
    recorder.finish()


def serve(settings: Environment, paths: Paths, metadata: Metadata, ended: threading.Event) -> None:
    """Record and ship until `ended` is set.

    Raises `Refusal` where there is no log group, `OSError` when the kernel does not let us.
    """
    if not settings.connection_log:
        raise Refusal(str(paths.environment), "names no log group", environment.CURE)
    pool = settings.client_pool
    known, spool = Known(paths.state), Spool(paths.connections)
    describer = Describer(pool=pool, name=known.name, lingering=lingering(paths.sysctl))
    watch = conntrack.Watch(pool)
    recorder = Recorder(
        describer,
        spool,
        dropped=lambda: watch.dropped,
        listing=conntrack.listing,
        held=partial(held_clients.read, paths.held),
    )
    shipper = Shipper(
        spool,
        lambda: boto3.client("logs", region_name=settings.region, config=CONFIG),
        group=settings.connection_log,
        stream=lambda: metadata.identity().instance_id,
        left_out=recorder.left_out.add,
    )
    teller = Teller(paths.connection_counts, recorder, shipper, spool)
    shipper.start()
    notify.notify(notify.READY)
    record(recorder, watch, known, ended.is_set, teller.tell)
    notify.notify(notify.STOPPING)
    shipper.stop()
    shipper.join(LAST_REQUESTS)
    if not shipper.is_alive():
        shipper.turn()


class Teller:
    """Writes the counts, now and then."""

    def __init__(self, path: Path, recorder: Recorder, shipper: Shipper, spool: Spool) -> None:
        self._path, self._recorder, self._shipper, self._spool = path, recorder, shipper, spool
        self._told_at = float("-inf")

    def tell(self) -> None:
        """Feeds the watchdog, too: it is called by the thread that records."""
        notify.notify(notify.ALIVE)
        now = time.monotonic()
        if now - self._told_at < COUNT_EVERY:
            return
        self._told_at = now
        try:
            counts.write(
                self._path,
                counts.Counts(
                    at=now,
                    recorded=self._recorder.recorded,
                    shipped=self._shipper.shipped,
                    left_out=self._recorder.left_out.totals,
                    queue_bytes=self._spool.size,
                ),
            )
        except OSError as err:
            log.warning("counts: %s", err)


def main() -> int:
    """Run until SIGTERM or SIGINT; systemd starts it again when it fails."""
    log_to_journal()
    os.umask(0o077)
    paths, ended = Paths(), end_on_signals()
    try:
        settings = environment.read(paths.environment)
        serve(settings, paths, Metadata(), ended)
    except Refusal as err:
        sys.stderr.write(f"gatepair-connections: {err}\n")
        return 2
    except OSError as err:
        sys.stderr.write(f"gatepair-connections: {err}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
