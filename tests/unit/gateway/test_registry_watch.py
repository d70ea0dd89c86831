"""Following the registry: contiguous changes, gaps, restores, readings that race with writers."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from unit.gateway.samples import control, stands_in

from gateway.messages import ChangesSeen, HeadSeen, PeersRead
from gateway.registry_watch import BusyError, HeldError, RegistryWatch, read_in_full
from gateway.state import State, receive
from gateway.status import Board, Status
from registry.items import Change, Head, Peer, Restoring, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.messages import Message
    from gateway.peers import KnownPeers


class Table:
    """A registry in memory, with writers that may strike at a chosen moment."""

    def __init__(self) -> None:
        self.epoch, self.generation = "e", 0
        self.rows: dict[str, Peer] = {}
        self.log: list[Change | Unreadable] = []
        self.bad: list[Unreadable] = []
        self.calls: list[str] = []
        self.restoring: Restoring | None = None
        self.before_peers: Callable[[], None] = lambda: None
        self.after_peers: Callable[[], None] = lambda: None

    # writers

    def put(self, name: str) -> None:
        self.generation += 1
        peer = Peer(name, f"K-{name}", IPv4Address("100.96.0.9"), generation=self.generation)
        self.rows[name] = peer
        self.log.append(Change(self.generation, "put", peer))

    def remove(self, name: str) -> None:
        self.generation += 1
        self.log.append(Change(self.generation, "remove", self.rows.pop(name)))

    # what a gateway reads

    def head(self) -> Head:
        self.calls.append("head")
        return Head(self.generation, self.epoch, control(7), restoring=self.restoring)

    def changes_after(self, generation: int, limit: int = 1000) -> list[Change | Unreadable]:
        self.calls.append(f"changes after {generation}")
        return [c for c in self.log if (c.generation or 0) > generation][:limit]

    def peers(self) -> tuple[list[Peer], list[Unreadable]]:
        self.calls.append("peers")
        self.before_peers()
        result = list(self.rows.values()), list(self.bad)
        self.after_peers()
        return result


class Gateway:
    """The watch, and a main thread that applies what it posts at once."""

    def __init__(self, table: Table) -> None:
        self.board, self.state, self.posted = Board(), State(), []
        self.clock = 1000.0
        self.watch = RegistryWatch(stands_in(table), self.board, self.post, lambda: self.clock)
        self.applied: list[KnownPeers] = []

    def post(self, message: Message) -> None:
        self.posted.append(type(message))
        self.state = receive(self.state, message)
        if self.state.known is not None and isinstance(message, (ChangesSeen, PeersRead)):
            self.applied.append(self.state.known)
        self.board.publish(Status(state=self.state))

    def step(self) -> list[type]:
        self.posted = []
        self.watch.step()
        return self.posted

    def names(self) -> list[str]:
        assert self.state.known is not None
        return sorted(self.state.known.peers)


@pytest.fixture
def table() -> Table:
    return Table()


def test_the_first_reading_is_full_and_then_only_changes_are_read(table: Table) -> None:
    table.put("alice")
    gateway = Gateway(table)
    assert gateway.step() == [HeadSeen, PeersRead]
    table.calls.clear()
    assert gateway.step() == [HeadSeen]
    assert table.calls == ["head"], "an idle second costs one read"
    table.put("bob")
    table.calls.clear()
    assert gateway.step() == [HeadSeen, ChangesSeen]
    assert table.calls == ["head", "changes after 1"]
    assert gateway.names() == ["alice", "bob"]


def test_a_trimmed_log_means_a_full_reading(table: Table) -> None:
    gateway = Gateway(table)
    gateway.step()
    for name in ("alice", "bob", "carol"):
        table.put(name)
    del table.log[:2]
    assert gateway.step() == [HeadSeen, PeersRead]
    assert gateway.names() == ["alice", "bob", "carol"]
    table.put("dave")
    table.log.clear()
    assert gateway.step() == [HeadSeen, PeersRead]
    assert gateway.names() == ["alice", "bob", "carol", "dave"]


def test_an_unreadable_change_means_a_full_reading_and_stops_nobody(table: Table) -> None:
    gateway = Gateway(table)
    gateway.step()
    table.put("alice")
    table.put("broken")
    table.put("bob")
    table.log[1] = Unreadable("change/2", "no peer", 2)
    table.rows.pop("broken")
    table.bad.append(Unreadable("peer/broken", "public_key is missing"))
    gateway.step()
    gateway.step()
    assert gateway.names() == ["alice", "bob"]
    assert gateway.state.known is not None
    assert (gateway.state.known.generation, gateway.state.known.unreadable) == (3, 1)
    assert gateway.step() == [HeadSeen], "and that settles it"


def test_a_restored_registry_means_a_full_reading_though_the_counter_is_lower(table: Table) -> None:
    for name in ("alice", "bob"):
        table.put(name)
    gateway = Gateway(table)
    gateway.step()
    table.epoch, table.generation, table.log = "f", 1, table.log[:1]
    del table.rows["bob"]
    assert gateway.step() == [HeadSeen, PeersRead]
    assert gateway.names() == ["alice"]


def test_a_full_reading_comes_every_ten_minutes(table: Table) -> None:
    gateway = Gateway(table)
    gateway.step()
    gateway.clock += 599
    assert gateway.step() == [HeadSeen]
    gateway.clock += 2
    assert gateway.step() == [HeadSeen, PeersRead]


def test_a_peer_revoked_while_the_peers_are_read_never_comes_back(table: Table) -> None:
    table.put("alice")

    def strike() -> None:
        table.before_peers = lambda: None
        table.put("mallory")
        table.remove("mallory")

    table.before_peers = strike
    gateway = Gateway(table)
    gateway.step()
    assert gateway.names() == ["alice"]
    assert all("mallory" not in known.peers for known in gateway.applied)
    assert gateway.state.known is not None
    assert gateway.state.known.generation == 3


def test_what_is_written_behind_the_query_is_in_the_result(table: Table) -> None:
    table.put("alice")
    table.put("bob")

    def strike() -> None:
        table.after_peers = lambda: None
        table.remove("bob")
        table.put("carol")

    table.after_peers = strike
    known, unreadable = read_in_full(stands_in(table), table.head())
    assert sorted(known.peers) == ["alice", "carol"]
    assert (known.generation, unreadable) == (4, ())


def test_a_registry_that_never_holds_still_is_tried_again_later(table: Table) -> None:
    def strike() -> None:
        table.put("x")
        table.log.clear()

    table.after_peers = strike
    with pytest.raises(BusyError):
        read_in_full(stands_in(table), table.head())


def test_a_reported_generation_has_every_change_up_to_it(table: Table) -> None:
    gateway = Gateway(table)
    expected: dict[int, list[str]] = {0: []}
    for number in range(60):
        name = f"p{number % 7}"
        table.remove(name) if name in table.rows else table.put(name)
        expected[table.generation] = sorted(table.rows)
        if number % 3 == 0:
            gateway.step()
        if number % 20 == 0:
            del table.log[: len(table.log) // 2]
    gateway.step()
    for known in gateway.applied:
        assert sorted(known.peers) == expected[known.generation]


def test_an_unreadable_item_is_logged_once_in_a_while(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    table.bad.append(Unreadable("peer/broken", "public_key is missing"))
    gateway = Gateway(table)
    for _ in range(3):
        gateway.step()
        gateway.clock += 601
    said = [record for record in caplog.records if "peer/broken" in record.getMessage()]
    assert len(said) == 3
    gateway.clock -= 601
    gateway.state = receive(gateway.state, ChangesSeen("other", ()))
    gateway.board.publish(Status(state=gateway.state))
    gateway.step()
    assert len([r for r in caplog.records if "peer/broken" in r.getMessage()]) == 3


def test_a_restored_registry_is_noticed_before_the_main_thread_has_heard_of_it(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.registry_watch.TAKEN_OVER_WITHIN", 0.0)
    table.put("alice")
    gateway = Gateway(table)
    gateway.step()
    posted: list[Message] = []
    watch = RegistryWatch(stands_in(table), gateway.board, posted.append, lambda: gateway.clock)
    watch.step()
    table.epoch = "f"
    table.put("bob")
    posted.clear()
    watch.step()
    assert [type(message) for message in posted] == [HeadSeen, PeersRead]


# ------------------------------------------------------------------ restores, and emptied tables

RESTORING = Restoring("t", "registry-restore-x", "2026-01-01T00:00:00Z", 9, "new")


def test_while_the_registry_is_restored_only_the_head_is_read(table: Table) -> None:
    table.put("alice")
    gateway = Gateway(table)
    gateway.step()
    table.restoring = RESTORING
    table.rows.clear()
    table.calls.clear()
    with pytest.raises(HeldError, match="a restore to 2026-01-01T00:00:00Z is under way"):
        gateway.step()
    assert table.calls == ["head"]
    assert gateway.names() == ["alice"]


def test_a_reading_into_which_a_restore_falls_is_thrown_away(table: Table) -> None:
    table.put("alice")
    gateway = Gateway(table)

    def strike() -> None:
        table.restoring = RESTORING

    table.after_peers = strike
    with pytest.raises(HeldError):
        gateway.step()
    assert gateway.state.known is None


def test_an_emptied_registry_takes_nobodys_access(table: Table) -> None:
    table.put("alice")
    gateway = Gateway(table)
    gateway.step()
    table.epoch, table.generation = "", 0
    table.rows.clear()
    for _ in range(2):
        with pytest.raises(HeldError, match="its counter is gone"):
            gateway.step()
    assert gateway.names() == ["alice"]
    assert gateway.state.head_generation == 1, "there is no lag behind nothing"
    assert not gateway.state.needs_full


def test_what_is_served_ages_while_the_registry_answers_what_nobody_can_go_by(
    table: Table,
) -> None:
    table.put("alice")
    gateway = Gateway(table)
    gateway.step()
    heard = gateway.state.contact
    for epoch, restoring in (("", None), ("e", RESTORING)):
        table.epoch, table.restoring = epoch, restoring
        gateway.clock += 60
        with pytest.raises(HeldError):
            gateway.step()
        assert gateway.state.contact == heard
    table.restoring = None
    gateway.step()
    assert gateway.state.contact == gateway.clock


def test_a_registry_that_never_had_a_change_is_read(table: Table) -> None:
    table.epoch = ""
    gateway = Gateway(table)
    assert gateway.step() == [HeadSeen, PeersRead]
    assert gateway.names() == []
    assert gateway.step() == [HeadSeen]


def test_once_restored_the_registry_is_read_anew_and_followed_from_there(table: Table) -> None:
    for name in ("alice", "bob"):
        table.put(name)
    gateway = Gateway(table)
    gateway.step()
    table.restoring = RESTORING
    with pytest.raises(HeldError):
        gateway.step()
    table.restoring, table.epoch, table.generation = None, "new", 9
    del table.rows["bob"]
    assert gateway.step() == [HeadSeen, PeersRead]
    assert gateway.names() == ["alice"]
    table.put("carol")
    table.calls.clear()
    assert gateway.step() == [HeadSeen, ChangesSeen]
    assert table.calls == ["head", "changes after 9"]
    assert [names for names in gateway.applied if "carol" in names.peers]


def test_sessions_of_who_stays_are_not_touched_by_a_new_epoch(table: Table) -> None:
    """The plan for the interface says so: who stays is not removed, nor put back."""
    for name in ("alice", "bob"):
        table.put(name)
    gateway = Gateway(table)
    gateway.step()
    before = gateway.state.known
    table.epoch, table.generation = "new", 9
    del table.rows["bob"]
    gateway.step()
    after = gateway.state.known
    assert before is not None
    assert after is not None
    assert after.peers["alice"] is before.peers["alice"], "the very same, so nothing to apply"
