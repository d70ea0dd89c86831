"""The client helper against an agent, with WireGuard, nftables and routing for real."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import pytest
from gateway_lab.bed import CLIENT, GATEWAY, HOST, ROOT, Bed, await_true, standing
from gateway_lab.test_agent import HOST_ADDRESS, let_in, run_background_echo

from client import gatepair_helper as helper
from effects import run
from gateway.announcement import PATH, PORT
from gateway.client_service import PER_CLIENT
from lab.netns import inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OWN = "100.96.0.1"
LINES = """# alice, stack test, server key {generation}
[Interface]
PrivateKey = {private}
Address = {address}/32

[Peer]
PublicKey = {public}
AllowedIPs = 10.20.0.0/16, 100.96.0.1/32
Endpoint = 198.51.100.1:{port}
PersistentKeepalive = 25
"""

LIMIT = 60.0
"""Seconds; other programs may want the processors too."""

pytestmark = [pytest.mark.lab, pytest.mark.timeout(400)]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    """The bed with a healthy gateway at generation 7, and alice's tunnel."""
    with standing(tmp_path) as ready:
        ready.control(7)
        ready.start_agent()
        await_true("healthy", ready.healthy, LIMIT)
        yield ready


def config(bed: Bed, address: str, generation: int = 7) -> Path:
    """Alice's config file."""
    slot = (generation - 1) % 2
    path = bed.directory / "wgc.conf"
    path.write_text(
        LINES.format(
            generation=generation,
            private=(bed.directory / "alice.key").read_text().strip(),
            address=address,
            public=bed.wg("show", f"wg{slot}", "public-key"),
            port=51820 + slot,
        )
    )
    path.chmod(0o600)
    return path


def start(bed: Bed, path: Path, *words: str) -> subprocess.Popen[bytes]:
    """The helper, on the client."""
    program = str(ROOT / "client" / "gatepair_helper.py")
    options = ("--config", str(path), "--interval", "1", "--json", *words)
    return bed.spawn("helper", sys.executable, program, "wgc", *options, namespace=CLIENT)


def said(bed: Bed) -> list[str]:
    """The helper's events so far."""
    lines = (bed.directory / "helper.log").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


def carrying(bed: Bed) -> str:
    """The server key that the client's networks belong to."""
    del bed
    text = run(["ip", "netns", "exec", CLIENT, "wg", "show", "wgc", "allowed-ips"]).stdout
    (key,) = [line.split("\t")[0] for line in text.splitlines() if "100.96.0.1/32" in line]
    return key


def ask(path: str = PATH, address: str = OWN, namespace: str = CLIENT) -> tuple[int, Any]:
    """An answer of the gateway's service; status 0 if there is none."""
    try:
        with inside(namespace):
            link = HTTPConnection(address, PORT, timeout=2)
            link.connect()
        with closing(link):
            link.request("GET", path)
            with link.getresponse() as answer:
                return answer.status, json.loads(answer.read())
    except OSError:
        return 0, None


def carry_service(bed: Bed) -> None:
    """Have the client's tunnel carry what alice's config says."""
    key = run(["ip", "netns", "exec", CLIENT, "wg", "show", "wgc", "peers"]).stdout.strip()
    allowed = ("allowed-ips", "10.20.0.0/16,100.96.0.1/32")
    alive = ("persistent-keepalive", "25")
    run(["ip", "netns", "exec", CLIENT, "wg", "set", "wgc", "peer", key, *allowed, *alive])
    await_true("a ping", lambda: bed.ping(HOST_ADDRESS))


def test_a_client_is_told_through_the_tunnel_and_nobody_else_is(bed: Bed) -> None:
    assert ask()[0] == 0, "not without a tunnel"
    let_in(bed)
    code, found = ask()
    assert code == 200
    assert found == {
        "version": 1,
        "stack": "test",
        "generations": [
            {"generation": 7, "public_key": bed.wg("show", "wg0", "public-key"), "port": 51820}
        ],
        "newest": 7,
        "endpoint": "vpn.test",
        "addresses": ["198.51.100.1"],
        "mtu": 1420,
    }
    assert ask("/")[0] == 404
    assert ask(address="10.20.0.10")[0] == 0, "not at the gateway's other addresses"
    assert ask(address="198.51.100.1")[0] == 0
    run(["ip", "-n", HOST, "route", "add", f"{OWN}/32", "via", "10.20.0.10"])
    assert ask(namespace=HOST)[0] == 0, "not from the VPC"
    scan = run(
        ["ip", "netns", "exec", CLIENT, "nmap", "-n", "-Pn", "-sS", "-p", "9500-9700", OWN],
        timeout=60,
    ).stdout
    assert re.findall(r"^(\d+)/tcp +(?:open|closed)", scan, re.MULTILINE) == [str(PORT)]


def test_a_client_that_asks_too_often_is_not_heard_for_a_while(bed: Bed) -> None:
    let_in(bed)
    codes = [ask()[0] if number < 20 else refused() for number in range(25)]
    assert codes[:PER_CLIENT] == [200] * PER_CLIENT
    assert 0 in codes[20:]
    assert bed.ping(HOST_ADDRESS), "the tunnel itself is not touched"
    await_true("heard again", lambda: ask()[0] == 200, timeout=10)


def refused() -> int:
    """Whether a connection is made at all; 0 if not, soon."""
    with inside(CLIENT):
        link = HTTPConnection(OWN, PORT, timeout=0.3)
        with closing(link):
            try:
                link.connect()
            except OSError:
                return 0
            return 200


def test_a_rotation_loses_no_packet_and_no_connection_with_the_helper(bed: Bed) -> None:
    public, address = let_in(bed)
    carry_service(bed)
    path = config(bed, address)
    before = path.read_text()
    private = before.splitlines()[2]
    start(bed, path)
    await_true("the helper has noted the addresses", lambda: "kept" in said(bed), LIMIT)
    exec_ = ["ip", "netns", "exec", CLIENT]
    ping = subprocess.Popen(  # noqa: S603
        [*exec_, "ping", "-i", "0.05", HOST_ADDRESS], stdout=subprocess.PIPE, text=True
    )
    try:
        for step, slot in (((7, 8), 1), ((8,), 1), ((8, 9), 0), ((9, 8), 1), ((8,), 1)):
            moves = said(bed).count("proved")
            was = carrying(bed)
            bed.control(*step)
            wanted = await_true(
                "served", lambda slot=slot: bed.wg("show", f"wg{slot}", "public-key"), LIMIT
            )
            await_true(
                "carried by it", lambda wanted=wanted: carrying(bed) == wanted, timeout=LIMIT
            )
            if wanted != was:
                await_true("proved", lambda moves=moves: said(bed).count("proved") > moves, LIMIT)
            if len(step) == 1:
                gone = f"wg{1 - slot}"
                await_true("gone", lambda gone=gone: gone not in bed.interfaces(), LIMIT)
        assert public in bed.wg("show", "wg1", "peers")
    finally:
        ping.send_signal(signal.SIGINT)
        text = ping.communicate(timeout=10)[0]
    heard = [int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", text)]
    assert len(heard) > 50
    assert sorted(set(range(1, max(heard) + 1)) - set(heard)) == [], text
    after = path.read_text()
    assert after.splitlines()[2] == private
    assert "server key 8" in after.splitlines()[0]
    assert helper.read_config(after).public_key == bed.wg("show", "wg1", "public-key")
    assert helper.read_config(after).endpoint == "198.51.100.1:51821"
    assert path.stat().st_mode & 0o777 == 0o600
    assert private.split()[-1] not in (bed.directory / "helper.log").read_text()
    peers = run([*exec_, "wg", "show", "wgc", "peers"]).stdout.split()
    assert peers == [bed.wg("show", "wg1", "public-key")], "nothing is left of the others"


def test_once_moves_and_ends(bed: Bed) -> None:
    _public, address = let_in(bed)
    carry_service(bed)
    path = config(bed, address)
    listener = run_background_echo(bed)
    assert start(bed, path, "--once").wait(timeout=30) == 0
    bed.control(7, 8)
    await_true("served", lambda: bed.wg("show", "wg1", "public-key"), LIMIT)
    assert start(bed, path, "--dry-run").wait(timeout=30) == 0
    assert said(bed)[-1] == "would"
    assert carrying(bed) == bed.wg("show", "wg0", "public-key")
    await_true("announced", lambda: ask()[1]["newest"] == 8, LIMIT)
    assert start(bed, path, "--once").wait(timeout=60) == 0
    assert carrying(bed) == bed.wg("show", "wg1", "public-key")
    assert listener.poll() is None


def test_a_silent_tunnel_is_dialled_anew(bed: Bed) -> None:
    _public, address = let_in(bed)
    carry_service(bed)
    path = config(bed, address)
    start(bed, path)
    await_true("well", lambda: "kept" in said(bed), LIMIT)
    # the gateway forgets the session, as another gateway would that the flow has come to
    key = bed.wg("show", "wg0", "peers")
    gateway = ["ip", "netns", "exec", GATEWAY, "wg", "set", "wg0", "peer", key]
    run([*gateway, "remove"])
    run([*gateway, "allowed-ips", f"{address}/32"])
    # first with the session, which a gateway that has taken it over would know; then without it
    await_true("dialled twice", lambda: said(bed).count("silent") == 2, LIMIT)
    await_true("a ping", lambda: bed.ping(HOST_ADDRESS), timeout=3)
