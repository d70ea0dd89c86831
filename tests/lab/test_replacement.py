"""Gateways come and go; what clients trust stays, and so does the way through."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from lab_pings import LONGEST_GAP, Pings, served_by

if TYPE_CHECKING:
    from lab_driver import LabDriver


@pytest.mark.long  # a planned replacement of both has the same key too: test_rolling
@pytest.mark.timeout(300)
def test_the_key_outlives_both_gateways(lab: LabDriver) -> None:
    (first, second) = lab.both_healthy()
    before = lab.public_keys()
    assert before[0] == before[1]
    for gateway in (first, second):
        lab.lab("kill", gateway)
        lab.both_healthy(but=gateway)
    assert not {first, second} & set(lab.gateways()), "these are other machines"
    assert lab.public_keys() == before


@pytest.mark.long  # a minute for each gateway; a changed template goes the same way: test_rolling
@pytest.mark.timeout(700)
def test_gateways_are_replaced_by_command_under_a_client_that_goes_on(lab: LabDriver) -> None:
    before = set(lab.both_healthy())
    mine = served_by(lab, "alice")
    command = ("gateways", "--stack", "lab", "replace")
    with Pings(lab, "alice", at_most=600) as pings:
        one = json.loads(lab.script(*command, mine, "--json", timeout=300).stdout)
        left = set(lab.both_healthy())
        all_ = json.loads(lab.script(*command, "--json", timeout=400).stdout)
    sys.stderr.write(
        f"replaced one in {one['seconds']} s, both in {all_['seconds']} s: "
        f"longest gap {pings.longest_gap:.2f} s, {pings.lost} pings lost\n"
    )
    assert one["replaced"] is True
    assert left & before == before - {mine}, "the other one stayed"
    assert all_["replaced"] is True
    assert not set(lab.both_healthy()) & (before | left)
    assert pings.longest_gap <= LONGEST_GAP
