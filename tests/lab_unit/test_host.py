"""The private host's server, in a namespace of its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import host, netns
from lab.process import await_condition

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

PLACE = "gp-t-host"
HERE = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    """The server, until the last test has ended; it ends well when it is told to."""
    netns.create(PLACE)
    command = netns.within(PLACE, [sys.executable, "-m", "lab.host"])
    with subprocess.Popen(command, cwd=ROOT) as child:  # noqa: S603 - our own
        ready = ["ss", "-Hlnt", f"sport = :{host.SOURCE}"]
        await_condition(
            "it listens", lambda: bool(netns.run_in(PLACE, ready).stdout.strip()), timeout=20
        )
        yield
        child.send_signal(signal.SIGTERM)
        assert child.wait(10) == 0
    netns.delete(PLACE)


def connect(port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket to one of its services."""
    with netns.inside(PLACE):
        link = socket.socket(socket.AF_INET, kind)
    link.settimeout(5)
    link.connect((HERE, port))
    return link


def test_http_says_who_asked() -> None:
    """Which is how a client learns under which address the VPC sees it."""
    with connect(host.HTTP) as link:
        link.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
        here = "{}:{}".format(*link.getsockname())
        head, _, body = b"".join(iter(lambda: link.recv(4096), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert json.loads(body) == {"host": "gp-host", "you": here, "path": "/x"}


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_echo_gives_back_what_it_got(kind: socket.SocketKind) -> None:
    """TCP and UDP."""
    with connect(host.ECHO, kind) as link:
        link.sendall(b"hello")
        assert link.recv(100) == b"hello"


def test_the_sink_tells_what_it_got() -> None:
    """So that a sender knows that every byte arrived as it was."""
    data = os.urandom(300_000)
    with connect(host.SINK) as link:
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        answer = link.makefile().readline().split()
    assert answer == [str(len(data)), hashlib.sha256(data).hexdigest()]


@pytest.mark.parametrize("count", [0, 1, len(host.BLOCK), len(host.BLOCK) * 3 + 17])
def test_the_source_sends_as_much_as_asked(count: int) -> None:
    """And always the same."""
    with connect(host.SOURCE) as link:
        link.sendall(f"{count}\n".encode())
        got = b"".join(iter(lambda: link.recv(1 << 16), b""))
    assert got == (host.BLOCK * (count // len(host.BLOCK) + 1))[:count]


def test_nonsense_ends_the_connection_and_not_the_server() -> None:
    """The next one is served."""
    with connect(host.SOURCE) as link:
        link.sendall(b"lots, please\n")
        assert link.recv(100) == b""
    test_http_says_who_asked()
