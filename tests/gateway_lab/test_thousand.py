"""A thousand sessions change gateways at the same moment."""

from __future__ import annotations

import selectors
import socket
import statistics
import sys
import time
from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import GATEWAY, POOL, Bed, await_true
from gateway_lab.crowd import PORT, SERVICE, Crowd, crowd
from gateway_lab.noise import INITIATION, RESPONSE, TRANSPORT, Peer, server_key
from gateway_lab.second import SECOND, both
from gateway_lab.test_scale import cpu, rss

from lab.netns import inside
from registry.items import GENERATION_KEY, Head
from registry.items import Peer as Registered

if TYPE_CHECKING:
    from pathlib import Path

SESSIONS = 1000
PACE = 1.0
"""Seconds between a client's packets: the kernel reports no more of a session, and this process has
to have time for a thousand answers."""

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(400)]


class Thousand:
    """The clients: a socket each, all in one namespace, in this one process."""

    def __init__(self, server: bytes, count: int) -> None:
        self.peers = [Peer(server) for _ in range(count)]
        self.plugs: list[socket.socket] = []
        self.ready = selectors.DefaultSelector()
        self.resumed: dict[int, float] = {}
        """When a packet came in a session that the server has begun."""
        self.shaken: set[int] = set()
        self.cookies = 0

    def open(self, namespace: str) -> None:
        with inside(namespace):
            for number in range(len(self.peers)):
                plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                plug.setblocking(False)
                plug.connect((SERVICE, PORT))
                self.plugs.append(plug)
                self.ready.register(plug, selectors.EVENT_READ, number)

    def close(self) -> None:
        for plug in self.plugs:
            plug.close()

    def pump(self, seconds: float) -> None:
        """Answer what comes, for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            for key, _ in self.ready.select(left):
                self._take(key.data, self.plugs[key.data].recv(2048))

    def _take(self, number: int, message: bytes) -> None:
        peer, plug = self.peers[number], self.plugs[number]
        match message[0]:
            case 1:
                assert message[0] == INITIATION
                plug.send(peer.respond(message))
            case 2:
                assert message[0] == RESPONSE
                if peer.finish(message):
                    plug.send(peer.keepalive())
                    self.shaken.add(number)
            case 4:
                assert message[0] == TRANSPORT
                if peer.opens(message):
                    self.resumed.setdefault(number, time.monotonic())
            case _:
                self.cookies += 1

    def shake_hands(self) -> None:
        """With whoever the balancer sends them to; not all at once."""
        end, asked = time.monotonic() + 90, dict[int, float]()
        while len(self.shaken) < len(self.peers):
            now = time.monotonic()
            assert now < end, f"{len(self.shaken)} have a session"
            waiting = [n for n in range(len(self.peers)) if n not in self.shaken]
            for number in waiting[:20]:
                if now - asked.get(number, 0.0) > 2.0:
                    asked[number] = now
                    self.plugs[number].send(self.peers[number].initiate())
            self.pump(0.05)

    def speak(self) -> None:
        """A packet from everybody."""
        for peer, plug in zip(self.peers, self.plugs, strict=True):
            plug.send(peer.keepalive())
        self.pump(1.0)


def register(bed: Bed, keys: list[str]) -> None:
    items = [
        Registered(
            name=f"many-{number:04d}",
            public_key=key,
            address=POOL[number + 1000],
            owner="",
            created="2026-01-01T00:00:00Z",
            generation=number + 1,
        ).to_item()
        for number, key in enumerate(keys)
    ]
    with bed.aws("dynamodb") as dynamodb:
        for start in range(0, len(items), 25):
            some = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            dynamodb.batch_write_item(RequestItems={"registry": some})
        head = {**GENERATION_KEY, **Head(len(keys), "an-epoch", None).to_item()}
        dynamodb.put_item(TableName="registry", Item=head)


def test_a_thousand_sessions_go_on_after_their_gateway_has_died(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with both(tmp_path) as (bed, second, _):
        everybody = Thousand(server_key(bed.wg("show", "wg0", "public-key")), SESSIONS)
        register(bed, [peer.public_key for peer in everybody.peers])
        for gateway in (GATEWAY, SECOND):
            await_true(
                "admitted",
                lambda name=gateway: bed.metric("gatepair_peers", name) >= SESSIONS,
                timeout=40,
            )
        with crowd(bed, 1, POOL) as clients:
            (where,) = clients.clients
            everybody.open(where.namespace)
            try:
                everybody.shake_hands()
                # a session counts from its first packet, and one of those may have been lost
                await_true(
                    "held",
                    lambda: everybody.speak() or bed.metric("gatepair_held_peers") >= SESSIONS,
                    timeout=30,
                )
                await_true(
                    "known", lambda: bed.metric("gatepair_remote_sessions", SECOND) >= SESSIONS
                )
                assert second.agent is not None
                before, own = sum(cpu(second.agent.pid)), time.process_time()
                waited = fail_over(everybody, clients)
                used, own = sum(cpu(second.agent.pid)) - before, time.process_time() - own
                await_true("claimed", lambda: bed.metric("gatepair_held_peers", SECOND) >= SESSIONS)
            finally:
                everybody.close()
        waited.sort()
        with capsys.disabled():
            sys.stderr.write(
                f"\n{len(waited)} of {SESSIONS} sessions: p50 {statistics.median(waited):.2f} s, "
                f"p99 {waited[int(len(waited) * 0.99)]:.2f} s, max {waited[-1]:.2f} s; "
                f"agent {used:.2f} s of CPU, {rss(second.agent.pid):.0f} MB; "
                f"clients {own:.2f} s; {everybody.cookies} cookies\n"
            )
        assert len(waited) == SESSIONS


def fail_over(everybody: Thousand, clients: Crowd) -> list[float]:
    """Seconds from each client's first packet after the flow has moved until it is answered."""
    clients.cut_off(GATEWAY)
    clients.send(clients.clients, SECOND)
    began: dict[int, float] = {}
    everybody.resumed.clear()
    end = time.monotonic() + 30
    while len(everybody.resumed) < SESSIONS and time.monotonic() < end:
        turn = time.monotonic() + PACE
        for number, peer in enumerate(everybody.peers):
            if number not in everybody.resumed:
                began.setdefault(number, time.monotonic())
                everybody.plugs[number].send(peer.keepalive())
        everybody.pump(max(0.01, turn - time.monotonic()))
    return [at - began[number] for number, at in everybody.resumed.items()]
