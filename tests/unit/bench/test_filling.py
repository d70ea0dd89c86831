"""Thousands of peers, put into the registry as operators' commands would have left them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

from bench.filling import NARROWED, batches, items_of, keys_of, peers
from registry import items
from registry.items import Peer

POOL = IPv4Network("100.96.0.0/24")


def test_peers_have_addresses_of_their_own_that_nobody_had() -> None:
    taken = [IPv4Address("100.96.0.2"), IPv4Address("100.96.0.5")]
    made = peers(200, POOL, taken, 7)
    addresses = {peer.address for peer in made}
    assert len(addresses) == 200
    assert not addresses & {*taken, POOL[0], POOL[1], POOL[-1]}
    assert addresses < set(POOL)
    assert len({peer.public_key for peer in made}) == 200
    assert {peer.generation for peer in made} == {7}
    assert sum(bool(peer.allow) for peer in made) == -(-200 // NARROWED)


def test_every_item_is_one_that_the_gateways_read() -> None:
    (peer, *_) = peers(1, POOL, (), 3)
    first, address, key = items_of(peer)
    assert Peer.from_item(first) == peer
    assert items.Resting.from_item(address) is None
    assert [item["name"]["S"] for item in (address, key)] == [peer.name] * 2


def test_what_was_put_in_is_what_is_taken_out() -> None:
    (peer, *_) = peers(1, POOL, (), 3)
    wanted = [{part: item[part] for part in ("pk", "sk")} for item in items_of(peer)]
    assert list(keys_of(peer)) == wanted


def test_a_batch_is_never_larger_than_aws_takes() -> None:
    cut = list(batches(list(range(53))))
    assert [len(batch) for batch in cut] == [25, 25, 3]
    assert [one for batch in cut for one in batch] == list(range(53))
