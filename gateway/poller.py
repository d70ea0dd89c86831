"""A thread that does one thing again and again, and reports when it cannot."""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING

from gateway.aws import ERRORS, reason
from gateway.messages import Trouble
from registry.errors import RegistryError
from registry.items import ItemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.messages import Message

log = logging.getLogger(__name__)

EXPECTED = (*ERRORS, OSError, ValueError, ItemError, RegistryError)
"""What an outside that is away or broken leads to."""

JITTER = 0.1


class Poller(threading.Thread):
    """Calls `step()` until stopped; `step` returns the seconds to wait before the next call.

    A failure is posted as `Trouble` once, and taken back once it works again; meanwhile the step is
    tried every `retry` seconds, with jitter so that gateways do not ask in step.
    """

    def __init__(
        self,
        part: str,
        step: Callable[[], float],
        post: Callable[[Message], None],
        *,
        retry: float = 1.0,
    ) -> None:
        super().__init__(name=part, daemon=True)
        self._part, self._step, self._post, self._retry = part, step, post, retry
        self._trouble = ""
        self._ended = threading.Event()

    def run(self) -> None:
        """Until `stop()`."""
        while not self._ended.is_set():
            pause = self._once()
            self._ended.wait(pause * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311

    def stop(self) -> None:
        """Ask the thread to end; it does after its present step."""
        self._ended.set()

    def _once(self) -> float:
        try:
            pause, why = self._step(), ""
        except EXPECTED as err:
            pause, why = self._retry, reason(err)
        except Exception as err:
            log.exception("%s", self._part)
            pause, why = self._retry, f"internal error: {type(err).__name__}"
        if why != self._trouble:
            log.log(logging.WARNING if why else logging.INFO, "%s: %s", self._part, why or "well")
            self._trouble = why
            self._post(Trouble(self._part, why))
        return pause
