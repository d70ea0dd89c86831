"""What gateways tell each other of their clients' open connections, and who is asked by it."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest
from unit.gateway import flows
from unit.gateway.quiet_link import OTHER, Clock, Quiet
from unit.gateway.samples import control
from unit.gateway.test_takeover_kick import segment, total

from gateway.connection_watch import AGAIN, EVERY, KEEP, SHARE, ConnectionWatch
from gateway.connections import events
from gateway.gossip import LIMIT, OVERHEAD, Kind, Refused
from gateway.metadata import Identity
from gateway.peers import Admitted
from gateway.state import State
from gateway.status import Board, Status
from gateway.takeover.connections import (
    MOST,
    MOST_OF_ONE,
    Connection,
    choose,
    pack,
    unpack,
)
from gateway.takeover.hub import SessionsView
from gateway.takeover.ipv4 import TCP, destination
from gateway.takeover.question import questions
from gateway.takeover.resume import (
    ASK_AFTER,
    ASK_EVERY,
    ASK_FOR,
    ASK_MORE,
    ASKS,
    ASKS_EVERY,
    Resumption,
)
from gateway.takeover.rules import RESUMED_LIFETIME

if TYPE_CHECKING:
    from collections.abc import Iterator

POOL = IPv4Network("100.96.0.0/16")
MINE = IPv4Address("10.20.0.10")
ALICE, BOB = IPv4Address("100.96.0.5"), IPv4Address("100.96.0.6")
HOST = IPv4Address("10.20.0.20")


def connection(client: IPv4Address = ALICE, port: int = 40000) -> Connection:
    return Connection(client, port, HOST, 443)


# ------------------------------------------------------------------ which are told of


def test_only_clients_that_are_here_are_told_of() -> None:
    found = [(10, connection(ALICE)), (10, connection(BOB))]
    assert choose(found, {BOB}) == {BOB: frozenset({connection(BOB)})}


def test_of_too_many_those_last_heard_from_are_told() -> None:
    of_alice = [(1000 + port, connection(ALICE, port)) for port in range(MOST_OF_ONE + 5)]
    told = choose(of_alice, {ALICE})[ALICE]
    assert {one.port for one in told} == set(range(5, MOST_OF_ONE + 5))
    everybody = [IPv4Address(int(POOL[0]) + number) for number in range(2, MOST + 12)]
    crowd = [(number, connection(client)) for number, client in enumerate(everybody)]
    assert set(choose(crowd, set(everybody))) == set(everybody[-MOST:])


def test_what_was_packed_is_unpacked_and_no_datagram_is_too_long() -> None:
    clients = [IPv4Address(int(POOL[0]) + number) for number in range(2, 40)]
    open_ = {
        client: frozenset(connection(client, port) for port in range(number % 65))
        for number, client in enumerate(clients, 30)
    }
    bodies = list(pack(open_))
    assert len(bodies) > 2
    assert max(map(len, bodies)) <= LIMIT - OVERHEAD
    found: dict[IPv4Address, frozenset[Connection]] = {}
    for body in bodies:
        found |= unpack(body)
    assert found == open_


@pytest.mark.parametrize("body", [b"\x64", b"\x64\x60\x00\x05\x00", b"\x64\x60\x00\x05\x00\x01abc"])
def test_what_is_cut_short_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match="cut short"):
        unpack(body)


# ------------------------------------------------------------------ what tracking says


def tracked(
    source: IPv4Address = ALICE, to: IPv4Address = HOST, *, state: int = 3, protocol: int = TCP
) -> bytes:
    """As ctnetlink lists it: from port 40000 to 443, 300 s left."""
    left = flows.attribute(7, struct.pack("!I", 300))
    return flows.body(str(source), str(to), protocol=protocol, state=state) + left


@pytest.mark.parametrize("state", [3, 4, 5])
def test_open_and_half_closed_connections_are_known(state: int) -> None:
    assert events.open_tcp(tracked(state=state), POOL) == (300, connection())


def test_a_connection_to_a_client_is_known_by_the_same_ends() -> None:
    assert events.open_tcp(tracked(HOST, ALICE), POOL) == (300, Connection(ALICE, 443, HOST, 40000))


@pytest.mark.parametrize(
    "body",
    [
        tracked(state=2),
        tracked(state=7),
        tracked(protocol=17),
        tracked(HOST, OTHER),
        tracked()[:30],
        b"",
    ],
)
def test_nothing_else_is_an_open_connection_of_a_client(body: bytes) -> None:
    assert events.open_tcp(body, POOL) is None


# ------------------------------------------------------------------ telling and hearing


class Table:
    """A watch with everything around it replaced: gateways i-1 and i-2, and both clients here."""

    def __init__(self) -> None:
        self.clock, self.board = Clock(), Board()
        self.link = Quiet(self.clock)
        self.tracked: list[bytes] = []
        self.took = self.cost = 0.0
        self.watch = ConnectionWatch(
            self.link,
            self.board,
            listing=self.listing,
            monotonic=self.clock,
            cost=lambda: self.cost,
        )
        self.say(ALICE, BOB)

    def listing(self, protocol: int) -> Iterator[bytes]:
        assert protocol == TCP
        self.cost += self.took
        yield from self.tracked

    def say(self, *held: IPv4Address, egress: str = "routed") -> None:
        addresses = {"alice": ALICE, "bob": BOB}
        self.board.publish(
            Status(
                state=State(
                    identity=Identity("i-1", "1", "eu-west-1", "eu-west-1a", str(MINE)),
                    gateways=frozenset({MINE, OTHER}),
                    control=replace(control(), client_pool=POOL, egress=egress),
                ),
                admitted=Admitted(addresses, {}),
                sessions=SessionsView(
                    holding=frozenset(("wg0", name) for name, at in addresses.items() if at in held)
                ),
                at=self.clock.now,
            )
        )

    def step(self) -> float:
        self.link.sent()
        return self.watch.step()

    def told(self) -> dict[IPv4Address, frozenset[Connection]]:
        self.step()
        found: dict[IPv4Address, frozenset[Connection]] = {}
        for kind, body, to in self.link.sent():
            assert kind == Kind.CONNECTIONS
            assert to == OTHER
            found |= unpack(body)
        return found

    def hear(self, body: bytes) -> None:
        self.link.hear(Kind.CONNECTIONS, body)


@pytest.fixture
def table() -> Table:
    return Table()


def test_a_new_connection_is_told_once_and_again_after_a_while(table: Table) -> None:
    assert table.told() == {}
    table.tracked = [tracked()]
    assert table.told() == {ALICE: frozenset({connection()})}
    table.clock.now += AGAIN - 1
    assert table.told() == {}
    table.clock.now += 1
    assert table.told() == {ALICE: frozenset({connection()})}


def test_that_a_client_has_none_any_more_is_told(table: Table) -> None:
    table.tracked = [tracked()]
    table.step()
    table.tracked = []
    assert table.told() == {ALICE: frozenset()}
    assert table.told() == {}


def test_of_a_client_that_has_gone_nothing_is_said_for_another_gateway_knows_better(
    table: Table,
) -> None:
    table.tracked = [tracked()]
    table.step()
    table.say(BOB)
    table.clock.now += AGAIN
    assert table.told() == {}
    table.say(ALICE, BOB)
    assert table.told() == {ALICE: frozenset({connection()})}


def test_nothing_is_looked_at_in_snat_mode(table: Table) -> None:
    table.tracked = [tracked()]
    table.say(ALICE, egress="snat")
    table.took = 1.0
    assert table.step() == EVERY
    assert table.link.sent() == []


def test_with_very_many_connections_it_looks_more_rarely(table: Table) -> None:
    assert table.step() == EVERY
    table.took = 0.1
    assert table.step() == pytest.approx(0.1 / SHARE)


def test_what_another_gateway_has_told_counts_until_it_tells_anew_or_is_silent(
    table: Table,
) -> None:
    table.hear(b"".join(pack({ALICE: frozenset({connection()}), BOB: frozenset()})))
    assert table.watch.of(ALICE) == {connection()}
    assert table.watch.of(BOB) == frozenset()
    table.hear(b"".join(pack({BOB: frozenset({connection(BOB)})})))
    assert table.watch.of(ALICE) == {connection()}, "others' words are not about her"
    table.hear(b"".join(pack({ALICE: frozenset({connection(port=2)})})))
    assert table.watch.of(ALICE) == {connection(port=2)}
    table.clock.now += KEEP
    assert table.watch.of(ALICE) == frozenset()


def test_a_garbled_word_is_refused(table: Table) -> None:
    with pytest.raises(Refused):
        table.hear(b"\x64\x60\x00\x05\x00\x01abc")
    assert table.watch.of(ALICE) == frozenset()


# ------------------------------------------------------------------ asking


def test_each_end_is_asked_in_the_others_name_at_two_times_half_the_circle_apart() -> None:
    asked = list(questions(connection(), 0x01020304))
    assert [destination(packet) for packet in asked] == [str(ALICE), str(HOST)] * 2
    assert asked[0].hex(" ", 4) == (
        # IPv4: 52 bytes, TCP, 10.20.0.20 to 100.96.0.5
        "45000034 00000000 40060c38 0a140014 64600005 "
        # ports 443 and 40000, both numbers, 8 words, ACK, window
        "01bb9c40 01020304 01020304 8010ffff "
        # checksum; timestamp 0
        f"{asked[0][36:40].hex()} 0101080a 00000000 00000000"
    )
    assert asked[1][12:24].hex() == "646000050a1400149c4001bb"
    for packet, time in zip(asked, (0, 0, 1 << 31, 1 << 31), strict=True):
        assert total(packet[:20]) == 0xFFFF
        assert total(packet[12:20] + struct.pack("!HH", TCP, 32) + packet[20:]) == 0xFFFF
        assert packet[44:48] == time.to_bytes(4, "big")


class Asking:
    def __init__(self, *known: Connection) -> None:
        self.now, self.sent = 1000.0, list[bytes]()
        self.resumption = Resumption(
            self.sent.append,
            lambda: self.now,
            lambda client: [one for one in known if one.client == client],
        )
        self.resumption.pool = POOL

    def asked(self) -> int:
        """Packets at this moment, as often as the thread comes by."""
        self.sent.clear()
        self.resumption.ask()
        return len(self.sent)


def said_by_host(one: Connection) -> bytes:
    """A segment of the host's, as the filter shows it."""
    return segment(str(one.host), str(one.client), ports=(one.host_port, one.port))


def test_ends_are_asked_in_a_moment_until_the_host_is_heard_and_some_times_more() -> None:
    table = Asking(connection(), connection(BOB))
    table.resumption.arrived(ALICE)
    assert table.asked() == 0
    table.now += ASK_AFTER
    for _ in range(5):
        assert table.resumption.next_ask <= table.now
        assert table.asked() == 4
        assert {destination(packet) for packet in table.sent} == {str(ALICE), str(HOST)}
        assert table.asked() == 0
        table.now += ASK_EVERY
    table.resumption.segment(said_by_host(connection(BOB)))
    assert table.asked() == 4
    table.resumption.segment(segment(str(ALICE), str(HOST), ports=(40000, 443)))
    table.now += ASK_EVERY
    assert table.asked() == 4, "the client alone has been heard"
    table.resumption.segment(said_by_host(connection()))
    for more in (*[4] * (ASK_MORE + 1), 0):
        table.now += ASK_EVERY
        assert table.asked() == more
    assert table.resumption.next_ask == math.inf


def test_a_host_that_is_never_heard_is_given_up() -> None:
    table = Asking(connection())
    table.resumption.arrived(ALICE)
    began = table.now
    while table.resumption.next_ask < math.inf:
        table.now = max(table.now, table.resumption.next_ask)
        table.asked()
        assert table.now - began < RESUMED_LIFETIME, "answers would not be shown any more"
    assert table.now - began > ASK_FOR - 2 * ASK_EVERY


def test_who_has_gone_and_comes_back_is_asked_anew() -> None:
    table = Asking(connection())
    table.resumption.arrived(ALICE)
    table.resumption.segment(said_by_host(connection()))
    table.resumption.found(ALICE)
    table.resumption.arrived(ALICE)
    for _ in range(ASK_MORE + 5):
        table.now += ASK_EVERY
        assert table.asked() == 4


def test_who_is_only_expected_is_not_asked_and_who_has_gone_on_no_more() -> None:
    table = Asking(connection(), connection(BOB))
    table.resumption.expect(ALICE)
    table.now += 100
    assert table.asked() == 0
    table.resumption.arrived(ALICE)
    table.resumption.arrived(BOB)
    table.resumption.found(ALICE)
    table.now += ASK_AFTER
    assert table.asked() == 4
    assert {destination(packet) for packet in table.sent} == {str(BOB), str(HOST)}


def test_a_crowd_is_asked_some_at_a_time() -> None:
    table = Asking(*(connection(port=port) for port in range(ASKS + 1)))
    table.resumption.arrived(ALICE)
    table.now += ASK_AFTER
    assert table.asked() == 4 * ASKS
    assert table.asked() == 0
    assert table.resumption.next_ask == pytest.approx(table.now + ASKS_EVERY)
    table.now += ASKS_EVERY
    assert table.asked() == 4


def test_nobody_is_asked_in_snat_mode() -> None:
    table = Asking(connection())
    table.resumption.pool = None
    table.resumption.arrived(ALICE)
    assert table.resumption.next_ask == math.inf
