"""The one service that clients reach on a gateway: small read-only HTTP on one thread. Effects.

Whoever is slow, silent or many costs a socket for a few seconds and nothing else: connections are
few, each has a deadline, and each client has a handful. How often one may ask is the packet
filter's.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

CONNECTIONS = 128
"""At one time; one more ends the oldest, which has had the most of its time."""

PER_CLIENT = 4
"""At one time from one address; WireGuard has checked that the address is the client's own."""

PATIENCE = 3.0
"""Seconds from the connection to the end of the answer."""

LARGEST_REQUEST = 2048
"""Bytes; the helper's has under 200."""

BACKLOG = 64

_END = b"\r\n\r\n"
_WORDS = 3
"""In the first line of a request: method, path, protocol."""

_FREEBIND = getattr(socket, "IP_FREEBIND", 15)
"""Of linux/in.h: bind to an address that is not there yet; the interface comes and goes."""


@dataclass(eq=False)
class Connection:
    """One client's request on its way."""

    socket: socket.socket
    client: str
    deadline: float
    asked: bytearray = field(default_factory=bytearray)
    to_send: bytes = b""


class ClientService:
    """Answers GET by `answer(method, path) -> (HTTP status, JSON body)`."""

    def __init__(
        self,
        address: str,
        port: int,
        answer: Callable[[str, str], tuple[int, bytes]],
        *,
        patience: float = PATIENCE,
        connections: int = CONNECTIONS,
    ) -> None:
        self._answer, self._patience, self._most = answer, patience, connections
        self._selector = selectors.DefaultSelector()
        self._open: dict[Connection, None] = {}  # in the order they came
        self._ended = threading.Event()
        self._listener = _listen(address, port)
        self._waker, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="client service", daemon=True)

    @property
    def port(self) -> int:
        """The one it listens on."""
        return self._listener.getsockname()[1]

    @property
    def connections(self) -> int:
        """How many there are now."""
        return len(self._open)

    def start(self) -> ClientService:
        """Answer from now on."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Close everything."""
        self._ended.set()
        self._waker.send(b"\0")
        self._thread.join(timeout=5.0)
        for connection in list(self._open):
            self._close(connection)
        for plug in (self._listener, self._waker, self._woken):
            plug.close()
        self._selector.close()

    # -------------------------------------------------------------- the loop

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._turn()
            except Exception:
                # It must not end for as long as the agent lives, and not spin either
                log.exception("client service")
                self._ended.wait(1.0)

    def _turn(self) -> None:
        for key, _ in self._selector.select(timeout=self._pause()):
            if key.fileobj is self._listener:
                self._accept()
            elif key.data in self._open:  # it may have been ended for a newer one
                self._serve(key.data)
        now = time.monotonic()
        for connection in [one for one in self._open if one.deadline <= now]:
            self._close(connection)

    def _pause(self) -> float | None:
        """Until the next deadline; None while nobody is there."""
        oldest = next(iter(self._open), None)
        return None if oldest is None else max(0.0, oldest.deadline - time.monotonic())

    def _accept(self) -> None:
        try:
            plug, (client, *_) = self._listener.accept()
        except OSError:  # gone again, or no descriptor is left
            self._close_oldest()
            return
        plug.setblocking(False)
        if sum(one.client == client for one in self._open) >= PER_CLIENT:
            plug.close()
            return
        if len(self._open) >= self._most:
            self._close_oldest()
        connection = Connection(plug, client, time.monotonic() + self._patience)
        self._open[connection] = None
        self._selector.register(plug, selectors.EVENT_READ, connection)

    def _serve(self, connection: Connection) -> None:
        try:
            done = self._read(connection) if not connection.to_send else self._write(connection)
        except BlockingIOError:
            return
        except OSError:
            done = True
        if done:
            self._close(connection)

    def _read(self, connection: Connection) -> bool:
        """Take what has come, and answer a whole request; whether the connection is over."""
        got = connection.socket.recv(LARGEST_REQUEST)
        connection.asked += got
        if _END in connection.asked:
            connection.to_send = self._respond(bytes(connection.asked))
            self._selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
            return self._write(connection)
        return not got or len(connection.asked) >= LARGEST_REQUEST

    def _write(self, connection: Connection) -> bool:
        connection.to_send = connection.to_send[connection.socket.send(connection.to_send) :]
        return not connection.to_send

    def _respond(self, request: bytes) -> bytes:
        line = request.partition(b"\r\n")[0].decode("ascii", "replace").split(" ")
        if len(line) != _WORDS or not line[2].startswith("HTTP/1."):
            return _response(HTTPStatus.BAD_REQUEST, b'{"error": "not an HTTP/1 request"}\n')
        return _response(*self._answer(line[0], line[1]))

    def _close_oldest(self) -> None:
        for connection in list(self._open)[:1]:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        self._open.pop(connection, None)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IP, _FREEBIND, 1)
        listener.bind((address, port))
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def _response(status: int, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body
