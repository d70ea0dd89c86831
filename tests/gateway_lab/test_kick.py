"""TCP that has stalled, told that the path is back: what the kernels at both ends make of it.

The rules, the report and the raw socket are a gateway's; the tunnel is a plain link.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import await_true
from gateway_lab.routed_pair import (
    CLIENT,
    FIRST,
    HOST,
    POOL,
    SECOND,
    Pair,
    passes,
)

from effects import run
from gateway.access import TABLE
from gateway.connections import conntrack, events
from gateway.takeover import ipv4, rules
from gateway.takeover.connections import Connection
from gateway.takeover.nflog import Nflog
from gateway.takeover.resume import ASK_AFTER, Resumption, Sender
from lab.netns import inside

if TYPE_CHECKING:
    from collections.abc import Generator

DOUBLED = 4
"""Retries after 0.2, 0.6, 1.4 and 3 s: the next one would come 3.2 s later."""
BACKOFF_AT = 4
"""Of struct tcp_info, linux/tcp.h: tcpi_backoff."""
AT_ONCE, ALONE = 0.5, 1.5
"""Seconds: with the kick it was 0.01 s, without 3.2."""
CUT = "table inet cut { chain cut { type filter hook forward priority -300; policy drop; }; }"

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]


def nft(namespace: str, text: str) -> None:
    with inside(namespace):
        run(["nft", "-f", "-"], stdin=text)


def backoff(plug: socket.socket) -> int:
    return plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[BACKOFF_AT]


@contextmanager
def kicking(sent: list[bytes], *known: Connection) -> Generator[None]:
    """The second gateway does what the takeover thread does there; `known` were told to it."""
    with inside(SECOND):
        ears = Nflog((rules.STALLED,))
    sender, over = Sender(), threading.Event()

    def send(packet: bytes) -> None:
        sent.append(packet)
        sender(packet)

    def work() -> None:
        resumption = Resumption(send, open_of=lambda client: known if client == CLIENT else ())
        resumption.pool = POOL
        with inside(SECOND):
            resumption.arrived(CLIENT)
            for text in rules.resume(TABLE, resumption.unshown):
                run(["nft", "-f", "-"], stdin=text)
            ready.set()
            while not over.is_set():
                pause = max(0.0, min(0.1, resumption.next_ask - time.monotonic()))
                select.select([ears], [], [], pause)
                resumption.ask()
                for group, packet in ears.read():
                    assert group == rules.STALLED
                    assert resumption.segment(packet)

    ready = threading.Event()
    worker = threading.Thread(target=work)
    worker.start()
    try:
        assert ready.wait(5)
        yield
    finally:
        over.set()
        worker.join(5)
        ears.close()
        sender.close()


def stall(*stalled: socket.socket) -> None:
    """They have said something in vain, and tried again and again; now the path is back."""
    for gateway in (FIRST, SECOND):
        nft(gateway, CUT)
    for one in stalled:
        one.sendall(b"late\n")
    await_true("four retries", lambda: all(backoff(one) == DOUBLED for one in stalled), 20)
    for gateway in (FIRST, SECOND):
        nft(gateway, "delete table inet cut")


def waited(stalled: socket.socket, other: socket.socket) -> float:
    """Seconds from a line of the other end until that of the stalled one is there."""
    began = time.monotonic()
    other.sendall(b"line\n")
    assert stalled.recv(5) == b"line\n"
    other.settimeout(10)
    assert other.recv(5) == b"late\n"
    return time.monotonic() - began


@pytest.mark.parametrize("client_stalls", [True, False], ids=["client", "host"])
def test_an_end_that_has_stalled_goes_on_at_the_first_word_of_the_other(
    lane: Pair, client_stalls: bool
) -> None:
    sent: list[bytes] = []
    near, far = lane.connect(8000)
    stalled, other = (near, far) if client_stalls else (far, near)
    stall(stalled)
    with kicking(sent):
        took = waited(stalled, other)
    assert sent
    assert took < AT_ONCE
    assert backoff(stalled) == 0


@pytest.mark.parametrize("client_stalls", [True, False], ids=["client", "host"])
def test_without_it_the_end_waits_for_its_own_timer(lane: Pair, client_stalls: bool) -> None:
    near, far = lane.connect(8000)
    stalled, other = (near, far) if client_stalls else (far, near)
    stall(stalled)
    assert waited(stalled, other) > ALONE


def test_a_connection_that_is_well_takes_no_harm_and_is_shown_twice_a_second(lane: Pair) -> None:
    sent: list[bytes] = []
    near, far = lane.connect(8000)
    with kicking(sent):
        began = time.monotonic()
        for _ in range(50):
            near.sendall(b"x" * 10_000)
            far.sendall(b"y" * 10_000)
            for end in (near, far):
                got = 0
                while got < 10_000:
                    got += len(end.recv(65536))
        seconds = time.monotonic() - began
    assert 7 <= len(sent) <= 7 * 2 * 2 * (seconds + 2)
    assert {IPv4Address(packet[16:20]) for packet in sent} >= {CLIENT}


def known(near: socket.socket, far: socket.socket) -> Connection:
    return Connection(CLIENT, near.getsockname()[1], HOST, far.getsockname()[1])


@pytest.mark.parametrize("stalls", ["client", "host", "both"])
def test_ends_that_are_asked_go_on_although_nobody_says_anything(lane: Pair, stalls: str) -> None:
    near, far = lane.connect(8000)
    ends = {"client": (near,), "host": (far,), "both": (near, far)}[stalls]
    stall(*ends)
    began = time.monotonic()
    with kicking([], known(near, far)):
        for one in ends:
            other = far if one is near else near
            other.settimeout(10)
            assert other.recv(5) == b"late\n"
        took = time.monotonic() - began
        assert took < ASK_AFTER + AT_ONCE
    (entry,) = [line for line in lane.second.tracked() if "dport=8000" in line]
    assert f"src={CLIENT} dst={HOST}" in entry, "the gateway's own question opens nothing"


def test_who_is_asked_of_a_connection_that_is_over_and_of_one_that_never_was_takes_no_harm(
    lane: Pair,
) -> None:
    near, far = lane.connect(8000)
    gone = Connection(CLIENT, 40000, HOST, 8000)
    sent: list[bytes] = []
    with kicking(sent, known(near, far), gone):
        # those to the one that is there end; nobody is heard of the other
        await_true("many questions", lambda: len(sent) >= 4 * 8, 15)
        assert passes(near, far)
        assert passes(far, near)
        far.close()
        assert near.recv(5) == b""


def test_a_gateway_knows_its_clients_connections_from_connection_tracking(lane: Pair) -> None:
    near, far = lane.connect(8000)
    with inside(SECOND):
        bodies = list(conntrack.listing(ipv4.TCP))
        everything = list(conntrack.listing())
    found = [one for body in bodies if (one := events.open_tcp(body, POOL))]
    assert [connection for _, connection in found] == [known(near, far)]
    assert found[0][0] > 0
    lane.ping()
    assert len(bodies) <= len(everything)
    near.close()
    far.close()

    def left() -> list[object]:
        with inside(SECOND):
            return [
                one for body in conntrack.listing(ipv4.TCP) if (one := events.open_tcp(body, POOL))
            ]

    await_true("nothing is open", lambda: left() == [], 5)


@pytest.mark.usefixtures("lane")
def test_who_comes_again_is_shown_for_as_long_as_the_first_time() -> None:
    clients = {CLIENT, HOST}

    def left() -> list[int]:
        with inside(SECOND):
            listed = run(["nft", "--json", "list", "set", *TABLE.split(), rules.RESUMED]).stdout
        (found,) = [one["set"] for one in json.loads(listed)["nftables"] if "set" in one]
        return [element["elem"]["expires"] for element in found["elem"]]

    (text,) = rules.resume(TABLE, clients)
    nft(SECOND, text)
    soon = rules.RESUMED_LIFETIME - 2
    await_true("some of the time is over", lambda: max(left()) <= soon, 5)
    nft(SECOND, text)
    assert len(left()) == len(clients)
    assert min(left()) > soon
