"""What the machines' daemon decides, given instances and machines."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from lab import machine, paths
from lab.inventory import Instance
from lab.machine import CUT, LOST, OFF, ON, Machine
from lab.machines import LOST_AFTER, Action, attached, decide

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_800_000_000.0


def instance(state: str = "running", name: str = "i-1", group: str | None = "group") -> Instance:
    return Instance(
        id=name,
        state=state,
        address=IPv4Address("10.20.0.4"),
        mac="02:00:00:00:00:01",
        interface_id="eni-1",
        subnet_id="subnet-1",
        vpc_id="vpc-1",
        zone="eu-west-1a",
        scaling_group=group,
    )


def actions(one: Instance | None, machine: Machine | None, *, now: float = NOW) -> list[Action]:
    return decide({one.id: one} if one else {}, {machine.id: machine} if machine else {}, now)


@pytest.mark.parametrize("state", ["pending", "running"])
def test_an_instance_without_a_machine_gets_one(state: str) -> None:
    assert actions(instance(state), None) == [Action("boot", "i-1")]


def test_a_half_made_machine_is_made_again() -> None:
    assert actions(instance(), Machine("i-1", "", alive=False)) == [Action("boot", "i-1")]


def test_a_running_machine_of_a_running_instance_is_left_alone() -> None:
    assert actions(instance(), Machine("i-1", ON, alive=True)) == []


@pytest.mark.parametrize("state", ["terminated", "shutting-down"])
@pytest.mark.parametrize("power", [ON, OFF, CUT, ""])
def test_a_terminated_instances_machine_goes_whatever_it_was(state: str, power: str) -> None:
    assert actions(instance(state), Machine("i-1", power, alive=False)) == [
        Action("destroy", "i-1")
    ]


def test_a_machine_that_moto_does_not_know_goes() -> None:
    assert actions(None, Machine("i-1", ON, alive=True)) == [Action("destroy", "i-1")]


def test_a_stopped_instance_is_switched_off_once_and_on_again_when_it_starts() -> None:
    assert actions(instance("stopped"), Machine("i-1", ON, alive=True)) == [Action("off", "i-1")]
    assert actions(instance("stopped"), Machine("i-1", OFF, alive=False)) == []
    assert actions(instance(), Machine("i-1", OFF, alive=False)) == [Action("boot", "i-1")]


def test_a_stopped_instance_without_a_machine_gets_none() -> None:
    assert actions(instance("stopped"), None) == []


def test_a_machine_that_ended_by_itself_is_not_switched_on_again() -> None:
    assert actions(instance(), Machine("i-1", ON, alive=False)) == [Action("cut", "i-1")]


def test_a_machine_without_power_stays_dark_and_is_reported_once_it_counts_as_lost() -> None:
    dark = Machine("i-1", CUT, alive=False, since=NOW)
    assert actions(instance(), dark, now=NOW + LOST_AFTER - 1) == []
    assert actions(instance(), dark, now=NOW + LOST_AFTER) == [Action("report", "i-1")]
    assert actions(instance(group=None), dark, now=NOW + LOST_AFTER) == []


def test_a_loss_is_reported_once() -> None:
    dark = Machine("i-1", LOST, alive=False, since=NOW)
    assert actions(instance(), dark, now=NOW + 10 * LOST_AFTER) == []
    assert actions(instance("terminated"), dark) == [Action("destroy", "i-1")]


def test_power_is_taken_before_any_is_given() -> None:
    instances = {one.id: one for one in (instance(name="i-2"), instance("terminated"))}
    found = decide(instances, {"i-1": Machine("i-1", ON, alive=True)}, NOW)
    assert found == [Action("destroy", "i-1"), Action("boot", "i-2")]


def test_only_machines_with_power_are_part_of_the_vpc() -> None:
    machines = {
        "i-1": Machine("i-1", ON, alive=True),
        "i-2": Machine("i-2", CUT, alive=False),
    }
    instances = [instance(name=name) for name in ("i-1", "i-2", "i-3")]
    assert [one.id for one in attached(instances, machines)] == ["i-1"]


def test_a_machine_that_is_reset_forgets_its_network_and_boots_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    (paths.run() / "machines" / "i-1").mkdir(parents=True)
    done: list[str] = []
    monkeypatch.setattr(machine.vpc, "detach", lambda name: done.append(f"detach {name}"))
    monkeypatch.setattr(type(machine.kinds.CONTAINER), "kill", lambda *_: done.append("kill"))
    monkeypatch.setattr(machine.netns, "delete", lambda name: done.append(f"forget {name}"))
    machine.reset("i-1")
    assert done == ["detach i-1", "kill", "forget gp-i-1"]
    assert actions(instance(), machine.find("i-1")) == [Action("boot", "i-1")]
