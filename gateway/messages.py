"""What the agent's threads tell its main thread. Each thread only ever puts these on the queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from gateway.metadata import Identity
    from gateway.peers import KnownPeers
    from gateway.preshared import Opened
    from gateway.routes.view import RoutesView
    from gateway.takeover.moves import Move
    from registry.items import Change, Head, Unreadable


@dataclass(frozen=True)
class IdentityFound:
    """Which instance this is."""

    identity: Identity


@dataclass(frozen=True)
class HeadSeen:
    """The registry has answered."""

    head: Head
    at: float
    """Monotonic seconds."""


@dataclass(frozen=True)
class ChangesSeen:
    """Changes of the registry, in order; from the registry itself or from another gateway."""

    epoch: str
    changes: tuple[Change | Unreadable, ...]
    heard: bool = False
    """From another gateway: what does not follow ours is passed over, and comes again."""


@dataclass(frozen=True)
class PeersRead:
    """A full reading of the registry."""

    known: KnownPeers
    unreadable: tuple[Unreadable, ...]


@dataclass(frozen=True)
class KeyReady:
    """A generation's private key is on disk and is the one that clients trust."""

    generation: int
    public_key: str


@dataclass(frozen=True)
class KeyFault:
    """A generation's key must not be served (`refused`), or cannot be had at the moment."""

    generation: int
    why: str
    refused: bool


@dataclass(frozen=True)
class KeyDated:
    """When a generation's public key was published: epoch seconds, by the publisher's clock."""

    generation: int
    published: int


@dataclass(frozen=True)
class PresharedSeen:
    """Pre-shared keys have been decrypted, or cannot be; each by its seal (gateway.preshared)."""

    opened: Opened
    faults: Mapping[str, str]
    """Why, of all that are missing."""
    gone: frozenset[str] = frozenset()
    """Those that no known peer needs."""


@dataclass(frozen=True)
class GatewaysSeen:
    """The addresses of every member of the Auto Scaling group that has told them."""

    addresses: frozenset[IPv4Address]
    serving: Mapping[str, int] = field(default_factory=dict)
    """The others in service that say they are healthy: instance id -> epoch seconds of that."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Every member of the group, this one among them: instance id -> lifecycle state."""
    target_groups: tuple[str, ...] = ()
    """ARNs of the load balancer's target groups that the group's members are in."""


@dataclass(frozen=True)
class LifecycleSeen:
    """Whether Auto Scaling wants this instance gone."""

    ending: bool


@dataclass(frozen=True)
class Trouble:
    """A part of the outside that does not answer; an empty `why` takes it back."""

    part: str
    why: str


@dataclass(frozen=True)
class SessionsMove:
    """Clients' sessions come to this gateway, or have gone to another."""

    moves: tuple[Move, ...]


@dataclass(frozen=True)
class OwnersMove:
    """Clients' sessions have changed hands among gateways (`gateway.takeover.hub.SessionsView`)."""


@dataclass(frozen=True)
class RoutesSeen:
    """Which of the VPC's routes are this gateway's, and what is wrong with them."""

    view: RoutesView


Message: TypeAlias = (
    IdentityFound
    | HeadSeen
    | ChangesSeen
    | PeersRead
    | KeyReady
    | KeyFault
    | KeyDated
    | PresharedSeen
    | GatewaysSeen
    | LifecycleSeen
    | SessionsMove
    | OwnersMove
    | RoutesSeen
    | Trouble
)
