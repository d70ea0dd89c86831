"""A gateway that is cut off still serves: it is heard of through its neighbour, or it is fenced."""

from __future__ import annotations

import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from lab_driver import LabDriver, eventually

from effects import run

log = logging.getLogger(__name__)

AWS = "ip daddr 169.254.170.2"
"""All that a machine asks of AWS in the lab, DynamoDB included."""

GOSSIP = "udp dport 9588"

PROMISE = 5.0
"""Seconds from the command until a revoked peer's last packet."""

WATCHED = 20
"""Seconds of pings: until after the fence, or nobody would notice what passes it."""

POWER_OFF = 1.0
"""Seconds after which the lab's machines follow what EC2 says of them (lab/machines.py)."""


def paper_peer(lab: LabDriver, name: str) -> str:
    """A peer without a client, known to both gateways; its public key."""
    public = run(["wg", "pubkey"], stdin=run(["wg", "genkey"]).stdout).stdout.strip()
    lab.peers("add", name, "--public-key", public, "--json")
    eventually("both know it", lambda: all(knows(lab, g, public) for g in lab.gateways()), within=9)
    return public


def knows(lab: LabDriver, gateway: str, public: str) -> bool:
    return public in lab.on(gateway, "wg", "show", "all", "peers").stdout


@pytest.mark.timeout(300)
def test_a_gateway_that_nobody_hears_is_named_and_no_packet_passes_it_once_it_is_fenced(
    lab: LabDriver,
) -> None:
    lab.both_healthy()
    lab.lab("client", "heidi", timeout=60)
    lab.answered("heidi")
    ivan = paper_peer(lab, "ivan")
    severed = lab.serving("heidi")
    (neighbour,) = set(lab.gateways()) - {severed}

    with lab.cutting(severed) as cut, ThreadPoolExecutor() as pool:
        cut(AWS)
        told = json.loads(lab.peers("revoke", "ivan", "--json").stdout)
        by = {gateway["id"]: gateway for gateway in told["gateways"]}
        assert by[severed]["relayed_by"] == neighbour
        assert by[neighbour]["relayed_by"] is None
        assert told["seconds"] < PROMISE
        assert not knows(lab, severed, ivan)
        assert severed in lab.healthy(), "losing AWS is no reason to lose its clients"

        cut(GOSSIP)
        stream = pool.submit(lab.replies, "heidi", WATCHED)
        began = time.time()
        refused = lab.peers("revoke", "heidi", "--timeout", "6", check=False)
        unconfirmed = time.time()
        assert refused.status == 1
        (complaint,) = refused.stderr.splitlines()
        assert f"gateways --stack lab fence {severed}" in complaint
        assert neighbour not in complaint

        fence = ("--stack", "lab", "fence", severed)
        fenced = lab.script("gateways", *fence, timeout=200)
        gone = time.time()
        assert fenced.status == 0, fenced.stderr
        heard = stream.result()

    log.info("by gossip %.2f s, fenced in %.2f s", told["seconds"], gone - unconfirmed)
    log.info("last answer %.2f s after the fence", max(heard) - gone)
    assert [at for at in heard if began + PROMISE < at < unconfirmed], "it still served her"
    assert max(heard) < gone + POWER_OFF
    assert gone + POWER_OFF + 3 < began + WATCHED, "it was watched for long enough"
    assert severed not in lab.gateways()
    lab.both_healthy(but=severed, within=120)
    assert lab.peers("revoke", "heidi").status == 0, "now all that are there have confirmed"
