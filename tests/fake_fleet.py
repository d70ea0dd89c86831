"""Gateways that exist in a fake AWS only; tests write what they say of themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from fake_registry import PARAMETER, SERVER_KEY, STACK, Fake

from registry.environment import Environment
from registry.items import GatewayRecord
from registry.membership import Fleet

if TYPE_CHECKING:
    from registry.environment import Cloud
    from registry.items import Ack

GROUP = "gateways"
PORTS = (51820, 51821)


@dataclass
class FakeFleet:
    """An Auto Scaling group with two members behind two target groups."""

    cloud: Cloud
    fake: Fake
    environment: Environment
    sent: dict[str, GatewayRecord] = field(default_factory=dict)

    @property
    def fleet(self) -> Fleet:
        """As commands see it."""
        return Fleet(self.cloud, self.environment, self.fake.registry)

    @property
    def ids(self) -> list[str]:
        """The members."""
        return [member.instance_id for member in self.fleet.group().members]

    def record(self, instance_id: str, **said: Any) -> GatewayRecord:
        """What a gateway says when nothing is the matter, but for what is given."""
        head = self.fake.registry.head()
        usual = GatewayRecord(
            arn=self.environment.instance_arn(instance_id),
            instance_id=instance_id,
            zone="eu-west-1a",
            address="10.20.0.132",
            boot_id=f"boot-{instance_id}",
            applied=head.generation,
            epoch=head.epoch,
            keys={1: SERVER_KEY},
            version="ab12",
            updated=1_700_000_000,
        )
        return replace(usual, **said)

    def says(self, instance_id: str, **said: Any) -> GatewayRecord:
        """Write that gateway's item."""
        record = self.record(instance_id, **said)
        self.fake.registry.put_gateway(record)
        self.sent[instance_id] = record
        return record

    def relays(self, relay: str, about: str, ack: Ack) -> None:
        """Have one gateway pass on what it heard from another."""
        self.says(relay, acks={about: ack})


def build(cloud: Cloud) -> list[str]:
    """Make the group and its two members; the ARNs of the target groups."""
    ec2, balancing = cloud.client("ec2"), cloud.client("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.20.{number}.0/24", AvailabilityZone=zone)
        for number, zone in enumerate(("eu-west-1a", "eu-west-1b"))
    ]
    names = [f"slot-{number}" for number in range(len(PORTS))]
    targets = [
        balancing.create_target_group(
            Name=name, Protocol="UDP", Port=port, VpcId=vpc, TargetType="instance"
        )["TargetGroups"][0]["TargetGroupArn"]
        for name, port in zip(names, PORTS, strict=True)
    ]
    images = ec2.describe_images(Owners=["amazon"])["Images"]
    template = ec2.create_launch_template(
        LaunchTemplateName="gateway",
        LaunchTemplateData={"ImageId": images[0]["ImageId"], "InstanceType": "t3.micro"},
    )["LaunchTemplate"]["LaunchTemplateId"]
    cloud.client("autoscaling").create_auto_scaling_group(
        AutoScalingGroupName=GROUP,
        LaunchTemplate={"LaunchTemplateId": template, "Version": "1"},
        MinSize=2,
        MaxSize=3,
        DesiredCapacity=2,
        VPCZoneIdentifier=",".join(one["Subnet"]["SubnetId"] for one in subnets),
        TargetGroupARNs=targets,
    )
    return targets


def of_stack(cloud: Cloud, fake: Fake, targets: list[str]) -> FakeFleet:
    """Let the stack's parameter name the group."""
    text = json.dumps({**PARAMETER, "auto_scaling_group": GROUP, "target_group_arns": targets})
    cloud.client("ssm").put_parameter(
        Name=f"/gatepair/{STACK}", Type="String", Value=text, Overwrite=True
    )
    return FakeFleet(cloud, fake, Environment.from_json(text))
