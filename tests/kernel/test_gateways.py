"""The gateways' user data, on the kernel that they have in production."""

from __future__ import annotations

import base64
import hashlib
import json
import platform
from typing import TYPE_CHECKING

import pytest
from lab_driver import HOST

if TYPE_CHECKING:
    from lab_driver import LabDriver

pytestmark = pytest.mark.timeout(1800)  # the first of them waits for the lab


def test_each_gateway_boots_debians_cloud_kernel_from_its_unmodified_user_data(
    lab: LabDriver,
) -> None:
    (first, second) = lab.both_healthy()
    for gateway in (first, second):
        release = lab.on(gateway, "uname", "-r").stdout.strip()
        assert release.endswith("-cloud-amd64")
        assert release != platform.release()
        assert lab.on(gateway, "cloud-id").stdout.strip() == "aws"
        path = "/var/lib/cloud/instance/user-data.txt"
        got = lab.on(gateway, "sha256sum", path).stdout.split()[0]
        given = lab.cloud.client("ec2").describe_instance_attribute(
            InstanceId=gateway, Attribute="userData"
        )["UserData"]["Value"]
        assert got == hashlib.sha256(base64.b64decode(given)).hexdigest()
        failed = lab.on(gateway, "systemctl", "--failed", "--no-legend", "--plain").stdout
        assert failed == "", "every unit of the machine has started"


def test_wireguard_and_the_packet_filter_are_the_kernels(lab: LabDriver) -> None:
    for gateway in lab.both_healthy():
        loaded = {line.split()[0] for line in lab.on(gateway, "lsmod").stdout.splitlines()}
        assert {"wireguard", "nf_tables", "nf_conntrack"} <= loaded
        (link,) = json.loads(lab.on(gateway, "ip", "-d", "-j", "link", "show", "wg0").stdout)
        assert link["linkinfo"]["info_kind"] == "wireguard"
        assert lab.on(gateway, "pgrep", "-x", "wireguard-go", check=False).status == 1
        unit = ("systemctl", "is-active", "gatepair-wireguard-go@wg0")
        assert lab.on(gateway, *unit, check=False).stdout.strip() == "inactive"
        assert "hook forward" in lab.on(gateway, "nft", "list", "ruleset").stdout
        assert lab.faults(gateway) == ""


def test_a_gateways_clock_is_its_own_and_follows_the_vpcs(lab: LabDriver) -> None:
    for gateway in lab.both_healthy():
        daemon = lab.on(gateway, "pgrep", "-a", "chronyd").stdout
        assert " -x" not in daemon, "it may set the clock"
        assert "169.254.169.123" in lab.on(gateway, "chronyc", "-n", "sources").stdout
        tracking = lab.on(gateway, "chronyc", "-c", "tracking").stdout
        assert tracking.strip().endswith("Normal")


def test_clients_reach_the_private_host_in_full_size_packets(lab: LabDriver) -> None:
    for client in ("alice", "bob"):
        lab.answered(client)
        full = ("ping", "-c", "3", "-W", "5", "-M", "do", "-s", "1392", HOST)
        assert " 0% packet loss" in lab.on(client, *full).stdout
