"""Clients' open TCP connections, as a gateway tells the others of them. Pure.

Which there are, and no more: where they stand changes with every segment, and is asked of their
ends when it matters (gateway.takeover.question). Who hears of a client's hears of all that count.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from gateway import wire
from gateway.gossip import LIMIT, OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping


class Connection(NamedTuple):
    """One, by its ends."""

    client: IPv4Address
    port: int
    """The client's."""
    host: IPv4Address
    host_port: int


Open: TypeAlias = "Mapping[IPv4Address, frozenset[Connection]]"
"""By client."""

MOST_OF_ONE, MOST = 64, 8192
"""Connections of one client, and in all, that are told of."""

_CONNECTION = struct.Struct("!H4sH")


def choose(
    found: Iterable[tuple[int, Connection]], held: Container[IPv4Address]
) -> dict[IPv4Address, frozenset[Connection]]:
    """Those of the clients in `held`; where there are too many, the ones last heard from.

    `found`: seconds until connection tracking forgets it, if nothing is said, and the connection.
    """
    chosen: dict[IPv4Address, set[Connection]] = {}
    room = MOST
    for _left, connection in sorted(found, reverse=True):
        of_one = chosen.setdefault(connection.client, set())
        if room and len(of_one) < MOST_OF_ONE and connection.client in held:
            of_one.add(connection)
            room -= 1
    return {client: frozenset(some) for client, some in chosen.items() if some}


def pack(open_: Open) -> Iterator[bytes]:
    """Bodies of datagrams."""
    body = b""
    for client, some in open_.items():
        packed = client.packed + wire.count(len(some))
        packed += b"".join(
            _CONNECTION.pack(one.port, one.host.packed, one.host_port) for one in sorted(some)
        )
        if body and len(body) + len(packed) > LIMIT - OVERHEAD:
            yield body
            body = b""
        body += packed
    if body:
        yield body


def unpack(body: bytes) -> Open:
    """What `pack` made. Raises `ValueError`."""
    reader, open_ = wire.Reader(body), dict[IPv4Address, frozenset[Connection]]()
    while not reader.ended:
        client = IPv4Address(reader.take(4))
        some = (_CONNECTION.unpack(reader.take(_CONNECTION.size)) for _ in range(reader.count()))
        open_[client] = frozenset(
            Connection(client, port, IPv4Address(host), host_port) for port, host, host_port in some
        )
    return open_
