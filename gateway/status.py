"""What the main thread publishes: one immutable value that every other thread reads."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.chrony import UNKNOWN, Clock
from gateway.drain import Drain
from gateway.health import BOOTING, Verdict
from gateway.peers import Admitted
from gateway.state import State
from gateway.takeover.hub import SessionsView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.wireguard import Device
    from registry.items import GatewayRecord

STALLED_AFTER = 20.0
"""Seconds without a new status, after which the agent counts as stuck."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """The agent at one moment."""

    state: State = field(default_factory=State)
    devices: Mapping[str, Device] = field(default_factory=dict)
    admitted: Admitted = field(default_factory=lambda: Admitted({}, {}))
    applied: int = 0
    """Highest contiguous change of the registry that is in force on every interface."""
    verdicts: Mapping[int, Verdict] = field(default_factory=lambda: {0: BOOTING, 1: BOOTING})
    """By slot."""
    clock: Clock = UNKNOWN
    faults: tuple[str, ...] = ()
    """In words, for the registry and for people."""
    failures: int = 0
    """Actions that failed since the start."""
    unreadable: int = 0
    """Registry items that did not parse since the start."""
    drain: Drain = field(default_factory=Drain)
    drained: bool = False
    """It has drained, and its interfaces are down."""
    sessions: SessionsView = field(default_factory=SessionsView)
    """Whose sessions are on this gateway."""
    carried: Mapping[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    """(interface, public key) -> bytes received and sent that its device has forgotten."""
    record: GatewayRecord | None = None
    """What to write into the registry; None before the instance knows itself."""
    at: float = float("inf")
    """Monotonic seconds; infinite before the first one."""

    @property
    def healthy(self) -> bool:
        """Whether this gateway serves everything it should."""
        return self.state.complete and all(verdict.healthy for verdict in self.verdicts.values())

    def stuck(self, now: float) -> bool:
        """Whether the agent has said nothing for too long; `now` in monotonic seconds."""
        return now - self.at > STALLED_AFTER


class Board:
    """Holds the published status and wakes those who wait for a change of it."""

    def __init__(self) -> None:
        self._status = Status()
        self._published = threading.Condition()

    @property
    def status(self) -> Status:
        """The latest one."""
        return self._status

    def publish(self, status: Status) -> None:
        """Make it visible to all threads."""
        with self._published:
            self._status = status
            self._published.notify_all()

    def wake(self) -> None:
        """Make those who wait look again: something beside the status has changed."""
        with self._published:
            self._published.notify_all()

    def wait_until(self, reached: Callable[[Status], bool], timeout: float) -> bool:
        """Wait for a status like that; False when there was none within `timeout` seconds."""
        with self._published:
            return self._published.wait_for(lambda: reached(self._status), timeout)
