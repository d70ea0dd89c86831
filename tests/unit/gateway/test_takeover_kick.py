"""What a connection's end is told, byte by byte; and until when it is held back."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv4Network

import pytest

from gateway.takeover import rules
from gateway.takeover.ipv4 import destination
from gateway.takeover.kick import COPIES, kick
from gateway.takeover.resume import Resumption

POOL = IPv4Network("100.96.0.0/16")
CLIENT, HOST = "100.96.0.5", "10.20.0.20"
ACK, SYN, RST, FIN_PSH = 0x10, 0x02, 0x04, 0x09


def segment(
    source: str = HOST,
    to: str = CLIENT,
    *,
    flags: int = ACK | FIN_PSH,
    options: int = 0,
    fragment: int = 0x4000,
    protocol: int = 6,
    ports: tuple[int, int] = (443, 50000),
) -> bytes:
    """With number 111, acknowledging 0x01020304; 20 bytes of TCP."""
    head = struct.pack("!BBHHHBBH", 0x45 + options, 0, 1420, 7, fragment, 60, protocol, 0)
    tcp = struct.pack("!HHIIBBHHH", *ports, 111, 0x01020304, 0x50, flags, 64, 0, 0)
    addresses = IPv4Address(source).packed + IPv4Address(to).packed
    return head + addresses + bytes(4 * options) + tcp


def total(data: bytes) -> int:
    """RFC 1071's sum: 0xffff over whatever has a right checksum in it."""
    value = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return (value & 0xFFFF) + (value >> 16)


def test_a_client_is_told_by_the_gateways_own_address_what_it_has_sent_in_vain() -> None:
    found = kick(segment(), POOL)
    assert found is not None
    assert found.client == IPv4Address(CLIENT)
    assert found.packet.hex(" ", 4) == (
        # IPv4: 56 bytes, ICMP, 100.96.0.1 to 100.96.0.5
        "45000038 00000000 4001b1ff 64600001 64600005 "
        # destination unreachable, host
        "030133ed 00000000 "
        # quoted: TCP, 100.96.0.5 to 10.20.0.20, ports 50000 and 443, number 0x01020304
        "45000028 00000000 40060c44 64600005 0a140014 c35001bb 01020304"
    )
    outer, icmp, quoted = found.packet[:20], found.packet[20:], found.packet[28:48]
    assert total(outer) == total(icmp) == total(quoted) == 0xFFFF


def test_a_host_is_told_by_whichever_address_the_kernel_chooses() -> None:
    found = kick(segment(CLIENT, HOST, options=10), POOL)
    assert found is not None
    assert found.client == IPv4Address(CLIENT)
    assert destination(found.packet) == HOST
    assert found.packet[12:16] == bytes(4)
    quoted = found.packet[28:]
    assert quoted[12:20] == IPv4Address(HOST).packed + IPv4Address(CLIENT).packed
    assert quoted[20:] == struct.pack("!HHI", 50000, 443, 0x01020304)
    assert total(found.packet[20:]) == total(quoted[:20]) == 0xFFFF


@pytest.mark.parametrize(
    "packet",
    [
        segment(flags=ACK | SYN),
        segment(flags=ACK | RST),
        segment(flags=FIN_PSH),
        segment(protocol=17),
        segment(fragment=0x2000),
        segment(fragment=0x0001),
        segment("10.20.0.1", HOST),
        segment(options=10)[:72],
        segment()[:30],
        segment()[:19],
        b"",
        b"\x60" + segment()[1:],
        b"\x44" + segment()[1:],
    ],
)
def test_nothing_follows_from(packet: bytes) -> None:
    assert kick(packet, POOL) is None


def test_what_the_filter_shows_is_enough_of_any_header() -> None:
    (rule, *_) = rules.report_stalled("{ }", "{ }")
    assert "snaplen 80 " in rule
    assert kick(segment(options=10)[:80], POOL) is not None


def test_there_are_as_many_as_the_timer_has_doubled() -> None:
    """From 0.2 s: 12.6 s after the first there have been six retries, and 25.4 s after it seven."""
    assert COPIES == 7


class Table:
    def __init__(self) -> None:
        self.now, self.sent = 1000.0, list[bytes]()
        self.resumption = Resumption(self.sent.append, lambda: self.now)
        self.resumption.pool = POOL


@pytest.fixture
def table() -> Table:
    return Table()


CLIENT_ADDRESS, OTHER = IPv4Address(CLIENT), IPv4Address("100.96.0.6")


def test_whoever_is_here_is_told_at_once(table: Table) -> None:
    table.resumption.arrived(CLIENT_ADDRESS)
    assert table.resumption.unshown == {CLIENT_ADDRESS}
    assert table.resumption.segment(segment())
    found = kick(segment(), POOL)
    assert found is not None
    assert table.sent == [found.packet] * COPIES


def test_who_is_only_expected_is_told_when_he_has_come_and_each_thing_once(table: Table) -> None:
    table.resumption.expect(CLIENT_ADDRESS)
    table.resumption.expect(CLIENT_ADDRESS)
    assert table.resumption.unshown == {CLIENT_ADDRESS}
    for packet in (segment(), segment(), segment(CLIENT, HOST)):
        assert table.resumption.segment(packet)
    assert table.sent == []
    table.resumption.arrived(OTHER)
    assert table.sent == []
    table.resumption.arrived(CLIENT_ADDRESS)
    ends = [found for one in (segment(), segment(CLIENT, HOST)) if (found := kick(one, POOL))]
    told = [packet for one in ends for packet in (one.packet, one.lost)]
    assert table.sent == [packet for packet in told for _ in range(COPIES)]
    table.sent.clear()
    table.resumption.arrived(CLIENT_ADDRESS)
    assert table.sent == []


def test_who_goes_to_a_third_gateway_is_told_of_by_the_one_that_held_the_segments(
    table: Table,
) -> None:
    table.resumption.expect(CLIENT_ADDRESS, OTHER)
    table.resumption.segment(segment())
    table.resumption.unshown.clear()
    table.resumption.found(OTHER)
    assert table.sent == []
    table.resumption.found(CLIENT_ADDRESS)
    assert len(table.sent) == 2 * COPIES
    assert table.resumption.unshown == set(), "its packets go elsewhere"


def test_a_segment_that_did_not_arrive_is_quoted_to_its_sender() -> None:
    found = kick(segment(), POOL)
    assert found is not None
    assert destination(found.lost) == HOST
    assert found.lost[28:] == segment()[:28], "its IP header, ports and number"
    assert found.lost[12:16] == bytes(4), "the kernel fills in which address it is from"
    there = kick(segment(CLIENT, HOST), POOL)
    assert there is not None
    assert destination(there.lost) == CLIENT
    assert found.connection != there.connection, "each direction has numbers of its own"


def test_who_never_came_is_forgotten(table: Table) -> None:
    table.resumption.expect(CLIENT_ADDRESS)
    table.resumption.segment(segment())
    table.now += rules.RESUMED_LIFETIME
    table.resumption.expect(OTHER)
    table.resumption.arrived(CLIENT_ADDRESS)
    assert table.sent == []


def test_nothing_is_done_in_snat_mode(table: Table) -> None:
    table.resumption.pool = None
    table.resumption.expect(CLIENT_ADDRESS)
    table.resumption.arrived(CLIENT_ADDRESS)
    assert not table.resumption.segment(segment())
    assert table.resumption.unshown == set()
    assert table.sent == []
