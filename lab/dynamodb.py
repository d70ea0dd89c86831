"""What the lab's DynamoDB needs beyond moto: transactions that hold, and speed at 10,000 peers.

moto copies the whole table for a transaction and puts the copy back when it fails, which takes
seconds and loses what others wrote meanwhile. `install()` replaces that, moto's slow reading
(lab/dynamodb_items.py), and its restores, which know no time (lab/dynamodb_history.py), by name and
for one version of moto only (docs/adr/0002-lab-dynamodb.md):

* writes take one lock; a failed transaction undoes the items it touched and no others;
* TransactWriteItems answers as AWS documents it: `ConditionalCheckFailed` and `TransactionConflict`
  as reasons, `ClientRequestToken` good for ten minutes, `TransactionInProgressException`.

Less than AWS: TransactGetItems waits for a transaction instead of being cancelled by it,
BatchWriteItem never conflicts, and records of a table's stream are not undone.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from moto.core.responses import ActionResult
from moto.dynamodb import responses
from moto.dynamodb.comparisons import get_filter_expression
from moto.dynamodb.exceptions import (
    ERROR_TYPE_PREFIX,
    ConditionalCheckFailed,
    DynamodbException,
    MultipleTransactionsException,
    TooManyTransactionsException,
    TransactionCanceledException,
    TransactWriteSingleOpException,
)
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoHandler

from effects import Refusal
from lab import dynamodb_history as history
from lab import dynamodb_items as items
from lab.dynamodb_items import LOCK

if TYPE_CHECKING:
    from collections.abc import Callable

    from moto.dynamodb.models.dynamo_type import DynamoType

    Target = tuple[str, DynamoType, DynamoType | None]
    """One item: its table's ARN, its partition key, its sort key."""

MOTO = "5.2.5"
"""The version this replaces parts of, and was tested with."""

TOKEN_LIFE = 600.0
"""Seconds for which AWS remembers a ClientRequestToken, from the end of its first request."""

TRANSACTION_LIMIT = 100
"""Actions in one TransactWriteItems."""

COMMIT = 0.005
"""Seconds that a transaction has its items before it runs. AWS's take time, so writers meet
conflicts there; without it they would rarely meet one here, and never test their retries."""

ONGOING = "Transaction is ongoing for the item"

clock = time.monotonic

_transact_write_items = DynamoHandler.transact_write_items


def _refusal(name: str, message: str) -> DynamodbException:
    return DynamodbException(ERROR_TYPE_PREFIX + name, message)


@dataclass
class Ledger:
    """One backend's transactions: those under way, and those remembered by their token."""

    mutex: threading.Lock = field(default_factory=threading.Lock)
    ongoing: dict[Target, str] = field(default_factory=dict)
    """Item -> the token of the transaction that has it."""
    done: dict[str, tuple[float, str]] = field(default_factory=dict)
    """Token -> when its request ended, and what it asked."""

    def begin(self, targets: list[Target], token: str, request: str) -> bool:
        """Claim the items; False if this very request has succeeded already."""
        with self.mutex:
            self.done = {t: d for t, d in self.done.items() if clock() - d[0] < TOKEN_LIFE}
            if token in self.done:
                if self.done[token][1] != request:
                    raise _refusal(
                        "IdempotentParameterMismatchException",
                        "The token was used with other parameters in the last ten minutes",
                    )
                return False
            if token in self.ongoing.values():
                raise _refusal(
                    "TransactionInProgressException",
                    "The transaction with the given request token is already in progress.",
                )
            if any(target in self.ongoing for target in targets):
                conflict = ("TransactionConflict", ONGOING, None)
                raise TransactionCanceledException(
                    [conflict if target in self.ongoing else (None,) * 3 for target in targets]
                )
            self.ongoing.update(dict.fromkeys(targets, token))
            return True

    def end(self, targets: list[Target], token: str, request: str | None) -> None:
        """Release the items; `request` is what to remember, None for a failure."""
        with self.mutex:
            for target in targets:
                del self.ongoing[target]
            if request is not None:
                self.done[token] = (clock(), request)

    def has(self, target: Target) -> bool:
        """Whether a transaction has the item now."""
        with self.mutex:
            return target in self.ongoing


def ledger_of(backend: DynamoDBBackend) -> Ledger:
    """Kept among the backend's attributes, so that moto's reset forgets it."""
    return vars(backend).setdefault("gatepair_ledger", Ledger())


def _target(backend: DynamoDBBackend, request: dict[str, Any]) -> Target:
    table = backend.get_table(request["TableName"])
    return (table.table_arn, *backend.get_keys_value(table, request.get("Key") or request["Item"]))


def _actions(transact_items: list[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    if len(transact_items) > TRANSACTION_LIMIT:
        raise TooManyTransactionsException
    if any(len(item) != 1 for item in transact_items):
        raise TransactWriteSingleOpException
    return [next(iter(item.items())) for item in transact_items]


def handle_transaction(handler: DynamoHandler) -> ActionResult:
    """TransactWriteItems as it comes in: claims its items, then lets moto validate and run it."""
    backend, asked = handler.dynamodb_backend, handler.body["TransactItems"]
    targets = [_target(backend, request) for _, request in _actions(asked)]
    if len(set(targets)) < len(targets):
        raise MultipleTransactionsException
    token = handler.body.get("ClientRequestToken") or str(uuid.uuid4())
    request = json.dumps(asked, sort_keys=True, default=repr)
    ledger, done = ledger_of(backend), None
    if not ledger.begin(targets, token, request):
        return ActionResult({})
    try:
        time.sleep(COMMIT)
        answer = _transact_write_items(handler)
        done = request
        return answer
    finally:
        ledger.end(targets, token, done)


def transact_write_items(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """All of it or nothing: conditions first, then changes; an accident undoes those made."""
    actions = _actions(transact_items)
    undo: list[Callable[[], None]] = []
    with LOCK, history.one_moment():
        reasons = [_reason(backend, request) for _, request in actions]
        if any(code for code, _, _ in reasons):
            raise TransactionCanceledException(reasons)
        try:
            for kind, request in actions:
                table = backend.get_table(request["TableName"])
                at = _target(backend, request)[1:]
                undo.append(functools.partial(items.put_back, table, *at, table.get_item(*at)))
                _change(backend, kind, request)
        except BaseException:
            for put_back in reversed(undo):
                put_back()
            raise


def _reason(backend: DynamoDBBackend, request: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Code, message and item of a failed condition; three times None if it holds."""
    table = backend.get_table(request["TableName"])
    item = table.get_item(*_target(backend, request)[1:])
    condition = get_filter_expression(
        request.get("ConditionExpression"),
        request.get("ExpressionAttributeNames"),
        request.get("ExpressionAttributeValues"),
    )
    if condition.expr(item):
        return None, None, None
    wanted = request.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    shown = item.to_json()["Attributes"] if wanted and item is not None else None
    return "ConditionalCheckFailed", ConditionalCheckFailed().message, shown


def _change(backend: DynamoDBBackend, kind: str, request: dict[str, Any]) -> None:
    name = request["TableName"]
    match kind:
        case "Put":
            backend.put_item(name, request["Item"], overwrite=True)
        case "Delete":
            backend.delete_item(name, request["Key"])
        case "Update":
            backend.update_item(
                name,
                request["Key"],
                update_expression=request["UpdateExpression"],
                expression_attribute_names=request.get("ExpressionAttributeNames", {}),
                expression_attribute_values=request.get("ExpressionAttributeValues", {}),
            )


def _locked(stock: Callable) -> Callable:
    @functools.wraps(stock)
    def locked(*args: Any, **kwargs: Any) -> Any:
        with LOCK:
            return stock(*args, **kwargs)

    return locked


def _single_write(stock: Callable) -> Callable:
    """PutItem, UpdateItem or DeleteItem: refused while a transaction has the item."""

    @functools.wraps(stock)
    def write(handler: DynamoHandler) -> Any:
        backend = handler.dynamodb_backend
        if ledger_of(backend).has(_target(backend, handler.body)):
            raise _refusal("TransactionConflictException", ONGOING)
        with LOCK:
            return stock(handler)

    return write


REPLACED: list[tuple[Any, str, Any]] = [
    (DynamoDBBackend, "transact_write_items", transact_write_items),
    (DynamoDBBackend, "update_item", items.update_item),
    (DynamoHandler, "transact_write_items", handle_transaction),
    (DynamoDBBackend, "describe_continuous_backups", history.describe_continuous_backups),
    (DynamoHandler, "restore_table_to_point_in_time", history.handle_restore),
    (Table, "__init__", history.new_table),
    (Table, "query", items.query),
    (Table, "scan", items.scan),
    (responses, "DynamoResult", items.ItemResult),
]

WRAPPED: list[tuple[Any, str, Callable[[Callable], Callable]]] = [
    *((DynamoHandler, name, _single_write) for name in ("put_item", "update_item", "delete_item")),
    (DynamoHandler, "transact_get_items", _locked),
    *(
        (DynamoDBBackend, name, _locked)
        for name in (
            "get_item",
            "put_item",
            "delete_item",
            "describe_table",
            "create_backup",
            "restore_table_from_backup",
        )
    ),
]


def install() -> None:
    """Put the replacements into moto, for this process; once. Call it before the first table.

    Raises `Refusal` when moto is not the version they were written for.
    """
    found = importlib.metadata.version("moto")
    if found != MOTO:
        raise Refusal(
            f"moto {found}",
            f"lab/dynamodb.py replaces parts of moto {MOTO}",
            "install requirements.lock, or check the replaced parts and raise MOTO there",
        )
    if vars(Table)["query"] is items.query:
        return
    for owner, name, ours in REPLACED:
        setattr(owner, name, ours)
    for owner, name, wrap in WRAPPED:
        setattr(owner, name, wrap(vars(owner)[name]))
