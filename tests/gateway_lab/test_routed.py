"""Routed mode's packet path between two gateways; and what snat mode does with strays."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest
from gateway_lab.routed_pair import (
    ADDRESSES_OF,
    CLIENT,
    CLIENTS,
    CLOUD,
    FIRST,
    HOST,
    OTHER,
    ROUTED,
    SECOND,
    VPC,
    Pair,
    bound,
    passes,
)

from effects import run
from gateway import forwarding
from gateway.access import EVERYWHERE, access_of
from gateway.routed import FORWARDED, LOOPS, Routed
from lab.netns import inside

if TYPE_CHECKING:
    from gateway.access import Access

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]

OPEN_TO_CLIENTS = replace(
    ROUTED, routed=Routed(vpc=(VPC,), monitoring=(), connections_to_clients=True)
)
SNAT = replace(ROUTED, routed=None)


def only(*rules: str) -> dict[IPv4Address, Access]:
    read, broken = access_of(rules)
    assert read is not None
    assert not broken
    return {CLIENT: read}


def test_answers_come_through_the_other_gateway_which_keeps_no_track_of_them(lane: Pair) -> None:
    assert lane.ping()
    near, far = lane.connect(8000)
    assert far.getpeername()[0] == str(CLIENT), "the host sees the client and no gateway"
    assert passes(near, far)
    assert passes(far, near)
    assert lane.first.counted(FORWARDED) >= 3
    assert (lane.second.counted(FORWARDED), lane.first.counted(LOOPS)) == (0, 0)
    assert lane.first.tracked() == []
    assert not [line for line in lane.second.tracked() if "4789" in line]
    assert [line for line in lane.second.tracked() if "ESTABLISHED" in line]


def test_what_is_there_is_as_it_was_meant_and_needs_nothing(lane: Pair) -> None:
    assert lane.first.forward({CLIENT: ADDRESSES_OF[SECOND]}) == []
    assert lane.second.forward({}) == []


@pytest.mark.parametrize("speaks_first", ["client", "host"])
def test_an_open_connection_goes_on_wherever_its_client_moves(
    lane: Pair, speaks_first: str
) -> None:
    near, far = lane.connect(8000)
    for gateway in (FIRST, SECOND, FIRST):
        lane.hold(gateway)
        ends = (near, far) if speaks_first == "client" else (far, near)
        assert passes(*ends)
        assert passes(*reversed(ends))


def test_a_download_goes_on_when_the_gateway_that_saw_it_begin_is_gone(lane: Pair) -> None:
    near, far = lane.connect(8000)
    assert passes(far, near)
    run(["ip", "-n", SECOND, "link", "set", "eth0", "down"])
    lane.hold(FIRST)
    assert passes(far, near), "the first gateway has seen nothing of it"


def test_segments_fit_through_both_tunnels_whatever_the_ends_believe(lane: Pair) -> None:
    run(["ip", "-n", CLIENTS, "link", "set", "wgb", "mtu", "1500"])
    near, far = lane.connect(8000)
    for end in (near, far):
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1420 - 40
    sent = b"x" * 500_000
    far.sendall(sent[:100_000])
    got = 0
    while got < 100_000:
        got += len(near.recv(65536))
    assert lane.ping("-M", "do", "-s", str(1420 - 28)), "the largest packet, whole"


def test_narrowing_holds_in_the_way_back_through_two_gateways(lane: Pair) -> None:
    allowed, other = lane.connect(8000), lane.connect(8001)
    lane.narrow(only(f"{HOST}/32:tcp/8000"))
    assert passes(allowed[1], allowed[0])
    assert passes(allowed[0], allowed[1])
    assert not passes(other[1], other[0])
    assert not passes(other[0], other[1])


@pytest.mark.parametrize(
    ("rule", "passing"),
    [
        ("10.20.0.0/16", True),
        ("10.20.0.20/32:tcp", True),
        ("10.20.0.20/32:tcp/8000", True),
        ("10.20.0.20/32:tcp/8001", False),
        ("10.20.0.20/32:udp", False),
        ("10.20.0.21/32", False),
    ],
)
def test_without_a_memory_tcp_is_judged_by_the_same_rights_as_the_way_out(
    lane: Pair, rule: str, passing: bool
) -> None:
    near, far = lane.connect(8000)
    lane.narrow({CLIENT: EVERYWHERE} | only(rule))
    lane.hold(FIRST)
    assert passes(far, near) == passing


def test_a_revoked_clients_answers_stop_on_both_gateways(lane: Pair) -> None:
    near, far = lane.connect(8000)
    lane.narrow({})
    assert not passes(far, near)
    lane.hold(FIRST)
    assert not passes(far, near)


def reaches_client(kind: int) -> bool:
    """Whether a packet of the host's own accord comes to a service of the client's."""
    with bound(CLIENTS, CLIENT, 9000, kind) as service, bound(CLOUD, HOST, 0, kind) as caller:
        caller.settimeout(1)
        service.settimeout(1)
        if kind == socket.SOCK_STREAM:
            service.listen()
        try:
            caller.connect((str(CLIENT), 9000))
            if kind == socket.SOCK_DGRAM:
                caller.send(b"hello")
                return service.recv(5) == b"hello"
        except TimeoutError:
            return False
        return True


@pytest.mark.parametrize("owner", [FIRST, SECOND])
def test_nothing_in_the_vpc_begins_a_connection_to_a_client(lane: Pair, owner: str) -> None:
    lane.hold(owner)
    assert not reaches_client(socket.SOCK_STREAM)
    assert not reaches_client(socket.SOCK_DGRAM)
    assert not lane.ping_client()


@pytest.mark.parametrize("owner", [FIRST, SECOND])
def test_but_when_the_stack_says_so_it_does(lane: Pair, owner: str) -> None:
    lane.load(OPEN_TO_CLIENTS, {CLIENT: EVERYWHERE})
    lane.hold(owner)
    assert reaches_client(socket.SOCK_STREAM)
    assert reaches_client(socket.SOCK_DGRAM)
    assert lane.ping_client()


@pytest.mark.parametrize(
    ("rule", "tcp", "udp"),
    [
        ("10.20.0.0/16", True, True),
        ("10.20.0.20/32:tcp", True, False),
        ("10.20.0.20/32:tcp/8000", False, False),
        ("10.20.0.21/32", False, False),
    ],
)
def test_only_what_a_client_may_reach_reaches_it(
    lane: Pair, rule: str, tcp: bool, udp: bool
) -> None:
    lane.load(OPEN_TO_CLIENTS, only(rule))
    assert reaches_client(socket.SOCK_STREAM) == tcp
    assert reaches_client(socket.SOCK_DGRAM) == udp


def test_two_gateways_that_each_take_the_other_for_the_owner_pass_a_packet_on_once(
    lane: Pair,
) -> None:
    """As when they hear nothing of each other: it is lost, and it is not sent around."""
    lane.first.forward({CLIENT: ADDRESSES_OF[SECOND]})
    lane.second.forward({CLIENT: ADDRESSES_OF[FIRST]})
    lane.send_by(FIRST)
    before = lane.first.counted(FORWARDED)
    assert not lane.ping("-c5")
    assert lane.first.counted(FORWARDED) == before + 5
    assert lane.second.counted(FORWARDED) == 0
    assert [path.counted(LOOPS) for path in lane.both] == [0, 0]


def test_what_has_crossed_once_and_would_leave_again_is_dropped_and_counted(lane: Pair) -> None:
    """The owner has lost its tunnels: its default route leads back into the VPC."""
    run(["ip", "-n", SECOND, "route", "delete", "100.96.0.0/16", "dev", "wg0"])
    lane.ping_client()
    assert lane.second.counted(LOOPS) == 1
    assert lane.first.counted(FORWARDED) == 1


def test_a_client_no_gateway_is_known_to_hold_is_looked_for_on_this_one(lane: Pair) -> None:
    lane.first.forward({})
    assert not lane.ping()
    lane.send_by(FIRST)
    assert lane.ping()
    assert lane.first.counted(FORWARDED) == 0


def test_clients_reach_each_other_across_gateways_only_when_the_stack_says_so(lane: Pair) -> None:
    everybody = {CLIENT: EVERYWHERE, OTHER: EVERYWHERE}
    lane.load(ROUTED, everybody)
    assert not lane.ping(to=OTHER)
    lane.load(replace(ROUTED, peer_to_peer=True), everybody)
    assert lane.ping(to=OTHER)
    assert [path.counted(LOOPS) for path in lane.both] == [0, 0]


# ------------------------------------------------------------------ what reaches the gateway itself


def answered(port: int, source: str = CLOUD) -> bool:
    """Whether a gateway's port on its private address takes a connection of the host."""
    with bound(FIRST, ADDRESSES_OF[FIRST], port) as service, bound(source, HOST) as caller:
        service.listen()
        caller.settimeout(0.5)
        try:
            caller.connect((str(ADDRESSES_OF[FIRST]), port))
        except TimeoutError:
            return False
        return True


def test_the_vpc_reaches_health_checks_and_only_who_may_watch_reaches_metrics(lane: Pair) -> None:
    assert answered(9585)
    assert not answered(9586)
    assert not answered(22)
    watching = replace(ROUTED, routed=Routed(vpc=(VPC,), monitoring=(IPv4Network(f"{HOST}/32"),)))
    lane.load(watching, {CLIENT: EVERYWHERE})
    assert answered(9586)


def test_capsules_are_taken_from_gateways_only(lane: Pair) -> None:
    """Whoever else says that something is for a client says nothing."""
    lane.load(OPEN_TO_CLIENTS, {CLIENT: EVERYWHERE})
    own, second = ADDRESSES_OF[FIRST], ADDRESSES_OF[SECOND]
    host = forwarding.Forwarding(
        local=HOST, address=HOST, mtu=1420, gateways=frozenset({second}), routes={}
    )
    with inside(CLOUD):
        for argv in forwarding.commands(host, forwarding.ABSENT):
            run(argv)
        run(["ip", "route", "add", f"{CLIENT}/32", "via", str(second), "dev", "gpfwd", "onlink"])
    assert not reaches_client(socket.SOCK_DGRAM)
    lane.second.load(
        replace(OPEN_TO_CLIENTS, gateways=frozenset({own, second, HOST})), {CLIENT: EVERYWHERE}
    )
    assert reaches_client(socket.SOCK_DGRAM), "it would be understood"


# ------------------------------------------------------------------ snat


@pytest.fixture
def street(lane: Pair) -> Pair:
    """The same gateways with translation; the client's session is on the first one."""
    lane.load(SNAT, {CLIENT: EVERYWHERE})
    lane.send_by(FIRST)
    return lane


def test_a_connection_that_began_on_another_gateway_is_reset_at_once(street: Pair) -> None:
    near, far = street.connect(8000)
    assert far.getpeername()[0] == str(ADDRESSES_OF[FIRST])
    assert passes(near, far)
    street.send_by(SECOND)
    asked = time.monotonic()
    near.sendall(b"anybody?\n")
    with pytest.raises(ConnectionResetError):
        near.recv(1)
    assert time.monotonic() - asked < 0.5
    again, there = street.connect(8002)
    assert passes(again, there)


def test_who_only_closes_a_connection_that_began_elsewhere_is_told_at_once(street: Pair) -> None:
    near, _far = street.connect(8000)
    street.send_by(SECOND)
    near.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionResetError):
        near.recv(1)


def test_a_connection_that_was_silent_while_its_client_was_away_goes_on(street: Pair) -> None:
    near, far = street.connect(8000)
    street.send_by(SECOND)
    assert street.ping()
    street.send_by(FIRST)
    assert passes(near, far)
    assert passes(far, near)


def test_nobody_learns_by_a_reset_of_what_he_may_not_reach(street: Pair) -> None:
    near, _far = street.connect(8000)
    street.narrow(only("10.20.0.0/16:udp"))
    near.sendall(b"anybody?\n")
    near.settimeout(0.7)
    with pytest.raises(TimeoutError):
        near.recv(1)
