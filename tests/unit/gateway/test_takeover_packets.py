"""Reading what the kernel reports: packets, whose they are, netlink, nftables' listing."""

from __future__ import annotations

import hashlib
import json
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from unit.gateway.wireguard_messages import handshake, public_key, transport, udp

from gateway.takeover import nflog, packets, recipients, rules
from gateway.takeover.packets import Endpoint
from gateway.takeover.recipients import Recipients, peer_id

CLIENT = Endpoint(IPv4Address("198.51.100.7"), 40001)
ALICE, BOB = public_key("alice"), public_key("bob")


def test_a_packet_tells_where_it_comes_from_and_what_is_in_it() -> None:
    found = packets.parse(
        udp(("198.51.100.7", 40001), ("10.20.0.10", 51820), transport(0xAABBCCDD))
    )
    assert (found.source, str(found.destination)) == (CLIENT, "10.20.0.10:51820")
    assert packets.index_of(found.payload) == 0xAABBCCDD
    six = packets.parse(udp(("2001:db8::7", 5), ("2001:db8::1", 51821), b"x" * 9))
    assert six.source == Endpoint(IPv6Address("2001:db8::7"), 5)
    assert str(six.source) == "[2001:db8::7]:5"


@pytest.mark.parametrize(
    "packet",
    [b"", b"\x46", bytes(40), udp(("1.2.3.4", 5), ("1.2.3.5", 6), b"")[:30], b"\x60" * 30],
)
def test_what_is_no_udp_packet_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match=r"packet"):
        packets.parse(packet)


def test_another_protocol_is_refused() -> None:
    packet = bytearray(udp(("1.2.3.4", 5), ("1.2.3.5", 6), b"payload"))
    packet[9] = 6
    with pytest.raises(ValueError, match="no UDP packet"):
        packets.parse(bytes(packet))


@pytest.mark.parametrize(
    "message",
    [b"", transport(1), handshake(1, 1, ALICE)[:100], b"\x01\x00\x00\x01" + bytes(144)],
)
def test_only_handshake_messages_are_handshakes(message: bytes) -> None:
    with pytest.raises(ValueError, match="no handshake message"):
        packets.handshake(message)


@pytest.mark.parametrize("kind", [1, 2])
def test_a_handshake_message_is_for_whom_its_mac1_says(kind: int) -> None:
    who = Recipients()
    who.admit([public_key(str(number)) for number in range(50)] + [ALICE, BOB])
    message = packets.handshake(handshake(kind, 7, ALICE))
    assert message.index == 7
    assert who.find(message, CLIENT) == peer_id(ALICE)
    # the same place, another peer: the hint is only a hint
    assert who.find(packets.handshake(handshake(kind, 8, BOB)), CLIENT) == peer_id(BOB)
    assert who.find(packets.handshake(handshake(kind, 9, public_key("eve"))), CLIENT) is None


def test_a_peer_that_is_not_admitted_any_more_is_nobody() -> None:
    who = Recipients()
    who.admit([ALICE, BOB])
    assert who.public_key(peer_id(ALICE)) == ALICE
    message = packets.handshake(handshake(1, 7, ALICE))
    assert who.find(message, CLIENT) == peer_id(ALICE)
    who.admit([BOB])
    assert who.find(message, CLIENT) is None
    assert who.public_key(peer_id(ALICE)) is None
    assert (who.id_of(ALICE), who.id_of(BOB)) == (None, peer_id(BOB))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Whom a message was tried with, one entry each."""
    found: list[Any] = []
    blake2s = recipients.blake2s

    def counted(*words: Any, **more: Any) -> Any:
        if "key" in more:
            found.append(words)
        return blake2s(*words, **more)

    monkeypatch.setattr(recipients, "blake2s", counted)
    return found


def test_a_good_hint_saves_trying_everybody(tried: list[Any]) -> None:
    who = Recipients()
    who.admit([ALICE, *(public_key(str(number)) for number in range(1000))])
    who.hint(CLIENT, peer_id(ALICE))
    assert who.find(packets.handshake(handshake(2, 1, ALICE)), CLIENT) == peer_id(ALICE)
    assert len(tried) == 1


def test_those_who_were_found_are_tried_before_the_others(tried: list[Any]) -> None:
    """Two at one place: each time the hint is the other one."""
    who = Recipients()
    who.admit([ALICE, BOB, *(public_key(str(number)) for number in range(1000))])
    for key in (ALICE, BOB):
        assert who.find(packets.handshake(handshake(1, 1, key)), CLIENT) == peer_id(key)
    tried.clear()
    for key in (ALICE, BOB) * 5:
        assert who.find(packets.handshake(handshake(1, 1, key)), CLIENT) == peer_id(key)
    assert len(tried) == 30, "the hint, the one before, the right one"


def test_hints_do_not_pile_up() -> None:
    who = Recipients()
    who.admit([ALICE])
    for port in range(20_000):
        who.hint(Endpoint(IPv4Address("198.51.100.7"), port), peer_id(ALICE))
    assert len(who._hints) < 1000


# ------------------------------------------------------------------ netlink


def netlink(kind: int, group: int, *attributes: tuple[int, bytes]) -> bytes:
    body = struct.pack("!BBH", 2, 0, group)
    for name, value in attributes:
        body += struct.pack("=HH", 4 + len(value), name) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_netlink_messages_give_group_and_packet() -> None:
    one = netlink(0x400, 0x6700, (1, b"abcd"), (9, b"first"))
    two = netlink(0x400, 0x6701, (0x8009, b"second!"))
    other = netlink(0x401, 0x6701, (9, b"no packet"))
    assert list(nflog.packets(one + other + two)) == [(0x6700, b"first"), (0x6701, b"second!")]


@pytest.mark.parametrize("cut", range(1, 44))
def test_a_message_that_is_cut_short_gives_nothing(cut: int) -> None:
    whole = netlink(0x400, 0x6700, (1, b"abcd"), (9, b"packet"))
    assert list(nflog.packets(whole[:-cut])) == []


def test_an_attribute_without_a_length_ends_the_message() -> None:
    bad = netlink(0x400, 0x6700, (9, b"ok"))[:20] + bytes(8)
    bad = struct.pack("=I", len(bad)) + bad[4:]
    assert list(nflog.packets(bad)) == []


# ------------------------------------------------------------------ nftables


def test_what_the_kernel_has_noted_is_read_with_its_age() -> None:
    # as nft 1.0.6 prints it
    element = {"val": {"concat": [51821, 2864434397, "198.51.100.7", 40001]}, "expires": 184}
    listing = {"nftables": [{"metainfo": {}}, {"set": {"name": "x", "elem": [{"elem": element}]}}]}
    (found,) = rules.parse_handed(json.dumps(listing))
    assert found == rules.HandedOut(51821, 0xAABBCCDD, CLIENT, 1000)
    assert rules.parse_handed(json.dumps({"nftables": [{"set": {"name": "x"}}]})) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"nftables": [{"set": {"elem": [5]}}]}'])
def test_a_listing_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        rules.parse_handed(text)


def test_sessions_are_watched_as_long_as_they_may_live() -> None:
    (text,) = rules.watch("inet t", [(51820, 0x0A, 1500), (51821, 0xFFFFFFFF, 20)])
    assert text == (
        "add element inet t watched { 51820 . 0x0000000a timeout 1s, "
        "51821 . 0xffffffff timeout 1s }\n"
    )
    assert len(list(rules.watch("inet t", [(1, n, 1000) for n in range(2500)]))) == 3


def test_the_peers_name_is_made_from_its_key_and_from_nothing_else() -> None:
    digest = hashlib.blake2s(b"mac1----" + bytes(32)).digest()
    assert peer_id("A" * 43 + "=") == digest[:16]


def test_an_initiation_asks_and_a_response_answers() -> None:
    assert packets.handshake(handshake(1, 7, ALICE)).asks
    assert not packets.handshake(handshake(2, 7, ALICE)).asks
