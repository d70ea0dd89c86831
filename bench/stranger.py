"""Somebody on the path: hears a client's packets, and sends them again from a place of his own."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Self

from bench import tunnels
from lab import edge, netns

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from bench.tunnels import Client, Server

INITIATION, TRANSPORT = 1, 4
NAME = "bench-stranger"

_ETH_P_ALL = 0x0003
_UDP = 17
_UDP_HEAD = struct.Struct("!HHHH")
_IP_HEAD = struct.Struct("!BBHHHBBH4s4s")
_TRANSPORT_HEAD = struct.Struct("<B3x4sQ")
_GARBAGE = 16
_JOIN = 5.0


def payload_of(packet: bytes, port: int) -> bytes | None:
    """What a UDP packet (with IPv4 header) to that port carries; None of any other. Pure."""
    start = (packet[0] & 0x0F) * 4 if packet else 0
    if len(packet) < start + _UDP_HEAD.size or packet[9] != _UDP:
        return None
    _, to, size, _ = _UDP_HEAD.unpack_from(packet, start)
    return packet[start + _UDP_HEAD.size : start + size] if to == port else None


def made_up(index: bytes) -> bytes:
    """A transport packet of a session, with nothing in it that could be decrypted."""
    return _TRANSPORT_HEAD.pack(TRANSPORT, index, 1) + os.urandom(_GARBAGE)


def from_elsewhere(source: tuple[str, int], to: tuple[str, int], payload: bytes) -> bytes:
    """An IPv4 packet that says it comes from `source`; the kernel fills in the checksum."""
    size = _UDP_HEAD.size + len(payload)
    head = _IP_HEAD.pack(
        *(0x45, 0, _IP_HEAD.size + size, 0, 0, 64, _UDP, 0),
        *(IPv4Address(source[0]).packed, IPv4Address(to[0]).packed),
    )
    return head + _UDP_HEAD.pack(source[1], to[1], size, 0) + payload


@dataclass
class Overheard:
    """What a client has sent to the server, as UDP payloads in order."""

    packets: list[bytes] = field(default_factory=list)

    def of_kind(self, kind: int) -> list[bytes]:
        """WireGuard's messages of one type."""
        return [one for one in list(self.packets) if one and one[0] == kind]


@contextmanager
def listening(client: Client, to: Server) -> Generator[Overheard]:
    """Hear all that a client sends to the server, on its own link."""
    with netns.inside(client.namespace):
        plug = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        plug.bind(("eth0", _ETH_P_ALL))
    heard, ended = Overheard(), threading.Event()

    def hear() -> None:
        while not ended.is_set():
            if select.select([plug], [], [], 0.1)[0]:
                payload = payload_of(plug.recv(1 << 16), to.port)
                if payload:
                    heard.packets.append(payload)

    thread = threading.Thread(target=hear, name="listening", daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        ended.set()
        thread.join(_JOIN)
        plug.close()


class Stranger:
    """A place on the internet with nothing but an address. Ends with the context."""

    def __init__(self, to: Server) -> None:
        self._to = to

    def __enter__(self) -> Self:
        """Make it."""
        self.place = edge.create_client(NAME)
        return self

    def __exit__(self, *_: object) -> None:
        """Remove it."""
        edge.delete_client(NAME)

    def ports(self, gateways: Sequence[IPv4Address]) -> dict[IPv4Address, int]:
        """A source port for each gateway."""
        return tunnels.find_ports(self.place, self._to, gateways)

    def send(self, packets: Sequence[bytes], port: int, every: float) -> None:
        """One after the other from a source port, so many seconds apart."""
        with self._plug(port) as plug:
            due = time.monotonic()
            for packet in packets:
                time.sleep(max(0.0, due - time.monotonic()))
                plug.sendto(packet, (self._to.address, self._to.port))
                due += every

    @contextmanager
    def repeating(self, packets: Sequence[bytes], port: int, every: float) -> Generator[None]:
        """Over and over, while the context lasts."""
        ended = threading.Event()

        def repeat() -> None:
            with self._plug(port) as plug:
                turn = 0
                while not ended.wait(every):
                    packet = packets[turn % len(packets)]
                    # No buffer left is no reason to end
                    with contextlib.suppress(OSError):
                        plug.sendto(packet, (self._to.address, self._to.port))
                    turn += 1

        thread = threading.Thread(target=repeat, name="repeating", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_JOIN)

    def pretend(self, source: tuple[str, int], packets: Sequence[bytes], every: float) -> None:
        """Send them as if they came from another address, past the NAT."""
        with netns.inside(edge.INTERNET):
            plug = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with plug:
            to = (self._to.address, self._to.port)
            for packet in packets:
                plug.sendto(from_elsewhere(source, to, packet), (to[0], 0))
                time.sleep(every)

    def _plug(self, port: int) -> socket.socket:
        with netns.inside(self.place.namespace):
            plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        plug.bind(("0.0.0.0", port))  # noqa: S104 - in a namespace of the stranger's own
        return plug
