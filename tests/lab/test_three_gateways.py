"""Three gateways in routed mode, by the stack file: two deaths, one after the other."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from lab_deaths import death_felt_by
from lab_driver import UP_LIMIT

from bench.stack_file import varied

if TYPE_CHECKING:
    from pathlib import Path

    from lab_driver import LabDriver

WITHIN = 2.5
"""Seconds from the moment the load balancer sends the client's flow to another gateway: what the
dead one held of the VPC's routes is a survivor's within two seconds of that."""
BOOTED = 120

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


def holders(lab: LabDriver) -> set[str]:
    """The gateways to which the VPC's route tables lead clients' answers."""
    ec2 = lab.cloud.client("ec2")
    instances = {
        interface["NetworkInterfaceId"]: instance["InstanceId"]
        for reservation in ec2.describe_instances()["Reservations"]
        for instance in reservation["Instances"]
        for interface in instance["NetworkInterfaces"]
    }
    return {
        instances.get(route["NetworkInterfaceId"], "nobody")
        for table in ec2.describe_route_tables()["RouteTables"]
        for route in table["Routes"]
        if route.get("NetworkInterfaceId")
    }


def test_with_three_gateways_a_client_outlives_two_of_them(
    lab: LabDriver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = varied(tmp_path, {"gatewayCount": 3, "egress": "routed"})
    lab.lab("up", "--stack-file", str(file), timeout=UP_LIMIT)
    try:
        lab.all_healthy(3, within=BOOTED)
        for _ in range(2):
            felt = death_felt_by(lab, "alice")
            with capsys.disabled():
                sys.stderr.write(
                    f"\nof three: detection {felt.detection:.1f} s, then {felt.silence:.2f} s\n"
                )
            assert felt.silence <= WITHIN
            assert felt.longest_gap <= 1.0, "and it stays that way"
            held = holders(lab)
            assert held, "or nothing would come back"
            assert held <= set(lab.healthy()), "none leads to the dead one"
        lab.all_healthy(3, within=BOOTED)
        lab.answered("bob")
    finally:
        lab.lab("up", timeout=UP_LIMIT)
    lab.both_healthy()
