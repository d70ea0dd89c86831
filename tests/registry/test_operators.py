"""Revoking, altering and re-keying peers: what is written, and what can never be undone."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from fake_registry import CALLER, POOL, SERVER_KEY, TABLE, Fake, key_of

from effects import Refusal
from registry import items
from registry.items import Change, Peer, Resting
from registry.operators import NewPeer, OperatorRegistry

SMALL = IPv4Network("100.96.0.0/30")
"""Room for one peer."""


class Losing:
    """A client whose first transaction is written and not answered."""

    def __init__(self, client: Any) -> None:
        self._client, self._lost = client, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def transact_write_items(self, **request: Any) -> Any:
        answer = self._client.transact_write_items(**request)
        if not self._lost:
            self._lost = True
            raise ReadTimeoutError(endpoint_url="https://dynamodb")
        return answer


def labels(fake: Fake) -> dict[str, dict[str, Any]]:
    return {items.label(item): item for item in fake.items()}


def rekey(registry: OperatorRegistry, name: str, public_key: str) -> Peer:
    return registry.alter_peer(
        name,
        lambda peer: replace(peer, public_key=public_key),
        action="rotate",
        caller=CALLER,
    ).peer


# ------------------------------------------------------------------ revoking


def test_a_revocation_takes_the_peer_and_keeps_its_key_and_its_address(fake: Fake) -> None:
    peer = fake.add("alice", 1)
    epoch = fake.registry.head().epoch
    done = fake.registry.revoke_peer("alice", caller=CALLER)
    assert (done.generation, done.epoch, done.address) == (2, epoch, peer.address)
    assert not done.again
    there = labels(fake)
    assert "peer/alice" not in there
    assert there[f"key/{key_of(1)}"]["revoked"] == {"BOOL": True}
    assert there[f"key/{key_of(1)}"]["name"] == {"S": "alice"}
    assert fake.registry.resting() == [Resting(peer.address, "alice", 2)]
    (change,) = fake.registry.changes_after(1)
    assert isinstance(change, Change)
    assert (change.kind, change.peer) == ("remove", replace(peer, generation=2))
    audit = fake.registry.audit("alice")[0][-1]
    assert (audit.action, audit.caller, audit.details["public_key"]) == (
        "revoke",
        CALLER,
        key_of(1),
    )
    assert fake.registry.head().generation == 2


def test_a_revoked_key_and_a_resting_address_do_not_come_back(fake: Fake) -> None:
    fake.add("alice", 1, SMALL)
    fake.registry.revoke_peer("alice", caller=CALLER)
    before = fake.items()
    with pytest.raises(Refusal, match="is or was the key of alice"):
        fake.add("bob", 1)
    with pytest.raises(Refusal, match="all 1 addresses are taken"):
        fake.add("bob", 2, SMALL)
    assert fake.items() == before


def test_an_address_is_free_again_once_confirmed_and_its_key_is_not(fake: Fake) -> None:
    address = fake.add("alice", 1, SMALL).address
    done = fake.registry.revoke_peer("alice", caller=CALLER)
    assert fake.registry.free_address(done)
    assert not fake.registry.free_address(done)
    assert fake.add("bob", 2, SMALL).address == address
    assert not fake.registry.free_address(done), "it is bob's now"
    with pytest.raises(Refusal, match="is or was the key of alice"):
        fake.add("alice", 1)


@pytest.mark.parametrize(("confirmed", "free"), [(1, False), (2, True), (9, True)])
def test_an_addition_that_needs_it_frees_what_every_gateway_has_confirmed(
    fake: Fake,
    confirmed: int,
    free: bool,
) -> None:
    fake.add("alice", 1, SMALL)
    fake.registry.revoke_peer("alice", caller=CALLER)

    def add() -> Peer:
        return fake.registry.add_peer(
            NewPeer("bob", key_of(2)), pool=SMALL, caller=CALLER, confirmed=lambda: confirmed
        )

    if free:
        assert add().address == IPv4Address("100.96.0.2")
    else:
        with pytest.raises(Refusal, match="all 1 addresses are taken"):
            add()


def test_nobody_asks_the_gateways_while_there_is_room(fake: Fake) -> None:
    fake.add("alice", 1)
    fake.registry.revoke_peer("alice", caller=CALLER)
    fake.registry.add_peer(
        NewPeer("bob", key_of(2)),
        pool=POOL,
        caller=CALLER,
        confirmed=lambda: pytest.fail("asked the gateways"),
    )


def test_a_revocation_called_again_is_the_one_that_was(fake: Fake) -> None:
    fake.add("alice", 1)
    first = fake.registry.revoke_peer("alice", caller=CALLER)
    before = fake.items()
    assert fake.registry.revoke_peer("alice", caller=CALLER) == replace(first, again=True)
    assert fake.items() == before
    fake.registry.free_address(first)
    with pytest.raises(Refusal, match="peer alice: there is none of that name"):
        fake.registry.revoke_peer("alice", caller=CALLER)


def test_a_revocation_whose_answer_was_lost_is_made_once(fake: Fake) -> None:
    fake.add("alice", 1)
    registry = fake.with_client(Losing(fake.client))
    assert registry.revoke_peer("alice", caller=CALLER).generation == 2
    assert fake.registry.head().generation == 2
    assert len(fake.items("audit")) == 2


def test_the_address_of_another_is_left_alone_by_a_revocation(fake: Fake) -> None:
    peer = fake.add("alice", 1)
    mine = {**items.address_key(peer.address), "name": {"S": "bob"}}
    fake.client.put_item(TableName=TABLE, Item=mine)
    fake.registry.revoke_peer("alice", caller=CALLER)
    assert labels(fake)[f"address/{peer.address}"] == mine


def test_a_name_can_be_used_again_by_another_key(fake: Fake) -> None:
    first = fake.add("alice", 1)
    fake.registry.revoke_peer("alice", caller=CALLER)
    second = fake.add("alice", 2)
    assert second.address != first.address
    done = fake.registry.revoke_peer("alice", caller=CALLER)
    assert (done.generation, done.again) == (4, False)
    assert {rest.generation for rest in fake.registry.resting()} == {2, 4}
    assert fake.registry.revoke_peer("alice", caller=CALLER).generation == 4


# ------------------------------------------------------------------ altering


def test_an_alteration_is_one_put_of_the_whole_peer(fake: Fake) -> None:
    peer = fake.add("alice", 1)
    altered = fake.registry.alter_peer(
        "alice",
        lambda peer: replace(peer, expires=2_000_000_000, allow=("10.20.3.0/24:tcp/05",)),
        action="extend",
        caller=CALLER,
    )
    expected = replace(peer, expires=2_000_000_000, allow=("10.20.3.0/24:tcp/5",), generation=2)
    assert altered.peer == expected == fake.registry.peer("alice")
    assert altered.former == peer
    (change,) = fake.registry.changes_after(1)
    assert isinstance(change, Change)
    assert (change.kind, change.peer) == ("put", expected)
    audit = fake.registry.audit("alice")[0][-1]
    assert audit.action == "extend"
    assert audit.details["expires"] == 2_000_000_000
    assert audit.details["before"] == {"expires": "none", "allow": "none"}
    assert "public_key" not in audit.details
    assert len(fake.items("key")) == len(fake.items("address")) == 1


def test_what_is_so_already_is_not_written(fake: Fake) -> None:
    fake.add("alice", 1)
    before = fake.items()
    altered = fake.registry.alter_peer("alice", lambda peer: peer, action="extend", caller=CALLER)
    assert altered.peer == altered.former
    assert fake.items() == before


def test_a_name_or_an_address_cannot_be_altered(fake: Fake) -> None:
    peer = fake.add("alice", 1)
    fake.registry.alter_peer(
        "alice",
        lambda peer: replace(peer, name="mallory", address=IPv4Address("100.96.9.9"), owner="x"),
        action="change",
        caller=CALLER,
    )
    assert fake.registry.peer("alice") == replace(peer, owner="x", generation=2)
    assert fake.registry.peer("mallory") is None


def test_a_new_key_revokes_the_former_one_and_leaves_the_rest(fake: Fake) -> None:
    peer = fake.add("alice", 1)
    after = rekey(fake.registry, "alice", key_of(2))
    assert after == replace(peer, public_key=key_of(2), generation=2)
    there = labels(fake)
    assert there[f"key/{key_of(1)}"]["revoked"] == {"BOOL": True}
    assert there[f"key/{key_of(2)}"] == {
        **items.used_key(key_of(2)),
        **items.attributes({"name": "alice"}),
    }
    with pytest.raises(Refusal, match="is or was the key of alice"):
        rekey(fake.registry, "alice", key_of(1))


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (key_of(2), "is or was the key of bob"),
        (SERVER_KEY, "the gateways' own"),
        ("AAAA", "3 bytes"),
    ],
)
def test_a_key_of_another_is_refused_and_nothing_is_written(fake: Fake, key: str, why: str) -> None:
    fake.add("alice", 1)
    fake.add("bob", 2)
    before = fake.items()
    with pytest.raises(Refusal, match=why):
        rekey(fake.registry, "alice", key)
    assert fake.items() == before


def test_a_new_key_whose_answer_was_lost_is_registered_once(fake: Fake) -> None:
    fake.add("alice", 1)
    registry = fake.with_client(Losing(fake.client))
    assert rekey(registry, "alice", key_of(2)).generation == 2
    assert fake.registry.head().generation == 2


def test_nobody_can_be_altered_who_is_not_there(fake: Fake) -> None:
    before = fake.items()
    with pytest.raises(Refusal, match="peer alice: there is none of that name"):
        rekey(fake.registry, "alice", key_of(1))
    assert fake.items() == before


# ------------------------------------------------------------------ reading


def test_the_audit_is_of_one_peer_or_of_all_in_order(fake: Fake) -> None:
    fake.add("alice", 1)
    fake.add("bob", 2)
    fake.registry.revoke_peer("alice", caller=CALLER)
    everybody, unreadable = fake.registry.audit()
    assert [(one.generation, one.action, one.name) for one in everybody] == [
        (1, "add", "alice"),
        (2, "add", "bob"),
        (3, "revoke", "alice"),
    ]
    assert unreadable == []
    assert [one.generation for one in fake.registry.audit("alice")[0]] == [1, 3]
    assert fake.registry.audit("carol") == ([], [])


def test_used_keys_are_told_with_whose_they_are_or_were(fake: Fake) -> None:
    fake.add("alice", 1)
    fake.registry.revoke_peer("alice", caller=CALLER)
    assert fake.registry.used_keys([key_of(1), key_of(2)]) == {key_of(1): "alice"}
