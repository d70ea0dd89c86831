"""Peers as code: a file is read whole or refused whole, planned, and applied peer by peer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from command import Run
from fake_registry import CALLER, POOL, SERVER_KEY, key_of

from commands.peers import main
from registry import waiting
from registry.operators import NewPeer, OperatorRegistry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fake_fleet import FakeFleet
    from fake_registry import Fake

ALICE, BOB, CAROL = key_of(1), key_of(2), key_of(3)
KEYS = {"alice": ALICE, "bob": BOB, "carol": CAROL, "server": SERVER_KEY, "old": key_of(9)}


@pytest.fixture
def apply(fake: Fake, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Run]:
    del fake

    def run(text: str, *argv: str) -> Run:
        path = tmp_path / "peers.yaml"
        path.write_text(text.format(**KEYS))
        return Run(main, capfd, ("--stack", "dev", "apply", path, *argv))

    return run


TWO = """\
peers:
  alice:
    public_key: {alice}
    owner: alice@example.com
    expires: 2030-01-31
    allow: ["10.20.3.0/24:tcp/5432", 10.20.2.0/24]
  bob: {{public_key: {bob}}}
"""


# ------------------------------------------------------------------ planning and applying


def test_a_plan_says_everything_and_changes_nothing_and_ends_with_3(
    apply: Callable[..., Run], fake: Fake
) -> None:
    fake.add("bob", 3)
    fake.add("carol", 4)
    before = fake.items()
    run = apply(TWO, "--plan")
    assert run.status == 3
    assert run.stdout.splitlines() == [
        "- remove carol",
        "~ change bob",
        f"    public_key {CAROL} -> {BOB}",
        "+ add alice",
        f"    public_key {ALICE}",
        "    owner alice@example.com",
        "    expires 2030-02-01T00:00:00Z",
        "    allow 10.20.2.0/24, 10.20.3.0/24:tcp/5432",
        "1 to add, 1 to change, 1 to remove",
    ]
    assert run.stderr == ""
    assert fake.items() == before


def test_what_is_applied_is_what_the_file_says_and_then_there_is_nothing_to_do(
    apply: Callable[..., Run], fake: Fake, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "sleep", lambda _: [fleet.says(name) for name in fleet.ids])
    fake.add("carol", 4)
    bob = fake.add("bob", 2)
    run = apply(TWO)
    assert run.status == 0, run.stderr
    assert run.stdout.splitlines()[:2] == ["- remove carol", "+ add alice"]
    assert run.stdout.count(" confirmed after ") == 2
    peers = {peer.name: peer for peer in fake.registry.peers()[0]}
    assert set(peers) == {"alice", "bob"}
    assert peers["bob"] == bob, "untouched"
    assert peers["alice"].allow == ("10.20.2.0/24", "10.20.3.0/24:tcp/5432")
    assert fake.registry.resting() == []
    before = fake.items()
    again = apply(TWO, "--plan")
    assert (again.status, again.stdout) == (0, "0 to add, 0 to change, 0 to remove\n")
    assert apply(TWO).status == 0
    assert fake.items() == before


def test_a_change_keeps_the_address_and_is_one_step_of_the_registry(
    apply: Callable[..., Run], fake: Fake
) -> None:
    before = fake.add("bob", 2)
    run = apply(
        "peers: {{bob: {{public_key: {carol}, owner: new, allow: [10.20.0.0/16]}}}}", "--no-wait"
    )
    assert run.status == 0
    after = fake.registry.peer("bob")
    assert after is not None
    assert (after.address, after.public_key, after.owner) == (before.address, CAROL, "new")
    assert fake.registry.head().generation == 2
    audit = fake.registry.audit("bob")[0][-1]
    assert audit.action == "change"


def test_an_end_that_has_come_is_no_fault_of_a_file_that_nobody_changed(
    apply: Callable[..., Run], fake: Fake
) -> None:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    ended = int(datetime.combine(yesterday, datetime.min.time(), UTC).timestamp()) + 86400
    fake.registry.add_peer(NewPeer("bob", BOB, expires=ended), pool=POOL, caller=CALLER)
    text = f"peers: {{{{bob: {{{{public_key: {{bob}}, expires: {yesterday}}}}}}}}}"
    assert apply(text, "--plan").status == 0
    refused = apply(text.replace("bob:", "eve:").replace("{bob}", "{carol}"), "--plan")
    assert refused.status == 2
    assert "not in the future" in refused.stderr


def test_a_removal_that_no_gateway_confirms_is_a_failure_and_names_it(
    apply: Callable[..., Run], fake: Fake, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "sleep", lambda _: None)
    fake.add("carol", 4)
    run = apply("peers: {{}}", "--timeout", "0.1")
    assert run.status == 1
    assert run.stdout == "- remove carol\n"
    for name in fleet.ids:
        assert f"fence {name}" in run.stderr


def test_after_ctrl_c_the_next_call_does_the_rest(
    apply: Callable[..., Run], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = OperatorRegistry.add_peer
    turns = iter([real])

    def interrupted(self: OperatorRegistry, *args: Any, **kwargs: Any) -> Any:
        for turn in turns:
            return turn(self, *args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(OperatorRegistry, "add_peer", interrupted)
        run = apply(TWO)
    assert run.status == 130
    assert "1 of 2 changes are done; call again for the rest" in run.stderr
    assert [peer.name for peer in fake.registry.peers()[0]] == ["alice"]
    run = apply(TWO)
    assert (run.status, run.stdout) == (0, "+ add bob\n")


@pytest.mark.parametrize(
    ("there", "kept", "argv", "status"),
    [
        (10, 7, (), 0),
        (10, 6, (), 2),
        (10, 6, ("--allow-mass-removal",), 0),
        (10, 6, ("--largest-removal", "40"), 0),
        (3, 0, (), 0),
        (25, 20, (), 0),
        (4, 0, (), 2),
    ],
)
def test_more_removals_than_a_mistake_may_make_need_leave(  # noqa: PLR0917 - a table
    apply: Callable[..., Run],
    fake: Fake,
    there: int,
    kept: int,
    argv: tuple[str, ...],
    status: int,
) -> None:
    for number in range(there):
        fake.add(f"p{number}", 100 + number)
    lines = [f"  p{number}: {{{{public_key: {key_of(100 + number)}}}}}" for number in range(kept)]
    text = "\n".join(["peers:" if kept else "peers: {{}}", *lines])
    before = fake.items()
    plan = apply(text, "--plan", *argv)
    assert plan.status == 3
    assert ("add --allow-mass-removal" in plan.stderr) is (status == 2)
    run = apply(text, "--no-wait", *argv)
    assert run.status == status
    if status == 2:
        assert f"would remove {there - kept} of {there} peers" in run.stderr
        assert fake.items() == before
    else:
        assert len(fake.items("peer")) == kept


def test_json_of_a_plan_and_of_what_was_done(apply: Callable[..., Run]) -> None:
    plan = apply(TWO, "--plan", "--json").json
    assert [(step["action"], step["name"]) for step in plan["steps"]] == [
        ("add", "alice"),
        ("add", "bob"),
    ]
    assert plan["needs_allow_mass_removal"] is False
    done = apply(TWO, "--json").json
    assert [step["name"] for step in done["done"]] == ["alice", "bob"]
    assert done["confirmed"] is None, "nothing was taken from anybody"


# ------------------------------------------------------------------ refused

WRONG: list[tuple[str, tuple[str, ...]]] = [
    ("", ("peers.yaml:1: the file is empty", "`peers: {}` is nobody")),
    ("peers", ("not a mapping", "the file is `peers:`")),
    ("- peers", ("not a mapping",)),
    ("peers: [alice]", ("not a mapping of peers",)),
    ("peers:\n  alice: {{public_key: {alice}", ("peers.yaml:2: not YAML",)),
    ("peers:\n\talice: x", ("peers.yaml:2: not YAML",)),
    ("people: {{}}", ("people: unknown key",)),
    ("peers: {{}}\npeers: {{}}", ("peers.yaml:2: key peers: is on line 1 too",)),
    ("peers:\n  alice: {alice}", ("peers.yaml:2: not a mapping",)),
    ("peers:\n  alice: {{}}", ("peers.yaml:2: peer alice: no public_key", "wg pubkey")),
    ("peers:\n  Alice: {{public_key: {alice}}}", ("peer name 'Alice'", "such as alice")),
    (
        "peers:\n  a: {{public_key: {alice}}}\n  a: {{public_key: {bob}}}",
        ("peers.yaml:3: peer a: is on line 2 too", "remove one"),
    ),
    (
        "peers:\n  a: {{public_key: {alice}}}\n  b: {{public_key: {alice}}}",
        ("peers.yaml:3: peer b: has the public key of a, line 2",),
    ),
    ("peers:\n  a: {{public_key: hello}}", ("peer a: public key 'hello': not base64",)),
    ("peers:\n  a: {{public_key: [{alice}]}}", ("public_key is not one value",)),
    ("peers:\n  a: {{public_key: {old}}}", ("is or was the key of gone", "wg genkey")),
    ("peers:\n  a: {{public_key: {server}}}", ("is or was the key of the gateways",)),
    ("peers:\n  a: {{public_key: {alice}, private_key: x}}", ("unknown key 'private_key'",)),
    ("peers:\n  a: {{public_key: {alice}, expires: 30d}}", ("another moment", "2027-01-31")),
    ("peers:\n  a: {{public_key: {alice}, expires: soon}}", ("neither a length",)),
    ("peers:\n  a: {{public_key: {alice}, expires: 2020-01-01}}", ("not in the future",)),
    ('peers:\n  a: {{public_key: {alice}, owner: "a\\tb"}}', ("cannot be printed",)),
    ("peers:\n  a: {{public_key: {alice}, allow: 10.20.0.0/16}}", ("allow is not a list",)),
    ("peers:\n  a: {{public_key: {alice}, allow: []}}", ("allow is an empty list", "leave allow")),
    ("peers:\n  a: {{public_key: {alice}, allow: [10.20.3.5/24]}}", ("host bits",)),
    ("peers:\n  a: {{public_key: {alice}, allow: [10.0.0.0/8]}}", ("stay within 10.20.0.0/16",)),
    ("peers:\n  a: {{public_key: {alice}}}\n  kept: {{public_key: {old}}}", ("key of gone",)),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=[text[:60] for text, _ in WRONG])
@pytest.mark.parametrize("argv", [("--plan",), ()])
def test_a_wrong_file_is_refused_with_its_line_and_the_cure_and_nothing_is_written(
    apply: Callable[..., Run],
    fake: Fake,
    text: str,
    said: tuple[str, ...],
    argv: tuple[str, ...],
) -> None:
    fake.add("gone", 9)
    fake.registry.revoke_peer("gone", caller=CALLER)
    fake.add("kept", 10)
    before = fake.items()
    run = apply(text, *argv)
    assert run.status == 2, run.stdout + run.stderr
    assert run.stdout == ""
    for words in said:
        assert words in run.stderr
    assert fake.items() == before


def test_all_that_is_wrong_with_a_file_is_said_at_once(apply: Callable[..., Run]) -> None:
    run = apply(
        "peers:\n  A: {{public_key: x}}\n  b: {{}}\n"
        "  c: {{public_key: {alice}, allow: [no, 1.2.3.4]}}"
    )
    assert run.status == 2
    lines = [line.split(":")[2] for line in run.stderr.splitlines()]
    assert lines == ["2", "2", "3", "4", "4"]


def test_a_file_that_is_no_text_is_refused(
    fake: Fake, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    del fake
    path = tmp_path / "peers.yaml"
    path.write_bytes(b"peers: \xff")
    run = Run(main, capfd, ("--stack", "dev", "apply", path))
    assert run.status == 2
    assert "not UTF-8 at byte 7" in run.stderr
    assert Run(main, capfd, ("--stack", "dev", "apply", tmp_path)).status == 2


def test_an_unreadable_peer_in_the_registry_stops_it_before_anything_is_done(
    apply: Callable[..., Run], fake: Fake
) -> None:
    fake.add("alice", 1)
    broken = {**fake.items("peer")[0], "sk": {"S": "bad"}}
    fake.client.put_item(TableName="registry", Item=broken)
    before = fake.items()
    run = apply("peers: {{}}")
    assert run.status == 1
    assert "peer/bad" in run.stderr
    assert fake.items() == before
