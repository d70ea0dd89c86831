"""A gateway loses its power while a client pings through it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from lab_driver import HOST, ROOT, eventually

from lab import paths

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab_driver import LabDriver

LIMIT = 21.0
"""Seconds after the load balancer has noticed. By itself a client begins anew 15 s after its last
answer (WireGuard's KEEPALIVE_TIMEOUT and REKEY_TIMEOUT), which may be before or after the load
balancer has noticed, and again every 5 s; one is to spare."""

_ANSWER = re.compile(r"^\[(\d+\.\d+)\] \d+ bytes from", re.MULTILINE)


@pytest.fixture
def pings(lab: LabDriver, tmp_path: Path) -> Iterator[Path]:
    """What alice's `ping -D` prints, ten a second, from before the test to after it."""
    lab.answered("alice")
    output = tmp_path / "pings"
    words = [str(ROOT / "scripts/lab"), "exec", "alice", "ping", "-n", "-D", "-i", "0.1", HOST]
    with output.open("w") as out, subprocess.Popen(words, stdout=out) as ping:  # noqa: S603
        try:
            yield output
        finally:
            ping.kill()


def answers(pings: Path) -> list[float]:
    """When there was an answer, in seconds since the epoch."""
    return [float(time) for time in _ANSWER.findall(pings.read_text())]


def received(lab: LabDriver, gateway: str, key: str) -> int:
    """Bytes that a gateway has from the peer with this public key."""
    lines = lab.on(gateway, "wg", "show", "all", "transfer").stdout.splitlines()
    return sum(int(line.split()[2]) for line in lines if line.split()[1] == key)


def noticed(gateway: str) -> bool:
    """Whether the load balancer has taken a gateway out."""
    report = json.loads(paths.target_health().read_text())
    states = [targets[gateway]["state"] for targets in report.values() if gateway in targets]
    return "healthy" not in states


@pytest.mark.timeout(1800)
def test_a_client_goes_on_through_the_other_gateway(
    lab: LabDriver, pings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateways = lab.both_healthy()
    key = lab.on("alice", "wg", "show", "alice", "public-key").stdout.strip()
    before = {gateway: received(lab, gateway, key) for gateway in gateways}

    def busy() -> list[str]:
        return [g for g in gateways if received(lab, g, key) > before[g] + 1000]

    (serving,) = eventually("a gateway has alice's pings", busy, within=30)
    lab.lab("kill", serving)
    killed = time.time()
    eventually("the load balancer has noticed", lambda: noticed(serving), within=30, every=0.02)
    detected = time.time()
    eventually(
        "alice has an answer through the other",
        lambda: answers(pings)[-1] > detected,
        within=LIMIT + 10,
        every=0.05,
    )
    last, first = max(pairwise(answers(pings)), key=lambda pair: pair[1] - pair[0])
    assert last < detected < first, "the longest silence is the one that the kill made"
    with capsys.disabled():
        print(  # noqa: T201 - a figure, for whoever runs it
            f"\nsilent {first - last:.1f} s, of which the load balancer took "
            f"{detected - killed:.1f} s to notice; silence minus detection {first - detected:.1f} s"
        )
    assert first - detected < LIMIT
    assert received(lab, (set(gateways) - {serving}).pop(), key) > 0
