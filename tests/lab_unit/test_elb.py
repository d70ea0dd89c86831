"""The load balancer as it is read from elbv2 and EC2, here from moto."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from lab import elb
from lab.flows import Ingress, Listener
from lab.health import Check

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "eu-west-1"


class Cloud:
    """A load balancer with one target group, one listener and one instance, in moto."""

    def __init__(self) -> None:
        self.ec2: Any = boto3.client("ec2", region_name=REGION)
        self.elb: Any = boto3.client("elbv2", region_name=REGION)
        vpc = self.ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        self.subnet = self.ec2.create_subnet(
            VpcId=vpc, CidrBlock="10.20.0.0/28", AvailabilityZone=f"{REGION}a"
        )["Subnet"]["SubnetId"]
        self.security_group = self.ec2.create_security_group(
            GroupName="balancer", Description="d", VpcId=vpc
        )["GroupId"]
        self.arn = self.elb.create_load_balancer(
            Name="one", Type="network", Subnets=[self.subnet], SecurityGroups=[self.security_group]
        )["LoadBalancers"][0]["LoadBalancerArn"]
        self.group = self.elb.create_target_group(
            Name="slot0",
            Protocol="UDP",
            Port=51820,
            VpcId=vpc,
            HealthCheckProtocol="HTTP",
            HealthCheckPort="9585",
            HealthCheckPath="/healthz/0",
            HealthCheckIntervalSeconds=5,
            HealthCheckTimeoutSeconds=2,
            HealthyThresholdCount=2,
            UnhealthyThresholdCount=3,
            Matcher={"HttpCode": "200"},
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elb.create_listener(
            LoadBalancerArn=self.arn,
            Protocol="UDP",
            Port=51820,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.group}],
        )
        image = self.ec2.describe_images()["Images"][0]["ImageId"]
        run = {"ImageId": image, "MinCount": 1, "MaxCount": 1, "SubnetId": self.subnet}
        self.instance = self.ec2.run_instances(**run)["Instances"][0]["InstanceId"]
        self.reader = elb.Reader(self.elb, self.ec2)

    def register(self) -> None:
        """Make the instance a target."""
        self.elb.register_targets(TargetGroupArn=self.group, Targets=[{"Id": self.instance}])


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    """A cloud of the test's own."""
    with mock_aws():
        yield Cloud()


def test_without_a_load_balancer_there_is_nothing_to_read() -> None:
    """The lab's balancer starts before the program has made one."""
    with mock_aws():
        clients = [boto3.client(name, region_name=REGION) for name in ("elbv2", "ec2")]
        assert elb.Reader(*clients).read() is None


def test_health_checks_are_the_target_groups_own(cloud: Cloud) -> None:
    """None of them is a default."""
    one = cloud.reader.read()
    assert one is not None
    assert one.groups[0].check == Check(
        protocol="HTTP",
        port=9585,
        path="/healthz/0",
        matcher="200",
        interval=5,
        timeout=2,
        healthy=2,
        unhealthy=3,
    )
    assert one.listeners == (Listener(port=51820, protocols=("udp",), group=cloud.group),)
    assert one.vpc_cidrs == ("10.20.0.0/16",)


def test_attributes_decide_on_zones_and_draining(cloud: Cloud) -> None:
    """And AWS's defaults where there is none: off, 300 s."""
    before = cloud.reader.read()
    assert before is not None
    assert (before.cross_zone, before.groups[0].deregistration_delay) == (False, 300)
    attribute = {"Key": "load_balancing.cross_zone.enabled", "Value": "true"}
    cloud.elb.modify_load_balancer_attributes(LoadBalancerArn=cloud.arn, Attributes=[attribute])
    values = {
        "deregistration_delay.timeout_seconds": "0",
        "deregistration_delay.connection_termination.enabled": "true",
    }
    attributes = [{"Key": key, "Value": value} for key, value in values.items()]
    cloud.elb.modify_target_group_attributes(TargetGroupArn=cloud.group, Attributes=attributes)
    after = cloud.reader.read()
    assert after is not None
    assert (after.cross_zone, after.groups[0].deregistration_delay) == (True, 0)
    assert after.groups[0].connection_termination


def test_targets_come_and_go_between_two_whole_reads(cloud: Cloud) -> None:
    """`refresh` asks for what changes by the second only."""
    whole = cloud.reader.read()
    assert whole is not None
    assert whole.groups[0].targets == ()
    cloud.register()
    (target,) = cloud.reader.refresh(whole).groups[0].targets
    assert (target.id, target.port, target.zone) == (cloud.instance, 51820, f"{REGION}a")
    assert target.address is not None
    assert target.running
    assert target.address.startswith("10.20.0.")
    cloud.elb.deregister_targets(TargetGroupArn=cloud.group, Targets=[{"Id": cloud.instance}])
    assert cloud.reader.refresh(whole).groups[0].targets == ()


def test_a_terminated_instance_is_still_registered_and_does_not_run(cloud: Cloud) -> None:
    """Until somebody deregisters it."""
    cloud.register()
    cloud.ec2.terminate_instances(InstanceIds=[cloud.instance])
    one = cloud.reader.read()
    assert one is not None
    assert [t.running for t in one.groups[0].targets] in ([], [False])


def test_the_security_group_gives_ports_and_icmp_types(cloud: Cloud) -> None:
    """Egress and other groups' rules are not the load balancer's ingress."""
    world = [{"CidrIp": "0.0.0.0/0"}, {"CidrIp": "192.0.2.0/24"}]
    rules = [
        {"IpProtocol": "udp", "FromPort": 51820, "ToPort": 51821, "IpRanges": world},
        {"IpProtocol": "icmp", "FromPort": 3, "ToPort": 4, "IpRanges": world[:1]},
    ]
    cloud.ec2.authorize_security_group_ingress(GroupId=cloud.security_group, IpPermissions=rules)
    one = cloud.reader.read()
    assert one is not None
    assert set(one.ingress) == {
        Ingress(protocol="udp", from_port=51820, to_port=51821, cidr="0.0.0.0/0"),
        Ingress(protocol="udp", from_port=51820, to_port=51821, cidr="192.0.2.0/24"),
        Ingress(protocol="icmp", from_port=3, to_port=4, cidr="0.0.0.0/0"),
    }


def test_a_node_has_the_last_host_address_of_its_subnet() -> None:
    """The broadcast address is no host's."""
    assert elb.node_address(IPv4Network("10.20.0.0/28")) == "10.20.0.14"
