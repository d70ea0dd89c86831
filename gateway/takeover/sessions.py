"""What a gateway knows of WireGuard sessions, its own and the others'. Pure.

All times are milliseconds since the epoch, by the clock of whoever told them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.takeover.packets import Endpoint
    from gateway.takeover.recipients import PeerId

LIFETIME = 185_000
"""Milliseconds from a handshake message until nobody has keys of it: WireGuard refuses a session
after 180 s (REJECT_AFTER_TIME), and the handshake itself may take 5 (REKEY_TIMEOUT)."""


class Place(NamedTuple):
    """One peer on one key slot: sessions of the two slots have nothing to do with each other."""

    slot: int
    peer: PeerId


@dataclass(frozen=True, slots=True)
class Session:
    """A handshake that a gateway has taken part in, completed or not."""

    slot: int
    index: int
    """The gateway's name for it: what the client's packets carry."""
    peer: PeerId
    holder: str
    """Instance id of the gateway."""
    began: int
    """When the gateway sent its handshake message."""
    endpoint: Endpoint | None = None
    """Where that message went."""
    order: int = 0
    """Rises with every session of a peer: the time that message was sent, but always more than
    anything its gateway had heard of that peer by then. So it follows what caused what, whatever
    the clocks say."""

    @property
    def place(self) -> Place:
        """Whose it is."""
        return Place(self.slot, self.peer)


@dataclass(frozen=True, slots=True)
class Claim:
    """A gateway's word that a handshake with the peer was completed there."""

    place: Place
    holder: str
    order: int
    """The session's."""

    def outranks(self, other: Claim | None) -> bool:
        """Whether it is the later one; of two that knew nothing of each other, every gateway
        prefers the same."""
        return other is None or (self.order, self.holder) > (other.order, other.holder)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A takeover that has been started."""

    source: Endpoint
    first: int
    last: int
    tries: int = 1


@dataclass(slots=True)
class Standing:
    """All that is known of one place."""

    sessions: dict[int, Session] = field(default_factory=dict)
    """By index."""
    lost: frozenset[int] = frozenset()
    """Indices of ours that WireGuard has no keys for any more."""
    calls: frozenset[int] = frozenset()
    """Indices of ours that WireGuard's own timers have asked for, not a client and not a takeover:
    that says nothing about where the client is."""
    claim: Claim | None = None
    claimed_at: int = 0
    """When the claim was made or heard."""
    attempt: Attempt | None = None
    unsettled: int | None = None
    """When the first handshake message was sent of which it is not known whether it led to a
    session; None when there is nothing to find out."""
    latest: int = 0
    """When we last sent a handshake message, or tried to make WireGuard send one."""
    awaited: int = 0
    """The same, but for calls of WireGuard's own: somebody was about to answer."""

    def kept(self, me: str) -> Iterator[Session]:
        """Our sessions that WireGuard may have keys for."""
        return (
            session
            for index, session in self.sessions.items()
            if session.holder == me and index not in self.lost
        )
