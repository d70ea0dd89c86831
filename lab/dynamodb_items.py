"""Reading moto's DynamoDB fast: items in order, and never changed under a reader's hands.

moto's Query walks every item of the table, sorts and copies; its answers walk the API model for
each value. Here a partition keeps its items in the order of their sort keys, a change replaces the
stored item instead of altering it, and so a reader needs `LOCK` only to pick up references.
`lab.dynamodb.install()` puts this into moto.
"""

from __future__ import annotations

import bisect
import copy
import inspect
import threading
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.dynamo_type import DynamoType, Item
from moto.dynamodb.models.table import Table
from moto.dynamodb.models.utilities import dynamo_json_dump
from moto.dynamodb.responses import DynamoResult

if TYPE_CHECKING:
    from collections.abc import Callable

    Page = tuple[list[Item], int, dict[str, Any] | None]
    """Items, how many were read for them, and the key to go on from."""

PAGE = 1_000_000
"""Bytes of items that one Query or Scan reads at most: AWS's "1 MB"."""

READS = {"GetItem", "BatchGetItem", "Query", "Scan", "TransactGetItems"}
"""The operations that answer with stored items."""

LOCK = threading.RLock()
"""Held by every write, and by every read while it picks up its items."""

_update_item = DynamoDBBackend.update_item
_query, _scan = Table.query, Table.scan


def _sort_value(item: Item) -> Any:
    return item.range_key.cast_value if item.range_key else None


class Partition(dict):
    """The items of one partition key: by sort key (DynamoType), and as a list in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.order: list[Item] = []

    def before(self, value: Any) -> int:
        """How many items have a sort key below `value`."""
        return bisect.bisect_left(self.order, value, key=_sort_value)

    def through(self, value: Any) -> int:
        """How many items have a sort key of at most `value`."""
        return bisect.bisect_right(self.order, value, key=_sort_value)

    def __setitem__(self, key: DynamoType, item: Item) -> None:
        at = self.before(key.cast_value)
        self.order[at : at + (key in self)] = [item]
        super().__setitem__(key, item)

    def pop(self, key: DynamoType) -> Item:  # ty: ignore[incompatible-method-override]
        item = super().pop(key)
        del self.order[self.before(key.cast_value)]
        return item

    def take_over(self, other: Partition) -> None:
        """Have the items of another one. They are shared, since nothing alters them."""
        dict.update(self, other)
        self.order = other.order.copy()

    def span(self, comparison: str | None, values: list[Any]) -> tuple[int, int]:
        """A key condition as positions in `order`: its first item, and the one after its last."""
        match (comparison or "").upper():
            case "":
                return 0, len(self.order)
            case "=" | "BETWEEN":
                return self.before(values[0]), self.through(values[-1])
            case "<" | "<=" as less:
                return 0, (self.before if less == "<" else self.through)(values[0])
            case ">" | ">=" as more:
                return (self.through if more == ">" else self.before)(values[0]), len(self.order)
            case "BEGINS_WITH":
                prefix = values[0]
                end = bisect.bisect_right(
                    self.order, prefix, key=lambda item: _sort_value(item)[: len(prefix)]
                )
                return self.before(prefix), end
        raise NotImplementedError(f"key condition {comparison}")


def put_back(
    table: Table, hash_key: DynamoType, range_key: DynamoType | None, item: Item | None
) -> None:
    """Undo a change: `item` is what `table.get_item` returned before it."""
    if item is None:
        table.delete_item(hash_key, range_key)
    elif range_key is None:
        table.items[hash_key] = item
    else:
        table.items[hash_key][range_key] = item


def update_item(
    backend: DynamoDBBackend, table_name: str, key: dict[str, Any], *args: Any, **kwargs: Any
) -> Item:
    """moto's own update alters the stored item: give it one that no reader has."""
    with LOCK:
        table = backend.get_table(table_name)
        at = backend.get_keys_value(table, key)
        before = table.get_item(*at)
        if before is not None:
            put_back(table, *at, copy.deepcopy(before))
        try:
            return _update_item(backend, table_name, key, *args, **kwargs)
        except BaseException:
            put_back(table, *at, before)
            raise


def _arguments(stock: Callable, *args: Any, **kwargs: Any) -> dict[str, Any]:
    bound = inspect.signature(stock).bind(*args, **kwargs)
    bound.apply_defaults()
    return bound.arguments


def _page(table: Table, items: list[Item], limit: int | None, keep: Any, fields: Any) -> Page:
    """Read on until `limit` or `PAGE`; then filter (`keep`) and project (`fields`), as AWS does."""
    read: list[Item] = []
    size, more = 0, False
    for item in items:
        size += item.size()
        more = bool(read) and size > PAGE
        if more:
            break
        read.append(item)
        # AWS names the last key whenever it stops at the limit, also when nothing follows
        more = len(read) == limit
        if more:
            break
    last = table._get_last_evaluated_key(read[-1], None) if more else None  # noqa: SLF001
    kept = read if keep is None else [item for item in read if keep.expr(item)]
    return [item.project(fields) for item in kept] if fields else kept, len(read), last


def query(table: Table, *args: Any, **kwargs: Any) -> Page:
    asked = _arguments(_query, table, *args, **kwargs)
    with LOCK:
        if asked["index_name"] or asked["filter_kwargs"] or not table.range_key_attr:
            return _query(table, *args, **kwargs)
        partition = table.items.get(asked["hash_key"]) or Partition()
        first, end = partition.span(
            asked["range_comparison"], [value.cast_value for value in asked["range_objs"]]
        )
        if asked["exclusive_start_key"]:
            value = DynamoType(asked["exclusive_start_key"][table.range_key_attr]).cast_value
            if asked["scan_index_forward"]:
                first = max(first, partition.through(value))
            else:
                end = min(end, partition.before(value))
        items = partition.order[first:end]
    if not asked["scan_index_forward"]:
        items.reverse()
    return _page(
        table, items, asked["limit"], asked["filter_expression"], asked["projection_expressions"]
    )


def scan(table: Table, *args: Any, **kwargs: Any) -> Page:
    asked = _arguments(_scan, table, *args, **kwargs)
    start = asked["exclusive_start_key"]
    items: list[Item] = []
    with LOCK:
        stock = asked["index_name"] or asked["filters"] or asked["segments"] != (None, None)
        if stock or not table.range_key_attr:
            return _scan(table, *args, **kwargs)
        after = DynamoType(start[table.hash_key_attr]) if start else None
        for hash_key in sorted(table.items):
            partition, first = table.items[hash_key], 0
            if after is not None and hash_key < after:
                continue
            if after is not None and hash_key == after:
                first = partition.through(DynamoType(start[table.range_key_attr]).cast_value)
            items += partition.order[first:]
    return _page(
        table, items, asked["limit"], asked["filter_expression"], asked["projection_expression"]
    )


class ItemResult(ActionResult):
    """An answer with stored items becomes JSON at once, without a walk of the API model."""

    def execute_result(self, context: Any) -> Any:
        if context.operation_model.name not in READS:
            return DynamoResult(self.result).execute_result(context)
        headers = {"Content-Type": "application/x-amz-json-1.0"}
        return 200, headers, dynamo_json_dump(self.result)
