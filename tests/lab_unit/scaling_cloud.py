"""An Auto Scaling group on the lab's overrides of moto, in this process."""

from __future__ import annotations

from typing import Any

import boto3
import moto  # noqa: F401 - a session that is made before this import is not its

SESSION = boto3.Session("testing", "testing", region_name="eu-west-1")
GROUP = "gateways"
PROFILE = "gateway"


class Cloud:
    """A VPC with a subnet in each of two zones, a load balancer and a launch template."""

    def __init__(self) -> None:
        self.ec2 = SESSION.client("ec2")
        self.scaling = SESSION.client("autoscaling")
        self.elb = SESSION.client("elbv2")
        vpc = self.ec2.create_vpc(CidrBlock="10.9.0.0/24")["Vpc"]["VpcId"]
        self.subnets = [
            self.ec2.create_subnet(
                VpcId=vpc, CidrBlock=f"10.9.0.{16 * number}/28", AvailabilityZone=f"eu-west-1{zone}"
            )["Subnet"]["SubnetId"]
            for number, zone in enumerate("ab")
        ]
        iam = SESSION.client("iam")
        iam.create_instance_profile(InstanceProfileName=PROFILE)
        self.security = self.ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)[
            "GroupId"
        ]
        self.template = self.ec2.create_launch_template(
            LaunchTemplateName="t",
            LaunchTemplateData={
                "ImageId": "ami-0000000000001ab00",
                "InstanceType": "t4g.small",
                "SecurityGroupIds": [self.security],
                "IamInstanceProfile": {"Name": PROFILE},
                "MetadataOptions": {"HttpTokens": "required", "HttpPutResponseHopLimit": 1},
            },
        )["LaunchTemplate"]["LaunchTemplateId"]
        self.targets = self.elb.create_target_group(
            Name="slot-0", Protocol="UDP", Port=51820, VpcId=vpc
        )["TargetGroups"][0]["TargetGroupArn"]

    def group(self, size: int = 2, *, version: str = "1") -> None:
        self.scaling.create_auto_scaling_group(
            AutoScalingGroupName=GROUP,
            MinSize=0,
            MaxSize=9,
            DesiredCapacity=size,
            VPCZoneIdentifier=",".join(self.subnets),
            LaunchTemplate={"LaunchTemplateId": self.template, "Version": version},
            TargetGroupARNs=[self.targets],
        )

    def hook(self, name: str, when: str, *, default: str = "CONTINUE", seconds: int = 300) -> None:
        self.scaling.put_lifecycle_hook(
            AutoScalingGroupName=GROUP,
            LifecycleHookName=name,
            LifecycleTransition=f"autoscaling:EC2_INSTANCE_{when}",
            HeartbeatTimeout=seconds,
            DefaultResult=default,
        )

    def size(self, wanted: int) -> None:
        self.scaling.set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=wanted)

    def complete(self, hook: str, instance: str, result: str = "CONTINUE") -> None:
        self.scaling.complete_lifecycle_action(
            AutoScalingGroupName=GROUP,
            LifecycleHookName=hook,
            InstanceId=instance,
            LifecycleActionResult=result,
        )

    def members(self) -> dict[str, str]:
        """Instance id -> lifecycle state."""
        (group,) = self.scaling.describe_auto_scaling_groups()["AutoScalingGroups"]
        return {one["InstanceId"]: one["LifecycleState"] for one in group["Instances"]}

    def states(self) -> list[str]:
        return sorted(self.members().values())

    def registered(self) -> set[str]:
        health = self.elb.describe_target_health(TargetGroupArn=self.targets)
        return {one["Target"]["Id"] for one in health["TargetHealthDescriptions"]}

    def health(self) -> dict[str, str]:
        health = self.elb.describe_target_health(TargetGroupArn=self.targets)
        return {
            one["Target"]["Id"]: one["TargetHealth"]["State"]
            for one in health["TargetHealthDescriptions"]
        }

    def instances(self) -> list[dict[str, Any]]:
        """The running ones."""
        wanted = [{"Name": "instance-state-name", "Values": ["running"]}]
        found = self.ec2.describe_instances(Filters=wanted)["Reservations"]
        return [instance for reservation in found for instance in reservation["Instances"]]


class Clock:
    """The monotonic clock, in hand."""

    def __init__(self) -> None:
        self.now = 1000.0
