"""Sessions and claims as bytes, for gossip. Pure. What does not fit is a `ValueError`."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from gateway import wire
from gateway.takeover.journal import Fact, Part
from gateway.takeover.packets import Endpoint
from gateway.takeover.recipients import PEER_ID_BYTES, PeerId
from gateway.takeover.sessions import Claim, Place, Session
from registry.key_slots import SLOTS

if TYPE_CHECKING:
    from collections.abc import Sequence

_SESSION, _CLAIM = 1, 2
_HEAD = struct.Struct(f"!BB{PEER_ID_BYTES}sQ")
"""Kind, slot, peer, and the time it began or the claim's order."""
_REST = struct.Struct("!I4sHQ")
"""Of a session: its index, where its handshake message went (zeros: not an IPv4 address), and its
order."""


def pack_part(part: Part) -> bytes:
    """A part of a journal."""
    numbers = wire.number(part.journal) + wire.number(part.after) + wire.number(part.upto)
    return numbers + pack_facts(part.facts)


def unpack_part(body: bytes, holder: str) -> Part:
    """The part that `holder` has sent."""
    reader = wire.Reader(body)
    journal, after, upto = reader.number(), reader.number(), reader.number()
    if after > upto:
        raise ValueError("a part of a journal that ends before it begins")
    return Part(journal, after, upto, _facts(reader, holder))


def pack_wish(journal: int, after: int) -> bytes:
    """A request for all that came after a number of a journal."""
    return wire.number(journal) + wire.number(after)


def unpack_wish(body: bytes) -> tuple[int, int]:
    """What `pack_wish` made."""
    reader = wire.Reader(body)
    wish = reader.number(), reader.number()
    reader.end()
    return wish


def pack_facts(facts: Sequence[Fact]) -> bytes:
    """Facts alone."""
    return wire.count(len(facts)) + b"".join(map(_pack, facts))


def unpack_facts(body: bytes, holder: str) -> tuple[Fact, ...]:
    """Facts about `holder`."""
    return _facts(wire.Reader(body), holder)


def _pack(fact: Fact) -> bytes:
    if isinstance(fact, Claim):
        return _HEAD.pack(_CLAIM, fact.place.slot, fact.place.peer, fact.order)
    where = fact.endpoint
    if where is None or not isinstance(where.address, IPv4Address):
        where = Endpoint(IPv4Address(0), 0)
    return _HEAD.pack(_SESSION, fact.slot, fact.peer, fact.began) + _REST.pack(
        fact.index, where.address.packed, where.port, fact.order
    )


def _facts(reader: wire.Reader, holder: str) -> tuple[Fact, ...]:
    facts = tuple(_read(reader, holder) for _ in range(reader.count()))
    reader.end()
    return facts


def _read(reader: wire.Reader, holder: str) -> Fact:
    kind, slot, peer, number = _HEAD.unpack(reader.take(_HEAD.size))
    if slot not in SLOTS:
        raise ValueError(f"slot {slot}")
    if kind == _CLAIM:
        return Claim(Place(slot, PeerId(peer)), holder, number)
    if kind != _SESSION:
        raise ValueError(f"kind of fact {kind}")
    index, address, port, order = _REST.unpack(reader.take(_REST.size))
    endpoint = Endpoint(IPv4Address(address), port) if port else None
    return Session(slot, index, PeerId(peer), holder, number, endpoint, order)
