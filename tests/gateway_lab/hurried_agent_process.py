"""An agent (agent_process.py) whose clock runs faster, and with it all it waits for.

    python hurried_agent_process.py DIRECTORY SPEED

Compressed is only what the agent takes for time: the monotonic clock, and every pause and wait that
it asks for. Packets, WireGuard, the limits of its requests and the wall clock are as they are. At
SIGUSR1 its time goes on at the ordinary speed.
"""

from __future__ import annotations

import inspect
import queue
import runpy
import signal
import socketserver
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = (queue, socketserver, subprocess, threading)
"""Have taken the real clock by now, for limits that they keep themselves."""

_now = time.monotonic


class Hurry:
    """A monotonic clock that starts at the real one."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._since = self._then = _now()

    def now(self) -> float:
        """Its seconds."""
        return self._then + (_now() - self._since) * self._speed

    def end(self) -> None:
        """Go on at the real speed, from here."""
        self._then, self._since, self._speed = self.now(), _now(), 1.0

    def install(self) -> None:
        """Give it to all that is imported from now on."""
        setattr(time, "monotonic", self.now)  # noqa: B010 - the type of a builtin's stand-in differs
        for owner, name, argument in (
            (time, "sleep", "seconds"),
            (threading.Event, "wait", "timeout"),
            (threading.Condition, "wait_for", "timeout"),
            (queue.Queue, "get", "timeout"),
        ):
            setattr(owner, name, self._shortened(getattr(owner, name), argument))

    def _shortened(self, wait: Callable[..., Any], argument: str) -> Callable[..., Any]:
        """The same, but that its seconds are this clock's."""
        known = wait is not time.sleep  # which tells nothing of its one argument
        shape = inspect.signature(wait if known else lambda seconds: seconds)

        def shortened(*given: Any, **named: Any) -> Any:
            call = shape.bind(*given, **named)
            if (limit := call.arguments.get(argument)) is not None:
                call.arguments[argument] = limit / self._speed
            return wait(*call.args, **call.kwargs)

        return shortened


if __name__ == "__main__":
    hurry = Hurry(float(sys.argv.pop()))
    hurry.install()
    signal.signal(signal.SIGUSR1, lambda *_: hurry.end())
    runpy.run_path(str(Path(__file__).with_name("agent_process.py")), run_name="__main__")
