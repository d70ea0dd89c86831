"""Thousands of peers in the registry within seconds, and out of it again.

Written in batches, past the transactions that operators go through: peer, address and key items as
those leave them, then a new epoch, which is how gateways learn that there is something to read in
full (design, "Registry"). Nobody else may change the registry meanwhile.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from registry import items
from registry.items import Peer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from ipaddress import IPv4Address, IPv4Network

    from commands.stacks import Stack
    from registry.items import Head, Item, Key

BATCH = 25
"""Requests that one BatchWriteItem takes."""

NAME = "filler-{:05d}"
RULES = ("10.20.3.0/24:tcp/5432", "10.20.4.0/24:icmp", "10.20.5.7/32")
NARROWED = 3
"""Every so many peers one has `RULES`; the others reach all that the stack lets peers reach."""
CREATED = "2026-01-01T00:00:00Z"


@dataclass(frozen=True)
class Filling:
    """Peers that were put in."""

    peers: tuple[Peer, ...]


def peers(
    count: int, pool: IPv4Network, taken: Iterable[IPv4Address], generation: int
) -> tuple[Peer, ...]:
    """So many peers with random keys, at addresses of the pool that are not `taken`. Pure but for
    the keys."""
    used = {*taken, pool[0], pool[1], pool[-1]}
    free = (address for address in pool if address not in used)
    return tuple(
        Peer(
            name=NAME.format(number),
            # 31 bytes: the highest bit of a public key is never set
            public_key=base64.b64encode(secrets.token_bytes(31) + b"\x01").decode(),
            address=address,
            owner=f"person{number}@example.com",
            created=CREATED,
            allow=() if number % NARROWED else RULES,
            generation=generation,
        )
        for number, address in zip(range(count), free, strict=False)
    )


def items_of(peer: Peer) -> tuple[Item, ...]:
    """What the table holds of a peer, as an operator's `add` leaves it."""
    owned = items.attributes({"name": peer.name})
    return (
        peer.to_item(),
        {**items.address_key(peer.address), **owned},
        {**items.used_key(peer.public_key), **owned},
    )


def keys_of(peer: Peer) -> tuple[Key, ...]:
    """The keys of those items."""
    return (
        items.peer_key(peer.name),
        items.address_key(peer.address),
        items.used_key(peer.public_key),
    )


def fill(stack: Stack, count: int) -> tuple[Filling, Head]:
    """Put peers in; the registry's head afterwards."""
    registry, head = stack.registry, stack.registry.head()
    there, _ = registry.peers()
    taken = [*(one.address for one in there), *(one.address for one in registry.resting())]
    made = Filling(peers(count, stack.environment.client_pool, taken, head.generation))
    puts = [{"PutRequest": {"Item": item}} for peer in made.peers for item in items_of(peer)]
    _write(stack, puts)
    return made, _new_epoch(stack, head)


def empty(stack: Stack, filling: Filling) -> Head:
    """Take them out again; the registry's head afterwards."""
    deletes = [{"DeleteRequest": {"Key": key}} for peer in filling.peers for key in keys_of(peer)]
    _write(stack, deletes)
    return _new_epoch(stack, stack.registry.head())


def batches(requests: Sequence[Any], size: int = BATCH) -> Iterator[Sequence[Any]]:
    """The requests in portions that one call takes."""
    return (requests[start : start + size] for start in range(0, len(requests), size))


def _write(stack: Stack, requests: Sequence[Any]) -> None:
    client, table = stack.cloud.client("dynamodb"), stack.environment.table
    for batch in batches(requests):
        left = {table: list(batch)}
        while left:
            left = client.batch_write_item(RequestItems=left).get("UnprocessedItems") or {}


def _new_epoch(stack: Stack, head: Head) -> Head:
    after = replace(head, epoch=str(uuid.uuid4()))
    item = {**items.GENERATION_KEY, **after.to_item()}
    stack.cloud.client("dynamodb").put_item(TableName=stack.environment.table, Item=item)
    return after
