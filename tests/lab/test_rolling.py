"""Another launch template replaces both gateways, one after the other, under a client that goes on.

It leaves the lab with the changed template: only its end comes after it.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest
from lab_pings import LONGEST_GAP, Pings

from bench.stack_file import varied

if TYPE_CHECKING:
    from pathlib import Path

    from lab_driver import LabDriver

LIMIT = 500


@pytest.mark.timeout(LIMIT + 100)
def test_a_changed_stack_file_replaces_both_gateways_in_turn(
    lab: LabDriver, tmp_path: Path
) -> None:
    before = set(lab.both_healthy())
    keys = lab.public_keys()
    assert keys[0] == keys[1]
    file = varied(tmp_path, {"instanceType": "t4g.medium"})
    # not alice: at the end she is sent through one address after the other, as a proof
    with Pings(lab, "bob", at_most=LIMIT) as pings:
        said = lab.lab("up", "--stack-file", str(file), timeout=LIMIT, check=False)
    figures = f"longest gap {pings.longest_gap:.2f} s, {pings.lost} pings lost"
    sys.stderr.write(f"replacement: {figures}\n{said.stderr}")
    assert said.status == 0, said.stderr
    assert re.search(r"replacing the gateways: \d+ %", said.stderr)
    after = set(lab.both_healthy())
    assert not before & after, "both are other machines"
    assert lab.public_keys() == keys
    types = {
        instance["InstanceType"]
        for reservation in lab.cloud.client("ec2").describe_instances(InstanceIds=sorted(after))[
            "Reservations"
        ]
        for instance in reservation["Instances"]
    }
    assert types == {"t4g.medium"}
    zones = {gateway["az"] for gateway in lab.status()["gateways"]}
    assert len(zones) == 2
    assert pings.longest_gap <= LONGEST_GAP
