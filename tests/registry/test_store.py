"""The registry's table: what a change writes, what readers see, and many writers at once."""

from __future__ import annotations

import time
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from fake_registry import CALLER, CONTROL, POOL, SERVER_KEY, TABLE, Fake, key_of

from effects import Refusal
from registry import items, table
from registry.items import Change, GatewayRecord, Head, ItemError, Unreadable
from registry.operators import NewPeer
from registry.store import Registry
from registry.table import Throttled

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.items import Peer

ARN = "arn:aws:ec2:eu-west-1:123456789012:instance/"


class Between:
    """A client that does something of its own just before the real request."""

    def __init__(self, client: Any, name: str, before: Callable[[dict[str, Any]], None]) -> None:
        self._client, self._name, self._before = client, name, before

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name != self._name:
            return call

        def wrapped(**request: Any) -> Any:
            self._before(request)
            return call(**request)

        return wrapped


def corrupt(fake: Fake, key: dict[str, Any], attribute: str) -> None:
    fake.client.update_item(
        TableName=TABLE,
        Key=key,
        UpdateExpression="SET #a = :v",
        ExpressionAttributeNames={"#a": attribute},
        ExpressionAttributeValues={":v": {"BOOL": True}},
    )


# ------------------------------------------------------------------ a change


def test_a_first_peer_makes_generation_one_with_an_epoch(fake: Fake) -> None:
    assert fake.registry.head() == Head(0, "", CONTROL)
    fake.add("alice", 1)
    head = fake.registry.head()
    assert head.generation == 1
    assert len(head.epoch) == 36
    fake.add("bob", 2)
    assert fake.registry.head() == Head(2, head.epoch, CONTROL, token=fake.registry.head().token)
    assert fake.registry.head().token not in ("", head.token)


def test_adding_a_peer_writes_its_six_items_and_no_others(fake: Fake) -> None:
    before = fake.items()
    new = NewPeer("alice", key_of(1), owner=" a@example.com ", expires=2_000_000_000)
    peer = fake.registry.add_peer(new, pool=POOL, caller=CALLER)
    written = {items.label(item): item for item in fake.items() if item not in before}
    assert set(written) == {
        "generation/generation",
        "change/000000000001",
        "audit/000000000001",
        "peer/alice",
        f"address/{peer.address}",
        f"key/{key_of(1)}",
    }
    assert peer.address in POOL
    assert (peer.owner, peer.expires, peer.generation) == ("a@example.com", 2_000_000_000, 1)
    assert fake.registry.peer("alice") == peer
    assert written[f"address/{peer.address}"]["name"] == {"S": "alice"}
    assert written[f"key/{key_of(1)}"]["name"] == {"S": "alice"}
    assert fake.registry.changes_after(0) == [Change(1, "put", peer, peer.created)]
    audit = written["audit/000000000001"]
    assert (audit["action"]["S"], audit["name"]["S"]) == ("add", "alice")
    assert audit["caller"] == {"S": CALLER}
    assert audit["details"]["M"]["address"] == {"S": str(peer.address)}


@pytest.mark.parametrize(
    ("name", "number", "why"),
    [
        ("alice", 2, "there is one of that name"),
        ("alice", 1, "there is one of that name"),
        ("bob", 1, "is or was the key of alice"),
    ],
)
def test_a_name_or_key_in_use_is_refused_and_nothing_is_written(
    fake: Fake, name: str, number: int, why: str
) -> None:
    fake.add("alice", 1)
    before = fake.items()
    with pytest.raises(Refusal, match=why):
        fake.add(name, number)
    assert fake.items() == before


def test_the_key_of_a_peer_that_is_gone_stays_refused(fake: Fake) -> None:
    fake.add("alice", 1)
    fake.client.delete_item(TableName=TABLE, Key=items.peer_key("alice"))
    with pytest.raises(Refusal, match="is or was the key of alice"):
        fake.add("bob", 1)


def test_the_gateways_own_key_is_no_peers_key(fake: Fake) -> None:
    with pytest.raises(Refusal, match="is the gateways' own"):
        fake.registry.add_peer(NewPeer("eve", SERVER_KEY), pool=POOL, caller=CALLER)


def test_a_pool_fills_to_the_last_address_and_is_then_refused(fake: Fake) -> None:
    pool = IPv4Network("100.96.0.0/28")
    peers = [fake.add(f"p{number}", number, pool) for number in range(1, 14)]
    assert {peer.address for peer in peers} == set(list(pool.hosts())[1:])
    before = fake.items()
    with pytest.raises(Refusal, match="all 13 addresses are taken"):
        fake.add("late", 99, pool)
    assert fake.items() == before


def test_an_address_that_rests_is_not_handed_out(fake: Fake) -> None:
    pool = IPv4Network("100.96.0.0/29")
    for host in (2, 3, 4, 6):
        resting = items.address_key(IPv4Address(f"100.96.0.{host}"))
        fake.client.put_item(TableName=TABLE, Item={**resting, "resting": {"N": "3"}})
    assert fake.add("alice", 1, pool).address == IPv4Address("100.96.0.5")


def test_whoever_loses_a_race_for_the_name_is_told_it_is_taken(fake: Fake) -> None:
    rivals = iter([key_of(7)])

    def rival(request: dict[str, Any]) -> None:
        del request
        for key in rivals:
            fake.registry.add_peer(NewPeer("alice", key), pool=POOL, caller="rival")

    registry = fake.with_client(Between(fake.client, "transact_write_items", rival))
    with pytest.raises(Refusal, match="there is one of that name"):
        registry.add_peer(NewPeer("alice", key_of(1)), pool=POOL, caller=CALLER)
    assert fake.registry.head().generation == 1


def test_a_lost_race_for_the_counter_alone_is_won_later(fake: Fake) -> None:
    rivals = iter(["r1", "r2"])

    def rival(request: dict[str, Any]) -> None:
        del request
        name = next(rivals, None)
        if name:
            fake.add(name, ord(name[1]))

    staged: list[Peer] = []
    registry = fake.with_client(Between(fake.client, "transact_write_items", rival))
    peer = registry.add_peer(
        NewPeer("alice", key_of(1)), pool=POOL, caller=CALLER, stage=staged.append
    )
    assert peer.generation == 3
    assert len(staged) == 3
    assert staged[-1] == peer == fake.registry.peer("alice")


def test_a_change_whose_answer_was_lost_is_found_and_not_made_twice(fake: Fake) -> None:
    losses = iter([1])

    class Lossy(Between):
        def __getattr__(self, name: str) -> Any:
            call = super().__getattr__(name)
            if name != "transact_write_items":
                return call

            def lossy(**request: Any) -> Any:
                answer = call(**request)
                for _ in losses:
                    raise ReadTimeoutError(endpoint_url="x")
                return answer

            return lossy

    registry = fake.with_client(Lossy(fake.client, "", lambda _: None))
    peer = registry.add_peer(NewPeer("alice", key_of(1)), pool=POOL, caller=CALLER)
    assert peer == fake.registry.peer("alice")
    assert fake.registry.head().generation == 1


def test_a_change_that_lands_late_is_found_and_staged_as_it_landed(fake: Fake) -> None:
    late: list[dict[str, Any]] = []

    class Slow(Between):
        def __getattr__(self, name: str) -> Any:
            call = super().__getattr__(name)
            if name != "transact_write_items":
                return call

            def slow(**request: Any) -> Any:
                if not late:
                    late.append(request)
                    raise ReadTimeoutError(endpoint_url="x")
                if len(late) == 1:
                    late.append(request)
                    call(**late[0])
                return call(**request)

            return slow

    staged: list[Peer] = []
    registry = fake.with_client(Slow(fake.client, "", lambda _: None))
    peer = registry.add_peer(
        NewPeer("alice", key_of(1)), pool=POOL, caller=CALLER, stage=staged.append
    )
    assert peer == fake.registry.peer("alice") == staged[-1]
    assert len({one.address for one in staged}) == 2
    assert fake.registry.head().generation == 1


def test_a_stage_that_fails_stops_the_change(fake: Fake) -> None:
    before = fake.items()

    def full(peer: Peer) -> None:
        raise OSError(28, f"no space for {peer.name}")

    with pytest.raises(OSError, match="no space"):
        fake.registry.add_peer(NewPeer("alice", key_of(1)), pool=POOL, caller=CALLER, stage=full)
    assert fake.items() == before


# ------------------------------------------------------------------ reading


def test_the_head_costs_one_strongly_consistent_request(fake: Fake) -> None:
    requests: list[dict[str, Any]] = []
    registry = Registry(Between(fake.client, "batch_get_item", requests.append), TABLE)
    registry.head()
    ((request,),) = [requests]
    assert request["RequestItems"][TABLE]["ConsistentRead"] is True
    assert len(request["RequestItems"][TABLE]["Keys"]) == 3


def test_every_query_is_strongly_consistent(fake: Fake) -> None:
    requests: list[dict[str, Any]] = []
    registry = Registry(Between(fake.client, "query", requests.append), TABLE)
    registry.peers()
    registry.changes_after(0)
    assert [request["ConsistentRead"] for request in requests] == [True, True]


def test_changes_come_in_order_from_the_one_after_and_no_more_than_asked(fake: Fake) -> None:
    for number in range(1, 13):
        fake.add(f"p{number}", number)
    found = fake.registry.changes_after(8)
    assert [change.generation for change in found] == [9, 10, 11, 12]
    assert [change.generation for change in fake.registry.changes_after(2, limit=3)] == [3, 4, 5]
    assert fake.registry.changes_after(12) == []


def test_all_pages_are_read(fake: Fake) -> None:
    for number in range(1, 8):
        fake.add(f"p{number}", number)

    def small_pages(request: dict[str, Any]) -> None:
        request["Limit"] = min(request.get("Limit", 3), 3)

    registry = Registry(Between(fake.client, "query", small_pages), TABLE)
    assert len(registry.peers()[0]) == 7
    assert [change.generation for change in registry.changes_after(1, 5)] == [2, 3, 4, 5, 6]


def test_what_a_throttled_table_leaves_out_is_asked_for_again(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table.time, "sleep", lambda _: None)
    fake.add("alice", 1)

    class Stingy:
        def __init__(self, *, ever: bool) -> None:
            self.ever, self.asked = ever, 0

        def batch_get_item(self, *, RequestItems: Any) -> dict[str, Any]:  # noqa: N803 - boto3's
            self.asked += 1
            first, *rest = RequestItems[TABLE]["Keys"]
            left = {TABLE: {**RequestItems[TABLE], "Keys": rest if self.ever else [first, *rest]}}
            if not self.ever:
                return {"Responses": {}, "UnprocessedKeys": left}
            answer = fake.client.batch_get_item(RequestItems={TABLE: {"Keys": [first]}})
            return {**answer, "UnprocessedKeys": left if rest else {}}

    stingy = Stingy(ever=True)
    assert Registry(stingy, TABLE).head() == fake.registry.head()
    assert stingy.asked == 3
    with pytest.raises(Throttled, match="3 items"):
        Registry(Stingy(ever=False), TABLE).head()


def test_an_unreadable_peer_is_reported_and_hides_nobody(fake: Fake) -> None:
    peers = [fake.add(name, number) for number, name in enumerate(("a", "b", "c"), 1)]
    corrupt(fake, items.peer_key("b"), "public_key")
    good, bad = fake.registry.peers()
    assert good == [peers[0], peers[2]]
    assert [fault.key for fault in bad] == ["peer/b"]
    with pytest.raises(ItemError, match="peer/b: public_key"):
        fake.registry.peer("b")


def test_an_unreadable_change_keeps_its_place(fake: Fake) -> None:
    for number, name in enumerate(("a", "b", "c"), 1):
        fake.add(name, number)
    corrupt(fake, items.key("change", items.numbered(2)), "peer")
    first, second, third = fake.registry.changes_after(0)
    assert isinstance(second, Unreadable)
    assert (first.generation, second.generation, third.generation) == (1, 2, 3)


def test_an_unreadable_counter_is_an_error(fake: Fake) -> None:
    fake.add("a", 1)
    corrupt(fake, items.GENERATION_KEY, "value")
    with pytest.raises(ItemError, match="generation/generation: value"):
        fake.registry.head()


# ------------------------------------------------------------------ gateways


def test_the_first_published_server_key_stands(fake: Fake) -> None:
    assert fake.registry.server_key(2) is None
    assert fake.registry.publish_server_key(2, key_of(5), "i-1") == key_of(5)
    assert fake.registry.publish_server_key(2, key_of(6), "i-2") == key_of(5)
    assert fake.registry.server_key(2) == key_of(5)


def test_a_server_key_says_since_when_it_has_been_published(fake: Fake) -> None:
    with pytest.raises(ItemError, match="server-key/2: at is missing"):
        fake.registry.server_key_published(2)
    before = int(time.time())
    fake.registry.publish_server_key(2, key_of(5), "i-1")
    assert before <= fake.registry.server_key_published(2) <= time.time()
    corrupt(fake, items.server_key_key(2), "at")
    with pytest.raises(ItemError, match="server-key/2: at"):
        fake.registry.server_key_published(2)


def test_publishing_fails_aloud_for_any_other_reason(fake: Fake) -> None:
    with pytest.raises(ClientError):
        Registry(fake.client, "nowhere").publish_server_key(2, key_of(5), "i-1")


def test_gateways_are_read_by_arn_without_those_that_said_nothing_or_nonsense(fake: Fake) -> None:
    records = [
        GatewayRecord(
            ARN + name, name, "eu-west-1a", "10.20.0.132", "boot", 3, "e", {1: SERVER_KEY}
        )
        for name in ("i-1", "i-2")
    ]
    for record in records:
        fake.registry.put_gateway(record)
    corrupt(fake, items.gateway_key(ARN + "i-2"), "applied")
    assert fake.registry.gateways([ARN + name for name in ("i-1", "i-2", "i-3")]) == records[:1]


def test_more_keys_than_one_batch_takes_are_read_in_several(fake: Fake) -> None:
    sizes: list[int] = []

    def note(request: dict[str, Any]) -> None:
        sizes.append(len(request["RequestItems"][TABLE]["Keys"]))

    registry = Registry(Between(fake.client, "batch_get_item", note), TABLE)
    assert registry.gateways(f"{ARN}i-{number}" for number in range(130)) == []
    assert sizes == [100, 30]
