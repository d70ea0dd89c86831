"""What DynamoDB would charge for reading: item sizes, and the units that a call consumes. Pure.

Item sizes: AWS, "DynamoDB item sizes and formats" (Developer Guide). Read units: AWS, "DynamoDB
read and write operations": a strongly consistent read takes a unit for each 4 KB, rounded up for
each item of a BatchGetItem, and once for all items of a Query's answer; what is not there costs a
unit all the same. moto's own ConsumedCapacity does not follow these rules.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNIT = 4096
"""Bytes."""
PAGE = 1 << 20
"""Bytes after which an answer to a Query ends."""
PREFIX = "DynamoDB_20120810."
"""Of the X-Amz-Target header."""


@dataclass(frozen=True)
class Call:
    """A request as it was made."""

    action: str
    """Such as BatchGetItem."""
    body: Mapping[str, Any]

    @property
    def partition(self) -> str:
        """Of a Query by `pk = :pk`: which; empty for any other call."""
        values = self.body.get("ExpressionAttributeValues", {})
        return values.get(":pk", {}).get("S", "") if self.action == "Query" else ""


def value_size(value: Mapping[str, Any]) -> int:
    """Bytes of one attribute value."""
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            digits = content.lstrip("-").replace(".", "").strip("0")
            return math.ceil(len(digits) / 2) + 1
        case "L":
            return 3 + sum(1 + value_size(part) for part in content)
        case "M":
            return 3 + sum(
                1 + len(name.encode()) + value_size(part) for name, part in content.items()
            )
        case "BOOL" | "NULL":
            return 1
        case _:
            message = f"no size is known for an attribute of type {kind}"
            raise ValueError(message)


def item_size(item: Mapping[str, Mapping[str, Any]]) -> int:
    """Bytes of an item."""
    return sum(len(name.encode()) + value_size(value) for name, value in item.items())


@dataclass(frozen=True)
class Sizes:
    """The sizes of a table's items."""

    partitions: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    """pk -> (sk, bytes), by sk."""

    @classmethod
    def of(cls, items: Iterable[Mapping[str, Mapping[str, Any]]]) -> Sizes:
        """Of all items of the table."""
        found: dict[str, list[tuple[str, int]]] = {}
        for item in items:
            found.setdefault(item["pk"]["S"], []).append((item["sk"]["S"], item_size(item)))
        return cls({pk: tuple(sorted(sizes)) for pk, sizes in found.items()})

    def size(self, key: Mapping[str, Mapping[str, Any]]) -> int:
        """Bytes of the item with this key; 0 if there is none."""
        return dict(self.partitions.get(key["pk"]["S"], ())).get(key["sk"]["S"], 0)

    def page(self, partition: str, after: str, limit: int | None) -> int:
        """Bytes of one answer to a Query of this partition, from behind `after` on."""
        sizes = self.partitions.get(partition, ())
        start = bisect_right(sizes, (after, PAGE)) if after else 0
        total = 0
        for _, size in sizes[start : None if limit is None else start + limit]:
            total += size
            if total >= PAGE:
                break
        return total


def units(call: Call, sizes: Sizes) -> float:
    """The read units of a call; 0 for one that reads nothing. Raises `ValueError` for an unknown
    kind of reading, rather than to leave it out."""
    body = call.body
    match call.action:
        case "BatchGetItem":
            return sum(
                _charged(sizes.size(key), part)
                for part in body["RequestItems"].values()
                for key in part["Keys"]
            )
        case "GetItem":
            return _charged(sizes.size(body["Key"]), body)
        case "Query":
            values = body["ExpressionAttributeValues"]
            start = body.get("ExclusiveStartKey", {}).get("sk") or values.get(":after", {"S": ""})
            page = sizes.page(call.partition, start["S"], body.get("Limit"))
            return _charged(page, body)
        case "PutItem" | "UpdateItem" | "DeleteItem" | "TransactWriteItems" | "BatchWriteItem":
            return 0.0
    message = f"{call.action}: not known what it reads"
    raise ValueError(message)


def _charged(size: int, request: Mapping[str, Any]) -> float:
    whole = max(1, math.ceil(size / UNIT))
    return float(whole) if request.get("ConsistentRead") else whole / 2
