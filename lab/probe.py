"""One health check, made from inside a namespace: what it found, never an exception."""

from __future__ import annotations

import http.client
import socket
import time
from typing import TYPE_CHECKING

from lab import health, netns
from lab.health import Check, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

USER_AGENT = "ELB-HealthChecker/2.0"
_REFUSED = Outcome(health.FAILED, "Health checks failed")
_TIMED_OUT = Outcome(health.TIMEOUT, "Request timed out")


def probe(namespace: str, source: str, address: str, port: int, check: Check) -> Outcome:
    """Check `address:port` from `source` in `namespace` within `check.timeout` seconds in all."""
    end = time.monotonic() + check.timeout
    try:
        with netns.inside(namespace):
            link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        with link:
            link.bind((source, 0))
            link.settimeout(check.timeout)
            link.connect((address, port))
            if check.protocol == "TCP":
                return Outcome()
            return _ask(link, check, f"{address}:{port}", lambda: end - time.monotonic())
    except TimeoutError:
        return _TIMED_OUT
    except (OSError, http.client.HTTPException):
        return _REFUSED


def _ask(link: socket.socket, check: Check, host: str, left: Callable[[], float]) -> Outcome:
    remaining = left()
    if remaining <= 0:
        raise TimeoutError
    link.settimeout(remaining)
    asked = http.client.HTTPConnection(host)
    asked.sock = link
    asked.request("GET", check.path, headers={"User-Agent": USER_AGENT, "Connection": "close"})
    status = asked.getresponse().status
    if left() <= 0:
        raise TimeoutError
    return health.judge_status(check.matcher, status)
