"""Handing the clients over before this gateway goes. Pure.

Told to drain, by an operator or because Auto Scaling terminates the instance, a gateway fails its
health checks and serves on until the clients have gone to others; then it takes its interfaces
down. It stops as soon as it is no longer told to. Without another gateway that could take the
clients it does not begin: it serves as before, and says so.

In a routed stack it serves on, too, until none of the VPC's routes leads here: another gateway
takes them as soon as this one says that it drains (gateway.routes).

Which clients are still here WireGuard itself says: a client that another gateway has taken over has
no session here any more, and one that the load balancer has moved sends nothing here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.state import State
    from gateway.wireguard import Device

NOTICED = 12.0
"""Seconds from failing health until the load balancer has noticed: two checks, 5 s apart, each with
2 s for the answer (components/load_balancer.py)."""

QUIET = 30.0
"""Seconds without a packet, after which a client is idle or somewhere else: the configs ask for a
keepalive every 25 s (client/config.py). An idle one finds its way by its next packet."""

SESSION = 180.0
"""Seconds since the handshake, after which nobody uses a session's keys (WireGuard whitepaper,
section 6.1, Reject-After-Time)."""

LIMIT = 180.0
"""Seconds that clients are waited for: every session of the beginning is over by then. The group's
hook gives 300 (components/gateways.py)."""

STALE = 45.0
"""Seconds after which another gateway's word that it serves no longer counts. It writes every 10 s
and is read every 10 s."""

HELD_UP = "told to drain, but no other gateway is in service and healthy: it serves on"


@dataclass(frozen=True)
class Clients:
    """Who has a session here, by listings of the devices."""

    at: float = float("-inf")
    """Of the latest listing; monotonic seconds."""
    received: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """(Interface, public key) -> bytes."""
    heard: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """When each was heard last, as far as is known; monotonic seconds."""

    @property
    def active(self) -> frozenset[str]:
        """The public keys of those that were heard not long ago."""
        return frozenset(key for (_, key), at in self.heard.items() if self.at - at < QUIET)


@dataclass(frozen=True)
class Drain:
    """How far this gateway has drained; as it is here, it serves."""

    why: str = ""
    since: float | None = None
    """Monotonic seconds; None while it serves."""
    done: bool = False
    """Rid of its clients: the interfaces may go."""
    held_up: bool = False
    """It is told to, and must not."""
    clients: Clients = field(default_factory=Clients)

    @property
    def begun(self) -> bool:
        """Whether it asks the load balancer for no more clients."""
        return self.since is not None

    @property
    def word(self) -> str:
        """For logs: one word for each state."""
        if self.begun:
            return "drained" if self.done else "draining"
        return "drain held up" if self.held_up else "not draining"


def reason(state: State, wall: float) -> str:
    """Why to drain; empty if there is no reason. `wall` is in epoch seconds."""
    if state.ending:
        return "the instance is to be terminated"
    own = state.identity.instance_id if state.identity else ""
    return "ordered by an operator" if own in state.command.draining(wall) else ""


def replaceable(state: State, wall: float) -> bool:
    """Whether another gateway can take the clients: in service, healthy, and not told to drain."""
    orders = state.command.draining(wall)
    return any(
        name not in orders and wall - updated < STALE for name, updated in state.serving.items()
    )


def clients(before: Clients, devices: Mapping[str, Device], at: float, wall: float) -> Clients:
    """After one more listing, made at `at` (monotonic seconds); `wall` is epoch seconds."""
    received, heard = {}, {}
    for device in devices.values():
        for peer in device.peers.values():
            if peer.latest_handshake <= wall - SESSION:
                continue
            key = device.name, peer.public_key
            received[key] = peer.received
            silent = before.received.get(key) == peer.received
            heard[key] = before.heard[key] if silent else at
    return Clients(at, received, heard)


def advance(
    before: Drain, why: str, *, replaceable: bool, seen: Clients, now: float, routed: bool = False
) -> Drain:
    """The next state; `now` in monotonic seconds. `routed`: a route of the VPC leads here."""
    if not why:
        return Drain()
    if not replaceable and not before.done:
        return Drain(why, held_up=True)
    since = now if before.since is None else before.since
    noticed = seen.at - since >= NOTICED
    over = (noticed and not seen.active and not routed) or now - since >= LIMIT
    return Drain(why, since, before.done or over, clients=seen)
