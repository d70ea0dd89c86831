"""scripts/keys as an operator types it: who serves which key, and who still uses the old one."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from command import Run
from fake_registry import CONTROL, SERVER_KEY, TABLE, key_of
from fake_rotation import people, tell, wanted

from commands import burning, rotation
from commands.keys import main
from registry.membership import Fleet, Group

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_fleet import FakeFleet
    from fake_registry import Fake

NEW_KEY = key_of(1_000_001)
BOTH = {1: SERVER_KEY, 2: NEW_KEY}


@pytest.fixture
def keys(fake: Fake, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del fake
    return lambda *argv: Run(main, capfd, ("--stack", "dev", *argv))


@pytest.fixture
def overlap(fake: Fake, fleet: FakeFleet) -> FakeFleet:
    """Generations 1 and 2, both served by both gateways; nobody has used any."""
    wanted(fake, 1, 2)
    fake.registry.publish_server_key(2, NEW_KEY, "i-1")
    for name in fleet.ids:
        fleet.says(name, keys=BOTH)
        tell(fleet, name)
    return fleet


# ------------------------------------------------------------------ status


def test_with_one_generation_status_says_who_serves_it(
    keys: Callable[..., Run], fleet: FakeFleet
) -> None:
    one, other = fleet.ids
    fleet.says(one)
    run = keys("status")
    assert run.status == 0
    head, line = run.stdout.splitlines()
    assert re.split(r" {2,}", head) == list(rotation.COLUMNS)
    assert line.split() == ["1", "(newest)", "51820", SERVER_KEY, "1", "of", "2", "-"]
    assert f"{other} has said nothing yet" in run.stderr


def test_in_an_overlap_status_names_who_still_uses_the_old_key(
    keys: Callable[..., Run], fake: Fake, overlap: FakeFleet
) -> None:
    people(fake, "alice", "bob", "carol", "dave")
    one, other = overlap.ids
    tell(overlap, one, alice=(1, 600), bob=(1, 4000), carol=(1, 9 * 86400))
    tell(overlap, other, bob=(2, 20))
    run = keys("status")
    assert run.status == 0
    lines = run.stdout.splitlines()
    assert lines[1].split()[-4:] == ["2", "of", "2", "2"]
    assert lines[2].split()[-4:] == ["2", "of", "2", "1"]
    assert "on the old key, of those who were here within 7 days: 1" in lines
    assert "  alice used server key 1 10 min ago" in lines
    assert "not seen: 1" in lines
    assert not [line for line in lines if line.startswith(("  bob", "  carol", "  dave"))]
    assert "  carol used server key 1 9 d ago" in keys("status", "--days", "10").stdout


def test_json_of_the_status_has_every_peer_and_gateway(
    keys: Callable[..., Run], fake: Fake, overlap: FakeFleet
) -> None:
    people(fake, "alice", "bob")
    one, other = overlap.ids
    tell(overlap, one, alice=(1, 30), bob=(2, 10))
    overlap.says(other, keys={1: SERVER_KEY}, faults=("key generation 2: refused", "clock: off"))
    found = keys("status", "--json").json
    assert found["key_generations"] == [1, 2]
    assert (found["newest"], found["ready"]) == (2, False)
    assert [one["port"] for one in found["generations"]] == [51820, 51821]
    assert found["generations"][1]["served_by"] == [one]
    assert found["generations"][1]["public_key"] == NEW_KEY
    assert {p["name"]: p["generation"] for p in found["peers"]} == {"alice": 1, "bob": 2}
    assert [p["name"] for p in found["left_behind"]] == ["alice"]
    assert {g["id"]: g["untold"] for g in found["gateways"]} == {
        one: None,
        other: "serves 1, not 1, 2",
    }
    assert found["faults"] == [f"{other}: key generation 2: refused"]


def test_a_gateway_with_another_key_of_that_generation_does_not_serve_it(
    keys: Callable[..., Run], overlap: FakeFleet
) -> None:
    overlap.says(overlap.ids[0], keys={1: SERVER_KEY, 2: key_of(5)})
    found = keys("status", "--json").json
    assert found["generations"][1]["served_by"] == [overlap.ids[1]]


def test_a_key_that_no_gateway_has_made_yet_is_said_to_be_so(
    keys: Callable[..., Run], fake: Fake, fleet: FakeFleet
) -> None:
    wanted(fake, 1, 2)
    assert "not made yet" in keys("status").stdout
    assert fleet.ids


def test_many_peers_are_counted_and_the_first_named(
    keys: Callable[..., Run], fake: Fake, overlap: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    people(fake, "alice", "bob", "carol")
    tell(overlap, overlap.ids[0], alice=(1, 1), bob=(1, 1), carol=(1, 1))
    monkeypatch.setattr(rotation, "SHOWN", 2)
    assert "  and 1 more: --json names them" in keys("status").stdout


# ------------------------------------------------------------------ wait


def test_wait_returns_when_the_last_one_has_come_over(
    keys: Callable[..., Run],
    fake: Fake,
    overlap: FakeFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(fake, "alice", "bob")
    one, other = overlap.ids
    tell(overlap, one, alice=(1, 30), bob=(2, 30))
    monkeypatch.setattr(rotation, "sleep", lambda _: tell(overlap, other, alice=(2, 0)))
    run = keys("wait")
    assert run.status == 0, run.stderr
    assert run.stdout.startswith("nobody is left behind: 2 peers use server key 2 after ")


@pytest.mark.parametrize(
    ("words", "status"), [((), 0), (("--all",), 1), (("--days", "30"), 1), (("--days", "1"), 0)]
)
def test_who_has_not_been_here_lately_is_waited_for_only_if_asked(
    keys: Callable[..., Run],
    fake: Fake,
    overlap: FakeFleet,
    words: tuple[str, ...],
    status: int,
) -> None:
    people(fake, "alice", days=60)
    tell(overlap, overlap.ids[0], alice=(1, 20 * 86400))
    run = keys("wait", "--timeout", "0.001", *words)
    assert run.status == status
    assert ("alice used server key 1 20 d ago" in run.stderr) == bool(status)


def test_wait_names_what_is_missing_when_time_is_up(
    keys: Callable[..., Run],
    fake: Fake,
    overlap: FakeFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rotation, "PAUSE", 0.01)
    people(fake, "alice", "bob")
    one, other = overlap.ids
    tell(overlap, one, alice=(1, 600))
    tell(overlap, other, age=4000)
    run = keys("wait", "--timeout", "0.05", "--json", "--all")
    assert run.status == 1
    assert run.json["ready"] is False
    assert f"{other} last told 4" in run.stderr
    assert "alice used server key 1 10 min ago" in run.stderr
    assert "bob has not been seen" in run.stderr


def test_after_the_old_key_was_retired_wait_sees_every_gateway_drop_it(
    keys: Callable[..., Run],
    fake: Fake,
    overlap: FakeFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted(fake, 2)
    names = iter(overlap.ids)
    monkeypatch.setattr(rotation, "sleep", lambda _: overlap.says(next(names), keys={2: NEW_KEY}))
    run = keys("wait")
    assert run.status == 0
    assert run.stdout.startswith("2 gateways serve server key 2 and no other after ")


def test_a_gateway_that_is_being_terminated_is_not_waited_for(
    keys: Callable[..., Run], overlap: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = overlap.ids
    overlap.says(other, keys={1: SERVER_KEY})
    group = Fleet.group
    leaving = {other: "Terminating:Wait"}

    def stuck(fleet: Fleet) -> Group:
        found = group(fleet)
        members = (
            replace(member, lifecycle=leaving.get(member.instance_id, member.lifecycle))
            for member in found.members
        )
        return replace(found, members=tuple(members))

    monkeypatch.setattr(Fleet, "group", stuck)
    assert keys("wait", "--timeout", "1").status == 0
    found = keys("status", "--json").json
    assert [gateway["id"] for gateway in found["gateways"]] == [one]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("wait", "--days", "soon"), "'soon' is not a number of days"),
        (("wait", "--days", "0"), "'0' is not a number of days"),
        (("wait", "--timeout", "x"), "not a number of seconds"),
        (("status", "--stack", "nowhere"), "build it first"),
        (("rotate",), "invalid choice"),
    ],
)
def test_wrong_input_is_refused_with_the_cure(
    keys: Callable[..., Run], argv: tuple[Any, ...], said: str
) -> None:
    run = keys(*argv)
    assert run.status == 2
    assert run.stdout == ""
    assert said in run.stderr


def test_a_stack_without_a_control_item_is_refused(
    keys: Callable[..., Run], fake: Fake, fleet: FakeFleet
) -> None:
    control = CONTROL.to_item()
    fake.client.delete_item(TableName=TABLE, Key={"pk": control["pk"], "sk": control["sk"]})
    assert keys("status").status == 2
    assert fleet.ids


# ------------------------------------------------------------------ burn


@pytest.fixture
def retired(fake: Fake, overlap: FakeFleet) -> FakeFleet:
    """Generation 1 has been served, and is no longer."""
    wanted(fake, 2)
    for name in overlap.ids:
        overlap.says(name, keys={2: NEW_KEY})
    return overlap


def test_a_retired_generation_is_burnt_for_good_and_by_whom_is_kept(
    keys: Callable[..., Run], fake: Fake, retired: FakeFleet
) -> None:
    assert retired.ids
    first = keys("burn", "1")
    assert first.status == 0, first.stderr
    assert first.stdout.startswith("generation 1 is burnt since 20")
    command = fake.registry.head().command
    assert command is not None
    assert list(command.burnt) == [1]
    assert command.burnt[1].by.startswith("arn:aws:")
    again = keys("burn", "1", "--json").json
    assert again == {
        "stack": "dev",
        "generation": 1,
        "serving": [],
        "at": command.burnt[1].at,
        "by": command.burnt[1].by,
    }
    assert keys("status").stdout.splitlines()[-1] == "burnt: 1"
    assert keys("status", "--json").json["burnt"] == [1]


def test_what_the_stack_still_has_served_is_not_burnt(
    keys: Callable[..., Run], fake: Fake, overlap: FakeFleet
) -> None:
    assert overlap.ids
    run = keys("burn", "1")
    assert run.status == 2
    assert "retire it first, with keyGenerations: [2]" in run.stderr
    wanted(fake, 1)
    assert "with keyGenerations: [2]" in keys("burn", "1").stderr
    assert fake.items("command") == []


def test_a_gateway_that_still_serves_a_burnt_key_is_named_with_the_way_to_cut_it_off(
    keys: Callable[..., Run], retired: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = retired.ids
    retired.says(other, keys=BOTH)
    run = keys("burn", "1", "--timeout", "0.01")
    assert run.status == 1
    assert f"`scripts/gateways --stack dev fence {other}`" in run.stderr
    assert one not in run.stderr
    monkeypatch.setattr(burning, "sleep", lambda _: retired.says(other, keys={2: NEW_KEY}))
    assert keys("burn", "1").status == 0


@pytest.mark.parametrize(
    ("number", "said"),
    [("3", "no gateway has ever made a key of it"), ("0", "not the number"), ("x", "not the")],
)
def test_a_generation_that_never_was_is_not_burnt(
    keys: Callable[..., Run], fake: Fake, retired: FakeFleet, number: str, said: str
) -> None:
    assert retired.ids
    run = keys("burn", number)
    assert run.status == 2
    assert said in run.stderr
    assert fake.items("command") == []
