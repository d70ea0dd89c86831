"""A client's session outlives its gateway: only the load balancer's detection is felt."""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from lab_driver import eventually

from lab import paths

if TYPE_CHECKING:
    from lab_driver import LabDriver

WITHIN = 0.5
"""Seconds from the moment the load balancer sends the client's flow to the other gateway."""
WATCHED = 60
"""Seconds of pings: detection takes up to 12 (interval 5, threshold 2, timeout 2)."""

pytestmark = pytest.mark.timeout(300)


def moved_at(gateway: str) -> float:
    """When the balancer's data plane has let go of a gateway; epoch seconds, 0 while it has not."""
    report = paths.target_health()
    written = report.stat().st_mtime
    states = [group.get(gateway) for group in json.loads(report.read_text()).values()]
    return 0.0 if any(state and state["state"] == "healthy" for state in states) else written


def test_a_client_goes_on_as_soon_as_its_flow_has_left_a_dead_gateway(
    lab: LabDriver, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.both_healthy()
    lab.answered("alice")
    gateway = lab.serving("alice")
    (other,) = [one for one in lab.gateways() if one != gateway]
    eventually(
        "the other gateway knows of her session",
        lambda: lab.metrics(other)["gatepair_remote_sessions"] >= 1,
        within=20,
    )
    with ThreadPoolExecutor(1) as pool:
        pings = pool.submit(lab.replies, "alice", WATCHED)
        time.sleep(3)  # some answers from the one that is going to die
        lab.lab("kill", gateway)
        killed = time.time()
        moved = eventually("the flow moves", lambda: moved_at(gateway), within=40, every=0.02)
        answers = pings.result(timeout=WATCHED + 60)
    assert any(at < killed for at in answers)
    after = min(at for at in answers if at > moved)
    with capsys.disabled():
        sys.stderr.write(f"\ndetection {moved - killed:.1f} s, then {after - moved:.2f} s\n")
    assert after - moved <= WITHIN
    late = [at for at in answers if at > after]
    gaps = [later - sooner for sooner, later in pairwise(late)]
    assert max(gaps) <= 1.0, "and it stays that way"
    assert lab.metrics(other)["gatepair_takeovers_total"] >= 1
    lab.both_healthy(but=gateway)
