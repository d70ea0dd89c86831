"""The registry's table, read and written. Plain boto3: the same code runs on the gateways.

All reads are strongly consistent. A reader that follows the changes takes `head()` first and then
`changes_after()` or `peers()`: what it reads may be newer than that head, never older.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from effects import Refusal
from registry import addresses, items, validation
from registry.errors import RegistryError
from registry.items import (
    Audit,
    Change,
    Control,
    GatewayRecord,
    Head,
    Item,
    ItemError,
    Key,
    Peer,
    Unreadable,
)
from registry.transactions import Writes, commit, put_new, recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from ipaddress import IPv4Network

T = TypeVar("T")

BATCH_LIMIT = 100
"""Keys that one BatchGetItem takes."""

PAGE = 1000
"""Items in one answer to a query: a parsed item takes twenty times its size in memory, and AWS's
own limit of 1 MB makes that 20 MB at a time."""

BATCH_TRIES = 6
"""How often what a throttled table left out is asked for again, 0.05 s apart and doubling."""


class Throttled(RegistryError):  # noqa: N818 - named as a sentence: the table is throttled
    """The table kept leaving keys out of its answers."""

    def __init__(self, missing: int) -> None:
        super().__init__(f"registry: the table is throttled, {missing} items were not read")


@dataclass(frozen=True)
class NewPeer:
    """What an operator asks for; the registry adds the address and the dates.

    Construction checks it all and raises `Refusal`.
    """

    name: str
    public_key: str
    owner: str = ""
    expires: int | None = None
    allow: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no gateway would take."""
        validation.peer_name(self.name)
        validation.public_key(self.public_key)
        validation.owner(self.owner)


class Registry:
    """The registry in one table. `client` is a boto3 DynamoDB client.

    AWS's errors pass through as botocore's exceptions.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._client, self._table = client, table
        self._random = random.SystemRandom()

    # -------------------------------------------------------------- reading

    def head(self) -> Head:
        """The counter and the control item, at one moment, by one request.

        Raises `ItemError` when the counter itself cannot be read.
        """
        generation, control = self._get((items.GENERATION_KEY, items.CONTROL_KEY))
        return Head.from_items(generation, control)

    def changes_after(self, generation: int, limit: int = 1000) -> list[Change | Unreadable]:
        """The first `limit` changes after `generation`, in order. A gap is the caller's to see."""
        found = self._query("change", after=items.numbered(generation), limit=limit)
        return [_parsed_change(item) for item in found]

    def peers(self) -> tuple[list[Peer], list[Unreadable]]:
        """Every peer, by name, and what does not parse."""
        good: list[Peer] = []
        bad: list[Unreadable] = []
        for item in self._query("peer"):
            try:
                good.append(Peer.from_item(item))
            except ItemError as err:
                bad.append(Unreadable(err.key, err.why))
        return good, bad

    def peer(self, name: str) -> Peer | None:
        """One peer. Raises `ItemError` when it is there and does not parse."""
        (item,) = self._get((items.peer_key(name),))
        return None if item is None else Peer.from_item(item)

    def server_key(self, generation: int) -> str | None:
        """The published public key of a generation of the server's key.

        Raises `ItemError` when it is there and does not parse.
        """
        (item,) = self._get((items.server_key_key(generation),))
        return None if item is None else _server_key(item)

    def gateways(self, instance_arns: Iterable[str]) -> list[GatewayRecord]:
        """What these gateways say of themselves, as far as they have and it parses."""
        found = self._get([items.gateway_key(arn) for arn in instance_arns])
        records: list[GatewayRecord] = []
        for item in found:
            try:
                records += [] if item is None else [GatewayRecord.from_item(item)]
            except ItemError:
                continue
        return records

    # -------------------------------------------------------------- a gateway's own writes

    def publish_server_key(self, generation: int, public_key: str, by: str) -> str:
        """Publish a generation's public key unless one is published; return the one that is.

        `by` is the instance's id. The caller compares: another key than its own must not be served.
        """
        values = {
            "generation": generation,
            "public_key": validation.public_key(public_key),
            "published_by": by,
            "at": _now(),
        }
        try:
            self._client.put_item(
                TableName=self._table,
                Item={**items.server_key_key(generation), **items.attributes(values)},
                ConditionExpression="attribute_not_exists(pk)",
            )
        except ClientError as err:
            if err.response.get("Error", {}).get("Code") != "ConditionalCheckFailedException":
                raise
        return self.server_key(generation) or public_key

    def put_gateway(self, record: GatewayRecord) -> None:
        """Replace a gateway's own item."""
        self._client.put_item(TableName=self._table, Item=record.to_item())

    # -------------------------------------------------------------- the operators' changes

    def add_peer(
        self,
        new: NewPeer,
        *,
        pool: IPv4Network,
        caller: str,
        stage: Callable[[Peer], None] | None = None,
    ) -> Peer:
        """Let a peer in, with a free address of `pool`, in one transaction.

        `caller` is the ARN for the audit. `stage` is called before each try with the peer as it
        will be written, and last with the one that is returned: what must exist before the peer
        does is made there, and an exception from it stops the change. Raises `Refusal` when the
        name or the key is taken or the pool is full, and what `transactions.commit` raises.
        """
        created = _now()

        def plan(unsure: bool) -> tuple[Peer, Writes | None]:
            peer, head = self._admit(new, pool, unsure=unsure)
            if head is not None:
                peer = replace(peer, created=created, generation=head.generation + 1)
            if stage is not None:
                stage(peer)
            if head is None:
                return peer, None
            owned = items.attributes({"name": peer.name})
            return peer, recorded(
                self._table,
                head,
                Change(0, "put", peer, created),
                Audit(0, created, "add", peer.name, caller, _details(peer)),
                put_new(self._table, peer.to_item()),
                put_new(self._table, {**items.address_key(peer.address), **owned}),
                put_new(self._table, {**items.used_key(peer.public_key), **owned}),
            )

        return commit(self._client, plan)

    def _admit(self, new: NewPeer, pool: IPv4Network, *, unsure: bool) -> tuple[Peer, Head | None]:
        """The peer with an address that is free, and the head it was read with.

        No head means that the very peer is there already, written by a try whose answer was lost.
        """
        drawn = addresses.candidates(pool, self._random)
        counter, control, named, used, *taken = self._get(
            (
                items.GENERATION_KEY,
                items.CONTROL_KEY,
                items.peer_key(new.name),
                items.used_key(new.public_key),
                *map(items.address_key, drawn),
            )
        )
        head = Head.from_items(counter, control)
        if unsure and named is not None:
            there = Peer.from_item(named)
            if there.public_key == new.public_key:
                return there, None
        if named is not None:
            raise Refusal(
                f"peer {new.name}", "there is one of that name", "choose another name for this one"
            )
        self._refuse_used(new.public_key, used, head.control)
        free = [address for address, item in zip(drawn, taken, strict=True) if item is None]
        address = free[0] if free else addresses.choose(pool, self._taken(), self._random)
        peer = Peer(
            name=new.name,
            public_key=new.public_key,
            address=address,
            owner=validation.owner(new.owner),
            expires=new.expires,
            allow=new.allow,
        )
        return peer, head

    def _refuse_used(self, public_key: str, used: Item | None, control: Control | None) -> None:
        what = f"public key {public_key!r}"
        cure = "make a new pair with `wg genkey`: a key is never used twice"
        if used is not None:
            by = used.get("name", {}).get("S", "another peer")
            raise Refusal(what, f"is or was the key of {by}", cure)
        generations = () if control is None else control.key_generations
        for item in self._get([items.server_key_key(number) for number in generations]):
            if item is not None and _server_key(item) == public_key:
                raise Refusal(what, "is the gateways' own", cure)

    def _taken(self) -> set[IPv4Address]:
        """Every address that is somebody's, or rests after having been."""
        taken: set[IPv4Address] = set()
        for item in self._query("address"):
            try:
                taken.add(IPv4Address(item["sk"]["S"]))
            except ValueError:
                continue  # whatever it is, it is no address that could be handed out
        return taken

    # -------------------------------------------------------------- requests

    def _get(self, keys: Sequence[Key]) -> list[Item | None]:
        """The items with these keys, in their order; None where there is none."""
        found: dict[tuple[str, str], Item] = {}
        for start in range(0, len(keys), BATCH_LIMIT):
            for item in self._get_batch(keys[start : start + BATCH_LIMIT]):
                found[_identity(item)] = item
        return [found.get(_identity(key)) for key in keys]

    def _get_batch(self, keys: Sequence[Key]) -> Iterator[Item]:
        request = {self._table: {"Keys": list(keys), "ConsistentRead": True}}
        for tried in range(BATCH_TRIES):
            answer = self._client.batch_get_item(RequestItems=request)
            yield from answer.get("Responses", {}).get(self._table, ())
            request = answer.get("UnprocessedKeys") or {}
            if not request:
                return
            time.sleep(self._random.uniform(0, 0.05 * 2**tried))
        raise Throttled(sum(len(part["Keys"]) for part in request.values()))

    def _query(self, pk: str, *, after: str = "", limit: int | None = None) -> Iterator[Item]:
        """The items of one partition in the order of sk, from the one behind `after` on."""
        request: dict[str, Any] = {
            "TableName": self._table,
            "ConsistentRead": True,
            "KeyConditionExpression": "pk = :pk" + (" AND sk > :after" if after else ""),
            "ExpressionAttributeValues": items.attributes({":pk": pk, ":after": after or None}),
        }
        left = limit
        while left is None or left > 0:
            page = PAGE if left is None else min(left, PAGE)
            answer = self._client.query(**request, Limit=page)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
            left = None if left is None else left - len(answer["Items"])


def _identity(key: Item) -> tuple[str, str]:
    return key["pk"]["S"], key["sk"]["S"]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _server_key(item: Item) -> str:
    return items.Reader(item).convert("public_key", validation.public_key)


def _parsed_change(item: Item) -> Change | Unreadable:
    try:
        return Change.from_item(item)
    except ItemError as err:
        number = item["sk"]["S"]
        return Unreadable(err.key, err.why, int(number) if number.isdecimal() else None)


def _details(peer: Peer) -> dict[str, object]:
    """What the audit says of a peer."""
    return {
        "public_key": peer.public_key,
        "address": str(peer.address),
        "owner": peer.owner,
        **({"expires": peer.expires} if peer.expires is not None else {}),
        **({"allow": peer.allow} if peer.allow else {}),
    }
