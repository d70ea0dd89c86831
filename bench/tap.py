"""What the gateways ask of DynamoDB, read off the wire: in the lab they ask without TLS.

A packet socket in the VPC's namespace sees every packet that comes from a gateway; those to the
cloud's address are put together again and read as HTTP.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Self

from bench.command import NotMeasured
from bench.reads import PREFIX, Call
from lab import netns

if TYPE_CHECKING:
    from collections.abc import Iterator

VPC = "gp-vpc"
CLOUD = IPv4Address("169.254.170.2")
PORT = 80

_ETH_P_IP = 0x0800
_PACKET_OUTGOING = 4
_TCP = 6
_TCP_HEAD = struct.Struct("!HHIIBB")
_WHOLE = 1 << 16
_ROOM = 1 << 25
"""Bytes; the answers to two gateways that read ten thousand peers come past as well."""
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_SYN = 0x02
EARLY = 64
"""Segments of a connection that may wait for one in front of them."""
MISSED = "a packet between a gateway and the cloud was missed"
_METHODS = (b"POST ", b"GET ", b"PUT ", b"HEAD ", b"DELETE ")
_JOIN = 5.0


@dataclass
class Stream:
    """One direction of a TCP connection, as requests. Pure."""

    expected: int | None = None
    """The sequence number of the next byte; None until a request has begun."""
    buffer: bytes = b""
    early: dict[int, bytes] = field(default_factory=dict)
    """Segments that came before the one in front of them: two processors do not wait for each
    other."""

    def feed(self, sequence: int, data: bytes) -> list[tuple[bytes, bytes]]:
        """Requests (head, body) that this segment completes.

        What was seen before is passed over; `NotMeasured` when something is missing for good.
        """
        if self.expected is None:
            if not data.startswith(_METHODS):
                return []  # in the middle of a request: the next one has a beginning
            self.expected = sequence
        self.early[sequence] = data
        if len(self.early) > EARLY:
            raise NotMeasured(MISSED)
        while (place := self._next(self.expected)) is not None:
            fresh = self.early.pop(place)[_distance(place, self.expected) :]
            self.expected = (self.expected + len(fresh)) % (1 << 32)
            self.buffer += fresh
        return list(self._requests())

    def _next(self, expected: int) -> int | None:
        return next((place for place in self.early if _distance(place, expected) >= 0), None)

    def _requests(self) -> Iterator[tuple[bytes, bytes]]:
        while b"\r\n\r\n" in self.buffer:
            head, _, rest = self.buffer.partition(b"\r\n\r\n")
            size = int(header(head, b"content-length") or 0)
            if len(rest) < size:
                return
            self.buffer = rest[size:]
            yield head, rest[:size]


def _distance(place: int, expected: int) -> int:
    """Bytes by which a segment begins before the one that is due; below 0: behind it."""
    return (expected - place + (1 << 31)) % (1 << 32) - (1 << 31)


def header(head: bytes, name: bytes) -> bytes:
    """The value of a header, empty if it is not there."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


def call_of(head: bytes, body: bytes) -> Call | None:
    """The call of DynamoDB that a request makes; None if it is of another service."""
    target = header(head, b"x-amz-target").decode()
    if not target.startswith(PREFIX):
        return None
    return Call(target.removeprefix(PREFIX), json.loads(body))


@dataclass(frozen=True)
class Heard:
    """A call, who made it, and when."""

    gateway: IPv4Address
    at: float
    call: Call


@dataclass
class Tap:
    """Listens while the context lasts."""

    heard: list[Heard] = field(default_factory=list)
    _streams: dict[tuple[IPv4Address, int], Stream] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None
    _error: Exception | None = None

    def __enter__(self) -> Self:
        """Begin."""
        with netns.inside(VPC):
            plug = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_IP))
        plug.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        plug.settimeout(0.2)
        self._thread = threading.Thread(target=self._run, args=(plug,), name="tap", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_JOIN)

    def calls(self, gateway: IPv4Address, begin: float, end: float) -> list[Call]:
        """What a gateway asked between these moments. Raises what went wrong while listening."""
        if self._error is not None:
            raise self._error
        return [
            one.call for one in list(self.heard) if one.gateway == gateway and begin <= one.at < end
        ]

    def check(self) -> None:
        """After the end: raise `NotMeasured` if a request was not heard as a whole."""
        if self._error is not None:
            raise self._error
        if any(stream.early for stream in self._streams.values()):
            raise NotMeasured(MISSED)

    def _run(self, plug: socket.socket) -> None:
        with plug:
            while not self._ended.is_set():
                with contextlib.suppress(TimeoutError):
                    packet, address = plug.recvfrom(_WHOLE)
                    if address[2] != _PACKET_OUTGOING:
                        self.take(packet)

    def take(self, packet: bytes) -> None:
        """Take in one packet."""
        segment = segment_of(packet)
        if segment is None or self._error is not None:
            return
        source, port, sequence, opens, data = segment
        if opens:
            self._streams[source, port] = Stream((sequence + 1) % (1 << 32))
            return
        stream = self._streams.setdefault((source, port), Stream())
        try:
            for head, body in stream.feed(sequence, data):
                call = call_of(head, body)
                if call is not None:
                    self.heard.append(Heard(source, time.monotonic(), call))
        except (NotMeasured, ValueError) as err:
            self._error = NotMeasured(str(err))


def segment_of(packet: bytes) -> tuple[IPv4Address, int, int, bool, bytes] | None:
    """Source, port, sequence number, whether it opens a connection, and data of a TCP segment to
    the cloud; None if it is none, or says nothing."""
    start = (packet[0] & 0x0F) * 4
    if packet[9] != _TCP or packet[16:20] != CLOUD.packed:
        return None
    port, to, sequence, _, offset, flags = _TCP_HEAD.unpack_from(packet, start)
    opens = bool(flags & _SYN)
    data = packet[start + (offset >> 4) * 4 : struct.unpack_from("!H", packet, 2)[0]]
    if to != PORT or not (data or opens):
        return None
    return IPv4Address(packet[12:16]), port, sequence, opens, data
