"""scripts/gateways drain and replace, as an operator types them, on gateways that obey."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from command import Run
from fake_fleet import GROUP

from commands import draining, replacing
from commands.gateways import main
from registry import situation as situations
from registry.items import DRAINED, SERVING, Command, DrainOrder
from registry.membership import Fleet

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_registry import Fake
    from fake_scaling import World

    from registry.environment import Cloud


@pytest.fixture
def gateways(fake: Fake, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del fake
    return lambda *argv: Run(main, capfd, ("--stack", "dev", *argv))


# ------------------------------------------------------------------ drain


def test_drain_orders_waits_and_says_how_long_it_stays_so(
    gateways: Callable[..., Run], world: World
) -> None:
    one, other = world.fleet.ids
    run = gateways("drain", one)
    assert run.status == 0, run.stderr
    assert run.stdout.startswith(f"{one} has drained after ")
    assert f"{one} is draining" in run.stderr
    assert f"drain {one} --withdraw" in run.stderr
    order = world.orders.read().drain[one]
    assert order.by.startswith("arn:aws:")
    assert 3500 < order.until - time.time() <= 3600, "a forgotten order ends by itself"
    assert world.fleet.sent[other].state == SERVING


def test_drain_tells_programs(gateways: Callable[..., Run], world: World) -> None:
    one, _ = world.fleet.ids
    told = gateways("drain", one, "--json").json
    assert (told["id"], told["drained"]) == (one, True)
    assert told["until"].endswith("Z")
    told = gateways("drain", one, "--withdraw", "--json").json
    assert (told["withdrawn"], told["drained"]) == (True, False)


def test_a_withdrawn_order_brings_the_gateway_back(
    gateways: Callable[..., Run], world: World
) -> None:
    one, _ = world.fleet.ids
    gateways("drain", one)
    run = gateways("drain", one, "--withdraw")
    assert run.status == 0
    assert run.stdout.startswith(f"{one} is serving after ")
    assert world.ordered == []
    assert "there was no order" in gateways("drain", one, "--withdraw").stderr


def test_the_last_gateway_that_clients_could_go_to_is_not_drained(
    gateways: Callable[..., Run], world: World
) -> None:
    one, other = world.fleet.ids
    world.ill = {other}
    run = gateways("drain", one)
    assert run.status == 2
    assert "no other gateway is healthy and not draining" in run.stderr
    assert world.ordered == []
    world.ill = set()
    assert gateways("drain", other).status == 0
    run = gateways("drain", one)
    assert run.status == 2, "the other one drains already, though it is healthy still"
    assert world.ordered == [other]


def test_of_two_drains_at_the_same_moment_one_is_refused(
    gateways: Callable[..., Run], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = world.fleet.ids
    real = situations.look

    def look(stack: Any) -> Any:
        situation = real(stack)
        order = DrainOrder(int(time.time()) + 60, "somebody", "now")
        world.orders.change(lambda _: Command({other: order}))
        return situation

    monkeypatch.setattr(situations, "look", look)
    run = gateways("drain", one)
    assert run.status == 2
    assert "not draining" in run.stderr
    assert world.ordered == [other]


def test_a_gateway_that_does_not_follow_is_named_with_its_trouble(
    gateways: Callable[..., Run], world: World
) -> None:
    one, _ = world.fleet.ids
    world.deaf = True
    run = gateways("drain", one, "--timeout", "0.2")
    assert run.status == 1
    assert f"{one} has not drained" in run.stderr
    assert "is serving" in run.stderr
    assert "--withdraw" in run.stderr
    assert world.ordered == [one], "and that is said"


def test_ctrl_c_takes_the_order_back(gateways: Callable[..., Run], world: World) -> None:
    one, _ = world.fleet.ids
    world.interrupt_at = world.looks + 1
    run = gateways("drain", one)
    assert run.status == 130
    assert "the order is taken back" in run.stderr
    assert world.ordered == []


def test_ctrl_c_without_aws_says_how_to_take_it_back(
    gateways: Callable[..., Run], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = world.fleet.ids

    def gone(*_: object) -> bool:
        raise OSError("no route")

    monkeypatch.setattr(draining, "take_back", gone)
    world.interrupt_at = world.looks + 1
    run = gateways("drain", one)
    assert run.status == 130
    assert f"drain {one} --withdraw" in run.stderr
    assert "no route" in run.stderr


def test_a_gateway_that_is_leaving_is_not_drained_again(
    gateways: Callable[..., Run], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = world.fleet.ids
    real = Fleet.group

    def group(self: Fleet) -> Any:
        found = real(self)
        members = [
            replace(member, lifecycle="Terminating:Wait") if member.instance_id == one else member
            for member in found.members
        ]
        return replace(found, members=tuple(members))

    monkeypatch.setattr(Fleet, "group", group)
    run = gateways("drain", one)
    assert run.status == 2
    assert "it is Terminating:Wait: it comes or goes already" in run.stderr


# ------------------------------------------------------------------ replace


def test_all_are_replaced_with_never_fewer_in_service(
    gateways: Callable[..., Run], world: World
) -> None:
    before = set(world.fleet.ids)
    run = gateways("replace")
    assert run.status == 0, run.stderr
    assert run.stdout.startswith("every gateway is replaced after ")
    assert "% done" in run.stderr
    assert not before & set(world.fleet.ids)
    assert min(map(len, world.seen)) == 2


def test_one_is_replaced_launched_first_and_drained_before_its_end(
    gateways: Callable[..., Run], world: World, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = world.fleet.ids
    scaling, ended = cloud.client("autoscaling"), []
    terminate = scaling.terminate_instance_in_auto_scaling_group

    def end(**request: Any) -> Any:
        ended.append((world.fleet.sent[one].state, len(world.seen[-1])))
        return terminate(**request)

    monkeypatch.setattr(scaling, "terminate_instance_in_auto_scaling_group", end, raising=False)
    told = gateways("replace", one, "--json").json
    assert told["replaced"] is True
    assert ended == [(DRAINED, 3)]
    left = world.fleet.ids
    assert one not in left
    assert other in left
    assert len(left) == 2
    assert world.fleet.fleet.group().desired == 2
    assert world.ordered == []


def test_a_plan_changes_nothing_and_exits_with_three(
    gateways: Callable[..., Run], world: World
) -> None:
    before = world.fleet.ids
    run = gateways("replace", "--plan")
    assert run.status == 3
    assert run.stdout.count("would be replaced") == 2
    assert gateways("replace", before[0], "--plan", "--json").json["replace"] == [before[0]]
    assert world.fleet.ids == before
    assert world.ordered == []


def test_during_a_refresh_nothing_else_is_replaced(
    gateways: Callable[..., Run], world: World, cloud: Cloud
) -> None:
    scaling = cloud.client("autoscaling")
    scaling.start_instance_refresh(AutoScalingGroupName=GROUP)
    for words in ((), (world.fleet.ids[0],)):
        run = gateways("replace", *words)
        assert run.status == 2
        assert "is Pending, 0 % done" in run.stderr
        assert "wait" in run.stderr
    scaling.cancel_instance_refresh(AutoScalingGroupName=GROUP)
    world.step()


def test_ctrl_c_cancels_the_refresh(
    gateways: Callable[..., Run], world: World, cloud: Cloud
) -> None:
    world.interrupt_at = world.looks + 2
    run = gateways("replace")
    assert run.status == 130
    assert "is cancelled" in run.stderr
    world.step()
    answer = cloud.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName=GROUP)
    assert answer["InstanceRefreshes"][0]["Status"] == "Cancelled"
    assert len(world.fleet.ids) == 2


def test_a_refresh_that_takes_too_long_goes_on_and_that_is_said(
    gateways: Callable[..., Run], world: World, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining.time, "sleep", lambda _: None)
    run = gateways("replace", "--timeout", "0.2")
    assert run.status == 1
    assert "goes on by itself" in run.stderr
    cloud.client("autoscaling").cancel_instance_refresh(AutoScalingGroupName=GROUP)
    world.step()


def test_one_that_does_not_drain_is_not_terminated(
    gateways: Callable[..., Run], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = world.fleet.ids
    world.deaf = True
    real = draining.await_drained
    monkeypatch.setattr(replacing, "await_drained", lambda *args, **_: real(*args, timeout=0.1))
    run = gateways("replace", one)
    assert run.status == 1
    assert f"{one} has not drained: is serving" in run.stderr
    assert "one gateway more than it should" in run.stderr
    assert one in world.fleet.ids
    assert world.ordered == []
    assert len(world.fleet.ids) == 3
    world.fleet.cloud.client("autoscaling").set_desired_capacity(
        AutoScalingGroupName=GROUP, DesiredCapacity=2
    )


def test_ctrl_c_while_one_is_replaced_takes_the_order_back_and_says_what_is_left(
    gateways: Callable[..., Run], world: World
) -> None:
    one, _ = world.fleet.ids
    for _ in range(12):
        world.interrupt_at = world.looks + 3
        run = gateways("replace", one)
        if run.status != 130:
            break
        assert world.ordered == []
        assert "interrupted: " in run.stderr
        assert f"replace {one}" in run.stderr or "ends by itself" in run.stderr
    world.interrupt_at = -1
    if one in world.fleet.ids:
        assert gateways("replace", one).status == 0
    assert one not in world.fleet.ids
    assert world.fleet.fleet.group().desired == 2


def test_the_only_gateway_that_is_well_is_not_replaced_by_name(
    gateways: Callable[..., Run], world: World
) -> None:
    one, other = world.fleet.ids
    world.ill = {other}
    run = gateways("replace", one)
    assert run.status == 2
    assert "no other gateway is healthy" in run.stderr
    assert world.fleet.fleet.group().desired == 2
