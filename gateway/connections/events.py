"""What connection tracking says of a connection: parsing ctnetlink's messages. Pure.

linux/netfilter/nfnetlink_conntrack.h, nfnetlink.h, netlink.h; TCP's states are those of
linux/netfilter/nf_conntrack_tcp.h.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from gateway.takeover import ipv4
from gateway.takeover.connections import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Network

HEADER, HEADERS, ATTRIBUTE = 16, 20, 4
"""Bytes of a netlink header, of it with netfilter's own, and of an attribute's."""

ERROR, DONE = 2, 3
"""NLMSG_ERROR and NLMSG_DONE."""
SUBSYSTEM = 1 << 8
"""NFNL_SUBSYS_CTNETLINK, as a message's type has it."""
ENTRY, GET, DESTROYED = SUBSYSTEM, SUBSYSTEM | 1, SUBSYSTEM | 2
"""IPCTNL_MSG_CT_NEW (also each entry of a listing), _GET and _DELETE."""

TUPLE, TUPLE_IP, IP_SOURCE, IP_DESTINATION = 1, 1, 1, 2
"""CTA_TUPLE_ORIG, CTA_TUPLE_IP, CTA_IP_V4_SRC and _DST."""
_TUPLE_PROTOCOL, _NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 2, 1, 2, 3
_STATE, _STATE_TCP, _STATE_TCP_NOW = 4, 1, 1
_COUNTED_THERE, _COUNTED_BACK, _PACKETS, _BYTES = 9, 10, 1, 2
_TIMEOUT = 7
_ID = 12
_ONLY, _ONLY_THERE, _ONLY_BACK, _BY_PROTOCOL = 25, 1, 2, 1 << 3
"""CTA_FILTER, CTA_FILTER_ORIG_FLAGS and _REPLY_FLAGS, and CTA_FILTER_F_CTA_PROTO_NUM."""
_NESTED = 0x8000
_TIMES, _START, _STOP = 20, 1, 2
_TYPE = 0x3FFF

_ESTABLISHED = 3
_OPEN = (_ESTABLISHED, 4, 5)
"""States in which there may be something to send again: the last two are half closed."""

CLOSING = {4: "fin_wait", 5: "close_wait", 6: "last_ack", 7: "time_wait", 8: "close"}
"""States in which TCP has closed the connection, by the kernel's names of their timeouts."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A tracked connection. Bytes are whole IP packets, as the gateway forwards them."""

    number: int
    """The kernel's; another connection may get it later."""
    protocol: int
    """As IP numbers them."""
    source: IPv4Address
    """Who opened it; before any translation."""
    destination: IPv4Address
    source_port: int | None
    """None where the protocol has no ports."""
    destination_port: int | None
    there_packets: int
    """From the source to the destination."""
    there_bytes: int
    back_packets: int
    back_bytes: int
    start: int
    """Nanoseconds since the epoch; 0 where the kernel did not note it."""
    stop: int
    """The same; 0 while it is there."""
    closing: str
    """The name of TCP's state, if it has closed the connection."""


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and body (behind the netlink header) of everything in one read from the socket."""
    at = 0
    while at + HEADER <= len(data):
        size, kind = struct.unpack_from("=IH", data, at)
        if size < HEADER or at + size > len(data):
            return
        yield kind, data[at + HEADER : at + size]
        at += (size + 3) & ~3


def flow(body: bytes, pool: IPv4Network) -> Flow | None:
    """The connection that a message is about; None if it is of no client, or not readable.

    `pool` has the clients' addresses.
    """
    try:
        return _flow(_attributes(body[HEADERS - HEADER :]), int(pool.network_address), pool)
    except (struct.error, KeyError, IndexError):
        return None


def only(protocol: int) -> bytes:
    """Attributes of a request for a listing of this protocol alone."""
    number = _attribute(_NUMBER, bytes([protocol]))
    ends = _attribute(TUPLE | _NESTED, _attribute(_TUPLE_PROTOCOL | _NESTED, number))
    there = _attribute(_ONLY_THERE, struct.pack("=I", _BY_PROTOCOL))
    back = _attribute(_ONLY_BACK, struct.pack("=I", 0))
    return ends + _attribute(_ONLY | _NESTED, there + back)


def _attribute(kind: int, content: bytes) -> bytes:
    size = ATTRIBUTE + len(content)
    return struct.pack("=HH", size, kind) + content + bytes(-size % 4)


def open_tcp(body: bytes, pool: IPv4Network) -> tuple[int, Connection] | None:
    """A client's open TCP connection, and the seconds until it is forgotten if nothing is said.

    None for anything else. Of two clients, whoever opened it is the client.
    """
    try:
        found = _attributes(body[HEADERS - HEADER :])
        ends = _attributes(found[TUPLE])
        what, where = _attributes(ends[_TUPLE_PROTOCOL]), _attributes(ends[TUPLE_IP])
        state = _attributes(_attributes(found[_STATE])[_STATE_TCP])[_STATE_TCP_NOW][0]
        if what[_NUMBER][0] != ipv4.TCP or state not in _OPEN:
            return None
        near = IPv4Address(where[IP_SOURCE]), _number(what[_SOURCE_PORT])
        far = IPv4Address(where[IP_DESTINATION]), _number(what[_DESTINATION_PORT])
        left = struct.unpack("!I", found[_TIMEOUT])[0]
    except (struct.error, KeyError, IndexError):
        return None
    if near[0] not in pool:
        near, far = far, near
    return (left, Connection(*near, *far)) if near[0] in pool else None


def _flow(found: dict[int, bytes], base: int, pool: IPv4Network) -> Flow | None:
    ends = _attributes(found[TUPLE])
    addresses = _attributes(ends[TUPLE_IP])
    source, destination = (
        struct.unpack("!I", addresses[which])[0] for which in (IP_SOURCE, IP_DESTINATION)
    )
    mask = int(pool.netmask)
    if base not in (source & mask, destination & mask):
        return None
    what = _attributes(ends[_TUPLE_PROTOCOL])
    there, back = _counts(found.get(_COUNTED_THERE)), _counts(found.get(_COUNTED_BACK))
    times = _attributes(found.get(_TIMES, b""))
    tcp = _attributes(_attributes(found.get(_STATE, b"")).get(_STATE_TCP, b""))
    return Flow(
        number=struct.unpack("!I", found[_ID])[0],
        protocol=what[_NUMBER][0],
        source=IPv4Address(source),
        destination=IPv4Address(destination),
        source_port=_port(what.get(_SOURCE_PORT)),
        destination_port=_port(what.get(_DESTINATION_PORT)),
        there_packets=there[0],
        there_bytes=there[1],
        back_packets=back[0],
        back_bytes=back[1],
        start=_long(times.get(_START)),
        stop=_long(times.get(_STOP)),
        closing=CLOSING.get(tcp.get(_STATE_TCP_NOW, b"\0")[0], ""),
    )


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at + ATTRIBUTE <= len(data):
        size, kind = struct.unpack_from("=HH", data, at)
        if size < ATTRIBUTE:
            break
        found[kind & _TYPE] = data[at + ATTRIBUTE : at + size]
        at += (size + 3) & ~3
    return found


def _counts(data: bytes | None) -> tuple[int, int]:
    counted = _attributes(data or b"")
    return _long(counted.get(_PACKETS)), _long(counted.get(_BYTES))


def _long(data: bytes | None) -> int:
    return struct.unpack("!Q", data)[0] if data else 0


def _port(data: bytes | None) -> int | None:
    return _number(data) if data else None


def _number(data: bytes) -> int:
    return struct.unpack("!H", data)[0]
