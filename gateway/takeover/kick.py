"""A word to TCP that the path is back: an ICMP error that makes it try again at once. Pure.

While a gateway is dead TCP tries after 0.2, 0.6, 1.4 ... 12.6, 25.4 s, so a stall outlasts its
cause by as much again. RFC 6069 (TCP-LCD) has a way out: an ICMP destination unreachable, code net
or host, which quotes the oldest segment that is not acknowledged says that the path was lost, not
that there was congestion; each takes back one doubling of the timer, and once the time is over the
segment is sent again. Linux does so (net/ipv4/tcp_ipv4.c, tcp_v4_err and tcp_ld_RTO_revert; since
2.6.32), if the quoted number is exactly `snd_una`. A segment in the other direction says that
number: it is its acknowledgement.

Who has nothing outstanding, or another number, ignores it. No established connection ends by it:
RFC 1122, 4.2.3.9, calls it a soft error, which may show as the reason if the connection fails for
good later. (A program that has set IP_RECVERR on its socket is told of soft errors at once.)
A quote of the IP header and eight bytes is all that RFC 792 asks for.
"""

from __future__ import annotations

import math
import struct
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple

from gateway.takeover import ipv4

if TYPE_CHECKING:
    from ipaddress import IPv4Network

_FIRST, _LAST = 0.2, 25.0
"""Seconds: Linux's shortest retransmission timer (TCP_RTO_MIN) and the longest that the death of a
gateway drives it to."""

COPIES = math.ceil(math.log2(_LAST / _FIRST))
"""Messages for one segment: as many as there are doublings between the two."""

_TCP = struct.Struct("!HHIIBB")
"""Ports, sequence and acknowledgement numbers, length of the header, flags."""
_TCP_HEADER = 20
_ICMP = struct.Struct("!BBHI")
_QUOTED = struct.Struct("!HHI")
_UNREACHABLE, _HOST = 3, 1
_SYN, _RST, _ACK = 0x02, 0x04, 0x10
_FRAGMENT = 0x3FFF
"""More to come, or not the first."""
ANY = IPv4Address(0)


class Kick(NamedTuple):
    """What to send `COPIES` times: IPv4 and ICMP.

    To a client from the gateways' own tunnel address, which is in every client's AllowedIPs; else
    from `ANY`, which the kernel fills in.
    """

    client: IPv4Address
    """Whose session it takes for that."""
    connection: bytes
    """Of the segment, in its direction."""
    packet: bytes
    """To whoever the segment went to: what that one has sent, and this acknowledges not yet."""
    lost: bytes
    """To whoever has sent the segment, for one that cannot have arrived: the segment itself."""


def kick(segment: bytes, pool: IPv4Network) -> Kick | None:
    """From a TCP segment between a client and anybody, perhaps without its end.

    None for anything else, for fragments, and for segments that acknowledge nothing, open or reset.
    """
    if len(segment) < ipv4.HEADER.size:
        return None
    first, _tos, _length, _id, fragment, _ttl, protocol, _sum, source, to = ipv4.HEADER.unpack_from(
        segment
    )
    at = (first & 15) * 4
    if first >> 4 != 4 or protocol != ipv4.TCP or fragment & _FRAGMENT:  # noqa: PLR2004
        return None
    if at < ipv4.HEADER.size or len(segment) < at + _TCP.size:
        return None
    sport, dport, _number, acknowledged, _size, flags = _TCP.unpack_from(segment, at)
    quoted = segment[: at + _QUOTED.size]
    near, far = IPv4Address(to), IPv4Address(source)
    if flags & (_SYN | _RST | _ACK) != _ACK or not (near in pool or far in pool):
        return None
    answered = ipv4.header(to, source, ipv4.TCP, _TCP_HEADER)
    answered += _QUOTED.pack(dport, sport, acknowledged)
    return Kick(
        near if near in pool else far,
        ipv4.ends(source, to, sport, dport),
        _unreachable(answered, near, pool),
        _unreachable(quoted, far, pool),
    )


def _unreachable(quoted: bytes, told: IPv4Address, pool: IPv4Network) -> bytes:
    icmp = _ICMP.pack(_UNREACHABLE, _HOST, 0, 0) + quoted
    icmp = _ICMP.pack(_UNREACHABLE, _HOST, ipv4.checksum(icmp), 0) + quoted
    teller = pool[1] if told in pool else ANY
    return ipv4.header(teller.packed, told.packed, ipv4.ICMP, len(icmp)) + icmp
