"""Addresses are drawn at random, from what may be drawn, until none is left."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network

import pytest

from effects import Refusal
from registry import addresses


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same draw in every run


SMALL = IPv4Network("100.96.0.0/29")
PEERS = {IPv4Address(f"100.96.0.{host}") for host in range(2, 7)}


def test_network_gateway_and_broadcast_address_are_never_drawn() -> None:
    for seed in range(50):
        drawn = addresses.candidates(SMALL, seeded(seed))
        assert set(drawn) == PEERS


def test_candidates_are_different_and_spread_over_the_pool() -> None:
    pool = IPv4Network("100.64.0.0/10")
    drawn = addresses.candidates(pool, seeded(1))
    assert len(set(drawn)) == addresses.CANDIDATES
    assert all(address in pool for address in drawn)
    assert len({int(address) >> 16 for address in drawn}) > 1


def test_the_last_free_address_is_found_from_every_start() -> None:
    for left in PEERS:
        for seed in range(20):
            assert addresses.choose(SMALL, PEERS - {left}, seeded(seed)) == left


def test_every_free_address_can_be_chosen() -> None:
    chosen = {addresses.choose(SMALL, set(), seeded(seed)) for seed in range(200)}
    assert chosen == PEERS


def test_a_full_pool_is_refused_with_its_size() -> None:
    with pytest.raises(Refusal, match=r"100\.96\.0\.0/29: all 5 addresses are taken; revoke"):
        addresses.choose(SMALL, PEERS, seeded(1))


@pytest.mark.parametrize("pool", ["100.96.0.0/30", "100.96.0.0/31"])
def test_the_smallest_pools_have_one_address_or_none(pool: str) -> None:
    network = IPv4Network(pool)
    assert len(addresses.assignable(network)) == (1 if network.prefixlen == 30 else 0)
    assert len(addresses.candidates(network, seeded(1))) == len(addresses.assignable(network))
