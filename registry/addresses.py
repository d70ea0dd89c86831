"""Which tunnel address a new peer gets. Pure: what is taken is the caller's to find out.

Addresses are drawn at random, so that writers at work at the same time rarely want the same one and
an address that has just become free is not the next one handed out.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from effects import Refusal

if TYPE_CHECKING:
    from collections.abc import Container
    from random import Random

CANDIDATES = 8
"""Drawn at a time. With half the pool taken, all of them are taken once in 256 draws."""


def gateway_address(pool: IPv4Network) -> IPv4Address:
    """The gateways' own tunnel address, the same on all of them: the pool's first host."""
    return pool[1]


def assignable(pool: IPv4Network) -> range:
    """The addresses for peers, as numbers: without the network's, the gateways' and broadcast."""
    first, last = int(pool.network_address), int(pool.broadcast_address)
    return range(first + 2, last)


def candidates(pool: IPv4Network, rng: Random, count: int = CANDIDATES) -> list[IPv4Address]:
    """Up to `count` different addresses of the pool, at random; all of them if it has fewer."""
    numbers = assignable(pool)
    return [IPv4Address(number) for number in rng.sample(numbers, min(count, len(numbers)))]


def choose(pool: IPv4Network, taken: Container[IPv4Address], rng: Random) -> IPv4Address:
    """A free address, when `taken` is the full list: the first free one from a random start."""
    numbers = assignable(pool)
    start = rng.randrange(len(numbers)) if numbers else 0
    for part in (numbers[start:], numbers[:start]):
        for number in part:
            if (address := IPv4Address(number)) not in taken:
                return address
    raise Refusal(
        f"client pool {pool}",
        f"all {len(numbers)} addresses are taken",
        "revoke peers that are no longer used; a larger clientPool means new configs for all",
    )
