"""How far along the registry's changes a gateway is, and who is admitted."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from gateway.peers import KnownPeers, admitted, advance
from registry.items import Change, Peer, Unreadable

POOL = IPv4Network("100.96.0.0/24")


def peer(name: str, host: int, *, generation: int = 1, expires: int | None = None) -> Peer:
    address = POOL.network_address + host
    return Peer(name, f"KEY-{name}", address, generation=generation, expires=expires)


def put(generation: int, name: str = "alice", host: int = 5) -> Change:
    return Change(generation, "put", peer(name, host, generation=generation))


def remove(generation: int, name: str = "alice", host: int = 5) -> Change:
    return Change(generation, "remove", peer(name, host))


def names(known: KnownPeers) -> list[str]:
    return sorted(known.peers)


def test_changes_are_applied_in_order() -> None:
    step = advance(KnownPeers("e", 4), [put(5, "alice"), put(6, "bob"), remove(7, "alice")])
    assert step.known.generation == 7
    assert names(step.known) == ["bob"]
    assert [change.generation for change in step.applied] == [5, 6, 7]
    assert not step.gap


def test_changes_that_are_known_already_are_passed_over() -> None:
    before = advance(KnownPeers("e", 4), [put(5)]).known
    step = advance(before, [put(4, "zed"), put(5, "zed"), put(6, "bob")])
    assert names(step.known) == ["alice", "bob"]
    assert [change.generation for change in step.applied] == [6]


@pytest.mark.parametrize(
    "changes",
    [
        [put(6)],
        [put(5, "alice"), put(7, "bob")],
        [put(5, "alice"), Unreadable("change/6", "no peer", 6), put(7, "bob")],
        [Unreadable("change/?", "no number", None), put(5)],
    ],
)
def test_a_gap_stops_at_the_last_contiguous_change(changes: list[Change | Unreadable]) -> None:
    step = advance(KnownPeers("e", 4), changes)
    assert step.gap
    assert step.known.generation == 4 + len(step.applied)
    assert "bob" not in step.known.peers


def test_a_known_change_that_is_unreadable_is_no_gap() -> None:
    step = advance(KnownPeers("e", 6), [Unreadable("change/6", "x", 6), put(7)])
    assert (step.known.generation, step.gap) == (7, False)


def test_nothing_new_leaves_the_very_same_set() -> None:
    known = KnownPeers("e", 4)
    assert advance(known, []).known is known
    assert advance(known, [put(4)]).known is known


def test_what_was_known_before_is_not_changed_in_place() -> None:
    before = advance(KnownPeers("e", 4), [put(5)]).known
    advance(before, [remove(6)])
    assert names(before) == ["alice"]


def known(*peers: Peer) -> KnownPeers:
    return KnownPeers("e", 9, {one.name: one for one in peers})


def test_each_admitted_key_has_its_own_address() -> None:
    result = admitted(known(peer("alice", 5), peer("bob", 6)), POOL, now=100)
    assert result.addresses == {
        "KEY-alice": IPv4Address("100.96.0.5"),
        "KEY-bob": IPv4Address("100.96.0.6"),
    }
    assert result.names == {"KEY-alice": "alice", "KEY-bob": "bob"}
    assert result.next_expiry is None


def test_a_peer_is_out_from_the_second_of_its_expiry() -> None:
    peers = known(peer("alice", 5, expires=200), peer("bob", 6, expires=300))
    assert admitted(peers, POOL, now=199.9).next_expiry == 200
    later = admitted(peers, POOL, now=200)
    assert list(later.names.values()) == ["bob"]
    assert later.next_expiry == 300


@pytest.mark.parametrize("host", [0, 1, 255, 256])
def test_an_address_that_is_no_clients_is_left_out(host: int) -> None:
    result = admitted(known(peer("alice", host), peer("bob", 6)), POOL, now=0)
    assert list(result.addresses) == ["KEY-bob"]
    assert result.unusable == ("alice",)


def test_whoever_has_had_an_address_longer_keeps_it() -> None:
    two = known(peer("thief", 5, generation=8), peer("owner", 5, generation=3))
    result = admitted(two, POOL, now=0)
    assert list(result.names.values()) == ["owner"]
    assert result.unusable == ("thief",)
