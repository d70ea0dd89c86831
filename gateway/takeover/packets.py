"""WireGuard's messages in the packets that the kernel reports. Pure.

Message formats: https://www.wireguard.com/protocol/
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

INITIATION, RESPONSE, TRANSPORT = 1, 2, 4

_UDP = 17
_UDP_HEADER = 8
_IPV4_HEADER, _IPV6_HEADER = 20, 40
_MAC1_AT = {INITIATION: 116, RESPONSE: 60}
_MAC1_BYTES = 16
_INDEX = struct.Struct("!I")
_INDEX_AT = 4


class Endpoint(NamedTuple):
    """An address and a UDP port on the outside."""

    address: IPv4Address | IPv6Address
    port: int

    def __str__(self) -> str:
        """As `wg` writes it."""
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)  # noqa: PLR2004
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Datagram:
    """A UDP packet, perhaps without its end."""

    source: Endpoint
    destination: Endpoint
    payload: bytes


@dataclass(frozen=True)
class Handshake:
    """An initiation or a response, as far as it can be read without any key."""

    index: int
    """The sender's name for the session: its bytes on the wire as a number, first byte highest."""
    covered: bytes
    """What `mac1` was made of."""
    mac1: bytes
    """Keyed by the recipient's public key."""
    asks: bool = False
    """An initiation: WireGuard calls the peer, who may be anywhere. A response answers one who has
    just proved to be here."""


def parse(packet: bytes) -> Datagram:
    """The datagram in an IP packet. Raises `ValueError` for anything else."""
    version = packet[0] >> 4 if packet else 0
    match version:
        case 4 if len(packet) >= _IPV4_HEADER:
            header, protocol = (packet[0] & 15) * 4, packet[9]
            source, destination = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        case 6 if len(packet) >= _IPV6_HEADER:
            header, protocol = _IPV6_HEADER, packet[6]
            source, destination = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        case _:
            raise ValueError("no IP packet")
    if protocol != _UDP or len(packet) < header + _UDP_HEADER:
        raise ValueError("no UDP packet")
    sport, dport = struct.unpack_from("!HH", packet, header)
    payload = packet[header + _UDP_HEADER :]
    return Datagram(Endpoint(source, sport), Endpoint(destination, dport), payload)


def index_of(message: bytes) -> int:
    """The session's index: the sender's in types 1 and 2, the receiver's in type 4."""
    if len(message) < _INDEX_AT + _INDEX.size:
        raise ValueError("too short for an index")
    return _INDEX.unpack_from(message, _INDEX_AT)[0]


def handshake(message: bytes) -> Handshake:
    """The handshake message in a datagram. Raises `ValueError` for anything else."""
    at = _MAC1_AT.get(message[0] if message else 0)
    if at is None or message[1:4] != bytes(3) or len(message) < at + _MAC1_BYTES:
        raise ValueError("no handshake message")
    mac1 = message[at : at + _MAC1_BYTES]
    return Handshake(index_of(message), message[:at], mac1, asks=message[0] == INITIATION)
