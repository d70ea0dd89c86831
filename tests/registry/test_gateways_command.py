"""scripts/gateways as an operator types it: what is listed, waited for, and cut off."""

from __future__ import annotations

import re
from time import time
from typing import TYPE_CHECKING, Any

import pytest
from command import Run
from fake_registry import TABLE

from commands import fencing
from commands import fleet as fleet_command
from commands.gateways import main
from registry.items import Ack
from registry.route_holds import RouteHolds
from registry.store import now

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_fleet import FakeFleet
    from fake_registry import Fake

    from registry.environment import Cloud


@pytest.fixture
def gateways(fake: Fake, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del fake
    return lambda *argv: Run(main, capfd, ("--stack", "dev", *argv))


def describe(cloud: Cloud, instance_id: str) -> Any:
    answer = cloud.client("ec2").describe_instances(InstanceIds=[instance_id])
    return answer["Reservations"][0]["Instances"][0]


def unhealthy(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the load balancer think ill of these, and well of the others."""
    monkeypatch.setattr(
        "registry.membership.Fleet.health",
        lambda fleet: {
            member.instance_id: ("unhealthy" if member.instance_id in names else "healthy",) * 2
            for member in fleet.group().members
        },
    )


# ------------------------------------------------------------------ list


def test_list_shows_every_member_also_one_that_has_never_said_anything(
    gateways: Callable[..., Run], fake: Fake, fleet: FakeFleet
) -> None:
    fake.add("alice", 1)
    one, other = fleet.ids
    fleet.says(one, faults=("clock: 80 ms off",), updated=int(time()))
    run = gateways("list")
    assert run.status == 0
    head, first, second = run.stdout.splitlines()
    assert head.split() == list(fleet_command.COLUMNS)
    lines = {line.split()[0]: line for line in (first, second)}
    assert "healthy/healthy" in lines[one]
    assert lines[one].split()[4:7] == ["1", "yes", "1"]
    assert "clock: 80 ms off" in lines[one]
    assert "silent" not in lines[one]
    assert lines[other].split()[4:8] == ["-", "no", "-", "never"]
    assert "2 gateways of 2, registry at change 1" in run.stderr


def test_list_says_so_where_a_gateway_has_not_been_heard_of_late(
    gateways: Callable[..., Run], fake: Fake, fleet: FakeFleet
) -> None:
    fake.add("alice", 1)
    one, other = fleet.ids
    fleet.says(one, updated=int(time()) - fleet_command.SILENT_AFTER - 5, faults=("wg0: broken",))
    fleet.says(other, updated=int(time()) - 10)
    lines = {line.split()[0]: line for line in gateways("list").stdout.splitlines()}
    silent = re.search(
        r"silent: nothing was heard for (\d+) s, all .* that old; wg0: broken$", lines[one]
    )
    assert silent, lines[one]
    assert int(silent[1]) >= fleet_command.SILENT_AFTER + 5
    assert "silent" not in lines[other]


def test_list_shows_whose_routes_are_whose(
    gateways: Callable[..., Run], fake: Fake, fleet: FakeFleet
) -> None:
    one, other = fleet.ids
    holds = RouteHolds(fake.client, TABLE, now)
    for table in ("rtb-2", "rtb-1"):
        holds.take(table, None, one, "eni-1")
    free = holds.take("rtb-3", None, other, "eni-2")
    assert free is not None
    holds.give_up(free)
    run = gateways("list")
    lines = {line.split()[0]: line.split() for line in run.stdout.splitlines()[1:]}
    assert "rtb-1,rtb-2" in lines[one]
    assert not [word for word in lines[other] if "rtb" in word]
    said = gateways("list", "--json").json
    assert said["routes"] == {"rtb-1": one, "rtb-2": one, "rtb-3": None}
    assert {gateway["id"]: gateway["routes"] for gateway in said["gateways"]} == {
        one: ["rtb-1", "rtb-2"],
        other: [],
    }


def test_json_of_the_list_has_everything_a_program_needs(
    gateways: Callable[..., Run], fake: Fake, fleet: FakeFleet
) -> None:
    fake.add("alice", 1)
    one, other = fleet.ids
    behind = fleet.says(other, applied=0)
    fleet.relays(one, other, Ack(behind.boot_id, 1, behind.epoch, behind.updated))
    run = gateways("list", "--json")
    assert run.status == 0
    assert (run.json["generation"], run.json["desired"]) == (1, 2)
    found = {gateway["id"]: gateway for gateway in run.json["gateways"]}
    assert found[one]["confirmed"] is True
    assert found[one]["relayed_by"] is None
    assert found[one]["healthy"] is True
    assert found[one]["health"] == ["healthy", "healthy"]
    assert list(found[one]["keys"]) == ["1"]
    assert found[one]["updated"] == "2023-11-14T22:13:20Z"
    assert found[other]["applied"] == 0
    assert (found[other]["confirmed"], found[other]["relayed_by"]) == (True, one)


# ------------------------------------------------------------------ wait


def test_wait_returns_when_every_gateway_is_healthy_and_up_to_date(
    gateways: Callable[..., Run],
    fake: Fake,
    fleet: FakeFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake.add("alice", 1)
    names = iter(fleet.ids)
    monkeypatch.setattr(fleet_command, "sleep", lambda _: fleet.says(next(names)))
    run = gateways("wait")
    assert run.status == 0
    assert run.stdout.startswith("2 gateways are healthy and up to date after ")
    assert gateways("wait", "--json").json["well"] is True


def test_wait_names_what_is_missing_when_time_is_up(
    gateways: Callable[..., Run],
    fake: Fake,
    fleet: FakeFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake.add("alice", 1)
    one, other = fleet.ids
    fleet.says(one)
    fleet.says(other, applied=0)
    fleet.says(one, faults=("clock: chrony does not answer",), updated=int(time()))
    unhealthy(monkeypatch, one)
    monkeypatch.setattr(fleet_command, "PAUSE", 0.01)
    run = gateways("wait", "--timeout", "0.1")
    assert run.status == 1
    why = "(clock: chrony does not answer)"
    assert f"{one} is InService, unhealthy/unhealthy {why}\n" in run.stderr
    assert f"{other} has applied change 0 of 1 (silent: nothing was heard for " in run.stderr


# ------------------------------------------------------------------ fence


def test_a_fenced_gateway_has_no_rules_and_is_then_terminated(
    gateways: Callable[..., Run],
    fleet: FakeFleet,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unhealthy(monkeypatch)
    one, other = fleet.ids
    ec2, at_the_end = cloud.client("ec2"), {}
    terminate = ec2.terminate_instances

    def look_then_terminate(**request: Any) -> Any:
        at_the_end.update(describe(cloud, one))
        (group,) = at_the_end["SecurityGroups"]
        found = ec2.describe_security_groups(GroupIds=[group["GroupId"]])["SecurityGroups"][0]
        at_the_end["rules"] = found["IpPermissions"] + found["IpPermissionsEgress"]
        return terminate(**request)

    monkeypatch.setattr(ec2, "terminate_instances", look_then_terminate, raising=False)
    run = gateways("fence", one)
    assert run.status == 0, run.stderr
    assert run.stdout.startswith(f"{one} is terminated after ")
    assert [group["GroupName"] for group in at_the_end["SecurityGroups"]] == ["gatepair-dev-fence"]
    assert at_the_end["rules"] == []
    assert describe(cloud, one)["State"]["Name"] == "terminated"
    assert describe(cloud, other)["State"]["Name"] == "running"
    left = ec2.describe_security_groups(
        Filters=[{"Name": "group-name", "Values": ["gatepair-dev-fence"]}]
    )["SecurityGroups"]
    assert left == [], "a group that is left behind would keep the VPC"


def test_a_rule_that_somebody_put_into_the_fence_is_taken_out(
    gateways: Callable[..., Run], fleet: FakeFleet, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    unhealthy(monkeypatch)
    one, _ = fleet.ids
    ec2 = cloud.client("ec2")
    group = ec2.create_security_group(
        GroupName="gatepair-dev-fence", Description="x", VpcId=describe(cloud, one)["VpcId"]
    )["GroupId"]
    anybody = [{"CidrIp": "0.0.0.0/0"}]
    hole = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": anybody}]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=hole)
    monkeypatch.setattr("commands.quarantine.Quarantine.dissolve", lambda _: None)
    assert gateways("fence", one, "--no-wait").status == 0
    (found,) = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
    assert found["IpPermissions"] == found["IpPermissionsEgress"] == []
    ec2.delete_security_group(GroupId=group)


def test_the_last_healthy_gateway_is_fenced_only_by_force(
    gateways: Callable[..., Run],
    fleet: FakeFleet,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = fleet.ids
    unhealthy(monkeypatch, other)
    run = gateways("fence", one)
    assert run.status == 2
    assert "no other gateway is healthy" in run.stderr
    assert "--force" in run.stderr
    assert describe(cloud, one)["State"]["Name"] == "running"
    assert gateways("fence", one, "--force", "--json").json["terminated"] is True
    assert describe(cloud, one)["State"]["Name"] == "terminated"


def test_a_gateway_that_does_not_end_in_time_is_said_to_be_cut_off_all_the_same(
    gateways: Callable[..., Run], fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    unhealthy(monkeypatch)
    monkeypatch.setattr("registry.membership.Fleet.power", lambda *_: "shutting-down")
    monkeypatch.setattr(fencing, "PAUSE", 0.01)
    run = gateways("fence", fleet.ids[0], "--timeout", "0.05")
    assert run.status == 1
    assert "is cut off, but not terminated" in run.stderr


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("fence",), "ID"),
        (("fence", "gateway-1"), "not an instance's id"),
        (("fence", "i-0123456789abcdef0"), "not one of stack dev; its gateways are i-"),
        (("wait", "--timeout", "soon"), "'soon' is not a number of seconds"),
        (("list", "--stack", "nowhere"), "build it first"),
        (("drain", "x"), "not an instance's id"),
        (("drain", "i-0123456789abcdef0"), "not one of this stack; its gateways are i-"),
        (("replace", "x"), "not an instance's id"),
        (("replace", "i-0123456789abcdef0"), "not one of this stack"),
        (("mend", "x"), "invalid choice"),
    ],
)
def test_wrong_input_is_refused_with_the_cure(
    gateways: Callable[..., Run], fleet: FakeFleet, argv: tuple[str, ...], said: str
) -> None:
    before = fleet.ids
    run = gateways(*argv)
    assert run.status == 2
    assert run.stdout == ""
    assert said in run.stderr
    assert fleet.ids == before
