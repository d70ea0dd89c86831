"""The connection log on a real kernel: connections in, records at AWS out."""

from __future__ import annotations

import json
import os
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest
from fake_registry import key_of
from gateway_lab.bed import SEED

from effects import run
from gateway.peer_cache import PeerCache
from gateway.peers import KnownPeers
from registry.items import Peer

pytestmark = [pytest.mark.lab, pytest.mark.timeout(200)]

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
POOL = IPv4Network("100.96.0.0/16")
ENVIRONMENT = {
    "stack": "test",
    "region": "eu-west-1",
    "table": "registry",
    "secret_arn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x",
    "key_seed": SEED,
    "port": 51820,
    "health_port": 9585,
    "metrics_port": 9586,
    "mtu": 1420,
    "client_pool": str(POOL),
    "vpc_cidrs": ["10.20.0.0/16"],
    "routed_cidrs": [],
    "peer_to_peer": False,
    "connection_log": "group",
}


def alone(script: str, *words: str, timeout: float = 180) -> str:
    """What a script prints that has a kernel's network to itself; with it all it started ends."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5097",
    }
    command = [
        "unshare",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        sys.executable,
        script,
        *words,
    ]
    return run(command, env=environment, timeout=timeout).stdout


def test_a_thousand_connections_are_at_aws_once_each_after_an_outage_and_a_restart(
    tmp_path: Path,
) -> None:
    (tmp_path / "environment.json").write_text(json.dumps(ENVIRONMENT))
    people = {
        f"peer-{number}": Peer(f"peer-{number}", key_of(number), POOL[number + 2])
        for number in range(10)
    }
    PeerCache(tmp_path).replace(KnownPeers("e", 10, people))
    found = json.loads(alone(str(HERE / "recording_process.py"), str(tmp_path)))
    assert {event["logStreamName"] for event in found["events"]} == {"i-0123456789abcdef0"}
    records = [json.loads(event["message"]) for event in found["events"]]
    assert {record["event"] for record in records} == {"end"}
    assert sum(map(len, found["made"].values())) == 1000
    for name, ports in found["made"].items():
        mine = [record for record in records if record["peer"] == name]
        assert {IPv4Address(record["client"]) for record in mine} == {people[name].address}
        assert sorted(record["source_port"] for record in mine) == ports
        assert all(record["closed"] and record["seconds"] < 5 for record in mine)
        assert all(record["sent_packets"] >= 3 and record["received"] > 100 for record in mine)
    assert len(records) == 1000
    assert found["left"] == []


BURST = """
import json, socket, subprocess, sys, time
from ipaddress import IPv4Network
from gateway.connections import conntrack, events

pool = IPv4Network("100.96.0.0/16")
watch = conntrack.Watch(pool)
subprocess.run(sys.argv[1], shell=True, check=True)
for source, count in (("10.20.0.20", 2000), ("100.96.0.2", 30000)):
    plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    plug.bind((source, 0))
    for port in range(1000, 1000 + count):
        plug.sendto(b"x", ("10.20.0.20", port))
tracked = sum(events.flow(body, pool) is not None for body in conntrack.listing())
subprocess.run(["conntrack", "-D"], check=False, capture_output=True)
read, deadline = 0, time.monotonic() + 30
while read + watch.dropped < tracked and time.monotonic() < deadline:
    found = [events.flow(body, pool) for body in watch.read()]
    assert all(found), "what is of no client wakes nobody"
    read += len(found)
print(json.dumps({"tracked": tracked, "read": read, "dropped": watch.dropped}))
"""


def test_what_the_kernel_cannot_tell_is_counted_to_the_last_one() -> None:
    ground = (
        "ip link set lo up; ip address add 100.96.0.2/32 dev lo;"
        "ip address add 10.20.0.20/32 dev lo;"
        "nft 'add table inet t; add chain inet t o { type filter hook output priority 0; };"
        "add rule inet t o ct state new counter'"
    )
    found = json.loads(alone("-c", BURST, ground))
    assert found["tracked"] == 30_000
    assert found["read"] + found["dropped"] == 30_000
    assert found["read"] > 1000
    assert found["dropped"] > 1000, "or this would prove nothing"
