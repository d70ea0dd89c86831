"""A health check against targets that misbehave, in a namespace of its own."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from lab_unit.balancers import CHECK

from lab import netns
from lab.health import FAILED, MISMATCH, TIMEOUT
from lab.probe import USER_AGENT, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PLACE = "gp-t-probe"
HERE = "127.0.0.1"
QUICK = replace(CHECK, timeout=0.3)


@pytest.fixture
def place() -> Iterator[str]:
    """A namespace with nothing but loopback."""
    netns.create(PLACE)
    yield PLACE
    netns.delete(PLACE)


def serve(answer: bytes, *, drip: float = 0.0) -> tuple[int, list[bytes]]:
    """A target that gives everybody `answer`, a byte each `drip` seconds; its port, what it got."""
    with netns.inside(PLACE):
        listening = socket.create_server((HERE, 0))
    got: list[bytes] = []

    def run() -> None:
        link, _ = listening.accept()
        with listening, link:
            got.append(link.recv(4096))
            try:
                for byte in [answer[i : i + 1] for i in range(len(answer))] if drip else [answer]:
                    link.sendall(byte)
                    time.sleep(drip)
            except OSError:
                return

    threading.Thread(target=run, daemon=True).start()
    return listening.getsockname()[1], got


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", MISMATCH),
        (b"HTTP/1.1 204 Empty\r\n\r\n", MISMATCH),
        (b"SSH-2.0-OpenSSH\r\n", FAILED),
        (b"", FAILED),
    ],
)
def test_the_answer_decides(place: str, answer: bytes, reason: str) -> None:
    """The status has to match, and it has to be HTTP."""
    port, got = serve(answer)
    assert probe(place, HERE, HERE, port, CHECK).reason == reason
    assert got[0].startswith(b"GET /healthz/0 HTTP/1.1\r\n")
    assert USER_AGENT.encode() in got[0]


def test_a_closed_port_fails_at_once_and_a_silent_one_times_out(place: str) -> None:
    """Two reasons, as elbv2 tells them apart."""
    with netns.inside(place):
        silent = socket.create_server((HERE, 0))
        closed = socket.create_server((HERE, 0))
    port = closed.getsockname()[1]
    closed.close()
    assert probe(place, HERE, HERE, port, QUICK).reason == FAILED
    began = time.monotonic()
    assert probe(place, HERE, HERE, silent.getsockname()[1], QUICK).reason == TIMEOUT
    assert time.monotonic() - began < 2
    silent.close()


def test_the_time_limit_is_for_the_whole_check(place: str) -> None:
    """A target that answers a byte at a time does not hold a check open."""
    port, _ = serve(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", drip=0.1)
    began = time.monotonic()
    assert probe(place, HERE, HERE, port, QUICK).reason == TIMEOUT
    assert time.monotonic() - began < 2


def test_a_tcp_check_needs_a_connection_only(place: str) -> None:
    """Nothing is asked."""
    with netns.inside(place):
        silent = socket.create_server((HERE, 0))
    assert probe(place, HERE, HERE, silent.getsockname()[1], replace(QUICK, protocol="TCP")).passed
    silent.close()


def test_an_address_of_nobody_is_no_exception(place: str) -> None:
    """Nor is a namespace that is gone: the balancer goes on."""
    assert probe(place, HERE, "192.0.2.200", 80, QUICK).reason == FAILED
    assert probe("gp-t-none", HERE, HERE, 80, QUICK).reason == FAILED
