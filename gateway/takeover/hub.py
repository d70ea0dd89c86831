"""Where the agent's main thread, gossip and the takeover thread meet.

The takeover thread alone owns the table of sessions; the others put what they have for it in here
and read what it has published.
"""

from __future__ import annotations

import contextlib
import os
import queue
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from gateway.gossip import Frame


@dataclass(frozen=True)
class Told:
    """A datagram from another gateway."""

    frame: Frame
    source: IPv4Address


@dataclass(frozen=True)
class Forgotten:
    """WireGuard has no keys of these peers any more from before `at` (epoch milliseconds)."""

    interface: str
    public_keys: tuple[str, ...]
    at: int


@dataclass(frozen=True)
class InterfaceMade:
    """An interface is new or has another key."""

    interface: str
    at: int


@dataclass(frozen=True)
class FilterLoaded:
    """The packet filter has been loaded; its sets may be empty."""


Item: TypeAlias = Told | Forgotten | InterfaceMade | FilterLoaded


@dataclass(frozen=True)
class SessionsView:
    """Sessions as they are now: for the drain, the metrics, people."""

    working: bool = False
    """Whether takeovers are on and the kernel reports: else `holding` says nothing."""
    holding: frozenset[tuple[str, str]] = frozenset()
    """(interface, public key) of every peer whose live session is on this gateway: a handshake was
    completed here, and no other gateway has claimed the peer since."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Public key -> instance id of the gateway that has claimed the peer last, of every peer that
    another one has. The same mapping while none has moved."""
    addresses: Mapping[str, IPv4Address] = field(default_factory=dict)
    """Instance id -> private address, of the gateways that are in `elsewhere`."""
    in_step: bool = False
    """Whether the others have told all they know since the start; before, who is not in `elsewhere`
    may be there all the same."""
    unsettled: int = 0
    """Peers with a handshake under way here."""
    own: int = 0
    """Handshakes of this gateway that are not too old to matter."""
    remote: int = 0
    """The same of others."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Since the start: reported packets by what became of them (gateway.takeover.desk),
    `takeovers` that were completed, peers `relinquished`, handshakes `unmatched`, `garbled`."""


class Hub:
    """`put` from any thread; the takeover thread waits on `fileno` and takes."""

    def __init__(self) -> None:
        self._items: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._event = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.view = SessionsView()

    def put(self, item: Item) -> None:
        """Hand it over and wake the thread."""
        self._items.put(item)
        os.eventfd_write(self._event, 1)

    def fileno(self) -> int:
        """Readable while there is something to take."""
        return self._event

    def take(self) -> list[Item]:
        """Everything there is."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._event)
        found: list[Item] = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._items.get_nowait())
        return found
