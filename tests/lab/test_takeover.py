"""A client's session outlives its gateway: only the load balancer's detection is felt."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from lab_deaths import death_felt_by

if TYPE_CHECKING:
    from lab_driver import LabDriver

WITHIN = 0.5
"""Seconds from the moment the load balancer sends the client's flow to the other gateway."""

pytestmark = pytest.mark.timeout(300)


def test_a_client_goes_on_as_soon_as_its_flow_has_left_a_dead_gateway(
    lab: LabDriver, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.both_healthy()
    felt = death_felt_by(lab, "alice")
    with capsys.disabled():
        sys.stderr.write(f"\ndetection {felt.detection:.1f} s, then {felt.silence:.2f} s\n")
    assert felt.silence <= WITHIN
    assert felt.longest_gap <= 1.0, "and it stays that way"
    # one may have come in the dead one's place already
    others = [one for one in lab.healthy() if one != felt.gateway]
    assert max(lab.metrics(one)["gatepair_takeovers_total"] for one in others) >= 1
    lab.both_healthy(but=felt.gateway)
