"""One gateway among others: what it says, what it hands on, what it relays."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from unit.gateway.quiet_link import OTHER, Clock, Quiet
from unit.gateway.test_gossip import change

from gateway.circle import AGAIN, EVERY, FORGET, SILENT, Circle
from gateway.gossip import Applied, Changes, Kind, Refused, pack_changes
from gateway.messages import ChangesSeen, Message, Trouble
from gateway.metadata import Identity
from gateway.peers import KnownPeers
from gateway.state import State, receive
from gateway.status import Board, Status
from registry.items import Ack

MINE, THIRD = map(IPv4Address, ("10.20.0.10", "10.20.0.12"))
IDENTITY = Identity("i-1", "123456789012", "eu-west-1", "eu-west-1a", str(MINE))


class Table:
    """A circle with everything around it replaced."""

    def __init__(self) -> None:
        self.clock, self.board = Clock(), Board()
        self.posted: list[Message] = []
        self.link = Quiet(self.clock)
        self.circle = Circle(
            self.link, self.board, self.posted.append, wall=self.clock, monotonic=self.clock
        )
        self.state = State(
            identity=IDENTITY,
            known=KnownPeers("e", 10),
            needs_full=False,
            gateways=frozenset({MINE, OTHER, THIRD}),
        )
        self.publish()

    def publish(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        known = self.state.known
        applied = known.generation if known else 0
        self.board.publish(Status(state=self.state, applied=applied))

    def learn(self, *generations: int) -> None:
        message = ChangesSeen("e", tuple(map(change, generations)))
        self.state = receive(self.state, message)
        self.publish()

    def said(self) -> list[tuple[int, Any, IPv4Address]]:
        """Since it was asked last."""
        return [
            (kind, (Changes if kind == Kind.CHANGES else Applied).unpack(body), to)
            for kind, body, to in self.link.sent()
        ]

    def step(self, seconds: float = 0.0) -> list[tuple[int, Any, IPv4Address]]:
        self.clock.now += seconds
        self.circle.step()
        return self.said()


@pytest.fixture
def table() -> Table:
    return Table()


def test_newcomers_are_greeted_and_then_told_once_a_second(table: Table) -> None:
    at = Applied("e", 10)
    assert sorted(table.step()) == [(Kind.HELLO, at, OTHER), (Kind.HELLO, at, THIRD)]
    assert sorted(table.step(EVERY)) == [(Kind.APPLIED, at, OTHER), (Kind.APPLIED, at, THIRD)]
    fourth = IPv4Address("10.20.0.13")
    table.publish(gateways=frozenset({MINE, OTHER, THIRD, fourth}))
    assert (Kind.HELLO, at, fourth) in table.step()


def test_a_change_is_acknowledged_and_handed_on_at_once(table: Table) -> None:
    table.step()
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack())
    table.link.hear(Kind.APPLIED, Applied("e", 11).pack(), "i-3", THIRD)
    table.learn(11)
    said = table.step()
    assert (Kind.APPLIED, Applied("e", 11), OTHER) in said
    assert (Kind.CHANGES, Changes("e", (change(11),)), OTHER) in said
    assert [what for what in said if what[0] == Kind.CHANGES and what[2] == THIRD] == []


def test_what_is_not_acknowledged_is_sent_again_but_not_at_once(table: Table) -> None:
    table.step()
    table.learn(11)
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack())

    def handed_on(said: list[tuple[int, Any, IPv4Address]]) -> list[int]:
        return [
            one.generation for kind, what, _ in said if kind == Kind.CHANGES for one in what.changes
        ]

    assert handed_on(table.said()) == [11]
    table.learn(12)
    assert handed_on(table.step(AGAIN / 4)) == [12], "only what is new"
    assert handed_on(table.step(AGAIN)) == [11, 12]
    table.link.hear(Kind.APPLIED, Applied("e", 12).pack())
    assert handed_on(table.step(2 * AGAIN)) == []


def test_a_greeting_is_answered_with_all_that_is_lacking(table: Table) -> None:
    table.step()
    table.learn(11, 12)
    table.step()
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack())
    table.said()
    table.link.hear(Kind.HELLO, Applied("e", 10).pack())
    assert table.said() == [
        (Kind.APPLIED, Applied("e", 12), OTHER),
        (Kind.CHANGES, Changes("e", (change(11), change(12))), OTHER),
    ]


def test_changes_that_are_heard_are_posted_if_they_are_news_of_this_epoch(table: Table) -> None:
    (body,) = pack_changes("e", [change(11), change(12)])
    table.link.hear(Kind.CHANGES, body)
    assert table.posted == [ChangesSeen("e", (change(11), change(12)), heard=True)]
    table.posted.clear()
    (old,) = pack_changes("e", [change(9), change(10)])
    (foreign,) = pack_changes("f", [change(11)])
    table.link.hear(Kind.CHANGES, old)
    table.link.hear(Kind.CHANGES, foreign)
    table.publish(known=None)
    table.link.hear(Kind.CHANGES, body)
    assert table.posted == []


def test_what_is_heard_applies_only_without_a_gap_and_asks_for_no_full_reading() -> None:
    state = State(known=KnownPeers("e", 10), needs_full=False)
    for changes in ((change(12),), (change(9), change(12))):
        assert receive(state, ChangesSeen("e", changes, heard=True)) == state
    assert receive(state, ChangesSeen("f", (change(11),), heard=True)) == state
    after = receive(state, ChangesSeen("e", (change(11), change(13)), heard=True))
    assert after.known is not None
    assert after.known.generation == 11
    assert not after.needs_full
    assert after.recent == (change(11),)


def test_acknowledgements_are_relayed_with_the_boot_they_were_made_under(table: Table) -> None:
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack())
    heard_at = int(table.clock.now)
    assert table.circle.acks() == {"i-2": Ack("boot-2", 10, "e", heard_at)}
    table.clock.now += FORGET + 1
    assert table.circle.acks() == {}


def test_a_later_acknowledgement_is_not_undone_by_an_earlier_one(table: Table) -> None:
    table.link.hear(Kind.APPLIED, Applied("e", 11).pack(), number=2)
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack(), number=1)
    assert table.circle.acks()["i-2"].generation == 11


def test_an_acknowledgement_wakes_who_writes_the_item(table: Table) -> None:
    woken: list[int] = []
    table.board.wake = lambda: woken.append(1)
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack())
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack())
    table.link.hear(Kind.APPLIED, Applied("e", 11).pack())
    assert len(woken) == 2, "the same again is no news"


def test_its_own_datagrams_and_nonsense_change_nothing(table: Table) -> None:
    table.link.hear(Kind.APPLIED, Applied("e", 99).pack(), sender="i-1")
    table.link.hear(200, b"of a later version")
    for kind in (Kind.APPLIED, Kind.HELLO, Kind.CHANGES):
        with pytest.raises(Refused):
            table.link.hear(kind, b"nonsense")
    assert table.circle.acks() == {}
    assert table.posted == []


def test_without_a_key_nothing_is_heard(table: Table) -> None:
    table.link.key = None
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack())
    assert table.circle.acks() == {}


def test_a_member_that_stays_silent_is_reported_once_and_taken_back(table: Table) -> None:
    table.step()
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack(), "i-3", THIRD)
    table.step(SILENT + 1)
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack(), "i-3", THIRD)
    table.step(1)
    table.step(1)
    silent = [m.why for m in table.posted if isinstance(m, Trouble)]
    assert silent == [
        "nothing is heard from 10.20.0.11, 10.20.0.12",
        "nothing is heard from 10.20.0.11",
    ]
    table.link.hear(Kind.APPLIED, Applied("e", 10).pack())
    table.step(1)
    assert table.posted[-1] == Trouble("gossip with others", "")


def test_before_the_peers_are_known_nothing_is_said(table: Table) -> None:
    table.publish(known=None)
    assert table.step() == []
    assert table.step(EVERY) == []
