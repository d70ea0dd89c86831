"""A bell from the cloud to the daemon that keeps the VPC, rung when a call has changed something.

Without it the daemon would hear of a new route or rule by its next look only.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from lab import paths

if TYPE_CHECKING:
    from pathlib import Path

_PIECE = 4096


def place() -> Path:
    """Where the bell hangs: a FIFO."""
    return paths.run() / "bell"


def ring() -> None:
    """Ring. If nobody listens, or who does has not come to it yet, nothing more happens."""
    # No reader, no FIFO, or a full one: each is somebody who will look anyway
    with contextlib.suppress(OSError):
        handle = os.open(place(), os.O_WRONLY | os.O_NONBLOCK)
        try:
            os.write(handle, b".")
        finally:
            os.close(handle)


class Listener:
    """Who waits for the bell; one at a time."""

    def __init__(self) -> None:
        if not place().is_fifo():
            place().unlink(missing_ok=True)
            os.mkfifo(place(), 0o600)
        # Read and write: there is never an end of file when the last who rang has closed
        self._handle = os.open(place(), os.O_RDWR | os.O_NONBLOCK)

    def wait(self, timeout: float) -> bool:
        """Whether it was rung within `timeout` seconds, or since the last time."""
        ready, _, _ = select.select([self._handle], [], [], timeout)
        with contextlib.suppress(BlockingIOError):
            while ready and len(os.read(self._handle, _PIECE)) == _PIECE:
                pass
        return bool(ready)

    def close(self) -> None:
        """Listen no longer."""
        os.close(self._handle)
