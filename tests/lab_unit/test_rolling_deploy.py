"""The lab's own stack, deployed twice: a changed launch template replaces every gateway in turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from effects import run
from lab import aws, cloud, paths, process

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

WARMUP = "gatepair:warmupSeconds: 20"
SHORTEST = "gatepair:warmupSeconds: 15"
LIMIT = 90.0
"""Seconds: two warmups of 15, and two launches, on a busy machine."""


@pytest.fixture
def stack_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """The lab's stack file, to be changed; its cloud is up, without any machine."""
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path / "lab"))
    text = (paths.CHECKOUT / "stacks" / "Pulumi.lab.yaml").read_text()
    assert text.count(WARMUP) == 1
    file = tmp_path / "Pulumi.lab.yaml"
    file.write_text(text.replace(WARMUP, SHORTEST))
    cloud.start(alone=True)
    yield file
    cloud.stop()


def deploy(file: Path) -> None:
    run(
        process.daemon("deploy", "--stack-file", str(file)),
        timeout=120,
        cwd=paths.CHECKOUT,
    )


class Group:
    """The gateways' group, and agents that complete every hook at once."""

    def __init__(self) -> None:
        self.scaling: Any = aws.client("autoscaling")
        self.name = self.described()["AutoScalingGroupName"]

    def described(self) -> dict[str, Any]:
        (group,) = self.scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        return group

    def step(self) -> set[str]:
        """Complete the hooks that wait; who is in service."""
        in_service = set()
        for one in self.described()["Instances"]:
            match one["LifecycleState"]:
                case "InService":
                    in_service.add(one["InstanceId"])
                case "Pending:Wait" | "Terminating:Wait" as state:
                    hook = "launch" if state.startswith("Pending") else "terminate"
                    self.scaling.complete_lifecycle_action(
                        AutoScalingGroupName=self.name,
                        LifecycleHookName=hook,
                        InstanceId=one["InstanceId"],
                        LifecycleActionResult="CONTINUE",
                    )
        return in_service

    def refreshes(self) -> list[dict[str, Any]]:
        found = self.scaling.describe_instance_refreshes(AutoScalingGroupName=self.name)
        return found["InstanceRefreshes"]


@pytest.mark.timeout(300)
def test_a_changed_launch_template_replaces_every_gateway_in_turn(stack_file: Path) -> None:
    deploy(stack_file)
    group = Group()
    before = {one["InstanceId"] for one in group.described()["Instances"]}
    assert len(before) == 2
    assert group.refreshes() == [], "a group that is made is not refreshed"
    deploy(stack_file)
    assert group.refreshes() == [], "nothing has changed"

    with stack_file.open("a") as file:
        file.write("  gatepair:instanceType: t4g.medium\n")
    deploy(stack_file)
    (refresh,) = group.refreshes()
    assert refresh["Preferences"] == {
        "MinHealthyPercentage": 100,
        "MaxHealthyPercentage": 150,
        "InstanceWarmup": 15,
        "SkipMatching": False,
    }
    seen: list[set[str]] = []
    deadline = time.monotonic() + LIMIT
    while (refresh := group.refreshes()[0])["Status"] in {"Pending", "InProgress"}:
        assert time.monotonic() < deadline, refresh
        seen.append(group.step())
        time.sleep(0.1)
    assert refresh["Status"] == "Successful", refresh
    assert min(map(len, seen)) == 2, "never fewer than there should be"
    after = group.described()["Instances"]
    assert not before & {one["InstanceId"] for one in after}
    assert len({one["AvailabilityZone"] for one in after}) == 2
    described = aws.client("ec2").describe_instances(
        InstanceIds=[one["InstanceId"] for one in after]
    )["Reservations"]
    types = {one["InstanceType"] for part in described for one in part["Instances"]}
    assert types == {"t4g.medium"}
