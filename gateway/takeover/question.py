"""A question to TCP: where does this connection stand? Pure.

An end whose other end cannot be heard tries again after 6.2, 12.6 or 25.4 s and says nothing in
between. But it answers: who gets a segment that its window does not take in says by an empty
acknowledgement which number it expects and which it sends next (RFC 9293, 3.10.7.4, first check).
That number is what gateway.takeover.kick needs, and the answer goes to the other end anyway. Linux
gives one such answer to a connection in half a second (tcp_invalid_ratelimit).

The number asked with is any. If the window takes it in after all (one in some thousand), it is an
acknowledgement of something that was never said, which is answered the same way (RFC 5961, 5.2).
It carries nothing, so it can change nothing. An end that has no such connection any more answers
with a reset, of a number that nobody expects.

It has a timestamp (RFC 7323, 3.2): where these are in use some systems pass over a segment without
one; where they are not, it is passed over itself. Linux since 6.14 says nothing to an empty segment
whose timestamp *and* number are old (tcp_disordered_ack_check), so there are two with timestamps
half the circle apart: whatever time it is, to one of them it is old, and to the other it is not.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from gateway.takeover import ipv4

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.takeover.connections import Connection

_TCP = struct.Struct("!HHIIBBHHH")
"""Ports, sequence and acknowledgement numbers, length, flags, window, checksum, urgent."""
_ACK = 0x10
_WINDOW = 0xFFFF
_TIMESTAMP = struct.Struct("!BBBBII")
_OPTION = 1, 1, 8, 10
"""Two of padding, the option's kind and its length."""
_TIMES = 0, 1 << 31
_WORDS = (_TCP.size + _TIMESTAMP.size) // 4
_PSEUDO = struct.Struct("!4s4sBBH")


def back(connection: Connection) -> bytes:
    """The connection as its host's segments have it (`Kick.connection`)."""
    host, client = connection.host.packed, connection.client.packed
    return ipv4.ends(host, client, connection.host_port, connection.port)


def questions(connection: Connection, number: int) -> Iterator[bytes]:
    """Whole IPv4 packets: to the client as if from the host, and to the host as if from it.

    `number` is 32 bits of chance.
    """
    client = connection.client.packed, connection.port
    host = connection.host.packed, connection.host_port
    for time in _TIMES:
        yield _segment(host, client, number, time)
        yield _segment(client, host, number, time)


def _segment(source: tuple[bytes, int], to: tuple[bytes, int], number: int, time: int) -> bytes:
    (address, port), (there, door) = source, to
    options = _TIMESTAMP.pack(*_OPTION, time, 0)

    def tcp(checksum: int) -> bytes:
        head = _TCP.pack(port, door, number, number, _WORDS << 4, _ACK, _WINDOW, checksum, 0)
        return head + options

    length = len(tcp(0))
    pseudo = _PSEUDO.pack(address, there, 0, ipv4.TCP, length)
    return ipv4.header(address, there, ipv4.TCP, length) + tcp(ipv4.checksum(pseudo + tcp(0)))
