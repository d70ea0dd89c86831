"""Requests to the registry's table: strongly consistent, whole, in order."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from registry import items
from registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from registry.items import Item, Key

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


class Table:
    """One table. `client` is a boto3 DynamoDB client; its errors pass through."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name
        self._random = random.SystemRandom()

    def get(self, keys: Sequence[Key]) -> list[Item | None]:
        """The items with these keys, in their order; None where there is none."""
        found: dict[tuple[str, str], Item] = {}
        for start in range(0, len(keys), BATCH_LIMIT):
            for item in self._get_batch(keys[start : start + BATCH_LIMIT]):
                found[_identity(item)] = item
        return [found.get(_identity(key)) for key in keys]

    def _get_batch(self, keys: Sequence[Key]) -> Iterator[Item]:
        request = {self.name: {"Keys": list(keys), "ConsistentRead": True}}
        for tried in range(BATCH_TRIES):
            answer = self.client.batch_get_item(RequestItems=request)
            yield from answer.get("Responses", {}).get(self.name, ())
            request = answer.get("UnprocessedKeys") or {}
            if not request:
                return
            time.sleep(self._random.uniform(0, 0.05 * 2**tried))
        raise Throttled(sum(len(part["Keys"]) for part in request.values()))

    def query(self, pk: str, *, after: str = "", limit: int | None = None) -> Iterator[Item]:
        """The items of one partition in the order of sk, from the one behind `after` on."""
        request: dict[str, Any] = {
            "TableName": self.name,
            "ConsistentRead": True,
            "KeyConditionExpression": "pk = :pk" + (" AND sk > :after" if after else ""),
            "ExpressionAttributeValues": items.attributes({":pk": pk, ":after": after or None}),
        }
        left = limit
        while left is None or left > 0:
            page = PAGE if left is None else min(left, PAGE)
            answer = self.client.query(**request, Limit=page)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
            left = None if left is None else left - len(answer["Items"])

    def put(self, item: Item) -> None:
        """Write an item, whatever stands there."""
        self.client.put_item(TableName=self.name, Item=dict(item))

    def put_if_new(self, item: Item) -> bool:
        """Write an item unless there is one with its key; whether it was written."""
        return self._unless_refused(
            self.client.put_item,
            TableName=self.name,
            Item=dict(item),
            ConditionExpression="attribute_not_exists(pk)",
        )

    def delete_if(self, key: Key, attribute: str, value: int) -> bool:
        """Delete an item whose `attribute` is `value`; whether it was deleted."""
        return self._unless_refused(
            self.client.delete_item,
            TableName=self.name,
            Key=key,
            ConditionExpression="#attribute = :value",
            ExpressionAttributeNames={"#attribute": attribute},
            ExpressionAttributeValues=items.attributes({":value": value}),
        )

    def swap(self, key: Key, before: Item, after: Item) -> bool:
        """Set these attributes of an item to `after`, if they are as they were `before`.

        One that `before` lacks must not be there. The item need not exist, and its other
        attributes stay. Whether it was written.
        """
        names = {f"#{number}": name for number, name in enumerate(after)}
        values = {f":new{mark[1:]}": after[name] for mark, name in names.items()}
        old = {f":old{mark[1:]}": before[name] for mark, name in names.items() if name in before}
        same = [
            f"{mark} = :old{mark[1:]}" if name in before else f"attribute_not_exists({mark})"
            for mark, name in names.items()
        ]
        return self._unless_refused(
            self.client.update_item,
            TableName=self.name,
            Key=key,
            UpdateExpression="SET " + ", ".join(f"{mark} = :new{mark[1:]}" for mark in names),
            ConditionExpression=" AND ".join(same),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={**values, **old},
        )

    @staticmethod
    def _unless_refused(write: Any, **request: Any) -> bool:
        try:
            write(**request)
        except ClientError as err:
            if err.response.get("Error", {}).get("Code") != "ConditionalCheckFailedException":
                raise
            return False
        return True


def _identity(key: Item) -> tuple[str, str]:
    return key["pk"]["S"], key["sk"]["S"]
