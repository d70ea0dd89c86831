"""A kernel of one's own with ten clients, the connection log's process, and moto as AWS.

    unshare --net --pid --fork --kill-child python recording_process.py DIRECTORY

Opens 1,000 TCP connections while AWS is away, starts the process again in the middle, brings AWS
up, and prints what was opened and what AWS has then. DIRECTORY holds environment.json and is the
agent's state, with peers in it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import boto3

from effects import run
from gateway import environment
from gateway.connections import conntrack
from gateway.connections.__main__ import serve
from gateway.connections.counts import read
from gateway.metadata import Metadata
from gateway.paths import Paths
from gateway.peer_cache import PeerCache
from gateway.process import end_on_signals, log_to_journal

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
EACH, PORT, MOTO, METADATA, LIMIT = 50, 80, 5097, 1338, 40.0
ELSEWHERE = "10.20.0.20"

RULES = """
table inet tracked {
  chain out { type filter hook output priority 0; ct state new counter; }
}
"""
"""Without a rule that asks for it the kernel tracks nothing."""


def paths(root: Path) -> Paths:
    return Paths(
        environment=root / "environment.json",
        state=root,
        connections=root / "queue",
        connection_counts=root / "counts.json",
    )


def record(root: Path) -> None:
    """The process under test."""
    log_to_journal()
    found = paths(root)
    metadata = Metadata(f"http://127.0.0.1:{METADATA}")
    serve(environment.read(found.environment), found, metadata, end_on_signals())


def spawn(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, *command], stdout=sys.stderr)  # noqa: S603


def await_true(what: str, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {LIMIT:g} s")
        time.sleep(0.05)


def answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2):
            return True
    except OSError:
        return False


def opened(address: str, count: int) -> list[int]:
    """Local ports of connections that were answered and reset."""
    ports = []
    for _ in range(count):
        plug = socket.socket()
        plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        plug.bind((address, 0))
        plug.settimeout(10)
        plug.connect((ELSEWHERE, PORT))
        plug.sendall(b"hello")
        assert plug.recv(5) == b"hello"
        ports.append(plug.getsockname()[1])
        plug.close()
    return ports


def start(root: Path) -> subprocess.Popen[bytes]:
    (root / "counts.json").unlink(missing_ok=True)
    process = spawn(__file__, str(root), "record")
    await_true("it records", (root / "counts.json").exists)
    return process


def main(root: Path) -> None:
    known = PeerCache(root).load()
    assert known is not None
    run(["ip", "link", "set", "lo", "up"])
    for address in [ELSEWHERE, *(str(peer.address) for peer in known.peers.values())]:
        run(["ip", "address", "add", f"{address}/32", "dev", "lo"])
    run(["nft", "-f", "-"], stdin=RULES)
    for name, value in (("acct", 1), ("timestamp", 1), ("events", 1), ("tcp_timeout_close", 1)):
        run(["sysctl", "-qw", f"net.netfilter.nf_conntrack_{name}={value}"])
    listener = socket.create_server((ELSEWHERE, PORT), backlog=64)
    if os.fork() == 0:
        while True:
            plug, _ = listener.accept()
            plug.sendall(plug.recv(5))
            plug.close()
    process = start(root)
    first = {name: opened(str(peer.address), EACH) for name, peer in known.peers.items()}
    opened(ELSEWHERE, 20)  # of no client
    total = EACH * len(first)

    def recorded() -> bool:
        # a listing throws out what has expired; by itself the kernel looks up to a minute later
        list(conntrack.listing())
        counted = read(root / "counts.json")
        return counted is not None and counted.recorded >= total

    await_true("the first are recorded", recorded)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    process = start(root)
    second = {name: opened(str(peer.address), EACH) for name, peer in known.peers.items()}
    spawn(str(HERE / "moto_process.py"), str(MOTO))
    spawn(str(HERE / "metadata_process.py"), "i-0123456789abcdef0", str(root / "state"))
    await_true("moto", lambda: answers(MOTO, "/moto-api/data.json"))
    logs = boto3.client("logs", region_name="eu-west-1")
    logs.create_log_group(logGroupName="group")

    await_true("the second are recorded", recorded)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName="group")
    events = [event for page in pages for event in page["events"]]
    made = {name: sorted(first[name] + second[name]) for name in first}
    left = [path.name for path in (root / "queue").iterdir()]
    sys.stdout.write(json.dumps({"made": made, "events": events, "left": left}))


if __name__ == "__main__":
    if sys.argv[2:] == ["record"]:
        record(Path(sys.argv[1]))
    else:
        main(Path(sys.argv[1]))
