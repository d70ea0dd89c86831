"""Ctrl-C at a moment when half of something would be left behind."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Hold:
    """Whether an interrupt has come and waits."""

    def __init__(self) -> None:
        self._pending = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the first interrupt; the second one is meant."""
        del number, frame
        if self._pending:
            raise KeyboardInterrupt
        self._pending = True

    def stop_here(self) -> None:
        """Called where stopping is safe: raises KeyboardInterrupt if one waits."""
        if self._pending:
            raise KeyboardInterrupt


@contextmanager
def held() -> Generator[Hold]:
    """Within the block, interrupts wait for `stop_here()`; a second one gets through."""
    hold = Hold()
    if threading.current_thread() is not threading.main_thread():
        yield hold  # signals are the main thread's
        return
    before = {number: signal.signal(number, hold.note) for number in SIGNALS}
    try:
        yield hold
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
