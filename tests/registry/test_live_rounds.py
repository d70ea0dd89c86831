"""What live-check does to gateways, on gateways that obey; its clients are answered throughout."""

from __future__ import annotations

import json
import time
from argparse import Namespace
from contextlib import ExitStack
from ipaddress import IPv4Address
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest

from bench import live_rounds
from bench.command import NotMeasured
from bench.echoes import Echoes
from commands.stacks import connect
from registry.items import DRAINED

if TYPE_CHECKING:
    from fake_scaling import World

    from registry.environment import Cloud

NAMES = ("live-check-0", "live-check-1")


class Clients:
    """As many as are wanted, without a namespace."""

    kernel = True

    def __init__(self, *_: object) -> None:
        self.everyone: list[Any] = []
        self.moved: list[str] = []

    def add(self, number: int) -> None:
        name = NAMES[number]
        self.everyone.append(SimpleNamespace(name=name, namespace=f"gp-live-{number}"))

    def move(self, client: Any) -> float:
        self.moved.append(client.name)
        return time.monotonic() - 1


class Traffic:
    """Pings that are all answered."""

    def __init__(self, *_: object) -> None:
        self.began = time.monotonic() - 10

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def await_answers(self, *_: object, **__: object) -> None:
        pass

    def sender_late_max(self) -> float:
        return 0.0

    def of(self, _: str) -> Echoes:
        made = Echoes()
        for number in range(int((time.monotonic() - self.began) * 10)):
            made.send(number, self.began + number / 10)
            made.hear(number, self.began + number / 10 + 0.01)
        return made


@pytest.fixture
def args(world: World, monkeypatch: pytest.MonkeyPatch) -> Namespace:
    """Two clients, one round; every gateway has said that it serves."""
    world.step()
    monkeypatch.setattr(live_rounds, "LiveClients", Clients)
    monkeypatch.setattr(live_rounds, "Traffic", Traffic)
    monkeypatch.setattr(live_rounds.Scene, "_await_applied", lambda _: None)
    return Namespace(measurement="", clients=2, rounds=1, target=IPv4Address("10.20.1.9"))


def ends(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, world: World) -> list[dict[str, Any]]:
    """Every request to terminate, with what the gateways had said and been told at that time."""
    ec2, found = cloud.client("ec2"), list[dict[str, Any]]()
    terminate = ec2.terminate_instances

    def end(**request: Any) -> Any:
        found.append({**request, "orders": world.ordered, "healthy": len(world.fleet.ids)})
        return terminate(InstanceIds=request["InstanceIds"])

    monkeypatch.setattr(ec2, "terminate_instances", end, raising=False)
    return found


def test_failover_ends_the_one_that_everybody_was_led_to_and_only_with_all_others_serving(
    world: World, cloud: Cloud, args: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = world.fleet.ids
    ended, drained = ends(cloud, monkeypatch, world), list[str]()
    order = live_rounds.draining.order

    def ordered(stack: Any, gateway: str, situation: Any) -> int:
        drained.append(gateway)
        return order(stack, gateway, situation)

    monkeypatch.setattr(live_rounds.draining, "order", ordered)
    args.measurement = "failover"
    report = live_rounds.measure(connect("dev"), args, lambda _: None)
    assert drained == [first]
    (end,) = ended
    assert end == {
        "InstanceIds": [last],
        "SkipOsShutdown": True,
        "orders": [],
        "healthy": 2,
    }
    assert last not in world.fleet.ids
    assert {one["client"] for one in report.samples} == set(NAMES)
    assert "takeover_gap_max_checks" in report.figures
    assert json.loads(report.as_json())["bench"] == "failover"


def test_drain_drains_the_others_first_then_that_one_and_ends_nobody(
    world: World, cloud: Cloud, args: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, ended = world.fleet.ids, ends(cloud, monkeypatch, world)
    args.measurement = "drain"
    report = live_rounds.measure(connect("dev"), args, lambda _: None)
    assert {one["gateway"] for one in report.samples} == {before[1]}
    assert (world.ordered, ended, world.fleet.ids) == ([], [], before)
    assert report.figures["packets_lost_per_client_max"] == 0


def test_an_order_is_taken_back_whatever_happens(world: World, args: Namespace) -> None:
    args.measurement = "drain"
    world.interrupt_at = world.looks + 2
    with pytest.raises(KeyboardInterrupt):
        live_rounds.measure(connect("dev"), args, lambda _: None)
    assert world.ordered == []


def test_a_gateway_that_does_not_drain_is_said_and_nothing_is_terminated(
    world: World, cloud: Cloud, args: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = ends(cloud, monkeypatch, world)
    world.deaf = True
    monkeypatch.setattr(live_rounds, "DRAINED_WITHIN", 0.5)
    args.measurement = "failover"
    with pytest.raises(NotMeasured, match="did not drain"):
        live_rounds.measure(connect("dev"), args, lambda _: None)
    assert (ended, world.ordered) == ([], [])


def test_roaming_moves_every_client_and_no_gateway(
    world: World, args: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as exits:
        scene = live_rounds.Scene(connect("dev"), args, lambda _: None, exits)
        samples = scene.roaming(1)
        assert scene.clients.moved == list(NAMES)  # ty: ignore[missing-attribute]
    assert [one["kind"] for one in samples] == ["roaming"] * 2
    assert world.ordered == []
    assert DRAINED not in {record.state for record in world.fleet.sent.values()}
    del monkeypatch
