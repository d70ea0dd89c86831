"""`peers revoke | extend | rotate | audit` as an operator types it, with gateways that answer."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from command import Run
from fake_registry import CALLER, PARAMETER, POOL, key_of

from client import config, keys
from commands.peers import main
from registry import waiting
from registry.items import Ack
from registry.membership import Fleet
from registry.operators import NewPeer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fake_fleet import FakeFleet
    from fake_registry import Fake


@pytest.fixture
def peers(fake: Fake, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del fake
    return lambda *argv: Run(main, capfd, ("--stack", "dev", *argv))


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen at each pause between two looks at the gateways."""

    def set_up(act: Callable[[], object]) -> None:
        monkeypatch.setattr(waiting, "sleep", lambda _seconds: act())

    return set_up


def private_in(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("PrivateKey")]
    return line.removeprefix("PrivateKey = ")


# ------------------------------------------------------------------ revoke


def test_a_revocation_returns_when_every_gateway_has_confirmed_and_says_when(
    peers: Callable[..., Run], fake: Fake, fleet: FakeFleet, between: Any
) -> None:
    fake.add("alice", 1)
    one, other = fleet.ids
    answers = iter([one, other])
    between(lambda: fleet.says(next(answers)))
    run = peers("revoke", "alice")
    assert run.status == 0, run.stderr
    first, second, last = run.stdout.splitlines()
    assert first.startswith(f"{one} eu-west-1")
    assert second.startswith(f"{other} eu-west-1")
    assert first.endswith(" s")
    assert last.startswith("alice is cut off on all 2 gateways after ")
    assert fake.registry.peer("alice") is None
    assert fake.registry.resting() == [], "its address is free again"


def test_json_of_a_revocation_has_the_seconds_and_every_gateway(
    peers: Callable[..., Run], fake: Fake, fleet: FakeFleet, between: Any
) -> None:
    fake.add("alice", 1)
    between(lambda: [fleet.says(name) for name in fleet.ids])
    run = peers("revoke", "alice", "--json")
    assert run.status == 0
    assert run.json["confirmed"] is True
    assert run.json["generation"] == 2
    assert 0 < run.json["seconds"] < 30
    assert [gateway["id"] for gateway in run.json["gateways"]] == fleet.ids
    for gateway in run.json["gateways"]:
        assert gateway["confirmed"] is True
        assert 0 < gateway["seconds"] <= run.json["seconds"]


def test_a_gateway_that_is_silent_is_named_with_the_fence_and_the_status_is_1(
    peers: Callable[..., Run], fake: Fake, fleet: FakeFleet, between: Any
) -> None:
    address = fake.add("alice", 1).address
    talking, silent = fleet.ids
    fleet.says(silent)  # of the change before
    between(lambda: fleet.says(talking))
    run = peers("revoke", "alice", "--timeout", "0.2")
    assert run.status == 1
    assert f"{talking} eu-west-1" in run.stdout
    assert silent not in run.stdout
    assert "is revoked, not confirmed" in run.stdout
    (said,) = run.stderr.splitlines()
    assert said.startswith(f"peers: {silent} (eu-west-1")
    assert f"`scripts/gateways --stack dev fence {silent}`" in said
    assert fake.registry.peer("alice") is None
    assert [rest.address for rest in fake.registry.resting()] == [address], "it rests"
    assert peers("add", "bob", "--public-key", key_of(1)).status == 2, "its key is spent"


@pytest.mark.parametrize(("boot", "status"), [("its", 0), ("another", 1)])
def test_a_gateway_cut_off_from_the_registry_counts_by_its_own_word_from_its_own_boot(  # noqa: PLR0917 - fixtures
    peers: Callable[..., Run],
    fake: Fake,
    fleet: FakeFleet,
    between: Any,
    boot: str,
    status: int,
) -> None:
    fake.add("alice", 1)
    relay, cut_off = fleet.ids
    last = fleet.says(cut_off)
    boot_id = last.boot_id if boot == "its" else "boot-of-yesterday"
    ack = Ack(boot_id, 2, last.epoch, last.updated - 5)
    between(lambda: fleet.relays(relay, cut_off, ack))
    run = peers("revoke", "alice", "--timeout", "0.3")
    assert run.status == status
    assert (f"(relayed by {relay})" in run.stdout) is (status == 0)
    assert (f"fence {cut_off}" in run.stderr) is (status == 1)


def test_a_terminated_gateway_is_not_waited_for(
    peers: Callable[..., Run], fake: Fake, fleet: FakeFleet, between: Any, monkeypatch: Any
) -> None:
    fake.add("alice", 1)
    one, other = fleet.ids
    monkeypatch.setattr(waiting, "MEMBERSHIP_EVERY", 0.0)
    monkeypatch.setattr(Fleet, "power", lambda _, name: "terminated" if name == other else "x")
    between(lambda: fleet.says(one))
    run = peers("revoke", "alice", "--timeout", "5")
    assert run.status == 0, run.stderr
    assert other not in run.stdout


def test_a_second_call_waits_again_and_old_words_do_not_count(
    peers: Callable[..., Run], fake: Fake, fleet: FakeFleet, between: Any
) -> None:
    fake.add("alice", 1)
    assert peers("revoke", "alice", "--no-wait").status == 0
    records = [fleet.says(name) for name in fleet.ids]
    between(lambda: None)
    run = peers("revoke", "alice", "--timeout", "0.1")
    assert run.status == 1
    assert "was revoked before, by change 2" in run.stderr
    between(
        lambda: [fleet.says(record.instance_id, updated=record.updated + 10) for record in records]
    )
    run = peers("revoke", "alice", "--json")
    assert run.status == 0
    assert run.json["revoked_before"] is True
    assert len(fake.items("audit")) == 2
    assert peers("revoke", "alice").status == 2, "confirmed, and nobody of that name is left"


def test_no_wait_asks_no_gateway_and_says_how_to_wait(
    peers: Callable[..., Run], fake: Fake
) -> None:
    fake.add("alice", 1)
    run = peers("revoke", "alice", "--no-wait")
    assert (run.status, run.stdout) == (0, "")
    assert "`peers revoke alice` waits" in run.stderr
    assert fake.registry.peer("alice") is None


def test_a_group_that_aws_does_not_know_has_no_members_that_could_confirm(
    peers: Callable[..., Run], fake: Fake, between: Any, cloud: Any
) -> None:
    text = json.dumps({**PARAMETER, "auto_scaling_group": "elsewhere"})
    cloud.client("ssm").put_parameter(
        Name="/gatepair/dev", Type="String", Value=text, Overwrite=True
    )
    fake.add("alice", 1)
    between(lambda: None)
    run = peers("revoke", "alice", "--timeout", "0.1")
    assert run.status == 1
    assert "Auto Scaling group elsewhere: not found" in run.stderr
    assert "nobody knows whether alice is cut off" in run.stderr


@pytest.fixture
def listening_to_ctrl_c() -> Iterator[None]:
    """Also where the tests run in the background of a shell, which has them ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("listening_to_ctrl_c")
def test_ctrl_c_while_waiting_says_that_the_peer_is_revoked(
    peers: Callable[..., Run], fake: Fake, fleet: FakeFleet, between: Any
) -> None:
    del fleet
    fake.add("alice", 1)
    between(lambda: signal.raise_signal(signal.SIGINT))
    run = peers("revoke", "alice")
    assert run.status == 130
    assert "alice is revoked, but not every gateway has confirmed" in run.stderr
    assert fake.registry.peer("alice") is None


# ------------------------------------------------------------------ extend


def test_extend_sets_the_end_and_says_what_it_was(peers: Callable[..., Run], fake: Fake) -> None:
    fake.add("alice", 1)
    run = peers("extend", "alice", "--expires", "2030-01-31")
    assert run.status == 0
    assert "until 2030-02-01T00:00:00Z (before: never)" in run.stderr
    run = peers("extend", "alice", "--expires", "never", "--json")
    assert run.json["peer"]["expires"] is None
    assert [entry["action"] for entry in peers("audit", "alice", "--json").json["audit"]] == [
        "add",
        "extend",
        "extend",
    ]


def test_an_expired_peer_is_shown_as_such_and_can_be_let_in_again(
    peers: Callable[..., Run], fake: Fake
) -> None:
    past = int((datetime.now(UTC) - timedelta(days=1)).timestamp())
    fake.registry.add_peer(NewPeer("alice", key_of(1), expires=past), pool=POOL, caller=CALLER)
    assert "(expired)" in peers("list").stdout
    assert "(expired)" in peers("show", "alice").stdout
    assert peers("list", "--json").json["peers"][0]["expired"] is True
    assert peers("extend", "alice", "--expires", "30d").status == 0
    assert peers("show", "alice", "--json").json["peer"]["expired"] is False


# ------------------------------------------------------------------ rotate


def test_rotate_hands_out_a_new_key_for_the_same_address_and_waits_for_the_old_ones_end(
    peers: Callable[..., Run], fake: Fake, fleet: FakeFleet, between: Any, tmp_path: Path
) -> None:
    before = fake.add("alice", 1)
    between(lambda: [fleet.says(name) for name in fleet.ids])
    out = tmp_path / "alice.conf"
    run = peers("rotate", "alice", "--out", out)
    assert run.status == 0, run.stderr
    assert "the old key is refused by all 2 gateways" in run.stderr
    after = fake.registry.peer("alice")
    assert after is not None
    assert after == replace(before, public_key=after.public_key, generation=2)
    private = private_in(out.read_text())
    assert keys.pair_of(private).public == after.public_key
    assert f"Address = {before.address}/32" in out.read_text()
    assert private not in run.stdout + run.stderr + repr(fake.items())
    assert "is or was the key of alice" in peers("add", "eve", "--public-key", key_of(1)).stderr


def test_rotate_to_a_given_key_never_sees_a_private_one(
    peers: Callable[..., Run], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add("alice", 1)
    monkeypatch.setattr(keys, "generate", lambda: pytest.fail("made a key"))
    run = peers("rotate", "alice", "--public-key", key_of(2), "--no-wait")
    assert run.status == 0
    assert private_in(run.stdout) == config.PLACEHOLDER
    assert "alice may enter as" in run.stderr


def test_a_rotation_that_a_gateway_does_not_confirm_is_a_failure_and_the_config_is_there(
    peers: Callable[..., Run], fake: Fake, fleet: FakeFleet, between: Any
) -> None:
    fake.add("alice", 1)
    between(lambda: None)
    run = peers("rotate", "alice", "--timeout", "0.1")
    assert run.status == 1
    assert keys.pair_of(private_in(run.stdout)).public == fake.items("peer")[0]["public_key"]["S"]
    for name in fleet.ids:
        assert f"fence {name}" in run.stderr


def test_rotate_says_in_its_help_what_the_user_notices(
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = Run(main, capfd, ("rotate", "--help"))
    assert run.status == 0
    assert "falls silent within seconds" in run.stdout


# ------------------------------------------------------------------ audit and narrow access


def test_the_audit_says_who_did_what_in_lines_and_in_json(
    peers: Callable[..., Run], fake: Fake
) -> None:
    fake.add("bob", 2)
    peers("add", "alice", "--public-key", key_of(1), "--owner", "Ä. Lice")
    peers("revoke", "alice", "--no-wait")
    head, added, revoked = peers("audit", "alice").stdout.splitlines()
    assert head.split() == ["AT", "GENERATION", "ACTION", "NAME", "CALLER", "DETAILS"]
    assert added.split()[1:4] == ["2", "add", "alice"]
    assert "owner: Ä. Lice" in added
    assert revoked.split()[1:4] == ["3", "revoke", "alice"]
    found = peers("audit", "--json").json["audit"]
    assert [(entry["name"], entry["action"]) for entry in found] == [
        ("bob", "add"),
        ("alice", "add"),
        ("alice", "revoke"),
    ]
    assert found[1]["caller"].startswith("arn:aws:sts::")


def test_rules_narrow_the_config_and_the_resolver_that_they_leave_out(
    peers: Callable[..., Run], fake: Fake
) -> None:
    rules = ("--allow", "10.20.3.0/24:tcp/5432", "--allow", "10.20.2.0/24", "--allow", "10.20.3.7")
    run = peers("add", "alice", "--public-key", key_of(1), *rules)
    assert run.status == 0
    assert "AllowedIPs = 10.20.2.0/23, 100.96.0.1/32" in run.stdout
    assert "DNS" not in run.stdout
    assert "--allow 10.20.0.2:udp/53 lets it" in run.stderr
    stored = ("10.20.2.0/24", "10.20.3.0/24:tcp/5432", "10.20.3.7/32")
    peer = fake.registry.peer("alice")
    assert peer is not None
    assert peer.allow == stored
    assert f"reaches:     {', '.join(stored)}" in peers("show", "alice").stdout
    assert peers("show", "alice", "--json").json["peer"]["allow"] == list(stored)
    assert peers("config", "alice").stdout == run.stdout
    named = peers("add", "bob", "--public-key", key_of(2), "--allow", "10.20.0.2:udp/53")
    assert "DNS = 10.20.0.2" in named.stdout
    assert "resolver" not in named.stderr
