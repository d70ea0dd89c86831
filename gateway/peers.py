"""The peers this gateway knows of, and how far along the registry's changes it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.access import EVERYWHERE, access_of
from gateway.preshared import seal
from registry.items import Change, Unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Address, IPv4Network

    from gateway.access import Access, Reaches
    from gateway.preshared import Opened, Preshared
    from registry.items import Head, Peer

NOTHING_OPENED: Opened = {}


@dataclass(frozen=True)
class KnownPeers:
    """Every change up to `generation` of `epoch` is in `peers`, and none is left out."""

    epoch: str = ""
    generation: int = 0
    peers: Mapping[str, Peer] = field(default_factory=dict)
    """By name."""
    unreadable: int = 0
    """Peer items that did not parse at the last full reading; they are left out."""


@dataclass(frozen=True)
class Advance:
    """The known peers after some changes."""

    known: KnownPeers
    applied: tuple[Change, ...] = ()
    gap: bool = False
    """A change is missing or unreadable: only a full reading helps."""


def advance(known: KnownPeers, changes: Iterable[Change | Unreadable]) -> Advance:
    """Apply `changes` in order as far as they follow `known` without a gap.

    Changes that are already in it are passed over, so that the same ones may come twice and from
    several sources.
    """
    peers = dict(known.peers)
    generation, applied, gap = known.generation, [], False
    for change in changes:
        if change.generation is not None and change.generation <= generation:
            continue
        if isinstance(change, Unreadable) or change.generation != generation + 1:
            gap = True
            break
        if change.kind == "put":
            peers[change.peer.name] = change.peer
        else:
            peers.pop(change.peer.name, None)
        generation = change.generation
        applied.append(change)
    if not applied:
        return Advance(known, gap=gap)
    return Advance(
        KnownPeers(known.epoch, generation, peers, known.unreadable), tuple(applied), gap
    )


def why_held(head: Head, known: KnownPeers | None) -> str:
    """Why what the table says is not who may enter; "" if it is.

    That is so while a restore writes it, and when the counter is gone: no command deletes that, so
    the table was emptied, and that nobody may enter is what nobody said.
    """
    if head.restoring is not None:
        return f"a restore to {head.restoring.to} is under way; peers stay as they are"
    if known is not None and known.epoch and not head.epoch:
        return "its counter is gone: restore it; peers stay as they are"
    return ""


@dataclass(frozen=True)
class Admitted:
    """Who may use the tunnel now."""

    addresses: Mapping[str, IPv4Address]
    """Public key -> the one tunnel address it may use."""
    names: Mapping[str, str]
    """Public key -> peer name."""
    reaches: Reaches = field(default_factory=dict)
    """Tunnel address -> where it may go; one that is not in it goes nowhere."""
    unusable: tuple[str, ...] = ()
    """Names that were left out: an address that is not a client's, or that another one has."""
    misruled: tuple[str, ...] = ()
    """Names of peers with a rule that cannot be read; it allows nothing."""
    preshared: Mapping[str, Preshared] = field(default_factory=dict)
    """Public key -> pre-shared key; who is not in it has none."""
    sealed: Mapping[str, str] = field(default_factory=dict)
    """Names that were left out because their pre-shared key is not here, with its seal."""
    next_expiry: int | None = None
    """Epoch seconds: when the next of them ceases to be admitted."""


def admitted(
    known: KnownPeers, pool: IPv4Network, now: float, opened: Opened = NOTHING_OPENED
) -> Admitted:
    """The peers that are in force at `now` (epoch seconds).

    A peer with a pre-shared key is never admitted without it: `opened` are those that are here.
    One address never has two keys: whoever has had it longer keeps it. The registry's transactions
    see to that; this is for a table edited by hand.
    """
    addresses: dict[str, IPv4Address] = {}
    names: dict[str, str] = {}
    taken: set[IPv4Address] = {pool.network_address, pool[1], pool.broadcast_address}
    reaches: dict[IPv4Address, Access] = {}
    unusable: list[str] = []
    misruled: list[str] = []
    expiries: list[int] = []
    preshared: dict[str, Preshared] = {}
    sealed: dict[str, str] = {}
    for peer in sorted(known.peers.values(), key=lambda peer: (peer.generation, peer.name)):
        if peer.expires is not None:
            if peer.expires <= now:
                continue
            expiries.append(peer.expires)
        if peer.address in taken or peer.address not in pool or peer.public_key in addresses:
            unusable.append(peer.name)
            continue
        taken.add(peer.address)
        if peer.preshared:
            name = seal(peer)
            if name not in opened:
                sealed[peer.name] = name
                continue
            preshared[peer.public_key] = opened[name]
        addresses[peer.public_key] = peer.address
        names[peer.public_key] = peer.name
        access, broken = access_of(peer.allow) if peer.allow else (EVERYWHERE, ())
        if access is not None:
            reaches[peer.address] = access
        if broken:
            misruled.append(peer.name)
    return Admitted(
        addresses=addresses,
        names=names,
        reaches=reaches,
        unusable=tuple(unusable),
        misruled=tuple(misruled),
        preshared=preshared,
        sealed=sealed,
        next_expiry=min(expiries, default=None),
    )
