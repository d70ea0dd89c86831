"""The two HTTP servers: health for the load balancer, metrics for Prometheus. Effects.

They read the published status only, in threads of their own: a slow reader holds nothing up.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from gateway.status import Status

Page = tuple[int, str, bytes]
"""HTTP status, content type, body."""

JSON, TEXT = "application/json", "text/plain; version=0.0.4; charset=utf-8"


def health_page(path: str, status: Status, now: float) -> Page:
    """The answer to a health check; `now` in monotonic seconds. Pure."""
    verdicts = {f"/healthz/{slot}": verdict for slot, verdict in status.verdicts.items()}
    if path not in verdicts:
        return HTTPStatus.NOT_FOUND, JSON, b'{"error": "paths are /healthz/0 and /healthz/1"}\n'
    reasons = list(verdicts[path].reasons)
    if status.stuck(now):
        reasons.append(f"the agent has been stuck for {now - status.at:.0f} s")
    code = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    body = {"healthy": not reasons, "reasons": reasons, "faults": status.faults}
    return code, JSON, (json.dumps(body) + "\n").encode()


class Server(ThreadingHTTPServer):
    """One port that answers GET with what `answer(path)` returns."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int, answer: Callable[[str], Page]) -> None:
        super().__init__(("", port), _handler(answer))
        self._thread = threading.Thread(
            target=self.serve_forever, name=f"http-{self.server_port}", daemon=True
        )

    def start(self) -> Server:
        """Answer from now on."""
        self._thread.start()
        return self

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever has hung up before the answer is no error of ours: a load balancer does that."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Close the port."""
        self.shutdown()
        self.server_close()


def _handler(answer: Callable[[str], Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 5.0
        protocol_version = "HTTP/1.0"
        server_version, sys_version = "gatepair", ""

        def do_GET(self) -> None:
            code, kind, body = answer(self.path.partition("?")[0])
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's
            """Not a line for every health check."""

    return Handler


def health_server(port: int, status: Callable[[], Status]) -> Server:
    """Answers /healthz/0 and /healthz/1."""
    return Server(port, lambda path: health_page(path, status(), time.monotonic()))


def metrics_server(port: int, pages: Mapping[str, Callable[[], bytes]]) -> Server:
    """Answers with the page of a path."""

    def answer(path: str) -> Page:
        if path not in pages:
            known = " and ".join(pages)
            return HTTPStatus.NOT_FOUND, TEXT, f"paths are {known}\n".encode()
        return HTTPStatus.OK, TEXT, pages[path]()

    return Server(port, answer)
