"""Whether a gateway admits a key, asked by handshake again and again, from a port of its own.

A client's packets all go to one gateway. Whether another one would still let the same key in is
asked here, beside the client's own traffic: each knock is a handshake's first message, each answer
that checks out (`bench.initiation`) says that the key is admitted there. The handshake is never
completed, so neither gateway's session of that client changes.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from bench.echoes import Echoes
from bench.initiation import Identity, Pending, answered_index, answers, initiation
from lab import netns

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERY = 0.05
"""Seconds between two knocks at one door. A gateway ignores a peer's initiations that come less
than 20 ms apart (wireguard-go, HandshakeInitationRate)."""

KEPT = 64
"""Knocks of one door whose answer is waited for."""

_JOIN = 5.0


@dataclass
class Door:
    """One way to one gateway: a source port that the load balancer maps to it."""

    namespace: str
    port: int
    endpoint: tuple[str, int]
    server: str
    """Its public key."""
    echoes: Echoes = field(default_factory=Echoes)
    """Of the identity that is knocking now."""
    identity: Identity | None = None
    plug: socket.socket | None = None
    due: float = 0.0
    pending: dict[int, tuple[int, Pending]] = field(default_factory=dict)
    """Sender index -> the knock's number, and what its answer is checked with."""


class Knocker:
    """Knocks at doors from a thread of its own, while the context lasts."""

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._lock = threading.Lock()
        self._doors: list[Door] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="knocker", daemon=True)
        self._index = 0

    def __enter__(self) -> Self:
        """Start; nobody knocks yet."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and close all doors."""
        self._ended.set()
        self._thread.join(_JOIN)
        for door in list(self._doors):
            self.leave(door)

    def knock(self, door: Door, identity: Identity) -> None:
        """Knock with this identity from now on; what was heard of another is forgotten."""
        with netns.inside(door.namespace):
            plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        plug.setblocking(False)
        try:
            plug.bind(("0.0.0.0", door.port))  # noqa: S104 - in the client's namespace
        except OSError:
            plug.close()
            raise
        self.leave(door)
        with self._lock:
            door.plug, door.identity, door.due = plug, identity, time.monotonic()
            door.echoes, door.pending = Echoes(), {}
            self._doors.append(door)

    def leave(self, door: Door) -> None:
        """Knock no more there; what was heard stays."""
        with self._lock:
            if door in self._doors:
                self._doors.remove(door)
            if door.plug is not None:
                door.plug.close()
                door.plug = None

    def _run(self) -> None:
        while not self._ended.is_set():
            with self._lock:
                doors = [door for door in self._doors if door.plug is not None]
                for door in doors:
                    self._send(door)
                self._hear(doors)
                now = time.monotonic()
                pause = min((door.due - now for door in doors), default=self._every)
            # Outside the lock, so that doors can come and go; the sockets hold what comes meanwhile
            self._ended.wait(min(max(pause, 0.001), 0.005))

    def _send(self, door: Door) -> None:
        now = time.monotonic()
        if now < door.due or door.identity is None or door.plug is None:
            return
        door.due = max(door.due + self._every, now)
        self._index += 1
        pending = initiation(door.identity, door.server, self._index, time.time_ns())
        number = len(door.echoes.sent)
        door.pending[self._index] = (number, pending)
        if len(door.pending) > KEPT:
            door.pending.pop(next(iter(door.pending)))
        door.echoes.send(number, time.monotonic())
        with contextlib.suppress(OSError):
            door.plug.sendto(pending.message, door.endpoint)

    @staticmethod
    def _hear(doors: Sequence[Door]) -> None:
        plugs = {door.plug: door for door in doors if door.plug is not None}
        ready, _, _ = select.select(list(plugs), [], [], 0)
        for plug in ready:
            door = plugs[plug]
            with contextlib.suppress(BlockingIOError, ConnectionError):
                while True:
                    message = plug.recv(2048)
                    at = time.monotonic()
                    known = door.pending.get(answered_index(message) or 0)
                    if known is not None and answers(message, known[1]):
                        door.echoes.hear(known[0], at)
