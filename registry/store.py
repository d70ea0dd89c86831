"""The registry as gateways and readers have it. Plain boto3: the same code runs on the gateways.

All reads are strongly consistent. A reader that follows the changes takes `head()` first and then
`changes_after()` or `peers()`: what it reads may be newer than that head, never older.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from registry import items, validation
from registry.items import (
    Audit,
    Change,
    GatewayRecord,
    Head,
    Item,
    ItemError,
    Peer,
    Resting,
    Unreadable,
)
from registry.sessions import Sessions
from registry.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")

_MOMENT = "%Y-%m-%dT%H:%M:%SZ"


class Registry:
    """The registry in one table. `client` is a boto3 DynamoDB client.

    AWS's errors pass through as botocore's exceptions.
    """

    def __init__(self, client: Any, table: str) -> None:
        self._table = Table(client, table)

    # -------------------------------------------------------------- reading

    def head(self) -> Head:
        """The counter, the control item and the operators' commands, by one request.

        A strongly consistent read unit for each of the three (DynamoDB developer guide, "Read
        consumption": up to 4 KB). Raises `ItemError` when the counter itself cannot be read.
        """
        keys = (items.GENERATION_KEY, items.CONTROL_KEY, items.COMMAND_KEY)
        return Head.from_items(*self._table.get(keys))

    def changes_after(self, generation: int, limit: int = 1000) -> list[Change | Unreadable]:
        """The first `limit` changes after `generation`, in order. A gap is the caller's to see."""
        found = self._table.query("change", after=items.numbered(generation), limit=limit)
        return [_parsed_change(item) for item in found]

    def peers(self) -> tuple[list[Peer], list[Unreadable]]:
        """Every peer, by name, and what does not parse."""
        return _parsed(self._table.query("peer"), Peer.from_item)

    def peer(self, name: str) -> Peer | None:
        """One peer. Raises `ItemError` when it is there and does not parse."""
        (item,) = self._table.get((items.peer_key(name),))
        return None if item is None else Peer.from_item(item)

    def server_key(self, generation: int) -> str | None:
        """The published public key of a generation of the server's key.

        Raises `ItemError` when it is there and does not parse.
        """
        (item,) = self._table.get((items.server_key_key(generation),))
        return None if item is None else server_key_of(item)

    def server_key_published(self, generation: int) -> int:
        """When that public key was published: epoch seconds, by the publishing gateway's clock.

        Raises `ItemError` when nothing is published, or its time does not parse.
        """
        key = items.server_key_key(generation)
        (item,) = self._table.get((key,))
        return items.Reader(item or {}, items.label(key)).convert("at", _seconds)

    def gateways(self, instance_arns: Iterable[str]) -> list[GatewayRecord]:
        """What these gateways say of themselves, as far as they have and it parses."""
        found = self._table.get([items.gateway_key(arn) for arn in instance_arns])
        return _parsed((item for item in found if item is not None), GatewayRecord.from_item)[0]

    def sessions(self, instance_arns: Iterable[str]) -> list[Sessions]:
        """Who last used which server key, as these gateways say, as far as they have."""
        found = self._table.get([items.sessions_key(arn) for arn in instance_arns])
        return _parsed((item for item in found if item is not None), Sessions.from_item)[0]

    def audit(self, name: str | None = None) -> tuple[list[Audit], list[Unreadable]]:
        """Who did what, oldest first, of one peer or of all; and what does not parse."""
        found = self._table.query("audit")
        wanted = (item for item in found if name is None or item.get("name", {}).get("S") == name)
        return _parsed(wanted, Audit.from_item)

    def resting(self) -> list[Resting]:
        """The addresses of revoked peers which are not free again yet."""
        found, _ = _parsed(self._table.query("address"), Resting.from_item)
        return [item for item in found if item is not None]

    # -------------------------------------------------------------- a gateway's own writes

    def publish_server_key(self, generation: int, public_key: str, by: str) -> str:
        """Publish a generation's public key unless one is published; return the one that is.

        `by` is the instance's id. The caller compares: another key than its own must not be served.
        """
        values = {
            "generation": generation,
            "public_key": validation.public_key(public_key),
            "published_by": by,
            "at": now(),
        }
        self._table.put_if_new({**items.server_key_key(generation), **items.attributes(values)})
        return self.server_key(generation) or public_key

    def put_gateway(self, record: GatewayRecord) -> None:
        """Replace a gateway's own item."""
        self._table.put(record.to_item())

    def put_sessions(self, sessions: Sessions) -> None:
        """Replace what a gateway has said of who last used which server key."""
        self._table.put(sessions.to_item())


def now() -> str:
    """This moment as items have it."""
    return datetime.now(UTC).strftime(_MOMENT)


def _seconds(text: str) -> int:
    """Epoch seconds of what `now` writes. Raises `ValueError`."""
    return int(datetime.strptime(text, _MOMENT).replace(tzinfo=UTC).timestamp())


def server_key_of(item: Item) -> str:
    """The public key in a `server-key` item. Raises `ItemError`."""
    return items.Reader(item).convert("public_key", validation.public_key)


def _parsed(found: Iterable[Item], parse: Callable[[Item], T]) -> tuple[list[T], list[Unreadable]]:
    good: list[T] = []
    bad: list[Unreadable] = []
    for item in found:
        try:
            good.append(parse(item))
        except ItemError as err:
            bad.append(Unreadable(err.key, err.why))
    return good, bad


def _parsed_change(item: Item) -> Change | Unreadable:
    try:
        return Change.from_item(item)
    except ItemError as err:
        number = item["sk"]["S"]
        return Unreadable(err.key, err.why, int(number) if number.isdecimal() else None)
