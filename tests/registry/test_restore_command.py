"""`peers restore`: what comes back, what stays away, and that no crash in between does harm."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from command import Run
from fake_registry import BUCKET, CALLER, CONTROL, SERVER_KEY, TABLE, Fake, key_of

from commands.peers import main
from effects import Refusal
from gateway.registry_watch import BusyError, HeldError, read_in_full, refuse_half
from lab import dynamodb_history as history
from registry import backups, items, waiting
from registry import environment as environments
from registry.restoration import Overtaken, Restoration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fake_fleet import FakeFleet

    from gateway.peers import KnownPeers
    from registry.items import Peer

MONTH = 30 * 86400
SOURCES = pytest.mark.parametrize("source", ["table", "archive"])


@dataclass
class Past:
    """The clock that the table's history goes by."""

    fake: Fake
    now: float = 1_790_000_000.0

    def moment(self) -> str:
        """A moment: what was done is before it, what will be done is after it."""
        self.now += 10
        text = datetime.fromtimestamp(self.now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.now += 10
        return text


@pytest.fixture
def past(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Past]:
    made = Past(fake)
    monkeypatch.setattr(history, "clock", lambda: made.now)
    enable = {"PointInTimeRecoveryEnabled": True}
    fake.client.update_continuous_backups(TableName=TABLE, PointInTimeRecoverySpecification=enable)
    monkeypatch.setattr(history, "_window", lambda _table: (0.0, made.now))
    monkeypatch.setattr(backups, "sleep", lambda _seconds: None)
    yield made
    for name in fake.client.list_tables()["TableNames"]:
        if name != TABLE:
            fake.client.delete_table(TableName=name)


@pytest.fixture
def peers(fake: Fake, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del fake
    return lambda *argv: Run(main, capfd, ("--stack", "dev", *argv))


def extend(fake: Fake, name: str, expires: int | None) -> None:
    fake.registry.alter_peer(
        name, lambda peer: replace(peer, expires=expires), action="extend", caller=CALLER
    )


def rekey(fake: Fake, name: str, number: int) -> None:
    fake.registry.alter_peer(
        name, lambda peer: replace(peer, public_key=key_of(number)), action="rotate", caller=CALLER
    )


def allow(fake: Fake, name: str, *rules: str) -> None:
    fake.registry.alter_peer(
        name, lambda peer: replace(peer, allow=rules), action="change", caller=CALLER
    )


@dataclass
class Story:
    """What has happened, and the moment in the middle."""

    to: str
    before: dict[str, Peer] = field(default_factory=dict)
    """Who was in then."""


SOON, LATER = 1_900_000_000, 1_900_000_000 + MONTH


def tell(fake: Fake, past: Past) -> Story:
    """Peers whose access is taken away, given, narrowed and widened after a moment."""
    for number, name in enumerate(("anna", "bert", "dora", "emil", "finn", "gina", "hans"), 1):
        fake.add(name, number)
    extend(fake, "dora", LATER)
    allow(fake, "finn", "10.20.0.0/16")
    allow(fake, "gina", "10.20.3.0/24:tcp")
    fake.registry.revoke_peer("hans", caller=CALLER)
    story = Story(past.moment())
    found, _ = fake.registry.peers()
    story.before = {peer.name: peer for peer in found}
    fake.registry.revoke_peer("anna", caller=CALLER)
    fake.add("carl", 20)
    rekey(fake, "bert", 21)
    extend(fake, "dora", SOON)
    extend(fake, "emil", SOON)
    allow(fake, "finn", "10.20.3.0/24:tcp/443")
    allow(fake, "gina", "10.20.0.0/16")
    rekey(fake, "carl", 22)
    fake.registry.revoke_peer("emil", caller=CALLER)
    fake.add("emil", 23)
    return story


def empty(fake: Fake) -> None:
    """What a script of somebody's has done."""
    for item in fake.items():
        fake.client.delete_item(TableName=TABLE, Key={"pk": item["pk"], "sk": item["sk"]})
    fake.client.put_item(TableName=TABLE, Item=CONTROL.to_item())  # as `pulumi up` would


def words(source: str) -> list[str]:
    return ["--from-archive"] if source == "archive" else []


def state(fake: Fake) -> dict[str, Any]:
    """What the registry says of peers, keys and addresses; not when, and under which number."""
    found, bad = fake.registry.peers()
    assert not bad
    return {
        "peers": {peer.name: replace(peer, generation=0) for peer in found},
        "keys": {
            item["sk"]["S"]: (item["name"]["S"], "revoked" in item) for item in fake.items("key")
        },
        "addresses": {
            item["sk"]["S"]: (item["name"]["S"], "resting" in item)
            for item in fake.items("address")
        },
    }


def is_restored(fake: Fake, story: Story) -> None:
    """All that must be true after a restore of `tell`."""
    found = {peer.name: peer for peer in fake.registry.peers()[0]}
    before = story.before
    assert found.keys() == {"bert", "dora", "finn", "gina"}
    assert found["bert"].public_key == key_of(21), "the new key, never the old one"
    assert found["bert"].address == before["bert"].address
    assert found["dora"].expires == SOON, "shortened access stays short"
    assert found["finn"].allow == ("10.20.3.0/24:tcp/443",), "narrowed access stays narrow"
    assert found["gina"].allow == ("10.20.3.0/24:tcp",), "widened access is as it was"
    for number in (1, 2, 4, 7, 20, 21, 22, 23):
        assert fake.registry.used_keys([key_of(number)]), f"key {number} could be used again"
    spent = {item["sk"]["S"] for item in fake.items("key") if "revoked" in item}
    assert spent >= {key_of(number) for number in (1, 2, 4, 7, 20, 22, 23)}
    assert not spent & {peer.public_key for peer in found.values()}
    owners = {item["sk"]["S"]: item for item in fake.items("address")}
    for peer in found.values():
        assert owners.pop(str(peer.address))["name"] == {"S": peer.name}
    assert all("resting" in item for item in owners.values())
    assert fake.registry.server_key(1) == SERVER_KEY
    assert fake.registry.head().restoring is None


# ------------------------------------------------------------------ what comes back


@SOURCES
def test_a_restore_brings_back_what_was_and_nothing_that_was_taken_away_since(
    peers: Callable[..., Run], fake: Fake, past: Past, source: str
) -> None:
    story = tell(fake, past)
    before = fake.registry.head()
    run = peers("restore", "--to", story.to, "--no-wait", *words(source))
    assert run.status == 0, run.stderr
    is_restored(fake, story)
    after = fake.registry.head()
    assert after.epoch not in ("", before.epoch)
    assert after.generation > before.generation
    assert fake.client.list_tables()["TableNames"] == [TABLE], "the other table is gone"
    audit = fake.registry.audit()[0]
    assert (audit[-1].action, audit[-1].caller[:7]) == ("restore", "arn:aws")
    assert audit[-1].details == {"to": story.to}
    assert [entry.generation for entry in audit] == list(range(1, after.generation + 1))


def test_an_emptied_table_is_restored_from_the_archive(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    before = fake.registry.head()
    empty(fake)
    refused = peers("restore", "--to", story.to, "--no-wait")
    assert refused.status == 2
    assert "add --from-archive" in refused.stderr
    assert fake.registry.head().restoring is None
    run = peers("restore", "--to", story.to, "--no-wait", "--from-archive")
    assert run.status == 0, run.stderr
    is_restored(fake, story)
    after = fake.registry.head()
    assert after.generation > before.generation
    assert after.epoch not in ("", before.epoch)
    said = fake.registry.audit()[0]
    assert [entry.generation for entry in said] == list(range(1, after.generation + 1))
    assert fake.registry.head().control == CONTROL


def test_a_plan_says_it_all_and_changes_nothing(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    before = fake.items()
    run = peers("restore", "--to", story.to, "--plan")
    assert run.status == 3
    lines = run.stdout.splitlines()
    assert [line for line in lines if line[0] in "+-~"] == [
        "- remove carl",
        "- remove emil",
        "~ change gina",
    ]
    assert "    was let in later" in lines
    assert "    allow 10.20.0.0/16 -> 10.20.3.0/24:tcp" in lines
    assert "  anna stays out: revoked since, by change 12" in lines
    assert lines[-1] == "0 to add, 1 to change, 2 to remove"
    assert fake.items() == before
    told = peers("restore", "--to", story.to, "--plan", "--json")
    assert told.status == 3
    assert [(step["action"], step["name"]) for step in told.json["steps"]] == [
        ("remove", "carl"),
        ("remove", "emil"),
        ("change", "gina"),
    ]
    assert peers("restore", "--to", story.to, "--no-wait").status == 0
    assert peers("restore", "--to", story.to, "--plan").status == 0, "nothing is left to do"
    assert fake.client.list_tables()["TableNames"] == [TABLE], "nor is anything kept for it"


def test_a_plan_for_an_emptied_table_names_who_is_not_restored(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    empty(fake)
    run = peers("restore", "--to", story.to, "--plan", "--from-archive")
    assert run.status == 3
    assert "+ add bert" in run.stdout
    assert "  carl was let in later and is not restored" in run.stdout
    assert "hans" not in run.stdout, "who was in and out again before the moment"
    assert "4 to add, 0 to change, 0 to remove" in run.stdout


def test_what_was_deleted_by_hand_comes_back(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    for number, name in enumerate(("anna", "bert"), 1):
        fake.add(name, number)
    to = past.moment()
    wanted = state(fake)
    for item in (*fake.items("peer"), *fake.items("address"), *fake.items("key")):
        fake.client.delete_item(TableName=TABLE, Key={"pk": item["pk"], "sk": item["sk"]})
    run = peers("restore", "--to", to, "--no-wait")
    assert run.status == 0, run.stderr
    assert "2 to add" in run.stdout
    assert state(fake) == wanted


def test_the_first_change_after_a_restore_follows_it(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    assert peers("restore", "--to", story.to, "--no-wait").status == 0
    head = fake.registry.head()
    known, _ = read_in_full(fake.registry, head)
    peer = fake.add("iris", 30)
    assert peer.generation == head.generation + 1
    (change,) = fake.registry.changes_after(known.generation)
    assert change.generation == known.generation + 1


def test_a_second_restore_to_before_the_first_does_not_bring_back_what_that_took(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    fake.add("anna", 1)
    first = past.moment()
    fake.add("bert", 2)
    second = past.moment()
    assert peers("restore", "--to", first, "--no-wait").status == 0
    assert {peer.name for peer in fake.registry.peers()[0]} == {"anna"}
    empty(fake)
    run = peers("restore", "--to", second, "--no-wait", "--from-archive")
    assert run.status == 0, run.stderr
    assert {peer.name for peer in fake.registry.peers()[0]} == {"anna"}
    assert fake.registry.used_keys([key_of(2)])


# ------------------------------------------------------------------ confirmation


def test_a_restore_waits_for_every_gateway_and_frees_the_addresses_of_who_went(
    peers: Callable[..., Run],
    fake: Fake,
    past: Past,
    fleet: FakeFleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = tell(fake, past)
    monkeypatch.setattr(waiting, "sleep", lambda _s: [fleet.says(name) for name in fleet.ids])
    run = peers("restore", "--to", story.to, "--json")
    assert run.status == 0, run.stderr
    assert run.json["confirmed"] is True
    assert [gateway["confirmed"] for gateway in run.json["gateways"]] == [True, True]
    assert fake.registry.resting() == []
    is_restored(fake, story)


def test_a_gateway_of_the_former_epoch_is_named_and_addresses_rest(
    peers: Callable[..., Run], fake: Fake, past: Past, fleet: FakeFleet
) -> None:
    story = tell(fake, past)
    for name in fleet.ids:
        fleet.says(name, applied=10_000)
    run = peers("restore", "--to", story.to, "--timeout", "0.1")
    assert run.status == 1
    assert all(name in run.stderr for name in fleet.ids)
    went = {name for _, name in [(r.address, r.name) for r in fake.registry.resting()]}
    assert {"anna", "carl", "emil"} <= went


# ------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("yesterday", "not a date with a time"),
        ("2026-01-01", "no time of day"),
        ("2026-01-01T12:00:00", "no time zone"),
        ("2999-01-01T12:00:00Z", "not in the past"),
    ],
)
def test_a_moment_that_is_none_is_refused(
    peers: Callable[..., Run], fake: Fake, to: str, why: str
) -> None:
    run = peers("restore", "--to", to)
    assert run.status == 2
    assert why in run.stderr
    assert fake.client.list_tables()["TableNames"] == [TABLE]


def test_a_moment_outside_the_window_is_refused_with_the_window(
    peers: Callable[..., Run], past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_window", lambda _table: (past.now - 60, past.now))
    run = peers("restore", "--to", "2026-01-01T00:00:00Z")
    assert run.status == 2
    assert "choose a moment from 2026-09-" in run.stderr


def test_a_history_with_a_gap_is_refused_and_the_archive_has_it_all(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    fake.client.delete_item(TableName=TABLE, Key=items.key("audit", items.numbered(12)))
    run = peers("restore", "--to", story.to)
    assert run.status == 2
    assert "audit item 12 is missing" in run.stderr
    run = peers("restore", "--to", story.to, "--no-wait", "--from-archive")
    assert run.status == 0, run.stderr
    is_restored(fake, story)
    assert [entry.generation for entry in fake.registry.audit("anna")[0]] == [1, 12]


def test_the_archive_of_another_registry_is_refused(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    for page in fake.s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET):
        for one in page["Versions"]:
            fake.s3.delete_object(Bucket=BUCKET, Key=one["Key"], VersionId=one["VersionId"])
    run = peers("restore", "--to", story.to, "--from-archive")
    assert run.status == 2
    assert f"archive {BUCKET}: has no record of change" in run.stderr


def test_a_table_that_is_in_the_way_is_not_touched(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    to = past.moment()
    name = backups.name_of(TABLE, datetime.fromisoformat(to))
    fake.client.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    try:
        run = peers("restore", "--to", to)
        assert run.status == 2
        assert "is in the way" in run.stderr
        assert name in fake.client.list_tables()["TableNames"]
    finally:
        fake.client.delete_table(TableName=name)


# ------------------------------------------------------------------ crashes


WRITES = (
    "transact_write_items",
    "put_item",
    "delete_item",
    "put_object",
    "restore_table_to_point_in_time",
    "delete_table",
)


class Crash(Exception):  # noqa: N818 - it is an event
    """The machine that ran the command is no more."""


@dataclass
class Fuse:
    """Ends the command before its n-th write, which is after the one before."""

    left: int
    seen: int = 0


class Fused:
    """A client whose writes burn the fuse."""

    def __init__(self, client: Any, fuse: Fuse) -> None:
        self._client, self._fuse = client, fuse

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name not in WRITES:
            return call

        def write(**request: Any) -> Any:
            self._fuse.seen += 1
            if self._fuse.seen == self._fuse.left:
                raise Crash
            return call(**request)

        return write


@pytest.fixture
def burning(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fuse], None]:
    """Give every client of the commands that follow this fuse."""
    make = environments.Cloud.client

    def light(fuse: Fuse) -> None:
        monkeypatch.setattr(
            environments.Cloud,
            "client",
            lambda self, service: Fused(make(self, service), fuse),
        )

    return light


def admitted(fake: Fake, known: KnownPeers) -> dict[str, str] | None:
    """Name -> key as a gateway that knew `known` has them after a look; None: it keeps them."""
    try:
        head = fake.registry.head()
        refuse_half(head, known)
        read, _ = read_in_full(fake.registry, head, known)
    except (HeldError, BusyError):
        return None
    return {peer.name: peer.public_key for peer in read.peers.values()}


MOST = 13
"""Writes of the longest restore below."""


NEW = {"bert": key_of(21), "gina": key_of(3)}
"""Who is in after a restore of `short`, with which key."""


def short(fake: Fake, past: Past) -> Story:
    """One of each: a revocation, an addition, a rotation, a change."""
    for number, name in enumerate(("anna", "bert", "gina"), 1):
        fake.add(name, number)
    extend(fake, "gina", LATER)
    story = Story(past.moment())
    fake.registry.revoke_peer("anna", caller=CALLER)
    fake.add("carl", 20)
    rekey(fake, "bert", 21)
    extend(fake, "gina", None)
    return story


def is_short_restored(fake: Fake) -> None:
    """All that must be true after a restore of `short`."""
    found = state(fake)
    assert {name: peer.public_key for name, peer in found["peers"].items()} == NEW
    assert found["peers"]["gina"].expires == LATER
    assert found["keys"] == {
        key_of(1): ("anna", True),
        key_of(2): ("bert", True),
        key_of(20): ("carl", True),
        key_of(21): ("bert", False),
        key_of(3): ("gina", False),
    }
    names = sorted(found["addresses"].values())
    assert names == [("anna", True), ("bert", False), ("carl", True), ("gina", False)]
    head = fake.registry.head()
    assert head.restoring is None
    assert head.generation > 8


@pytest.mark.parametrize("source", ["table", "emptied"])
@pytest.mark.parametrize("number", range(1, MOST + 1))
def test_a_restore_that_is_killed_anywhere_shows_nothing_half_done_and_is_finished_by_the_next(  # noqa: PLR0917 - fixtures
    peers: Callable[..., Run],
    fake: Fake,
    past: Past,
    burning: Callable[[Fuse], None],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    source: str,
) -> None:
    monkeypatch.setattr("registry.restoration.CHUNK", 3)
    story = short(fake, past)
    known, _ = read_in_full(fake.registry, fake.registry.head())
    old = {peer.name: peer.public_key for peer in known.peers.values()}
    more = []
    if source == "emptied":
        empty(fake)
        more = ["--from-archive"]
    argv = ["restore", "--to", story.to, "--no-wait", *more]
    burning(fuse := Fuse(number))
    try:
        run = peers(*argv)
    except Crash:
        pass
    else:
        assert run.status == 0, run.stderr
        assert fuse.seen < number, "the crash was swallowed"
    assert admitted(fake, known) in (None, old, NEW), "a gateway would take this for the whole"
    if fake.registry.head().restoring is not None:
        with pytest.raises(Refusal, match="is under way"):
            fake.add("iris", 30)
        with pytest.raises(Refusal, match="is under way"):
            fake.registry.revoke_peer("gina", caller=CALLER)
        other = peers("restore", "--to", past.moment(), "--no-wait")
        assert other.status == 2
        assert f"call again with --to {story.to}" in other.stderr
    burning(Fuse(10_000))
    run = peers(*argv)
    assert run.status == 0, run.stderr
    is_short_restored(fake)
    assert admitted(fake, known) == NEW
    assert fake.client.list_tables()["TableNames"] == [TABLE]
    assert fake.add("iris", 30).generation == fake.registry.head().generation


def test_the_crashes_above_reach_the_end_of_a_restore(
    peers: Callable[..., Run],
    fake: Fake,
    past: Past,
    burning: Callable[[Fuse], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("registry.restoration.CHUNK", 3)
    story = short(fake, past)
    empty(fake)
    burning(fuse := Fuse(10_000))
    assert peers("restore", "--to", story.to, "--no-wait", "--from-archive").status == 0
    assert fuse.seen == MOST


def test_ctrl_c_says_what_to_do(
    peers: Callable[..., Run], fake: Fake, past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = tell(fake, past)

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Restoration, "_unlock", interrupted)
        run = peers("restore", "--to", story.to, "--no-wait")
    assert run.status == 130
    assert f"`peers restore --to {story.to}` goes on with it" in run.stderr
    with monkeypatch.context() as patch:
        patch.setattr(backups, "_status", interrupted)
        run = peers("restore", "--to", story.to, "--no-wait")
    assert run.status == 130
    assert "nothing was changed" in run.stderr
    assert peers("restore", "--to", story.to, "--no-wait").status == 0
    is_restored(fake, story)


# ------------------------------------------------------------------ others at the same time


def restoration(fake: Fake, client: Any = None) -> Restoration:
    return Restoration(client or fake.client, TABLE, fake.archive, CALLER)


def brought(fake: Fake, to: str) -> str:
    return backups.bring(fake.client, TABLE, datetime.fromisoformat(to), lambda _: None)


def test_what_is_revoked_or_rotated_between_the_plan_and_the_lock_counts(
    fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    at_work = restoration(fake)
    source = at_work.source(brought(fake, story.to), story.to)
    records = at_work.records(source, from_archive=False)
    at_work.plan(source, records, lost=False)
    fake.registry.revoke_peer("finn", caller=CALLER)
    rekey(fake, "gina", 31)
    restoring = at_work.lock(source, records)
    at_work.carry_out(restoring, source, from_archive=False)
    found = {peer.name: peer.public_key for peer in fake.registry.peers()[0]}
    assert found == {"bert": key_of(21), "dora": key_of(3), "gina": key_of(31)}
    backups.delete(fake.client, source.table)


def test_a_restore_that_stood_still_writes_nothing_once_another_call_has_finished_it(
    fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    first = restoration(fake)
    source = first.source(brought(fake, story.to), story.to)
    records = first.records(source, from_archive=False)
    restoring = first.lock(source, records)

    class Slow:
        """Its first transaction takes so long that another call does it all meanwhile."""

        late = False

        def __getattr__(self, name: str) -> Any:
            return getattr(fake.client, name)

        def transact_write_items(self, **request: Any) -> Any:
            if not self.late:
                self.late = True
                second = restoration(fake)
                second.carry_out(second.lock(source, records), source, from_archive=False)
                fake.registry.revoke_peer("gina", caller=CALLER)
            return fake.client.transact_write_items(**request)

    with pytest.raises(Overtaken):
        restoration(fake, Slow()).carry_out(restoring, source, from_archive=False)
    assert fake.registry.peer("gina") is None, "revoked after the restore, and brought back"
    backups.delete(fake.client, source.table)


def test_a_change_that_was_planned_before_the_lock_is_not_written_after_it(
    fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    at_work = restoration(fake)
    source = at_work.source(brought(fake, story.to), story.to)

    class Late:
        """Its transactions come when the lock is set."""

        def __getattr__(self, name: str) -> Any:
            return getattr(fake.client, name)

        def transact_write_items(self, **request: Any) -> Any:
            if at_work.under_way() is None:
                at_work.lock(source, at_work.records(source, from_archive=False))
            return fake.client.transact_write_items(**request)

    with pytest.raises(Refusal, match="is under way"):
        fake.with_client(Late()).revoke_peer("dora", caller=CALLER)
    assert fake.registry.peer("dora") is not None
    restoring = at_work.under_way()
    assert restoring is not None
    at_work.carry_out(restoring, source, from_archive=True)
    assert fake.registry.peer("dora") is None, "whoever wanted it, it may have happened"
    backups.delete(fake.client, source.table)


def test_a_moment_in_the_middle_of_a_restore_is_refused(
    peers: Callable[..., Run], fake: Fake, past: Past
) -> None:
    story = tell(fake, past)
    at_work = restoration(fake)
    source = at_work.source(brought(fake, story.to), story.to)
    restoring = at_work.lock(source, at_work.records(source, from_archive=False))
    middle = past.moment()
    at_work.carry_out(restoring, source, from_archive=False)
    backups.delete(fake.client, source.table)
    run = peers("restore", "--to", middle)
    assert run.status == 2
    assert "at that moment a restore was under way" in run.stderr
    backups.delete(fake.client, backups.name_of(TABLE, datetime.fromisoformat(middle)))
