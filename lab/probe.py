"""One health check, made from inside a namespace: what it found, never an exception."""

from __future__ import annotations

import re
import socket
import time

from lab import health, netns
from lab.health import Check, Outcome

USER_AGENT = "ELB-HealthChecker/2.0"
_REFUSED = Outcome(health.FAILED, "Health checks failed")
_TIMED_OUT = Outcome(health.TIMEOUT, "Request timed out")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LINE_LIMIT = 4096


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
            head = f"GET {check.path} HTTP/1.1\r\nHost: {address}:{port}\r\n"
            link.sendall(f"{head}User-Agent: {USER_AGENT}\r\nConnection: close\r\n\r\n".encode())
            status = _STATUS.match(_first_line(link, end))
    except TimeoutError:
        return _TIMED_OUT
    except OSError:
        return _REFUSED
    return health.judge_status(check.matcher, int(status[1])) if status else _REFUSED


def _first_line(link: socket.socket, end: float) -> bytes:
    """What was sent up to the first end of a line; each receive has what is left of the time."""
    line = b""
    while b"\n" not in line and len(line) < _LINE_LIMIT:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        link.settimeout(left)
        data = link.recv(_LINE_LIMIT)
        if not data:
            break
        line += data
    return line
