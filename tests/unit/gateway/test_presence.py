"""Who is there: how often a gateway says so, and what counts as its silence."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from unit.gateway.quiet_link import OTHER, Clock, Quiet

from gateway import wire
from gateway.gossip import REMEMBER, Applied, Kind, Refused
from gateway.metadata import Identity
from gateway.presence import EVERY, Other, Presence
from gateway.routes.decide import SILENT
from gateway.state import State
from gateway.status import STALLED_AFTER, Board, Status
from registry.items import DRAINING, SERVING, GatewayRecord

if TYPE_CHECKING:
    from collections.abc import Callable

MINE = IPv4Address("10.20.0.10")


class Table:
    """A presence with everything around it replaced."""

    def __init__(self) -> None:
        self.clock, self.board = Clock(), Board()
        self.link = Quiet(self.clock)
        self.presence = Presence(self.link, self.board, monotonic=self.clock)
        self.waits: list[float] = []
        self.news: list[bool] = []
        self.meanwhile = ""
        self.board.wait_until = self.wait
        self.say(SERVING)

    def wait(self, reached: Callable[[Status], bool], timeout: float) -> bool:
        self.waits.append(timeout)
        if self.meanwhile:
            self.say(self.meanwhile)
        self.news.append(reached(self.board.status))
        return self.news[-1]

    def say(self, word: str) -> None:
        identity = Identity("i-1", "1", "eu-west-1", "eu-west-1a", str(MINE))
        state = State(identity=identity, gateways=frozenset({MINE, OTHER}))
        record = GatewayRecord("arn", "i-1", "z", str(MINE), "b", 0, "e", state=word)
        self.board.publish(Status(state=state, record=record, at=self.clock.now))

    def others(self, *names: str) -> dict[str, Other]:
        return dict(self.presence.others(frozenset(names)))


@pytest.fixture
def table() -> Table:
    made = Table()
    made.presence.step()
    return made


def test_it_says_twice_a_second_to_the_others_what_it_does(table: Table) -> None:
    table.say(DRAINING)
    table.presence.step()
    assert table.link.sent() == [
        (Kind.PRESENCE, wire.text(SERVING), OTHER),
        (Kind.PRESENCE, wire.text(DRAINING), OTHER),
    ]
    assert table.waits == [EVERY, EVERY]
    assert SILENT / EVERY >= 6, "two may be lost"


def test_a_new_word_is_said_at_once(table: Table) -> None:
    table.meanwhile = DRAINING
    table.presence.step()
    assert table.news == [False, True]


def test_one_whose_main_thread_hangs_says_nothing(table: Table) -> None:
    table.clock.now += STALLED_AFTER + 1
    table.presence.step()
    assert len(table.link.sent()) == 1


def test_any_genuine_datagram_ends_the_silence(table: Table) -> None:
    table.clock.now += 10
    assert table.others("i-2") == {"i-2": Other(10.0, "")}
    table.link.hear(Kind.APPLIED, Applied("e", 1).pack())
    table.clock.now += 2
    assert table.others("i-2") == {"i-2": Other(2.0, "")}
    table.link.hear(Kind.PRESENCE, wire.text(SERVING))
    assert table.others() == {"i-2": Other(0.0, SERVING)}


def test_a_forged_or_replayed_datagram_does_not(table: Table) -> None:
    table.link.hear(Kind.PRESENCE, wire.text(SERVING))
    table.clock.now += 5
    with pytest.raises(Refused):
        table.link.hear(Kind.PRESENCE, wire.text(DRAINING), number=table.link.number)
    table.link.key = b"x" * 32
    with pytest.raises(Refused):
        table.link.hear(Kind.PRESENCE, wire.text(DRAINING))
    assert table.others() == {"i-2": Other(5.0, SERVING)}


def test_a_word_that_was_overtaken_does_not_count_and_a_new_boot_begins_anew(table: Table) -> None:
    table.link.hear(Kind.PRESENCE, wire.text(DRAINING), number=9)
    table.link.hear(Kind.PRESENCE, wire.text(SERVING), number=8)
    assert table.others()["i-2"].word == DRAINING
    table.clock.now += 1
    table.link.hear(Kind.PRESENCE, wire.text(SERVING), number=1, boot="c")
    assert table.others()["i-2"].word == SERVING


def test_what_a_later_version_adds_to_the_word_is_passed_over(table: Table) -> None:
    table.link.hear(Kind.PRESENCE, wire.text(SERVING) + b"more")
    assert table.others()["i-2"].word == SERVING


def test_nobody_is_silent_before_it_can_hear() -> None:
    table = Table()
    table.link.up = False
    table.presence.step()
    table.clock.now += 60
    assert table.others("i-2") == {"i-2": Other(0.0, "")}
    table.link.up = True
    table.presence.step()
    table.clock.now += 2
    assert table.others("i-2") == {"i-2": Other(2.0, "")}


def test_one_that_nobody_asks_about_is_forgotten(table: Table) -> None:
    table.link.hear(Kind.PRESENCE, wire.text(SERVING))
    table.clock.now += REMEMBER + 1
    assert table.others() == {}
    assert table.others("i-2")["i-2"].silent > REMEMBER
