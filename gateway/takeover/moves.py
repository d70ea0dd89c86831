"""What a takeover and a relinquishment ask of WireGuard. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, TypeAlias

from gateway.flows import Outside
from gateway.wireguard import NO_KEYS, preshared_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.wireguard import DevicePeer, Keys

KEEPALIVE = "25"
"""Seconds. Which number does not matter: turning the keepalive on sends one at once, that needs a
session, and that makes WireGuard shake hands."""


@dataclass(frozen=True)
class PointAt:
    """Take over: the peer is at this endpoint, and handshakes begin here."""

    interface: str
    public_key: str
    endpoint: str
    again: bool
    """Forget its keys, or WireGuard would use them and not shake hands."""


@dataclass(frozen=True)
class LetGo:
    """Relinquish: forget the peer's keys and where it is."""

    interface: str
    public_key: str
    unless_since: int | None = None
    """Not if a handshake was completed at this time or later; epoch seconds."""


Move: TypeAlias = PointAt | LetGo


def latest(moves: Iterable[Move], interface: str) -> list[Move]:
    """The last word on each peer of an interface."""
    words = {move.public_key: move for move in moves if move.interface == interface}
    return list(words.values())


def resets(move: Move) -> bool:
    """Whether the peer loses its keys, and with them its counters."""
    return isinstance(move, LetGo) or move.again


def due(move: Move, peer: DevicePeer | None) -> bool:
    """Whether it is still to be done, when the device has the peer like that."""
    if not isinstance(move, LetGo):
        return True
    if peer is None:
        return False
    return move.unless_since is None or peer.latest_handshake < move.unless_since


def words(move: Move, address: IPv4Address, preshared: Keys = NO_KEYS) -> tuple[str, ...]:
    """For `wg set`: removed and put back in one request, there is no moment without the peer.

    Its pre-shared key (`preshared`, by public key) goes with it, and has to come back.
    """
    peer = ("peer", move.public_key)
    anew = (*peer, "remove") if resets(move) else ()
    secret = preshared_words(preshared, move.public_key) if anew else ()
    put = (*anew, *peer, *secret, "allowed-ips", f"{address}/32")
    if isinstance(move, LetGo):
        return put
    return (*put, "endpoint", move.endpoint, "persistent-keepalive", KEEPALIVE)


def calm(public_key: str) -> tuple[str, ...]:
    """For `wg set`: the keepalive off again. It is the client's to keep a way through its NAT."""
    return ("peer", public_key, "persistent-keepalive", "0")


def left(moves: Iterable[Move], peers: Mapping[str, DevicePeer], port: int) -> list[Outside]:
    """The flows of peers that are let go: as they were, before it was done."""
    flows = []
    for move in moves:
        peer = peers.get(move.public_key)
        if isinstance(move, LetGo) and peer is not None and peer.endpoint:
            host, _, source = peer.endpoint.rpartition(":")
            if not host.startswith("["):
                flows.append(Outside(IPv4Address(host), int(source), port))
    return flows
