"""How every process of a gateway begins and ends."""

from __future__ import annotations

import logging
import signal
import sys
import threading


def end_on_signals() -> threading.Event:
    """Set by SIGTERM or SIGINT."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    return ended


def log_to_journal() -> None:
    """One line a message on stderr; the journal adds the time."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
