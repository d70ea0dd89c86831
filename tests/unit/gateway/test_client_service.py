"""The service for clients over real sockets: what it answers, and who may hold it up."""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import pytest

from gateway.client_service import LARGEST_REQUEST, PER_CLIENT, ClientService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 10.0


@pytest.fixture(autouse=True)
def nothing_leaves_the_process() -> None:
    """Connections are what is tested here; they stay on the loopback."""


@pytest.fixture
def serve() -> Iterator[Callable[..., ClientService]]:
    """Start services; they end with the test."""
    with ExitStack() as stack:

        def start(**options: float) -> ClientService:
            service = ClientService("127.0.0.1", 0, _answer, **options)  # ty: ignore[invalid-argument-type]
            stack.callback(service.stop)
            return service.start()

        yield start


def _answer(method: str, path: str) -> tuple[int, bytes]:
    if path == "/broken":
        raise RuntimeError("on purpose")
    return 200, json.dumps({"method": method, "path": path}).encode()


def ask(service: ClientService, path: str = "/v1/server", source: str = "127.0.0.1") -> object:
    link = http.client.HTTPConnection(
        "127.0.0.1", service.port, timeout=LIMIT, source_address=(source, 0)
    )
    with closing(link):
        link.request("GET", path)
        with link.getresponse() as answer:
            assert answer.status == 200
            assert answer.getheader("Content-Type") == "application/json"
            return json.loads(answer.read())


def connect(service: ClientService, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), LIMIT, (source, 0))


def first_line(link: socket.socket) -> bytes:
    with link.makefile("rb") as lines:
        return lines.readline()


def ended(link: socket.socket) -> bool:
    """Await that the other side closes; false if it sends something instead."""
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def eventually(what: str, seen: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not seen():
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


def test_it_answers_each_request_and_closes(serve: Callable[..., ClientService]) -> None:
    service = serve()
    for _ in range(3 * PER_CLIENT):
        assert ask(service) == {"method": "GET", "path": "/v1/server"}
    eventually("all closed", lambda: service.connections == 0)


def test_a_request_may_come_in_pieces(serve: Callable[..., ClientService]) -> None:
    with connect(serve()) as link:
        for piece in (b"GET /v1/ser", b"ver HTTP/1.1\r\nHost: x\r\n", b"\r\n"):
            link.sendall(piece)
            time.sleep(0.02)  # so that they are read one by one, as a slow network brings them
        assert first_line(link) == b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("first", [b"", b"GET /v1/server HTTP/1.1\r\n"])
def test_who_does_not_finish_the_request_in_time_is_cut_off(
    serve: Callable[..., ClientService], first: bytes
) -> None:
    with connect(serve(patience=0.2)) as link:
        link.sendall(first)
        assert ended(link)


def test_who_sends_too_much_is_cut_off(serve: Callable[..., ClientService]) -> None:
    with connect(serve(patience=LIMIT)) as link:
        link.sendall(b"GET / HTTP/1.1\r\nX: " + b"y" * LARGEST_REQUEST)
        assert ended(link)


def test_what_is_not_http_is_told_so(serve: Callable[..., ClientService]) -> None:
    with connect(serve()) as link:
        link.sendall(b"\x16\x03\x01\r\n\r\n")
        assert first_line(link) == b"HTTP/1.1 400 Bad Request\r\n"


def test_a_client_that_holds_connections_open_delays_nobody_else(
    serve: Callable[..., ClientService],
) -> None:
    service = serve(patience=6 * LIMIT)
    with ExitStack() as held:
        for number in range(PER_CLIENT):
            held.enter_context(connect(service))
            eventually("held", lambda number=number: service.connections == number + 1)
        assert ended(held.enter_context(connect(service))), "one more than a client may have"
        began = time.monotonic()
        assert ask(service, source="127.0.0.2")
        assert time.monotonic() - began < 1.0


def test_when_all_connections_are_held_the_oldest_gives_way(
    serve: Callable[..., ClientService],
) -> None:
    service = serve(patience=LIMIT, connections=2)
    with connect(service, "127.0.0.2") as oldest, connect(service, "127.0.0.3"):
        eventually("both held", lambda: service.connections == 2)
        assert ask(service)
        assert ended(oldest)


def test_a_fault_in_one_answer_is_not_the_end(
    serve: Callable[..., ClientService], caplog: pytest.LogCaptureFixture
) -> None:
    service = serve(patience=0.2)
    with connect(service) as link:
        link.sendall(b"GET /broken HTTP/1.1\r\n\r\n")
        assert ended(link)
    assert ask(service)
    assert "on purpose" in caplog.text


def test_it_listens_on_an_address_that_is_not_there_yet() -> None:
    service = ClientService("198.51.100.77", 0, _answer)
    assert service.port
    service.start().stop()


def test_an_address_that_another_has_is_an_error_and_leaves_no_socket() -> None:
    first = ClientService("127.0.0.1", 0, _answer).start()
    with pytest.raises(OSError, match="in use"):
        ClientService("127.0.0.1", first.port, _answer)
    first.stop()
