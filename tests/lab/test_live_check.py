"""scripts/live-check against the lab, as it would be called for a stack that is deployed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from lab import netns, process

if TYPE_CHECKING:
    from lab_driver import LabDriver

CLIENTS = 3


def traces(lab: LabDriver) -> dict[str, Any]:
    """What it must not leave behind."""
    return {
        "peers": sorted(one.name for one in lab.registry.peers()[0]),
        "processes": [one.pid for one in process.strays() if one.name.startswith("bench-")],
        "namespaces": [name for name in netns.names() if not name.startswith("gp-i-")],
    }


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_deployed_stack_is_measured_from_outside_and_left_as_it_was(lab: LabDriver) -> None:
    before_gateways = set(lab.both_healthy())
    before = traces(lab)

    def measured(name: str) -> dict[str, Any]:
        words = (name, "--stack", "lab", "--clients", str(CLIENTS), "--rounds", "1", "--yes")
        report = json.loads(lab.script("live-check", *words, "--json", timeout=600).stdout)
        assert report.keys() == {"bench", "figures", "conditions", "samples"}
        assert (report["bench"], report["conditions"]["cloud"]) == (name, "the lab's")
        assert len(report["samples"]) == CLIENTS
        assert traces(lab) == before
        return report["figures"]

    roaming = measured("roaming")
    assert 0 < roaming["roaming_takeover_max"] < 5, "stock would be 15"
    assert roaming["not_resumed_takeover"] == 0

    drained = measured("drain")
    assert 0 < drained["longest_gap"] < 5
    assert drained["drain_seconds_max"] > 1
    assert set(lab.both_healthy()) == before_gateways

    failover = measured("failover")
    # The lab's load balancer leaves at once a gateway that EC2 says is terminated
    assert 0 < failover["takeover_gap_max_checks"] < 20
    assert failover["not_resumed_takeover"] == 0
    assert len(set(lab.both_healthy()) & before_gateways) == 1
