"""Who reached what: known traffic of known peers against the records that AWS has of it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from lab_driver import HOST, eventually

from registry import connections

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab_driver import LabDriver

pytestmark = pytest.mark.timeout(300)

PEOPLE = tuple(f"audited-{number}" for number in range(10))
EACH, PAUSE = 100, 0.12
"""Connections of each peer, and the seconds between them: 1,000 in some 15 s."""

KNOCK = """
import socket, struct, sys, time
host, port, count, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
failed = 0
for number in range(count):
    began = time.monotonic()
    # reset when it is closed: the gateway forgets it after 10 s, and not after TCP's two minutes
    plug = socket.socket()
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plug.settimeout(20)
    try:
        plug.connect((host, port))
        plug.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        while plug.recv(4096):
            pass
        print(plug.getsockname()[1], flush=True)
    except OSError as err:
        failed += 1
        print(err, file=sys.stderr)
    plug.close()
    time.sleep(max(0.0, began + pause - time.monotonic()))
sys.exit(1 if failed else 0)
"""
"""Prints the local port of each connection that was answered."""

FLOOD = """
import socket, sys, time
plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in range(10_000, 10_000 + int(sys.argv[2])):
    plug.sendto(b"x", (sys.argv[1], port))
    if port % 100 == 0:
        time.sleep(0.02)
"""
"""Each datagram is a connection; not faster than WireGuard in user space takes them."""

HOLD = """
import os, socket, sys, time
plug = socket.create_connection((sys.argv[1], 7), timeout=20)
plug.sendall(b"hello")
plug.recv(5)
print(plug.getsockname()[1], flush=True)
limit = time.monotonic() + 100
while not os.path.exists(sys.argv[2]) and time.monotonic() < limit:
    time.sleep(0.2)
"""
"""Holds one connection until there is a file of that name: no word of its end comes through a
tunnel that is gone."""


@pytest.fixture(scope="module")
def people(lab: LabDriver) -> Iterator[dict[str, str]]:
    """Ten peers with a tunnel each; their tunnel addresses."""
    for name in PEOPLE:
        lab.lab("client", name, timeout=60)
    found = json.loads(lab.peers("list", "--json").stdout)["peers"]
    addresses = {peer["name"]: peer["address"] for peer in found if peer["name"] in PEOPLE}
    with ThreadPoolExecutor(len(PEOPLE)) as pool:
        list(pool.map(lab.answered, PEOPLE))
    yield addresses
    for name in PEOPLE:
        lab.peers("revoke", name, "--no-wait", check=False)


def trail(lab: LabDriver, name: str | None = None) -> dict[str, Any]:
    """What `peers audit` says."""
    words = ("audit", *([name] if name else []), "--since", "1h", "--json")
    return json.loads(lab.peers(*words).stdout)


def recorded(lab: LabDriver) -> list[dict[str, Any]]:
    """Every event in the log, with nothing merged: a record that came twice is there twice."""
    for gateway in lab.gateways():
        # a listing throws out what has expired; by itself the kernel looks up to a minute later
        lab.on(gateway, "conntrack", "-L", check=False)
    pages = lab.cloud.client("logs").get_paginator("filter_log_events")
    raw = [
        one
        for page in pages.paginate(logGroupName=lab.stack.connection_log)
        for one in page["events"]
    ]
    found = [connections.event(one) for one in raw]
    assert all(found), "every line of the log is a record"
    return [dict(one.says) for one in found if one]


def test_each_of_a_thousand_connections_is_there_once_with_the_right_peer(
    lab: LabDriver, people: dict[str, str]
) -> None:
    words = ("python3", "-c", KNOCK, HOST, "80", str(EACH), str(PAUSE))
    with ThreadPoolExecutor(len(PEOPLE)) as pool:
        runs = pool.map(lambda name: lab.on(name, *words, timeout=180).stdout.split(), PEOPLE)
        made = sorted(
            (name, people[name], int(port))
            for name, ports in zip(PEOPLE, runs, strict=True)
            for port in ports
        )
    assert len(made) == len(PEOPLE) * EACH

    def seen() -> list[tuple[str, str, int]]:
        return sorted(
            (one["peer"], one["client"], one["source_port"])
            for one in recorded(lab)
            if one["event"] == "end" and (one["port"], one["protocol"]) == (80, "tcp")
            if one["peer"] in people
        )

    eventually("all are recorded", lambda: len(seen()) >= len(made), within=60, every=2)
    assert seen() == made


def test_a_record_says_to_what_how_much_and_how_long(
    lab: LabDriver, people: dict[str, str]
) -> None:
    name = PEOPLE[0]
    said = trail(lab, name)
    assert said["complete"] is True
    assert [change["action"] for change in said["audit"]] == ["add"]
    mine = [one for one in said["connections"] if one["port"] == 80]
    assert len(mine) == EACH
    assert {one["gateway"] for one in mine} <= set(lab.gateways())
    for one in mine:
        assert (one["peer"], one["client"], one["destination"]) == (name, people[name], HOST)
        # SYN, ACK, the question: 60 + 52 + 70 bytes and more; the answer has a head and a line
        assert one["sent"] > 180
        assert one["received"] > 200
        assert one["sent_packets"] >= 4
        assert 0 <= one["seconds"] < 20
        assert one["closed"] is True
    lines = lab.peers("audit", name, "--since", "1h").stdout
    assert lines.count(f"to {HOST}:80 tcp; sent ") == EACH


def test_a_connection_that_a_revocation_cuts_is_recorded_under_its_peers_name(
    lab: LabDriver, people: dict[str, str], tmp_path: Path
) -> None:
    name, enough = PEOPLE[1], tmp_path / "enough"
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(lab.on, name, "python3", "-c", HOLD, HOST, str(enough), timeout=120)

        def tracked() -> bool:
            words = ("conntrack", "-L", "-p", "tcp", "-s", people[name], "--dport", "7")
            return any("ESTABLISHED" in lab.on(one, *words).stdout for one in lab.gateways())

        eventually("the connection is open", tracked, within=30)
        lab.peers("revoke", name)

        def cut() -> list[dict[str, Any]]:
            return [one for one in trail(lab, name)["connections"] if one["port"] == 7]

        (one,) = eventually("the cut connection is recorded", cut, within=60, every=1)
        enough.touch()
        assert one["source_port"] == int(held.result().stdout)
    assert (one["event"], one["peer"], one["closed"]) == ("end", name, False)
    assert [change["action"] for change in trail(lab, name)["audit"]] == ["add", "revoke"]


def counted(lab: LabDriver, gateway: str) -> dict[str, float]:
    """The metrics of a gateway's connection log, without their common beginning."""
    head = "gatepair_connections_"
    found = lab.metrics(gateway)
    return {name.removeprefix(head): value for name, value in found.items() if head in name}


def test_a_flood_is_bounded_and_counted_and_hides_nobody_else(
    lab: LabDriver, people: dict[str, str]
) -> None:
    name, other = PEOPLE[2], PEOPLE[3]
    gateway = lab.serving(name)
    before = counted(lab, gateway)
    lab.on(name, "python3", "-c", FLOOD, HOST, "12000", timeout=120)
    (port,) = lab.on(other, "python3", "-c", KNOCK, HOST, "80", "1", "0").stdout.split()
    gone = lab.on(gateway, "conntrack", "-D", "-s", people[name], timeout=120, check=False)
    flood = int(gone.stderr.split(":")[1].split()[0])
    assert flood > 6000, "more than one client's burst, or this would prove nothing"

    def settled() -> dict[str, float] | None:
        now = counted(lab, gateway)
        grown = {key: now[key] - before[key] for key in now if key != "queue_bytes"}
        left = sum(value for key, value in grown.items() if key.startswith("left_out"))
        return grown if grown["recorded_total"] + left >= flood else None

    grown = eventually("all are recorded or counted", settled, within=60, every=1)
    assert 1000 < grown["recorded_total"] < 9000
    assert grown['left_out_total{why="queue"}'] == 0

    def told() -> Any:
        said = trail(lab, name)
        count = sum(one["count"] for one in said["left_out"] if one.get("peer", name) == name)
        return count >= flood - grown["recorded_total"] and count

    eventually("the log says how many it leaves out", told, within=60, every=2)

    def there() -> list[dict[str, Any]]:
        return [
            one
            for one in recorded(lab)
            if one.get("peer") == other and one.get("source_port") == int(port)
        ]

    eventually("another's connection is there", there, within=90, every=2)
    assert lab.healthy(), "gateways serve all the while"
