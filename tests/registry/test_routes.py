"""The routes' thread with its real calls, on a fake AWS: two gateways, two route tables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from fake_registry import CONTROL, POOL, TABLE
from unit.gateway.samples import stands_in

from gateway.messages import RoutesSeen, Trouble
from gateway.metadata import Identity
from gateway.peers import KnownPeers
from gateway.presence import Other
from gateway.routes.cloud import RouteCloud
from gateway.routes.decide import SILENT, Route
from gateway.routes.view import RoutesView
from gateway.routes.watch import RouteWatch
from gateway.state import State
from gateway.status import Board, Status
from registry.items import DRAINING, SERVING, GatewayRecord
from registry.route_holds import RouteHolds
from registry.store import now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fake_fleet import FakeFleet

    from registry.environment import Cloud


@dataclass
class Vpc:
    """Route tables, and who is what to whom."""

    fleet: FakeFleet
    directory: Path
    tables: tuple[str, ...]
    targets: tuple[str, ...]
    routed: bool = True
    time: float = 1000.0
    silent: dict[str, float] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    everybody: tuple[Gateway, ...] = ()
    """The dead ones among them."""

    @property
    def ec2(self) -> Any:
        return self.fleet.cloud.client("ec2")

    def run(self, seconds: float = 2.0) -> None:
        """Let every gateway step, twice a second."""
        for _ in range(round(seconds * 2)):
            self.time += 0.5
            for one in self.gateways.values():
                one.step()

    def routes(self) -> dict[str, str]:
        """Route table -> gateway that its route to the clients leads to."""
        whose = {one.interface: one.name for one in self.everybody}
        found = {table: self.route(table) for table in self.tables}
        return {
            table: whose[route["NetworkInterfaceId"]] if route else ""
            for table, route in found.items()
        }

    def route(self, table: str) -> dict[str, Any] | None:
        answer = self.ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"][0]
        found = [one for one in answer["Routes"] if one["DestinationCidrBlock"] == str(POOL)]
        assert len(found) <= 1
        return found[0] if found else None

    def holders(self) -> dict[str, str]:
        holds = RouteHolds(self.fleet.fake.client, TABLE, now)
        return {table: hold.holder for table, hold in holds.read()[0].items()}

    def checks(self) -> list[bool]:
        """Source/destination checks of both, as AWS has them."""
        return [
            self.ec2.describe_instance_attribute(InstanceId=name, Attribute="sourceDestCheck")[
                "SourceDestCheck"
            ]["Value"]
            for name in self.gateways
        ]


class Gateway:
    """The thread of one, and what it has told."""

    def __init__(self, vpc: Vpc, name: str) -> None:
        self.vpc, self.name, self.board = vpc, name, Board()
        self.view, self.trouble = RoutesView(), ""
        cloud = vpc.fleet.cloud
        self.watch = RouteWatch(
            RouteHolds(vpc.fleet.fake.client, TABLE, now),
            RouteCloud(lambda: cloud.client("ec2"), lambda: cloud.client("elbv2")),
            self.board,
            self.hear,
            presence=stands_in(self),
            circle=stands_in(self),
            interface=lambda: self.interface,
            marker=vpc.directory / name,
            monotonic=lambda: vpc.time,
        )

    @property
    def interface(self) -> str:
        answer = self.vpc.ec2.describe_instances(InstanceIds=[self.name])
        (found,) = answer["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
        return found["NetworkInterfaceId"]

    @property
    def heard(self) -> dict[str, Any]:
        return {}

    def others(self, names: frozenset[str]) -> dict[str, Other]:
        vpc = self.vpc
        return {
            name: Other(vpc.silent.get(name, 0.0), vpc.words.get(name, SERVING)) for name in names
        }

    def hear(self, message: object) -> None:
        match message:
            case RoutesSeen(view):
                self.view = view
            case Trouble(_, why):
                self.trouble = why

    def step(self) -> None:
        vpc = self.vpc
        egress = {"egress": "routed", "route_tables": vpc.tables} if vpc.routed else {}
        state = State(
            identity=Identity(self.name, "1", "eu-west-1", "eu-west-1a", "10.20.0.10"),
            known=KnownPeers("e", 0),
            control=replace(CONTROL, **egress),
            members={one.instance_id: one.lifecycle for one in vpc.fleet.fleet.group().members},
            target_groups=vpc.targets,
        )
        word = vpc.words.get(self.name, SERVING)
        record = GatewayRecord("arn", self.name, "z", "10.20.0.10", "b", 0, "e", state=word)
        self.board.publish(Status(state=state, record=record))
        self.watch.step()


@pytest.fixture
def vpc(fleet: FakeFleet, cloud: Cloud, group: list[str], tmp_path: Path) -> Iterator[Vpc]:
    """A routed stack at rest, with a gateway for each of two tables."""
    ec2 = cloud.client("ec2")
    answer = ec2.describe_instances(InstanceIds=[fleet.ids[0]])
    own = answer["Reservations"][0]["Instances"][0]["VpcId"]
    tables = tuple(
        sorted(ec2.create_route_table(VpcId=own)["RouteTable"]["RouteTableId"] for _ in range(2))
    )
    made = Vpc(fleet, tmp_path, tables, tuple(group))
    made.gateways = {name: Gateway(made, name) for name in sorted(fleet.ids)}
    made.everybody = tuple(made.gateways.values())
    made.run()
    yield made
    for table in tables:
        ec2.delete_route_table(RouteTableId=table)


def test_each_gateway_has_a_table_and_forwards(vpc: Vpc) -> None:
    assert sorted(vpc.routes().values()) == sorted(vpc.gateways)
    assert vpc.holders() == vpc.routes()
    assert vpc.checks() == [False, False]
    for name, gateway in vpc.gateways.items():
        (table,) = gateway.view.held
        assert vpc.routes()[table] == name
        assert gateway.view == RoutesView((table,), (table,), True, 1)


def test_a_survivor_takes_what_the_dead_one_held(vpc: Vpc, cloud: Cloud) -> None:
    dead, survivor = vpc.gateways
    del vpc.gateways[dead]
    vpc.silent[dead] = SILENT
    vpc.run()
    assert set(vpc.routes().values()) == {dead, survivor}, "the load balancer calls it healthy"
    for arn in vpc.targets:
        cloud.client("elbv2").deregister_targets(TargetGroupArn=arn, Targets=[{"Id": dead}])
    vpc.run()
    assert set(vpc.routes().values()) == {survivor}
    assert set(vpc.holders().values()) == {survivor}
    assert vpc.gateways[survivor].view.changes == 2
    for arn in vpc.targets:  # other tests share the group
        cloud.client("elbv2").register_targets(TargetGroupArn=arn, Targets=[{"Id": dead}])


def test_a_drain_hands_over(vpc: Vpc) -> None:
    leaver, other = vpc.gateways
    vpc.words[leaver] = DRAINING
    vpc.run(4)
    assert set(vpc.routes().values()) == {other}
    assert vpc.gateways[leaver].view.rid
    assert vpc.gateways[other].view.held == vpc.tables


def test_back_to_snat_nothing_is_left(vpc: Vpc) -> None:
    vpc.routed = False
    vpc.run(15)
    assert vpc.routes() == dict.fromkeys(vpc.tables, "")
    assert vpc.holders() == {}
    assert vpc.checks() == [True, True]
    assert all(gateway.view.rid for gateway in vpc.gateways.values())


def test_a_route_of_somebody_else_is_left_alone(vpc: Vpc) -> None:
    ec2 = vpc.ec2
    internet = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    table = vpc.tables[0]
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock=str(POOL), GatewayId=internet)
    vpc.run(62)
    route = vpc.route(table)
    assert route is not None
    assert route["GatewayId"] == internet
    holder = vpc.gateways[vpc.holders()[table]]
    assert f"{table}: its route to the clients leads to {internet}" in holder.trouble


def test_a_table_that_is_not_there_does_not_hide_the_others(vpc: Vpc, cloud: Cloud) -> None:
    calls = RouteCloud(lambda: cloud.client("ec2"), lambda: cloud.client("elbv2"))
    found = calls.routes(["rtb-0123456789abcdef0", *vpc.tables], POOL)
    assert found == {
        table: Route(vpc.gateways[who].interface) for table, who in vpc.routes().items()
    }
