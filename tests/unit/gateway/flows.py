"""Connections as the kernel tells of them: bytes of ctnetlink messages."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

TCP, UDP, ICMP = 6, 17, 1
START, STOP = 1_800_000_000_000_000_000, 1_800_000_002_500_000_000
"""Nanoseconds: 2.5 s apart."""


def attribute(kind: int, data: bytes, *, nested: bool = False) -> bytes:
    size = 4 + len(data)
    return struct.pack("=HH", size, kind | (0x8000 if nested else 0)) + data + bytes(-size % 4)


def nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind, b"".join(parts), nested=True)


def ends(source: str, destination: str, protocol: int, ports: tuple[int, int]) -> bytes:
    addresses = nest(
        1,
        attribute(1, IPv4Address(source).packed),
        attribute(2, IPv4Address(destination).packed),
    )
    numbers = [attribute(1, bytes([protocol]))]
    if protocol != ICMP:
        numbers += [
            attribute(which, struct.pack("!H", port))
            for which, port in zip((2, 3), ports, strict=True)
        ]
    return nest(1, addresses, nest(2, *numbers))


def counted(kind: int, packets: int, size: int) -> bytes:
    return nest(
        kind, attribute(1, struct.pack("!Q", packets)), attribute(2, struct.pack("!Q", size))
    )


def body(
    source: str = "100.96.0.5",
    destination: str = "10.20.3.4",
    *,
    protocol: int = TCP,
    ports: tuple[int, int] = (40000, 443),
    number: int = 7,
    start: int = START,
    stop: int = STOP,
    state: int = 0,
    there: tuple[int, int] = (5, 500),
    back: tuple[int, int] = (4, 4000),
) -> bytes:
    """What stands behind the netlink header."""
    times = [attribute(1, struct.pack("!Q", start))] if start else []
    times += [attribute(2, struct.pack("!Q", stop))] if stop else []
    tcp = [nest(4, nest(1, attribute(1, bytes([state]))))] if state else []
    return b"".join(
        (
            struct.pack("!BBH", 2, 0, 0),
            ends(source, destination, protocol, ports),
            *tcp,
            counted(9, *there),
            counted(10, *back),
            attribute(12, struct.pack("!I", number)),
            nest(20, *times),
        )
    )


def message(kind: int, inside: bytes) -> bytes:
    """With the netlink header."""
    size = 16 + len(inside)
    return struct.pack("=IHHII", size, kind, 0, 0, 0) + inside + bytes(-size % 4)
