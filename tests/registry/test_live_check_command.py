"""scripts/live-check as an operator types it: what it would do, and when it refuses to."""

from __future__ import annotations

import io
import socket
from contextlib import ExitStack
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest
from command import Run
from fake_registry import CALLER, POOL, TABLE, key_of

from bench import live_clients
from commands import live_check
from commands.stacks import connect
from effects import Refusal
from registry.operators import NewPeer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fake_fleet import FakeFleet
    from fake_registry import Fake
    from fake_scaling import World

    from registry.environment import Cloud

TARGET = "10.20.1.9"


class Typed(io.StringIO):
    """A terminal at which somebody types."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def check(
    world: World, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Run]:
    """The command, on a machine that could; the gateways are well."""
    for one in world.fleet.ids:
        world.fleet.says(one)
    monkeypatch.setattr(live_check.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(live_check.os, "geteuid", lambda: 0)
    return lambda *argv: Run(live_check.main, capfd, ("--stack", "dev", *argv))


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been measured: nothing is."""
    calls: list[Any] = []
    monkeypatch.setattr("bench.live_rounds.measure", lambda *words: calls.append(words))
    return calls


def protect(cloud: Cloud) -> None:
    cloud.client("dynamodb").update_table(TableName=TABLE, DeletionProtectionEnabled=True)


def unprotect(cloud: Cloud) -> None:
    cloud.client("dynamodb").update_table(TableName=TABLE, DeletionProtectionEnabled=False)


def test_a_plan_names_the_gateways_and_what_people_feel_and_changes_nothing(
    check: Callable[..., Run], fake: Fake, fleet: FakeFleet, measured: list[Any]
) -> None:
    before = fake.items()
    run = check("failover", "--target", TARGET, "--plan", "--clients", "7", "--rounds", "2")
    assert run.status == 3
    assert "adds 7 peers to stack dev, which may ping 10.20.1.9" in run.stdout
    assert "2 times in turn" in run.stdout
    assert "TERMINATES" in run.stdout
    assert all(one in run.stdout for one in fleet.ids)
    assert (fake.items(), measured) == (before, [])


def test_only_failover_ends_gateways(check: Callable[..., Run]) -> None:
    for name in ("drain", "roaming"):
        run = check(name, "--target", TARGET, "--plan")
        assert "TERMINATES" not in run.stdout
        assert run.status == 3


def test_a_protected_stack_is_not_touched_without_leave(
    check: Callable[..., Run], cloud: Cloud, measured: list[Any]
) -> None:
    protect(cloud)
    try:
        run = check("drain", "--target", TARGET, "--yes")
        assert run.status == 2
        assert "stack dev: it is protected" in run.stderr
        assert measured == []
        assert check("drain", "--target", TARGET, "--plan", "--although-protected").status == 3
    finally:
        unprotect(cloud)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "--target None: not the IPv4 address"),
        (("--target", "db.example.com"), "--target db.example.com: not the IPv4 address"),
        (("--target", "192.168.1.1"), "clients of this stack cannot reach it"),
        (("--target", TARGET, "--clients", "0"), "'0' is not a whole number from 1 to 100"),
        (("--target", TARGET, "--rounds", "51"), "'51' is not a whole number from 1 to 50"),
    ],
)
def test_what_makes_no_sense_is_refused(
    check: Callable[..., Run], measured: list[Any], words: tuple[str, ...], why: str
) -> None:
    run = check("drain", *words, "--yes")
    assert run.status == 2
    assert why in run.stderr
    assert measured == []


def test_a_stack_that_is_not_well_is_not_measured(
    check: Callable[..., Run], world: World, measured: list[Any]
) -> None:
    world.ill.add(world.fleet.ids[0])
    run = check("drain", "--target", TARGET, "--yes")
    assert run.status == 2
    assert "not all of its gateways are healthy" in run.stderr
    assert measured == []


def test_nothing_begins_before_the_stacks_name_is_typed(
    check: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, measured: list[Any]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "nobody is there to give it" in check("drain", "--target", TARGET).stderr
    monkeypatch.setattr("sys.stdin", Typed("yes\n"))
    run = check("drain", "--target", TARGET)
    assert (run.status, measured) == (2, [])
    assert "another word was typed" in run.stderr


def test_without_root_or_programs_it_says_what_is_missing(
    check: Callable[..., Run], monkeypatch: pytest.MonkeyPatch, measured: list[Any]
) -> None:
    monkeypatch.setattr(live_check.os, "geteuid", lambda: 1000)
    assert "run it with sudo -E" in check("drain", "--target", TARGET, "--yes").stderr
    monkeypatch.setattr(live_check.shutil, "which", lambda _: None)
    run = check("drain", "--target", TARGET, "--yes")
    assert "ip, wg, nsenter missing" in run.stderr
    assert (run.status, measured) == (2, [])
    assert check("drain", "--target", TARGET, "--plan").status == 3, "to plan needs nothing"


# ------------------------------------------------------------------ its peers


@pytest.fixture
def clients(
    fake: Fake, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> tuple[live_clients.LiveClients, ExitStack]:
    """Its clients as far as the registry knows them: no namespace is made."""
    del fake, fleet
    exits = ExitStack()
    monkeypatch.setattr(live_clients.LiveClients, "_connect", lambda *_: None)
    monkeypatch.setattr(live_clients.netns, "delete", lambda _: None)
    made = live_clients.LiveClients(connect("dev"), exits, IPv4Address(TARGET), pytest.fail)
    return made, exits


def add(fake: Fake, name: str, number: int, owner: str) -> None:
    fake.registry.add_peer(NewPeer(name, key_of(number), owner), pool=POOL, caller=CALLER)


def test_a_peer_of_its_own_may_ping_one_host_and_ends_by_itself(
    clients: tuple[live_clients.LiveClients, ExitStack], fake: Fake
) -> None:
    made, exits = clients
    made.add(0)
    made.add(1)
    peer = fake.registry.peer("live-check-0")
    assert peer is not None
    assert peer.allow == (f"{TARGET}/32:icmp",)
    assert peer.expires is not None
    assert [one.to for one in made.everyone] == ["203.0.113.10:51820", "203.0.113.11:51820"]
    assert len({one.port for one in made.everyone}) == 2
    exits.close()
    assert fake.registry.peers()[0] == []


def test_what_a_killed_run_has_left_is_replaced_and_nobody_elses_peer_is(
    clients: tuple[live_clients.LiveClients, ExitStack], fake: Fake
) -> None:
    made, exits = clients
    add(fake, "live-check-0", 1, live_clients.OWNER)
    former = fake.registry.peer("live-check-0")
    made.add(0)
    now = fake.registry.peer("live-check-0")
    assert former is not None
    assert now is not None
    assert now.public_key != former.public_key
    exits.close()
    add(fake, "live-check-1", 2, "dana")
    with pytest.raises(Refusal, match="it is dana's"):
        made.add(1)
    exits.close()
    assert fake.registry.peer("live-check-1") is not None


def test_a_socket_that_a_killed_process_has_left_is_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "live-0.sock"
    assert not live_clients.listens(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plug:
        plug.bind(str(path))
        plug.listen()
        assert live_clients.listens(path)
    assert path.exists()
    assert not live_clients.listens(path)
