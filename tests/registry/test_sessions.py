"""Who last used which server key: the item, and what several gateways say together."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from fake_registry import CONTROL, POOL, SERVER_KEY, key_of

from registry import sessions as sessions_module
from registry.confirmation import Member
from registry.items import GatewayRecord, ItemError, Peer
from registry.sessions import Sessions, Use, merged
from registry.whereabouts import DAY, FRESH, left_behind, untold, whereabouts

NOW = 1_800_000_000
SAID = Sessions("arn:1", (7, 8), NOW, {5: Use(NOW - 60, 7), 70_000: Use(NOW - 5, 8)})
BOTH = replace(CONTROL, key_generations=(7, 8))


def peer(name: str, number: int, **changes: Any) -> Peer:
    usual = Peer(name, key_of(number), POOL[number], created="2026-01-01T00:00:00Z")
    return replace(usual, **changes)


def test_what_was_seen_is_read_back_from_the_item() -> None:
    item = SAID.to_item()
    assert (item["pk"], item["sk"]) == ({"S": "gateway#arn:1"}, {"S": "sessions"})
    assert Sessions.from_item(item) == SAID
    nobody = replace(SAID, uses={})
    assert Sessions.from_item(nobody.to_item()) == nobody


def test_ten_thousand_peers_fit_and_too_many_leave_the_oldest_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    many = replace(SAID, uses={number: Use(NOW - number, 7) for number in range(10_000)})
    item = many.to_item()
    assert len(item["seen"]["M"]["7"]["S"]) < 110_000
    assert Sessions.from_item(item) == many
    monkeypatch.setattr(sessions_module, "MOST", 3)
    few = Sessions.from_item(many.to_item())
    assert set(few.uses) == {0, 1, 2}
    assert few.left_out == 9997


def test_the_largest_item_is_one_that_dynamodb_takes() -> None:
    full = {number: Use(NOW, 7) for number in range(sessions_module.MOST)}
    assert len(str(replace(SAID, uses=full).to_item())) < 400_000


@pytest.mark.parametrize(
    "seen",
    [
        {"M": {"x": {"S": ""}}},
        {"M": {"7": {"N": "1"}}},
        {"M": {"7": {"S": "AAAA"}}},
        {"M": {"7": {"S": "not base64"}}},
        {"S": ""},
    ],
)
def test_an_item_of_another_form_is_an_error(seen: dict[str, Any]) -> None:
    with pytest.raises(ItemError):
        Sessions.from_item({**SAID.to_item(), "seen": seen})


def test_the_last_use_counts_wherever_it_was() -> None:
    here = {1: Use(100, 7), 2: Use(200, 8), 3: Use(50, 7)}
    there = {1: Use(101, 8), 2: Use(199, 7), 4: Use(1, 7)}
    wanted = {1: Use(101, 8), 2: Use(200, 8), 3: Use(50, 7), 4: Use(1, 7)}
    assert merged((here, there), 8) == merged((there, here), 8) == wanted


@pytest.mark.parametrize(("newest", "counts"), [(8, 7), (7, 8)])
def test_in_doubt_the_old_key_is_the_one_in_use(newest: int, counts: int) -> None:
    one, other = {1: Use(100, 7)}, {1: Use(100, 8)}
    for order in ((one, other), (other, one)):
        assert merged(order, newest)[1].generation == counts


def test_a_peer_is_found_by_its_tunnel_address() -> None:
    peers = [peer("alice", 5), peer("bob", 6)]
    found = {one.peer.name: one.use for one in whereabouts(peers, POOL, [SAID], 8, NOW)}
    assert found == {"alice": Use(NOW - 60, 7), "bob": None}
    large = IPv4Network("100.64.0.0/10")
    far = peer("far", 1, address=IPv4Address(int(large.network_address) + 70_000))
    assert whereabouts([far], large, [SAID], 8, NOW)[0].generation == 8


def test_a_peers_use_is_not_that_of_who_had_its_address_before() -> None:
    late = peer("late", 5, created="2030-01-01T00:00:00Z")
    undated = peer("undated", 5, created="")
    uses = [one.use for one in whereabouts([late, undated], POOL, [SAID], 8, NOW)]
    assert uses == [None, Use(NOW - 60, 7)]


def test_who_may_not_enter_any_more_is_not_waited_for() -> None:
    over, on = peer("over", 5, expires=NOW), peer("on", 5, expires=NOW + 1)
    assert [one.peer.name for one in whereabouts([over, on], POOL, [SAID], 8, NOW)] == ["on"]


def test_left_behind_is_who_was_here_lately_and_with_the_old_key() -> None:
    uses = {
        1: Use(NOW - 10, 8),
        2: Use(NOW - 10, 7),
        3: Use(int(NOW - 8 * DAY), 7),
    }
    peers = [peer(name, number) for number, name in enumerate("abcd", start=1)]
    found = whereabouts(peers, POOL, [replace(SAID, uses=uses)], 8, NOW)

    def names(**options: Any) -> list[str]:
        return [one.peer.name for one in left_behind(found, 8, NOW, **options)]

    assert names(days=7) == ["b"]
    assert names(days=9) == ["b", "c"]
    assert names(days=7, everybody=True) == ["b", "c", "d"]


def record(**changes: Any) -> GatewayRecord:
    usual = GatewayRecord(
        arn="arn:1",
        instance_id="i-1",
        zone="",
        address="",
        boot_id="",
        applied=0,
        epoch="",
        keys={7: SERVER_KEY, 8: key_of(8)},
    )
    return replace(usual, **changes)


@pytest.mark.parametrize(
    ("said", "sessions", "why"),
    [
        (record(), SAID, ""),
        (None, SAID, "has said nothing yet"),
        (record(keys={7: SERVER_KEY}), SAID, "serves 7, not 7, 8"),
        (record(keys={}), SAID, "serves none, not 7, 8"),
        (record(), None, "has not told yet which peers use which key"),
        (record(), replace(SAID, generations=(6, 7)), "has not told yet"),
        (record(), replace(SAID, at=NOW - FRESH - 1), "last told 301 s ago"),
        (record(), replace(SAID, left_out=2), "has left out 2 peers"),
    ],
)
def test_a_gateway_that_leaves_it_open_is_named(
    said: GatewayRecord | None, sessions: Sessions | None, why: str
) -> None:
    found = untold(
        [
            Member("i-1"),
            *(Member(f"i-{n}", lifecycle=n) for n in ("Terminated", "Terminating:Wait")),
        ],
        BOTH,
        {"i-1": said} if said else {},
        {"i-1": sessions} if sessions else {},
        NOW,
    )
    assert bool(found) == bool(why)
    assert why in found.get("i-1", "")


def test_with_one_generation_there_is_nothing_to_tell() -> None:
    alone = replace(CONTROL, key_generations=(8,))
    only = record(keys={8: key_of(8)})
    assert untold([Member("i-1")], alone, {"i-1": only}, {}, NOW) == {}
    assert "serves 7, 8, not 8" in untold([Member("i-1")], alone, {"i-1": record()}, {}, NOW)["i-1"]
