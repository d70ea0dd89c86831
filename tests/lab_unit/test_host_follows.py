"""The private host's route table and security group, which follow the stack's egress."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

import pytest
from lab_unit.scaling_cloud import SESSION
from moto import mock_aws

from lab import host
from registry.items import ROUTED, SNAT, Control

if TYPE_CHECKING:
    from collections.abc import Generator

VPC, POOL = "10.20.0.0/16", "100.96.0.0/16"


class Place:
    """A VPC with the host's subnet and group, and two route tables of its own."""

    def __init__(self) -> None:
        self.ec2: Any = SESSION.client("ec2")
        vpc = self.ec2.create_vpc(CidrBlock=VPC)["Vpc"]["VpcId"]
        made = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.32.0/24")["Subnet"]
        self.subnet = made["SubnetId"]
        named = [{"Key": "Name", "Value": host.SUBNET_NAME}]
        self.ec2.create_tags(Resources=[self.subnet], Tags=named)
        of_vpc = {"Name": "vpc-id", "Values": [vpc]}
        self.group = host._group(self.ec2, vpc, of_vpc)
        self.tables = [
            self.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"] for _ in range(2)
        ]

    def control(self, egress: str, *tables: str, pool: str = POOL) -> Control:
        """What the program tells the gateways."""
        return Control(
            key_generations=(1,),
            port=51820,
            vpc_cidrs=(IPv4Network(VPC),),
            routed_cidrs=(),
            client_pool=IPv4Network(pool),
            egress=egress,
            route_tables=tables,
        )

    def admitted(self) -> set[str]:
        """The CIDRs that the host's group lets in."""
        (group,) = self.ec2.describe_security_groups(GroupIds=[self.group])["SecurityGroups"]
        return {one["CidrIp"] for rule in group["IpPermissions"] for one in rule["IpRanges"]}

    def tied(self) -> list[str]:
        """The route tables that the subnet is tied to by name."""
        wanted = [{"Name": "association.subnet-id", "Values": [self.subnet]}]
        found = self.ec2.describe_route_tables(Filters=wanted)["RouteTables"]
        return [one["RouteTableId"] for one in found]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Generator[Place]:
    monkeypatch.setattr(host.aws, "client", SESSION.client)
    with mock_aws():
        yield Place()


def test_with_translation_only_the_vpc_is_let_in_and_its_main_table_stays(place: Place) -> None:
    host.follow(place.control(SNAT))
    assert place.admitted() == {VPC}
    assert place.tied() == []


def test_routed_the_clients_are_let_in_and_the_subnet_has_their_route(place: Place) -> None:
    for _ in range(2):
        host.follow(place.control(ROUTED, *place.tables))
        assert place.admitted() == {VPC, POOL}
        assert place.tied() == [place.tables[-1]]


def test_another_pool_and_other_tables_take_the_place_of_the_former_ones(place: Place) -> None:
    host.follow(place.control(ROUTED, *place.tables))
    host.follow(place.control(ROUTED, place.tables[0], pool="100.64.0.0/20"))
    assert place.admitted() == {VPC, "100.64.0.0/20"}
    assert place.tied() == [place.tables[0]]


def test_a_stack_that_goes_back_to_translation_leaves_the_host_as_it_was(place: Place) -> None:
    host.follow(place.control(ROUTED, *place.tables))
    host.follow(place.control(SNAT))
    assert place.admitted() == {VPC}
    assert place.tied() == []


def test_before_there_is_a_host_nothing_happens(place: Place) -> None:
    place.ec2.delete_security_group(GroupId=place.group)
    host.follow(place.control(ROUTED, *place.tables))
    assert place.tied() == []
