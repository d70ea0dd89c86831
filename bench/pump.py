"""One TCP connection at full speed between a client and the private host: iperf3's.

iperf3 moves bytes in C with one buffer, so that on a machine with two processors the pump is not
what is measured.
"""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bench.command import NotMeasured
from effects import Failed, Refusal
from lab import host, netns, process

if TYPE_CHECKING:
    from collections.abc import Generator
    from ipaddress import IPv4Address

PORT = 5201
"""iperf3's own."""

UP, DOWN = "up", "down"
"""From the client to the host, and the other way."""

DIRECTIONS = (UP, DOWN)

_SERVER = "bench-iperf3"
_PROGRAM = "iperf3"
_CONNECT = 3000
"""Milliseconds."""
_GRACE = 10.0
"""Seconds that a run may take beyond its own."""


def preflight() -> None:
    """Raise `Refusal` where there is no iperf3."""
    if shutil.which(_PROGRAM) is None:
        raise Refusal(_PROGRAM, "not installed", "run scripts/install")


@contextmanager
def _served() -> Generator[None]:
    """The private host's end, anew for each connection.

    One that has lost its client says for long that it is busy.
    """
    listens = ["ss", "-Hlnt", f"sport = :{PORT}"]
    process.start(
        _SERVER,
        netns.within(host.NAMESPACE, [_PROGRAM, "--server", "--port", str(PORT)]),
        ready=lambda: bool(netns.run_in(host.NAMESPACE, listens).stdout.strip()),
    )
    try:
        yield
    finally:
        process.stop(_SERVER)


def pump(namespace: str, target: IPv4Address, direction: str, seconds: int) -> float:
    """Bits a second that arrived. Raises `NotMeasured` when the connection failed or stalled."""
    command = [
        *(_PROGRAM, "--client", str(target), "--port", str(PORT), "--json"),
        *("--time", str(seconds), "--connect-timeout", str(_CONNECT)),
        *(["--reverse"] if direction == DOWN else []),
    ]
    try:
        with _served():
            done = netns.run_in(namespace, command, timeout=seconds + _GRACE, check=False)
    except Failed as err:
        raise NotMeasured(str(err)) from err
    return rate(done.stdout)


def rate(text: str) -> float:
    """What iperf3's JSON says arrived, bits a second. Raises `NotMeasured`. Pure."""
    try:
        document = json.loads(text)
        if document.get("error"):
            raise NotMeasured(f"iperf3: {document['error']}")
        found = float(document["end"]["sum_received"]["bits_per_second"])
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise NotMeasured(f"iperf3 answered in another form: {text[:200]!r}") from err
    if found <= 0:
        raise NotMeasured("iperf3: nothing arrived")
    return found
