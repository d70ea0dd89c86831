"""Routes to interfaces and the source/destination check in the lab's cloud; who hears of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from lab_unit.overridden import overridden
from lab_unit.scaling_cloud import SESSION

from lab import bell, inventory
from lab.overrides import addresses, changes, interfaces, routes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

POOL = "100.96.0.0/16"


class Place:
    """A VPC with a route table and two instances."""

    def __init__(self) -> None:
        self.ec2: Any = SESSION.client("ec2")
        vpc = self.ec2.create_vpc(CidrBlock="10.20.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.20.0.0/28")["Subnet"]["SubnetId"]
        self.group = self.ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)[
            "GroupId"
        ]
        made = self.ec2.run_instances(
            ImageId="ami-0000000000001ab00", MinCount=2, MaxCount=2, SubnetId=subnet
        )["Instances"]
        self.instances = [one["InstanceId"] for one in made]
        self.interfaces = [one["NetworkInterfaces"][0]["NetworkInterfaceId"] for one in made]
        self.table = self.ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]

    def where(self, number: int) -> dict[str, str]:
        """The words of a call for the pool's route to an instance's interface."""
        return {
            "RouteTableId": self.table,
            "DestinationCidrBlock": POOL,
            "NetworkInterfaceId": self.interfaces[number],
        }

    def route(self) -> dict[str, Any] | None:
        """The pool's route as it is described."""
        table = self.ec2.describe_route_tables(RouteTableIds=[self.table])["RouteTables"][0]
        return next((one for one in table["Routes"] if one["DestinationCidrBlock"] == POOL), None)

    def checks(self, number: int) -> set[bool]:
        """The source/destination check by every call that tells it, and the lab's own reading."""
        instance, interface = self.instances[number], self.interfaces[number]
        described = self.ec2.describe_instances(InstanceIds=[instance])
        one = described["Reservations"][0]["Instances"][0]
        words = {"InstanceId": instance, "Attribute": "sourceDestCheck"}
        shown = self.ec2.describe_network_interfaces(NetworkInterfaceIds=[interface])
        return {
            one["SourceDestCheck"],
            one["NetworkInterfaces"][0]["SourceDestCheck"],
            self.ec2.describe_instance_attribute(**words)["SourceDestCheck"]["Value"],
            shown["NetworkInterfaces"][0]["SourceDestCheck"],
            inventory.read_instances(self.ec2)[instance].source_check,
        }


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Place]:
    with overridden(monkeypatch, tmp_path, addresses, interfaces, routes, changes):
        yield Place()


def test_a_route_tells_interface_instance_and_state(place: Place) -> None:
    place.ec2.create_route(**place.where(0))
    route = place.route()
    assert route is not None
    assert route["NetworkInterfaceId"] == place.interfaces[0]
    assert route["InstanceId"] == place.instances[0]
    assert route["State"] == "active"


def test_a_second_route_to_the_same_destination_is_refused(place: Place) -> None:
    """Or two gateways that both think that there is none would not notice each other."""
    place.ec2.create_route(**place.where(0))
    with pytest.raises(ClientError) as refused:
        place.ec2.create_route(**place.where(1))
    assert refused.value.response["Error"]["Code"] == "RouteAlreadyExists"
    assert (place.route() or {})["NetworkInterfaceId"] == place.interfaces[0]


def test_a_route_is_replaced_and_deleted_and_then_there_is_none_to_replace(place: Place) -> None:
    place.ec2.create_route(**place.where(0))
    place.ec2.replace_route(**place.where(1))
    assert (place.route() or {})["InstanceId"] == place.instances[1]
    place.ec2.delete_route(RouteTableId=place.table, DestinationCidrBlock=POOL)
    assert place.route() is None
    with pytest.raises(ClientError) as refused:
        place.ec2.replace_route(**place.where(1))
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValue"


def test_the_route_of_a_terminated_instance_is_a_blackhole_until_it_is_replaced(
    place: Place,
) -> None:
    place.ec2.create_route(**place.where(0))
    place.ec2.terminate_instances(InstanceIds=[place.instances[0]])
    route = place.route()
    assert route is not None
    assert route["State"] == "blackhole"
    assert "InstanceId" not in route
    (left,) = place.ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert left["NetworkInterfaceId"] == place.interfaces[1], "the interface went with its instance"
    with pytest.raises(ClientError, match="InvalidNetworkInterfaceID"):
        place.ec2.replace_route(**place.where(0))
    place.ec2.replace_route(**place.where(1))
    assert (place.route() or {})["State"] == "active"


def at_the_instance(place: Place, *, on: bool) -> None:
    place.ec2.modify_instance_attribute(
        InstanceId=place.instances[0], SourceDestCheck={"Value": on}
    )


def at_the_interface(place: Place, *, on: bool) -> None:
    place.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=place.interfaces[0], SourceDestCheck={"Value": on}
    )


@pytest.mark.parametrize("off", [at_the_instance, at_the_interface])
@pytest.mark.parametrize("on", [at_the_instance, at_the_interface])
def test_the_source_check_goes_off_and_on_by_either_call_and_every_call_tells_it(
    place: Place, off: Callable[..., None], on: Callable[..., None]
) -> None:
    assert place.checks(0) == {True}
    off(place, on=False)
    assert place.checks(0) == {False}
    assert place.checks(1) == {True}
    on(place, on=True)
    assert place.checks(0) == {True}


def test_to_change_groups_or_type_leaves_the_source_check_as_it_is(place: Place) -> None:
    at_the_instance(place, on=False)
    place.ec2.modify_network_interface_attribute(
        NetworkInterfaceId=place.interfaces[0], Groups=[place.group]
    )
    place.ec2.modify_instance_attribute(
        InstanceId=place.instances[0], InstanceType={"Value": "t4g.small"}
    )
    assert place.checks(0) == {False}


def test_who_keeps_the_vpc_hears_of_every_change_and_of_nothing_else(place: Place) -> None:
    listener = bell.Listener()
    every = {
        "GroupId": place.group,
        "IpPermissions": [
            {"IpProtocol": "tcp", "FromPort": 1, "ToPort": 2, "IpRanges": [{"CidrIp": POOL}]}
        ],
    }
    ec2 = place.ec2
    try:
        for change in (
            lambda: ec2.create_route(**place.where(0)),
            lambda: ec2.replace_route(**place.where(1)),
            lambda: ec2.delete_route(RouteTableId=place.table, DestinationCidrBlock=POOL),
            lambda: at_the_instance(place, on=False),
            lambda: at_the_interface(place, on=True),
            lambda: ec2.authorize_security_group_ingress(**every),
            lambda: ec2.revoke_security_group_ingress(**every),
            lambda: ec2.modify_instance_attribute(
                InstanceId=place.instances[0], Groups=[place.group]
            ),
            lambda: ec2.terminate_instances(InstanceIds=[place.instances[1]]),
        ):
            assert not listener.wait(0)
            change()
            assert listener.wait(0)
        place.route()
        place.checks(0)
        with pytest.raises(ClientError):
            ec2.replace_route(**place.where(0))
        assert not listener.wait(0)
    finally:
        listener.close()


def test_to_install_the_bell_twice_rings_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[str] = []
    changes.install(partial(monkeypatch.setattr, raising=False))
    changes.install(lambda owner, name, _: replaced.append(f"{owner} {name}"))
    assert replaced == []
