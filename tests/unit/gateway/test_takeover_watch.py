"""The takeover thread with kernel, network and main thread replaced: what goes in and comes out."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest
from unit.gateway.samples import control, stands_in
from unit.gateway.test_takeover_kick import segment
from unit.gateway.wireguard_messages import handshake, public_key, transport, udp

from effects import Failed
from gateway.gossip import Frame, Kind, seal
from gateway.gossip_link import Link
from gateway.messages import Message, OwnersMove, SessionsMove
from gateway.metadata import Identity
from gateway.peers import Admitted
from gateway.presence import SILENT
from gateway.state import State
from gateway.status import Board, Status
from gateway.takeover import rules, words
from gateway.takeover.hub import FilterLoaded, Forgotten, Hub, InterfaceMade
from gateway.takeover.journal import Part
from gateway.takeover.kick import COPIES
from gateway.takeover.moves import LetGo, PointAt
from gateway.takeover.packets import Endpoint
from gateway.takeover.recipients import peer_id
from gateway.takeover.sessions import Claim, Place, Session
from gateway.takeover.watch import BEAT, IN_STEP_AT_MOST, TakeoverWatch
from registry.items import ROUTED

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

KEY = b"k" * 32
MINE, OTHER = IPv4Address("10.20.0.10"), IPv4Address("10.20.0.11")
NOW = 1_800_000_000.0
ALICE, BOB = public_key("alice"), public_key("bob")
ADDRESSES = {ALICE: IPv4Address("100.96.0.5"), BOB: IPv4Address("100.96.0.6")}
HOME = ("198.51.100.7", 40001)
HOME_ENDPOINT = Endpoint(IPv4Address(HOME[0]), HOME[1])


class Ears:
    """An nflog whose packets the test puts in."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, bytes]] = []
        self.lost = 0
        self.broken = False
        self.closed = False
        self._pipe = os.eventfd(1)

    def fileno(self) -> int:
        return self._pipe  # always readable: nothing in a test waits

    def read(self) -> list[tuple[int, bytes]]:
        if self.broken:
            raise OSError("gone")
        heard, self.heard = self.heard, []
        return heard

    def close(self) -> None:
        self.closed = True
        os.close(self._pipe)


class Quiet(Link):
    def __init__(self) -> None:
        super().__init__(9588, "boot-1", lambda: "i-1", lambda: NOW)
        self.key = KEY
        self.out: list[tuple[int, bytes, IPv4Address]] = []

    def send(self, kind: int, body: bytes, to: Iterable[IPv4Address]) -> None:
        self.out += [(kind, body, address) for address in to]


class Memory:
    @contextmanager
    def beside(self) -> Generator[None]:
        yield


class Table:
    """The thread's step, and everything around it."""

    def __init__(self) -> None:
        self.wall, self.monotonic, self.number = NOW, 1000.0, 0
        self.link, self.board, self.hub = Quiet(), Board(), Hub()
        self.posted: list[Message] = []
        self.nft: list[str] = []
        self.calls: list[tuple[str, ...]] = []
        self.shaken: dict[str, int] = {}
        self.endpoints: dict[str, str] = {}
        self.handed: list[dict[str, Any]] = []
        self.broken = False
        self.sent: list[bytes] = []
        self.ears: list[Ears] = []
        self.state = State(
            identity=Identity("i-1", "123456789012", "eu-west-1", "eu-west-1a", str(MINE)),
            gateways=frozenset({MINE, OTHER}),
            control=control(7),
        )
        self.addresses = ADDRESSES
        self.publish()
        self.watch = TakeoverWatch(
            51820,
            self.link,
            self.board,
            self.hub,
            memory=stands_in(Memory()),
            post=self.posted.append,
            listen=self.listen,
            send=self.sent.append,
            call=self.call,
            wall=lambda: self.wall,
            monotonic=lambda: self.monotonic,
        )

    def listen(self, groups: tuple[int, ...]) -> Any:
        assert groups == (rules.HANDSHAKES, rules.MOVED, rules.STALLED)
        self.ears.append(Ears())
        return self.ears[-1]

    def publish(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)
        self.board.publish(Status(state=self.state, admitted=Admitted(self.addresses, {})))

    def call(self, command: tuple[str, ...], stdin: str | None = None) -> str:
        self.calls.append(command)
        if self.broken:
            raise Failed(command, 1, "no such table")
        match command:
            case ("nft", "--json", *_):
                elements = [{"elem": one} for one in self.handed]
                return json.dumps({"nftables": [{"set": {"elem": elements}}]})
            case ("nft", *_):
                assert stdin is not None
                self.nft.append(stdin)
            case (*_, "latest-handshakes"):
                return "".join(f"wg0\t{key}\t{when}\n" for key, when in self.shaken.items())
            case (*_, "dump"):
                return "wg0\tPRIVATE\tPUBLIC\t51820\toff\n" + "".join(
                    f"wg0\t{key}\t(none)\t{where}\t(none)\t{self.shaken[key]}\t0\t0\toff\n"
                    for key, where in self.endpoints.items()
                )
        return ""

    def step(self, seconds: float = 0.0, *packets: tuple[int, bytes]) -> None:
        self.wall += seconds
        self.monotonic += seconds
        if packets:
            self.ears[-1].heard += packets
        self.watch.step()

    def send_handshake(
        self, index: int, key: str = ALICE, port: int = 51820, *, calls: bool = False
    ) -> None:
        packet = udp(("10.20.0.10", port), HOME, handshake(1 if calls else 2, index, key))
        self.step(0.0, (rules.HANDSHAKES, packet))

    def report(self, index: int, port: int = 51820, source: tuple[str, int] = HOME) -> None:
        packet = udp(source, ("10.20.0.10", port), transport(index))
        self.step(0.0, (rules.MOVED, packet))

    def hear(self, kind: int, body: bytes, sender: str = "i-2") -> None:
        self.number += 1
        frame = Frame(
            kind=kind,
            sender=sender,
            boot="b",
            number=self.number,
            sent=int(NOW * 1000),
            body=body,
        )
        self.link.receive(seal(KEY, frame), OTHER)
        self.step()

    def tell(self, *facts: Session | Claim, journal: int = 5, after: int = 0) -> None:
        part = Part(journal, after, after + len(facts), facts)
        self.hear(Kind.SESSIONS, words.pack_part(part))

    def told(self) -> list[tuple[int, Any]]:
        """What has been said, apart from beats."""
        out, self.link.out = self.link.out, []
        parts = [
            (kind, words.unpack_part(body, "i-1") if kind == Kind.SESSIONS else body)
            for kind, body, to in out
            if to == OTHER
        ]
        return [one for one in parts if not (isinstance(one[1], Part) and not one[1].facts)]


@pytest.fixture
def table() -> Table:
    made = Table()
    made.step()
    return made


def ms(seconds: float) -> int:
    return int(seconds * 1000)


def theirs(index: int, key: str = ALICE, slot: int = 0, began: float = NOW) -> Session:
    return Session(slot, index, peer_id(key), "i-2", ms(began), HOME_ENDPOINT)


def test_a_handshake_of_ours_is_told_at_once_and_claimed_when_it_is_completed(
    table: Table,
) -> None:
    table.send_handshake(7)
    ((kind, part),) = table.told()
    (session,) = part.facts
    assert kind == Kind.SESSIONS
    assert session == Session(0, 7, peer_id(ALICE), "i-1", ms(NOW), HOME_ENDPOINT, ms(NOW))
    table.step(0.05)
    assert table.told() == []
    table.shaken = {ALICE: int(NOW)}
    table.step(0.2)
    ((_, part),) = table.told()
    assert part.facts == (Claim(Place(0, peer_id(ALICE)), "i-1", ms(NOW)),)
    table.step(BEAT)
    assert table.hub.view.holding == {("wg0", ALICE)}
    assert (table.hub.view.own, table.hub.view.remote) == (1, 0)
    assert table.hub.view.working


def test_nothing_is_looked_for_when_there_is_nothing_to_find(table: Table) -> None:
    table.calls.clear()
    for _ in range(50):
        table.step(0.5)
    assert table.calls == []


def test_looking_becomes_rarer_the_longer_nothing_is_found(table: Table) -> None:
    table.send_handshake(7)
    table.calls.clear()
    for _ in range(200):
        table.step(0.05)
    looks = len(table.calls)
    assert 20 <= looks <= 60
    assert set(table.calls) == {("wg", "show", "all", "latest-handshakes")}


def test_whom_wireguard_calls_by_itself_is_hardly_looked_for(table: Table) -> None:
    """Clients leave all the time; then it calls each of them every 5 s for 90 s."""
    table.calls.clear()
    for index in range(12):
        table.send_handshake(index, calls=True)
        for _ in range(50):
            table.step(0.1)
    looks = len(table.calls)
    assert 6 <= looks <= 8, "a minute, and every 10 s"
    table.shaken = {ALICE: int(table.wall)}
    table.told()
    for _ in range(100):
        table.step(0.1)
    assert [type(fact) for _, part in table.told() for fact in part.facts] == [Claim], "it is back"


def test_a_client_that_shakes_hands_is_looked_for_at_once_whomever_wireguard_calls(
    table: Table,
) -> None:
    table.send_handshake(1, BOB, calls=True)
    table.step(1.0)
    table.told()
    table.shaken = {ALICE: int(table.wall)}
    table.send_handshake(2)
    table.step(0.05)
    assert Claim in {type(fact) for _, part in table.told() for fact in part.facts}


def test_the_renewal_of_a_session_is_not_looked_for(table: Table) -> None:
    table.shaken = {ALICE: int(NOW)}
    table.send_handshake(1)
    table.step(1.0)
    table.calls.clear()
    table.send_handshake(2)
    table.step(1.0)
    assert table.calls == []


def test_a_session_elsewhere_is_watched_in_the_kernel_and_its_packet_moves_the_peer(
    table: Table,
) -> None:
    table.tell(theirs(0xAB, slot=1))
    assert table.nft == ["add element inet gatepair watched { 51821 . 0x000000ab timeout 185s }\n"]
    table.report(0xAB, port=51821)
    (message,) = table.posted
    assert message == SessionsMove((PointAt("wg1", ALICE, "198.51.100.7:40001", again=False),))


def test_all_that_is_reported_at_once_is_moved_at_once(table: Table) -> None:
    table.tell(theirs(1), theirs(2, BOB))
    table.step(
        0.0,
        *(
            (rules.MOVED, udp(HOME, ("10.20.0.10", 51820), transport(index)))
            for index in (1, 2, 1, 3)
        ),
    )
    (message,) = table.posted
    assert isinstance(message, SessionsMove)
    assert [move.public_key for move in message.moves] == [ALICE, BOB]
    table.step(BEAT)
    assert table.hub.view.counts == {"started": 2, "limited": 1, "unknown": 1}


def test_a_peer_that_is_revoked_is_not_moved_although_its_packet_is_reported(table: Table) -> None:
    table.tell(theirs(1))
    table.addresses = {BOB: ADDRESSES[BOB]}
    table.publish()
    table.report(1)
    assert table.posted == []


def test_who_is_claimed_elsewhere_is_let_go(table: Table) -> None:
    table.send_handshake(7)
    table.tell(Claim(Place(0, peer_id(ALICE)), "i-2", ms(NOW) + 5))
    assert table.posted == [SessionsMove((LetGo("wg0", ALICE),))]
    table.nft.clear()
    table.wall += 1
    table.hub.put(Forgotten("wg0", (ALICE,), ms(NOW) + 10))
    table.step(0.2)
    assert table.nft == ["add element inet gatepair watched { 51820 . 0x00000007 timeout 184s }\n"]


def test_when_control_says_no_nothing_moves_but_all_is_known_at_once_afterwards(
    table: Table,
) -> None:
    table.publish(control=replace(control(7), takeover=False))
    table.tell(theirs(1))
    table.report(1)
    table.send_handshake(7, BOB)
    table.shaken = {BOB: int(NOW)}
    table.step(1.0)
    assert table.posted == []
    assert [type(fact) for _, part in table.told() for fact in part.facts] == [Session]
    assert not table.hub.view.working
    table.publish(control=control(7))
    table.step(0.5)
    table.report(1)
    assert len(table.posted) == 1


def test_a_new_interface_makes_our_sessions_worth_watching(table: Table) -> None:
    table.send_handshake(7)
    table.hub.put(InterfaceMade("wg1", ms(NOW) + 1))
    table.step(0.2)
    assert table.nft == []
    table.hub.put(InterfaceMade("wg0", ms(NOW) + 1))
    table.step(0.2)
    assert len(table.nft) == 1


def test_a_filter_that_was_loaded_again_is_told_everything_again(table: Table) -> None:
    table.tell(theirs(1), theirs(2, BOB))
    table.nft.clear()
    table.hub.put(FilterLoaded())
    table.step(0.2)
    (text,) = table.nft
    assert text.count(" timeout ") == 2


def test_a_set_that_somebody_has_emptied_is_filled_within_a_minute(table: Table) -> None:
    table.tell(theirs(1))
    table.nft.clear()
    for _ in range(59):
        table.step(1.0)
    assert table.nft == []
    table.step(1.0)
    assert table.nft == ["add element inet gatepair watched { 51820 . 0x00000001 timeout 125s }\n"]


def test_what_nftables_does_not_take_now_it_takes_later(table: Table) -> None:
    table.broken = True
    table.tell(theirs(1))
    assert table.nft == []
    table.broken = False
    table.step(0.2)
    assert table.nft == [], "not too often"
    table.step(1.0)
    assert len(table.nft) == 1


def test_sessions_are_written_in_batches_not_one_by_one(table: Table) -> None:
    for number in range(20):
        table.tell(theirs(number), after=number)
        table.step(0.01)
    table.step(0.2)
    assert len(table.nft) <= 5
    assert sum(text.count(" timeout ") for text in table.nft) == 20


def test_what_was_missed_is_asked_for_and_what_is_asked_for_is_sent(table: Table) -> None:
    table.tell(theirs(1), after=4)
    table.link.out.clear()
    table.step(BEAT)
    wishes = [body for kind, body, _ in table.link.out if kind == Kind.SESSIONS_WANTED]
    assert wishes == [words.pack_wish(5, 0)]
    table.tell(theirs(1), after=0)
    table.tell(theirs(2, BOB), after=1)
    table.link.out.clear()
    table.step(BEAT)
    assert Kind.SESSIONS_WANTED not in [kind for kind, _, _ in table.link.out]

    table.send_handshake(7)
    ((_, first),) = table.told()
    table.hear(Kind.SESSIONS_WANTED, words.pack_wish(first.journal, 0))
    assert table.told() == [(Kind.SESSIONS, first)]
    table.hear(Kind.SESSIONS_WANTED, words.pack_wish(first.journal, 0))
    assert table.told() == [], "just sent"
    table.step(1.0)
    table.told()
    table.hear(Kind.SESSIONS_WANTED, words.pack_wish(12345, 99))
    assert table.told() == [(Kind.SESSIONS, first)], "of an earlier journal: all of this one"


def test_a_gateway_that_was_started_again_gets_its_sessions_back(table: Table) -> None:
    table.tell(theirs(1), theirs(2, BOB))
    table.told()
    table.tell(journal=6)
    ((kind, body),) = table.told()
    assert kind == Kind.SESSIONS_RETURNED
    assert set(words.unpack_facts(body, "i-2")) == {theirs(1), theirs(2, BOB)}


def element(index: int, port: int = HOME[1]) -> dict[str, Any]:
    return {"val": {"concat": [51820, index, HOME[0], port]}, "expires": 155}


def test_after_a_restart_sessions_are_known_by_where_they_went() -> None:
    table = Table()
    table.handed = [element(7), element(8, 9999)]
    table.endpoints = {ALICE: "198.51.100.7:40001", BOB: "198.51.100.9:1"}
    table.shaken = {ALICE: int(NOW) - 29, BOB: int(NOW) - 20}
    table.step()
    ((_, part),) = table.told()
    began = ms(NOW) - 30_000
    assert part.facts == (Session(0, 7, peer_id(ALICE), "i-1", began, HOME_ENDPOINT, began),)
    table.step(0.2)
    ((_, part),) = table.told()
    assert part.facts == (Claim(Place(0, peer_id(ALICE)), "i-1", began),)


def test_who_cannot_be_told_apart_after_a_restart_is_known_by_what_others_return() -> None:
    table = Table()
    table.handed = [element(7)]
    table.endpoints = {ALICE: "198.51.100.7:40001", BOB: "198.51.100.7:40001"}
    table.shaken = {ALICE: int(NOW) - 29, BOB: int(NOW) - 20}
    table.step()
    assert table.told() == []
    returned = [replace(theirs(7, BOB), holder="i-1"), replace(theirs(9), holder="i-1")]
    table.hear(Kind.SESSIONS_RETURNED, words.pack_facts(returned))
    ((_, part),) = table.told()
    assert [fact.index for fact in part.facts] == [7], "9 was never handed out by this kernel"
    assert part.facts[0].peer == peer_id(BOB)


def test_a_message_to_a_peer_that_is_admitted_in_a_moment_is_not_lost(table: Table) -> None:
    carol = public_key("carol")
    table.send_handshake(7, carol)
    assert table.told() == []
    table.addresses = {**ADDRESSES, carol: IPv4Address("100.96.0.7")}
    table.publish()
    table.step()
    ((_, part),) = table.told()
    assert part.facts[0].peer == peer_id(carol)


def test_what_makes_no_sense_is_counted_and_harms_nobody(table: Table) -> None:
    table.step(0.0, (rules.HANDSHAKES, b"?"), (rules.MOVED, udp(HOME, ("10.20.0.10", 1), b"x")))
    table.hear(Kind.SESSIONS, b"short")
    table.step(BEAT)
    assert table.hub.view.counts["garbled"] == 3


def test_when_the_kernel_stops_talking_the_thread_listens_anew(table: Table) -> None:
    table.ears[0].broken = True
    with pytest.raises(OSError, match="gone"):
        table.step()
    assert table.ears[0].closed
    table.step()
    assert len(table.ears) == 2


def test_before_the_gateway_knows_itself_nothing_is_listened_to() -> None:
    table = Table()
    table.publish(identity=None)
    table.watch.step()
    assert table.ears == []


# ------------------------------------------------------------------ whose the clients are


def claimed(order: float, key: str = ALICE, holder: str = "i-2", slot: int = 0) -> Claim:
    return Claim(Place(slot, peer_id(key)), holder, ms(order))


@pytest.fixture
def routed(table: Table) -> Table:
    table.publish(control=replace(control(7), egress=ROUTED))
    table.step()
    return table


def test_who_is_claimed_elsewhere_is_published_and_said_in_the_same_step(routed: Table) -> None:
    routed.tell(claimed(NOW), claimed(NOW, BOB))
    view = routed.hub.view
    assert view.elsewhere == {ALICE: "i-2", BOB: "i-2"}
    assert view.addresses == {"i-2": OTHER}
    assert routed.posted == [OwnersMove()]
    routed.step(BEAT)
    assert routed.hub.view.elsewhere is view.elsewhere, "the same while nobody moves"
    assert routed.posted == [OwnersMove()]


def test_who_completes_a_handshake_here_is_elsewhere_no_more(routed: Table) -> None:
    routed.tell(claimed(NOW - 10))
    routed.posted.clear()
    routed.send_handshake(7)
    routed.shaken = {ALICE: int(NOW)}
    routed.step(0.2)
    assert routed.hub.view.elsewhere == {}
    assert routed.posted == [OwnersMove()]


_RESUMED = "element inet gatepair resumed { 100.96.0.5 }\n"
SHOWN = f"add {_RESUMED}delete {_RESUMED}add {_RESUMED}"
"""Who is there already is shown from now on, too."""


def test_connections_of_who_is_taken_over_are_shown_at_once_and_told_when_he_is_here(
    routed: Table,
) -> None:
    routed.tell(theirs(0xAB), claimed(NOW - 10))
    routed.step(BEAT)
    routed.nft.clear()
    routed.report(0xAB)
    assert routed.nft == [SHOWN]
    routed.step(0.01, (rules.STALLED, segment()))
    assert routed.sent == [], "WireGuard would keep them instead of what the client waits for"
    routed.send_handshake(7)
    routed.shaken = {ALICE: int(routed.wall)}
    routed.step(0.2)
    assert len(routed.sent) == 2 * COPIES, "the client; and the host, whose segment may be lost"
    assert routed.nft == [SHOWN] * 2
    routed.step(1.0, (rules.STALLED, segment()))
    assert len(routed.sent) == 3 * COPIES


def test_clients_of_a_gateway_that_falls_silent_are_expected_here(routed: Table) -> None:
    routed.tell(theirs(0xAB), claimed(NOW - 10))
    routed.link.heard_at["i-2"] = routed.monotonic
    routed.step(SILENT - 0.5)
    routed.nft.clear()
    routed.step(1.0)
    routed.step(BEAT)
    shown = SHOWN
    assert routed.nft == [shown], "once, although it stays silent"
    routed.step(0.01, (rules.STALLED, segment()))
    assert routed.sent == []
    routed.report(0xAB)
    routed.send_handshake(7)
    routed.shaken = {ALICE: int(routed.wall)}
    routed.step(0.2)
    assert len(routed.sent) == 2 * COPIES


def test_a_gateway_that_is_heard_again_keeps_its_clients_to_itself(routed: Table) -> None:
    routed.tell(theirs(0xAB), claimed(NOW - 10))
    routed.link.heard_at["i-2"] = routed.monotonic
    routed.step(SILENT + 1)
    routed.link.heard_at["i-2"] = routed.monotonic
    routed.step(BEAT)
    routed.nft.clear()
    routed.step(SILENT / 3)
    assert not [text for text in routed.nft if "resumed" in text]


def test_who_is_to_be_shown_is_not_forgotten_while_the_filter_is_away(routed: Table) -> None:
    routed.tell(theirs(0xAB), claimed(NOW - 10))
    routed.step(BEAT)
    routed.nft.clear()
    routed.broken = True
    routed.report(0xAB)
    assert routed.nft == []
    routed.broken = False
    routed.step(BEAT)
    assert routed.nft == [SHOWN]


def test_in_snat_mode_no_connection_is_shown_or_told_anything(table: Table) -> None:
    table.tell(theirs(0xAB), claimed(NOW - 10))
    table.report(0xAB)
    table.send_handshake(7)
    table.shaken = {ALICE: int(NOW)}
    table.step(0.2, (rules.STALLED, segment()))
    table.step(BEAT)
    assert table.hub.view.counts["takeovers"] == 1
    assert not [text for text in table.nft if "resumed" in text]
    assert table.sent == []


def test_an_owner_is_known_of_who_is_admitted_only_afterwards(routed: Table) -> None:
    routed.addresses = {BOB: ADDRESSES[BOB]}
    routed.publish()
    routed.tell(claimed(NOW))
    assert routed.hub.view.elsewhere == {}
    routed.addresses = ADDRESSES
    routed.publish()
    routed.step()
    assert routed.hub.view.elsewhere == {ALICE: "i-2"}


def test_it_is_in_step_when_every_other_gateway_has_told_all(routed: Table) -> None:
    assert not routed.hub.view.in_step
    routed.tell(claimed(NOW), after=4)
    assert not routed.hub.view.in_step, "four things are missing"
    routed.tell(claimed(NOW), after=0)
    routed.tell(claimed(NOW, BOB), after=1)
    assert routed.hub.view.in_step


def test_one_that_never_tells_is_waited_for_some_seconds_only(routed: Table) -> None:
    routed.step(IN_STEP_AT_MOST / 2)
    assert not routed.hub.view.in_step
    routed.step(IN_STEP_AT_MOST)
    assert routed.hub.view.in_step
    assert routed.posted == [OwnersMove()]


def test_in_snat_mode_owners_are_known_and_the_main_thread_is_not_woken(table: Table) -> None:
    table.tell(claimed(NOW))
    assert table.hub.view.elsewhere == {ALICE: "i-2"}
    assert table.posted == []
