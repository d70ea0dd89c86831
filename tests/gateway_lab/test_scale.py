"""10,000 peers: how long until they are in force, and what they cost when nothing happens."""

from __future__ import annotations

import base64
import os
import resource
import secrets
import sys
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import Bed, await_true, standing

from effects import run
from registry.items import GENERATION_KEY, Head, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

POOL = IPv4Network("100.96.0.0/16")
PEERS = 10_000
IDLE = float(os.environ.get("IDLE", "60"))
"""Seconds over which the idle agent is watched."""

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(400)]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    with standing(tmp_path) as ready:
        ready.control(7)
        fill(ready)
        yield ready


def fill(bed: Bed) -> None:
    """The peers, every third one narrowed to three destinations."""
    rules = ("10.20.3.0/24:tcp/5432", "10.20.4.0/24:icmp", "10.20.5.7/32")
    items = [
        Peer(
            name=f"peer-{number:05d}",
            # 31 bytes: the highest bit of a public key is never set
            public_key=base64.b64encode(secrets.token_bytes(31) + b"\x01").decode(),
            address=POOL[number + 2],
            owner=f"person{number}@example.com",
            created="2026-01-01T00:00:00Z",
            allow=() if number % 3 else rules,
            generation=number + 1,
        ).to_item()
        for number in range(PEERS)
    ]
    with bed.aws("dynamodb") as dynamodb:
        for start in range(0, PEERS, 25):
            some = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            dynamodb.batch_write_item(RequestItems={"registry": some})
        head = {**GENERATION_KEY, **Head(PEERS, "an-epoch", None).to_item()}
        dynamodb.put_item(TableName="registry", Item=head)


def cpu(pid: int) -> tuple[float, float]:
    """Seconds of a process, and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return (
        (int(fields[11]) + int(fields[12])) / ticks,
        (int(fields[13]) + int(fields[14])) / ticks,
    )


def rss(pid: int) -> float:
    """MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_ten_thousand_peers(bed: Bed, capsys: pytest.CaptureFixture[str]) -> None:
    bed.start_agent()
    assert bed.agent is not None
    pid = bed.agent.pid
    await_true("wg0", bed.interfaces, timeout=60)
    up = time.monotonic()
    applied = lambda: bed.metric("gatepair_applied_generation")  # noqa: E731
    await_true("applied", lambda: applied() == PEERS, timeout=60)
    boot_to_applied = time.monotonic() - up
    time.sleep(5)
    before, at = cpu(pid), time.monotonic()
    time.sleep(IDLE)
    after, seconds = cpu(pid), time.monotonic() - at
    own, children = ((b - a) / seconds * 100 for a, b in zip(before, after, strict=True))
    resident = rss(pid)

    private = run(["wg", "genkey"]).stdout
    public = run(["wg", "pubkey"], stdin=private).stdout.strip()
    began = time.monotonic()
    bed.add_peer("one-more", public, POOL)
    await_true("one more", lambda: applied() == PEERS + 1)
    add = time.monotonic() - began
    began = time.monotonic()
    bed.change_peer("one-more")
    await_true("one less", lambda: applied() == PEERS + 2)
    remove = time.monotonic() - began

    with capsys.disabled():
        sys.stderr.write(
            f"\n{boot_to_applied=:.1f} s, {resident=:.0f} MB, idle CPU {own:.2f} % + "
            f"{children:.2f} % in children, {add=:.2f} s, {remove=:.2f} s, "
            f"RSS after {rss(pid):.0f} MB\n"
        )
    assert boot_to_applied <= 20
    assert resident <= 100
    assert own + children <= 2
    assert add <= 3
    assert remove <= 3
