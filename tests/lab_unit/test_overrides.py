"""Where the lab's cloud differs from moto: instances of a group, addresses, health."""

from __future__ import annotations

import ipaddress
import itertools
import json
import time

import pytest
from botocore.exceptions import ClientError
from lab_unit.scaling_cloud import GROUP, PROFILE, Cloud

from lab import paths
from lab.overrides import autoscaling


def test_instances_are_spread_evenly_over_the_zones(cloud: Cloud) -> None:
    cloud.group(4)
    zones = [one["Placement"]["AvailabilityZone"] for one in cloud.instances()]
    assert sorted(zones) == ["eu-west-1a", "eu-west-1a", "eu-west-1b", "eu-west-1b"]
    cloud.size(2)
    zones = [one["Placement"]["AvailabilityZone"] for one in cloud.instances()]
    assert sorted(zones) == ["eu-west-1a", "eu-west-1b"]


def test_instances_have_what_their_template_says(cloud: Cloud) -> None:
    cloud.group(1)
    (one,) = cloud.instances()
    assert one["IamInstanceProfile"]["Arn"].endswith(f":instance-profile/{PROFILE}")
    assert one["MetadataOptions"]["HttpTokens"] == "required"
    assert [group["GroupId"] for group in one["SecurityGroups"]] == [cloud.security]


def test_a_new_instance_is_of_the_groups_template_version(cloud: Cloud) -> None:
    cloud.group(1)
    (first,) = cloud.members()
    cloud.ec2.create_launch_template_version(
        LaunchTemplateId=cloud.template, SourceVersion="1", LaunchTemplateData={"KeyName": "k"}
    )
    cloud.scaling.update_auto_scaling_group(
        AutoScalingGroupName=GROUP,
        LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": "2"},
        DesiredCapacity=2,
    )
    described = cloud.scaling.describe_auto_scaling_instances()["AutoScalingInstances"]
    versions = {one["InstanceId"]: one["LaunchTemplate"]["Version"] for one in described}
    assert versions.pop(first) == "1"
    assert list(versions.values()) == ["2"]


def test_without_hooks_an_instance_serves_at_once(cloud: Cloud) -> None:
    cloud.group(2)
    assert cloud.states() == ["InService", "InService"]
    assert cloud.registered() == set(cloud.members())


def test_a_launched_instance_waits_for_its_hook_and_is_registered_after_it(cloud: Cloud) -> None:
    cloud.group(0)
    cloud.hook("launch", "LAUNCHING")
    cloud.size(1)
    (instance,) = cloud.members()
    assert cloud.states() == ["Pending:Wait"]
    assert cloud.registered() == set()
    cloud.complete("launch", instance)
    assert cloud.states() == ["InService"]
    assert cloud.registered() == {instance}


def test_a_hook_that_comes_after_the_launch_does_not_touch_it(cloud: Cloud) -> None:
    cloud.group(1)
    cloud.hook("launch", "LAUNCHING")
    assert cloud.states() == ["InService"]


def test_an_instance_waits_for_all_of_its_hooks(cloud: Cloud) -> None:
    cloud.group(0)
    cloud.hook("one", "LAUNCHING")
    cloud.hook("two", "LAUNCHING")
    cloud.size(1)
    (instance,) = cloud.members()
    cloud.complete("one", instance)
    assert cloud.states() == ["Pending:Wait"]
    cloud.complete("two", instance)
    assert cloud.states() == ["InService"]


def test_an_abandoned_launch_is_terminated_and_tried_anew(cloud: Cloud) -> None:
    cloud.group(0)
    cloud.hook("launch", "LAUNCHING")
    cloud.size(1)
    (first,) = cloud.members()
    cloud.complete("launch", first, "ABANDON")
    (second,) = cloud.members()
    assert second != first
    assert cloud.states() == ["Pending:Wait"]
    assert [one["InstanceId"] for one in cloud.instances()] == [second]


@pytest.mark.parametrize(("default", "same"), [("CONTINUE", True), ("ABANDON", False)])
def test_a_wait_ends_with_the_hooks_default_result(
    cloud: Cloud, default: str, *, same: bool
) -> None:
    cloud.group(0)
    cloud.hook("launch", "LAUNCHING", default=default, seconds=300)
    cloud.size(1)
    (instance,) = cloud.members()
    autoscaling.expire(time.monotonic() + 290)
    assert cloud.members() == {instance: "Pending:Wait"}
    autoscaling.expire(time.monotonic() + 310)
    assert (instance in cloud.members()) is same
    assert cloud.states() == ["InService" if same else "Pending:Wait"]


def test_a_heartbeat_begins_the_time_anew(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.group(0)
    cloud.hook("launch", "LAUNCHING", default="ABANDON", seconds=300)
    cloud.size(1)
    (instance,) = cloud.members()
    now = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(autoscaling.time, "monotonic", lambda: now + 200)
        cloud.scaling.record_lifecycle_action_heartbeat(
            AutoScalingGroupName=GROUP, LifecycleHookName="launch", InstanceId=instance
        )
    autoscaling.expire(now + 400)
    assert cloud.members() == {instance: "Pending:Wait"}
    autoscaling.expire(now + 510)
    assert instance not in cloud.members()


def test_completing_nothing_is_refused_as_on_aws(cloud: Cloud) -> None:
    cloud.group(1)
    cloud.hook("launch", "LAUNCHING")
    (instance,) = cloud.members()
    with pytest.raises(ClientError, match="No active Lifecycle Action found with instance ID"):
        cloud.complete("launch", instance)
    with pytest.raises(ClientError, match="must be CONTINUE or ABANDON"):
        cloud.complete("launch", instance, "MAYBE")


def test_a_leaving_instance_is_deregistered_then_waits_then_goes(cloud: Cloud) -> None:
    cloud.group(2)
    cloud.hook("terminate", "TERMINATING")
    first, second = cloud.members()
    cloud.scaling.terminate_instance_in_auto_scaling_group(
        InstanceId=first, ShouldDecrementDesiredCapacity=False
    )
    members = cloud.members()
    assert members[first] == "Terminating:Wait"
    assert first not in cloud.registered()
    assert len(cloud.instances()) == 3, "its replacement is launched meanwhile"
    cloud.complete("terminate", first)
    assert first not in cloud.members()
    assert cloud.states() == ["InService", "InService"]
    assert first not in {one["InstanceId"] for one in cloud.instances()}
    assert cloud.registered() == set(cloud.members())
    assert second in cloud.members()


def test_an_instance_can_go_without_a_replacement(cloud: Cloud) -> None:
    cloud.group(2)
    first, second = cloud.members()
    cloud.scaling.terminate_instance_in_auto_scaling_group(
        InstanceId=first, ShouldDecrementDesiredCapacity=True
    )
    assert cloud.members() == {second: "InService"}


def test_a_terminated_instance_is_replaced(cloud: Cloud) -> None:
    cloud.group(2)
    first, second = cloud.members()
    cloud.ec2.terminate_instances(InstanceIds=[first])
    members = cloud.members()
    assert first not in members
    assert second in members
    assert cloud.states() == ["InService", "InService"]
    assert cloud.registered() == set(members)


def test_an_unhealthy_instance_is_replaced(cloud: Cloud) -> None:
    cloud.group(2)
    first, second = cloud.members()
    cloud.scaling.set_instance_health(InstanceId=first, HealthStatus="Unhealthy")
    assert first not in cloud.members()
    assert second in cloud.members()
    assert len(cloud.members()) == 2


def test_a_suspended_group_launches_nothing(cloud: Cloud) -> None:
    cloud.group(1)
    (instance,) = cloud.members()
    cloud.scaling.suspend_processes(AutoScalingGroupName=GROUP, ScalingProcesses=["Launch"])
    cloud.ec2.terminate_instances(InstanceIds=[instance])
    assert cloud.members() == {}


def test_a_deleted_group_takes_its_instances_along(cloud: Cloud) -> None:
    cloud.group(2)
    cloud.hook("terminate", "TERMINATING")
    cloud.scaling.delete_auto_scaling_group(AutoScalingGroupName=GROUP, ForceDelete=True)
    assert cloud.instances() == []
    assert cloud.registered() == set()
    with pytest.raises(ClientError, match="not found"):
        cloud.scaling.delete_auto_scaling_group(AutoScalingGroupName=GROUP, ForceDelete=True)


def test_addresses_come_back_when_an_instance_has_gone(cloud: Cloud) -> None:
    cloud.group(2)
    seen = []
    for _ in range(30):
        instance = next(iter(cloud.members()))
        (address,) = [
            one["PrivateIpAddress"] for one in cloud.instances() if one["InstanceId"] == instance
        ]
        seen.append(address)
        cloud.ec2.terminate_instances(InstanceIds=[instance])
    assert all(after != before for before, after in itertools.pairwise(seen))
    reserved = {int(ipaddress.ip_address(address)) % 16 for address in seen} & {0, 1, 2, 3, 15}
    assert not reserved, "AWS keeps the first four addresses and the last one"


def test_elastic_addresses_are_of_the_labs_internet(cloud: Cloud) -> None:
    made = [cloud.ec2.allocate_address(Domain="vpc")["PublicIp"] for _ in range(3)]
    assert made == ["203.0.113.10", "203.0.113.11", "203.0.113.12"]
    first = cloud.ec2.describe_addresses()["Addresses"][0]
    cloud.ec2.release_address(AllocationId=first["AllocationId"])
    assert cloud.ec2.allocate_address(Domain="vpc")["PublicIp"] == "203.0.113.10"


def test_a_load_balancer_shows_its_addresses(cloud: Cloud) -> None:
    made = [cloud.ec2.allocate_address(Domain="vpc") for _ in cloud.subnets]
    mappings = [
        {"SubnetId": subnet, "AllocationId": elastic["AllocationId"]}
        for subnet, elastic in zip(cloud.subnets, made, strict=True)
    ]
    cloud.elb.create_load_balancer(Name="nlb", Type="network", SubnetMappings=mappings)
    (balancer,) = cloud.elb.describe_load_balancers()["LoadBalancers"]
    shown = [
        zone["LoadBalancerAddresses"][0]["IpAddress"] for zone in balancer["AvailabilityZones"]
    ]
    assert shown == [elastic["PublicIp"] for elastic in made]


def test_health_is_what_the_balancer_measured(cloud: Cloud) -> None:
    cloud.group(2)
    first, second = cloud.members()
    assert cloud.health() == {first: "initial", second: "initial"}
    measured = {
        cloud.targets: {
            first: {"state": "healthy", "reason": ""},
            second: {"state": "unhealthy", "reason": "Target.FailedHealthChecks"},
        }
    }
    paths.target_health().write_text(json.dumps(measured))
    assert cloud.health() == {first: "healthy", second: "unhealthy"}
    paths.target_health().write_text("{")
    assert cloud.health() == {first: "initial", second: "initial"}
