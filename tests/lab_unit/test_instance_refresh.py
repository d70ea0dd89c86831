"""Instance refresh: launched first, warmed up, then the old ones go; and who starts it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from botocore.exceptions import ClientError
from lab_unit.scaling_cloud import GROUP, Clock, Cloud

from effects import Refusal
from lab.overrides import autoscaling
from lab.resources.autoscaling import HANDLERS
from lab.resources.base import Context

LAUNCH_FIRST = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150, "InstanceWarmup": 60}


class Rolling:
    """A group whose refresh is driven by hand; `after(seconds)` lets time pass."""

    def __init__(self, cloud: Cloud, clock: Clock, size: int = 2, *, hooks: bool = False) -> None:
        self.cloud, self.clock = cloud, clock
        cloud.group(size)
        cloud.ec2.create_launch_template_version(
            LaunchTemplateId=cloud.template,
            SourceVersion="1",
            LaunchTemplateData={"UserData": base64.b64encode(b"#cloud-config\n").decode()},
        )
        cloud.scaling.update_auto_scaling_group(
            AutoScalingGroupName=GROUP,
            LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": "2"},
        )
        if hooks:
            cloud.hook("launch", "LAUNCHING", default="ABANDON")
            cloud.hook("terminate", "TERMINATING")
        self.first = set(cloud.members())

    def start(self, **preferences: Any) -> None:
        self.cloud.scaling.start_instance_refresh(
            AutoScalingGroupName=GROUP, Preferences={**LAUNCH_FIRST, **preferences}
        )

    def cancel(self) -> None:
        self.cloud.scaling.cancel_instance_refresh(AutoScalingGroupName=GROUP)

    def after(self, seconds: float = 0.5) -> None:
        self.clock.now += seconds
        autoscaling.expire()

    @property
    def said(self) -> dict[str, Any]:
        (newest, *_) = self.cloud.scaling.describe_instance_refreshes(AutoScalingGroupName=GROUP)[
            "InstanceRefreshes"
        ]
        return newest

    @property
    def old(self) -> set[str]:
        """Those of the beginning that are in service."""
        return {one for one in self.first if self.cloud.members().get(one) == "InService"}

    def versions(self) -> list[str]:
        found = self.cloud.scaling.describe_auto_scaling_instances()["AutoScalingInstances"]
        return sorted(one["LaunchTemplate"]["Version"] for one in found)


def test_a_refresh_launches_before_it_terminates_one_by_one(cloud: Cloud, clock: Clock) -> None:
    rolling = Rolling(cloud, clock)
    rolling.start()
    assert rolling.said["Status"] == "Pending"
    assert (rolling.said["InstancesToUpdate"], rolling.said["PercentageComplete"]) == (2, 0)
    rolling.after()
    assert cloud.states() == ["InService"] * 3, "150 % of two"
    rolling.after(55)
    assert rolling.old == rolling.first, "until the warmup is over"
    rolling.after(6)
    assert len(rolling.old) == 1
    assert cloud.states() == ["InService"] * 3, "the next one is there"
    assert (rolling.said["Status"], rolling.said["PercentageComplete"]) == ("InProgress", 50)
    rolling.after(61)
    assert rolling.old == set()
    assert cloud.states() == ["InService"] * 2
    assert (rolling.said["Status"], rolling.said["PercentageComplete"]) == ("Successful", 100)
    assert "EndTime" in rolling.said
    assert rolling.versions() == ["2", "2"]
    zones = [one["Placement"]["AvailabilityZone"] for one in cloud.instances()]
    assert sorted(zones) == ["eu-west-1a", "eu-west-1b"]


def test_a_refresh_goes_through_the_hooks(cloud: Cloud, clock: Clock) -> None:
    rolling = Rolling(cloud, clock, hooks=True)
    rolling.start()
    for _ in range(2):
        rolling.after(61)
        rolling.after(61)
        before = rolling.old
        (new,) = [one for one, state in cloud.members().items() if state == "Pending:Wait"]
        assert rolling.old == before, "a launch that waits is not ready, however long"
        cloud.complete("launch", new)
        rolling.after(61)
        (leaving,) = [one for one, state in cloud.members().items() if state == "Terminating:Wait"]
        assert leaving not in cloud.registered()
        assert rolling.said["Status"] == "InProgress"
        rolling.after()
        cloud.complete("terminate", leaving)
    rolling.after()
    assert rolling.said["Status"] == "Successful"
    assert cloud.states() == ["InService"] * 2
    assert rolling.versions() == ["2", "2"]


def test_a_replacement_that_is_given_up_is_tried_anew_and_nothing_old_goes(
    cloud: Cloud, clock: Clock
) -> None:
    rolling = Rolling(cloud, clock, hooks=True)
    rolling.start()
    rolling.after()
    (new,) = set(cloud.members()) - rolling.first
    cloud.complete("launch", new, "ABANDON")
    rolling.after(61)
    assert rolling.old == rolling.first
    (again,) = set(cloud.members()) - rolling.first
    assert again != new


def test_a_replacement_that_cannot_be_launched_fails_the_refresh(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolling = Rolling(cloud, clock)

    def refuse(*_: object) -> None:
        raise RuntimeError("no room for another machine")

    monkeypatch.setattr(autoscaling, "_run_instance", refuse)
    rolling.start()
    rolling.after()
    assert rolling.said["Status"] == "Failed"
    assert rolling.said["StatusReason"] == "no room for another machine"
    assert rolling.old == rolling.first


def test_a_refresh_with_room_below_terminates_and_launches_together(
    cloud: Cloud, clock: Clock
) -> None:
    rolling = Rolling(cloud, clock, 4)
    rolling.start(MinHealthyPercentage=50, MaxHealthyPercentage=100)
    rolling.after()
    assert len(rolling.old) == 2
    assert len(cloud.members()) == 4
    rolling.after(61)
    assert rolling.old == set()
    rolling.after(61)
    assert rolling.said["Status"] == "Successful"


def test_skip_matching_replaces_only_what_is_of_another_version(cloud: Cloud, clock: Clock) -> None:
    rolling = Rolling(cloud, clock)
    rolling.start()
    rolling.after()
    for _ in range(2):
        rolling.after(61)
    done = set(cloud.members())
    rolling.start(SkipMatching=True)
    rolling.after()
    assert (rolling.said["Status"], rolling.said["InstancesToUpdate"]) == ("Successful", 0)
    assert set(cloud.members()) == done
    rolling.start()
    rolling.after()
    assert len(cloud.members()) == 3, "without it all are replaced again"


def test_a_cancelled_refresh_keeps_what_it_has_done_and_lets_the_surplus_go(
    cloud: Cloud, clock: Clock
) -> None:
    rolling = Rolling(cloud, clock)
    rolling.start()
    rolling.after()
    rolling.after(61)
    rolling.cancel()
    assert rolling.said["Status"] == "Cancelling"
    rolling.after()
    assert rolling.said["Status"] == "Cancelled"
    assert len(cloud.members()) == 2
    members = set(cloud.members())
    rolling.after(500)
    assert set(cloud.members()) == members
    with pytest.raises(ClientError) as refused:
        rolling.cancel()
    assert refused.value.response["Error"]["Code"] == "ActiveInstanceRefreshNotFound"


def test_what_is_not_asked_for_is_the_groups_own(cloud: Cloud, clock: Clock) -> None:
    rolling = Rolling(cloud, clock)
    asked = {"AutoScalingGroupName": GROUP}
    cloud.scaling.start_instance_refresh(**asked)
    rolling.after()
    assert rolling.said["Preferences"]["MinHealthyPercentage"] == 90
    assert rolling.said["Preferences"]["MaxHealthyPercentage"] == 100
    assert rolling.said["Preferences"]["InstanceWarmup"] == 300, "the grace period"
    rolling.cancel()
    rolling.after()
    policy = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150}
    cloud.scaling.update_auto_scaling_group(
        AutoScalingGroupName=GROUP, InstanceMaintenancePolicy=policy, DefaultInstanceWarmup=77
    )
    (group,) = cloud.scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    assert group["InstanceMaintenancePolicy"] == policy
    assert group["DefaultInstanceWarmup"] == 77
    cloud.scaling.start_instance_refresh(**asked)
    assert rolling.said["Preferences"] == {**policy, "InstanceWarmup": 77, "SkipMatching": False}


def test_one_refresh_at_a_time_and_none_that_the_lab_would_not_honour(
    cloud: Cloud, clock: Clock
) -> None:
    rolling = Rolling(cloud, clock)
    rolling.start()
    with pytest.raises(ClientError) as refused:
        rolling.start()
    assert refused.value.response["Error"]["Code"] == "InstanceRefreshInProgress"
    rolling.cancel()
    rolling.after()
    for wrong in (
        {"CheckpointDelay": 5},
        {"AutoRollback": True},
        {"MinHealthyPercentage": 0},
        {"MaxHealthyPercentage": 250},
    ):
        with pytest.raises(ClientError) as refused:
            rolling.start(**wrong)
        assert refused.value.response["Error"]["Code"] == "ValidationError"
    with pytest.raises(ClientError, match="not found"):
        cloud.scaling.start_instance_refresh(AutoScalingGroupName="nobody")


def test_an_instance_that_dies_during_a_refresh_is_replaced_beside_it(
    cloud: Cloud, clock: Clock
) -> None:
    rolling = Rolling(cloud, clock)
    rolling.start()
    rolling.after()
    dead = min(rolling.first)
    cloud.ec2.terminate_instances(InstanceIds=[dead])
    assert len(cloud.members()) == 3
    rolling.after(61)
    rolling.after(61)
    assert rolling.said["Status"] == "Successful"
    assert rolling.versions() == ["2", "2"]


# ------------------------------------------------------------------ started by a deployment

UPDATE = HANDLERS["aws:autoscaling/group:Group"].update
PREFERENCES = {"minHealthyPercentage": 100, "maxHealthyPercentage": 150, "instanceWarmup": "60"}


def inputs(cloud: Cloud, version: str, **more: Any) -> dict[str, Any]:
    return {
        "name": GROUP,
        "minSize": 2,
        "maxSize": 3,
        "desiredCapacity": 2,
        "vpcZoneIdentifiers": cloud.subnets,
        "launchTemplate": {"id": cloud.template, "version": version},
        "instanceRefresh": {"strategy": "Rolling", "preferences": PREFERENCES},
        **more,
    }


def deployed(cloud: Cloud, old: dict[str, Any], new: dict[str, Any]) -> list[dict[str, Any]]:
    """The refreshes after an update of the group, the newest first."""
    assert UPDATE is not None
    context = Context(lambda _: cloud.scaling, "eu-west-1", "123456789012")
    UPDATE(context, GROUP, old, new)
    found = cloud.scaling.describe_instance_refreshes(AutoScalingGroupName=GROUP)
    return found["InstanceRefreshes"]


def test_another_template_version_starts_a_refresh_with_the_groups_own_settings(
    cloud: Cloud, clock: Clock
) -> None:
    Rolling(cloud, clock)
    (refresh,) = deployed(cloud, inputs(cloud, "1"), inputs(cloud, "2"))
    assert refresh["Preferences"] == {
        "MinHealthyPercentage": 100,
        "MaxHealthyPercentage": 150,
        "InstanceWarmup": 60,
        "SkipMatching": False,
    }


@pytest.mark.parametrize(
    ("more", "number"),
    [
        ({"maxSize": 4}, 0),
        ({"instanceRefresh": {"preferences": {}}}, 0),
        ({"maxSize": 4, "instanceRefresh": {"triggers": ["max_size"]}}, 1),
    ],
)
def test_other_changes_start_one_only_when_they_are_named(
    cloud: Cloud, clock: Clock, more: dict[str, Any], number: int
) -> None:
    Rolling(cloud, clock)
    assert len(deployed(cloud, inputs(cloud, "2"), inputs(cloud, "2", **more))) == number


def test_a_group_that_asks_for_no_refresh_gets_none(cloud: Cloud, clock: Clock) -> None:
    Rolling(cloud, clock)
    old, new = inputs(cloud, "1"), inputs(cloud, "2")
    del old["instanceRefresh"], new["instanceRefresh"]
    assert deployed(cloud, old, new) == []


def test_a_deployment_during_a_refresh_cancels_it_and_starts_another(
    cloud: Cloud, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    rolling = Rolling(cloud, clock)
    rolling.start()
    rolling.after()
    monkeypatch.setattr("lab.resources.autoscaling.time.sleep", rolling.after)
    newest, before = deployed(cloud, inputs(cloud, "1"), inputs(cloud, "2"))
    assert (newest["Status"], before["Status"]) == ("Pending", "Cancelled")


def test_a_preference_that_would_come_to_nothing_is_refused(cloud: Cloud, clock: Clock) -> None:
    Rolling(cloud, clock)
    block = {"strategy": "Rolling", "preferences": {"checkpointDelay": "5"}}
    with pytest.raises(Refusal, match="checkpointDelay"):
        deployed(cloud, inputs(cloud, "1"), inputs(cloud, "2", instanceRefresh=block))
