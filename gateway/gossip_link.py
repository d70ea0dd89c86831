"""The gossip socket: datagrams out to the other gateways, genuine and fresh ones in. Effects."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections import Counter
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from gateway.gossip import GARBLED, LARGEST, Frame, Guard, Refused, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Handler = Callable[[Frame, IPv4Address], None]
    """Called in the link's thread; may raise `ValueError` for a body that makes no sense."""

log = logging.getLogger(__name__)

BUFFER = 4 << 20
"""Bytes the kernel keeps for us: a second gateway may tell thousands of things at once."""


class Link:
    """One UDP port. Silent until it has a key and knows whose instance it is."""

    def __init__(
        self,
        port: int,
        boot_id: str,
        sender: Callable[[], str],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._port, self._boot, self._sender, self._wall = port, boot_id, sender, wall
        self._guard = Guard()
        self._handlers: dict[int, Handler] = {}
        self._number, self._numbers = int(wall() * 1000), threading.Lock()
        self._socket: socket.socket | None = None
        self.key: bytes | None = None
        self.counts: Counter[str] = Counter()
        """Datagrams by what became of them: sent, heard, or why they were refused."""
        self.heard_at: dict[str, float] = {}
        """Instance id -> when its last datagram that counts came; monotonic seconds."""

    def on(self, kind: int, handler: Handler) -> None:
        """Give frames of a kind to `handler`."""
        self._handlers[kind] = handler

    @property
    def ready(self) -> bool:
        """Whether it can speak."""
        return self.key is not None and bool(self._sender()) and self._socket is not None

    def start(self) -> None:
        """Open the port and listen from now on."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._socket.bind(("", self._port))
        threading.Thread(target=self._listen, name="gossip-link", daemon=True).start()

    def send(self, kind: int, body: bytes, to: Iterable[IPv4Address]) -> None:
        """To each of these gateways, as far as it can be done; nobody is waited for."""
        key, sender = self.key, self._sender()
        if key is None or not sender or self._socket is None:
            return
        for address in to:
            with self._numbers:
                self._number += 1
                number = self._number
            frame = Frame(
                kind=kind,
                sender=sender,
                boot=self._boot,
                number=number,
                sent=int(self._wall() * 1000),
                body=body,
            )
            try:
                self._socket.sendto(seal(key, frame), (str(address), self._port))
                self.counts["sent"] += 1
            except OSError as err:
                # its network is away; what it lacks is sent again when it is heard of
                self.counts[f"unsent: {os.strerror(err.errno or 0)}"] += 1

    def _listen(self) -> None:
        while self._socket is not None:
            try:
                datagram, (host, _port) = self._socket.recvfrom(LARGEST + 1)
            except OSError as err:
                log.warning("gossip: %s", err)
                time.sleep(0.1)
                continue
            try:
                self.receive(datagram, IPv4Address(host))
            except Refused as err:
                self.counts[err.why] += 1
            except Exception:
                log.exception("gossip")

    def receive(self, datagram: bytes, source: IPv4Address) -> None:
        """Take one datagram. Raises `Refused`."""
        key = self.key
        if key is None:
            return
        frame = unseal(key, datagram)
        if frame.sender == self._sender():
            return
        self._guard.admit(frame, self._wall())
        self.counts["heard"] += 1
        self.heard_at[frame.sender] = self._monotonic()
        handler = self._handlers.get(frame.kind)
        if handler is not None:
            try:
                handler(frame, source)
            except ValueError as err:
                raise Refused(GARBLED) from err
