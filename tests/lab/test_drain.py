"""A gateway is drained under a client that goes on."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from lab_driver import eventually
from lab_pings import LONGEST_GAP, Pings, served_by

if TYPE_CHECKING:
    from lab_driver import LabDriver


def gateways(lab: LabDriver, *words: str, check: bool = True, timeout: float = 300) -> str:
    return lab.script("gateways", "--stack", "lab", *words, check=check, timeout=timeout).stdout


def states(lab: LabDriver) -> dict[str, str]:
    listed = json.loads(gateways(lab, "list", "--json"))["gateways"]
    return {gateway["id"]: gateway["state"] for gateway in listed}


@pytest.mark.timeout(400)
def test_a_client_goes_on_while_its_gateway_is_drained(lab: LabDriver) -> None:
    lab.both_healthy()
    eventually("both serve", lambda: set(states(lab).values()) == {"serving"}, within=30)
    mine = served_by(lab, "alice")
    with Pings(lab, "alice", at_most=300) as pings:
        told = json.loads(gateways(lab, "drain", mine, "--json"))
        refused = lab.script(
            "gateways", "--stack", "lab", "drain", *(set(lab.gateways()) - {mine}), check=False
        )
    try:
        assert told["drained"] is True
        sys.stderr.write(
            f"drain: {told['seconds']} s, longest gap {pings.longest_gap:.2f} s, "
            f"{pings.lost} pings lost\n"
        )
        assert refused.status == 2, "the other one is the last"
        assert "no other gateway is healthy" in refused.stderr
        assert lab.on(mine, "wg", "show", "interfaces").stdout.strip() == ""
        assert lab.health(mine)[0] == 503
        assert pings.longest_gap <= LONGEST_GAP
    finally:
        gateways(lab, "drain", mine, "--withdraw")
        lab.both_healthy()
