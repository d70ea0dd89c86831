"""IPv4 packets, made and read as far as stalled TCP needs it. Pure."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address

HEADER = struct.Struct("!BBHHHBBH4s4s")
ICMP, TCP = 1, 6
_PORTS = struct.Struct("!HH")
_TTL = 64


def header(source: bytes, to: bytes, protocol: int, length: int) -> bytes:
    """A header, of a packet with so many bytes behind it."""
    head = (0x45, 0, HEADER.size + length, 0, 0, _TTL, protocol)
    return HEADER.pack(*head, checksum(HEADER.pack(*head, 0, source, to)), source, to)


def checksum(data: bytes) -> int:
    """RFC 1071, of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ends(source: bytes, to: bytes, source_port: int, port: int) -> bytes:
    """A connection in one direction, by its ends: what tells it from all others."""
    return source + to + _PORTS.pack(source_port, port)


def destination(packet: bytes) -> str:
    """Where a packet goes."""
    return str(IPv4Address(packet[16:20]))
