"""A revoked peer is cut off on every gateway, with proof; nobody else notices."""

from __future__ import annotations

import itertools
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab_driver import HOST, LabDriver, eventually

from lab import paths

PROMISE = 5.0
"""Seconds from the command to the revoked peer's last packet."""


@pytest.mark.timeout(180)
def test_a_revocation_is_confirmed_by_every_gateway_within_seconds(lab: LabDriver) -> None:
    gateways = lab.both_healthy()
    lab.lab("client", "erin", timeout=60)
    for client in ("alice", "erin"):
        lab.answered(client)
    with ThreadPoolExecutor() as pool:
        erin = pool.submit(lab.replies, "erin", 14)
        alice = pool.submit(lab.replies, "alice", 14)
        lab.on("alice", "ping", "-c", "3", HOST)  # two seconds, in which both streams are flowing
        began = time.time()
        told = json.loads(lab.peers("revoke", "erin", "--json").stdout)
        done = time.time()
        heard, others = erin.result(), alice.result()
    assert len([at for at in heard if at < began]) > 10, "or there was nothing to cut off"
    assert max(heard) - began < PROMISE
    assert max(heard) <= done, "when the command returns, no packet passes any more"
    assert set(gateways) <= set(re.findall(r"i-[0-9a-f]+", json.dumps(told)))
    gaps = [later - at for at, later in itertools.pairwise(others)]
    assert max(gaps) < 1, "nobody else lost anything"


@pytest.mark.timeout(120)
def test_a_peer_of_narrow_access_reaches_nothing_else(lab: LabDriver) -> None:
    lab.both_healthy()
    config = paths.run() / "clients" / "frank.conf"
    lab.peers("add", "frank", "--allow", f"{HOST}/32:tcp/80", "--out", str(config))
    lab.lab("client", "frank", timeout=60)
    assert f"AllowedIPs = {HOST}/32" in config.read_text()
    fetch = "import urllib.request as r; print(r.urlopen('http://{}', timeout=3).status)"

    def web() -> bool:
        asked = lab.on("frank", "python3", "-c", fetch.format(HOST), check=False)
        return asked.stdout == "200\n"

    eventually("frank reads the page", web, within=30)
    assert lab.on("frank", "ping", "-c", "2", "-W", "1", HOST, check=False).status != 0
    lab.answered("alice")
    echo = f"import socket; socket.create_connection(('{HOST}', 7), 3)"
    assert lab.on("alice", "python3", "-c", echo).status == 0
    assert lab.on("frank", "python3", "-c", echo, check=False).status != 0
    lab.peers("revoke", "frank")
    assert not web(), "once it is confirmed"
