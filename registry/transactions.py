"""One change of the registry as one DynamoDB transaction: all its writes happen, or none.

Every change raises the counter by one, on the condition that it still stands where the change was
planned. So changes are in one order, and everything a change was planned on was still true when it
was written: whoever lost the race plans again from a fresh read.
"""

from __future__ import annotations

import random
import time
import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError, HTTPClientError

from effects import Refusal
from registry.errors import RegistryError
from registry.items import GENERATION_KEY, Head, attribute
from registry.records import Record, retired_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from registry.items import Audit, Change, Item, Restoring

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds that a change is tried for, against other writers and a throttled table."""

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Seconds; a pause is drawn between 0 and a bound that doubles from one to the other."""

RACE = {"ConditionalCheckFailed", "TransactionConflict"}
BUSY = {"ThrottlingError", "ProvisionedThroughputExceeded"}
"""Cancellation reasons after which the same change may be tried again."""

THROTTLED = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "TransactionConflictException",
}
"""Error codes after which nothing has been written, and trying again may help."""

UNCERTAIN = {"InternalServerError", "ServiceUnavailable", "TransactionInProgressException"}
"""Error codes after which the change may have been written."""


class Contended(RegistryError):  # noqa: N818 - it is an outcome: nothing was written
    """Other writers, or the table's limits, left no room for the change in time."""

    def __init__(self) -> None:
        super().__init__(
            f"registry: no room for the change within {PATIENCE:.0f} s, nothing was written; "
            "try again when fewer changes are under way"
        )


class Damaged(RegistryError):  # noqa: N818 - it is a state of the table
    """The counter and the changes contradict each other: the table was edited or half restored."""

    def __init__(self, head: Head) -> None:
        super().__init__(
            f"registry: the counter stands at {head.generation}, but a later change is there; "
            "restore the table to a point in time before that"
        )


class Unconfirmed(RegistryError):  # noqa: N818 - it is an outcome: nobody knows which
    """The connection was lost at a moment that leaves open whether the change was written."""

    def __init__(self) -> None:
        super().__init__("registry: lost while the change was being written, which may have worked")


class Restored(Refusal):
    """A restore is under way: what would be written now could be lost, or undo it."""

    def __init__(self, restoring: Restoring) -> None:
        super().__init__(
            "registry",
            f"a restore to {restoring.to} is under way",
            f"try again when it is done; if it was interrupted, `peers restore --to {restoring.to}`"
            " goes on with it",
        )


@dataclass(frozen=True)
class Writes:
    """A change that has been planned on a head: its transaction, and its record."""

    record: Record
    """What the archive gets to know before the table does."""
    head: Head
    entries: tuple[Mapping[str, Any], ...]


def put_new(table: str, item: Item) -> dict[str, Any]:
    """Write an item that must not be there yet."""
    return {
        "Put": {
            "TableName": table,
            "Item": dict(item),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
    }


def put(table: str, item: Item) -> dict[str, Any]:
    """Write an item; the counter's condition guards what was read before."""
    return {"Put": {"TableName": table, "Item": dict(item)}}


def delete(table: str, key: Item) -> dict[str, Any]:
    """Delete an item that must be there."""
    return {
        "Delete": {
            "TableName": table,
            "Key": dict(key),
            "ConditionExpression": "attribute_exists(pk)",
        }
    }


def settled(head: Head) -> Head:
    """The head, unless a restore is under way: what else was read with it may be half restored.

    Raises `Restored`.
    """
    if head.restoring is not None:
        raise Restored(head.restoring)
    return head


def raise_counter(table: str, head: Head, epoch: str, token: str) -> dict[str, Any]:
    """Raise the counter by one from `head`, with whose epoch it must agree, and no restore begun.

    `epoch` is the first change's to set.
    """
    if not head.epoch:
        return put_new(table, Head(head.generation + 1, epoch, None, token=token).to_item())
    return {
        "Update": {
            "TableName": table,
            "Key": GENERATION_KEY,
            "UpdateExpression": "SET #value = :next, #token = :token",
            "ConditionExpression": (
                "#value = :now AND epoch = :epoch AND attribute_not_exists(restoring)"
            ),
            "ExpressionAttributeNames": {"#value": "value", "#token": "token"},
            "ExpressionAttributeValues": {
                ":now": attribute(head.generation),
                ":next": attribute(head.generation + 1),
                ":epoch": attribute(head.epoch),
                ":token": attribute(token),
            },
        }
    }


def recorded(
    table: str, head: Head, change: Change, audit: Audit, *entries: Mapping[str, Any]
) -> Writes:
    """A change as it must always be written: counter, change, audit, and what it is about."""
    number, epoch, token = head.generation + 1, head.epoch or str(uuid.uuid4()), str(uuid.uuid4())
    audit = replace(audit, generation=number)
    always = (
        raise_counter(table, head, epoch, token),
        put_new(table, replace(change, generation=number).to_item()),
        put_new(table, audit.to_item()),
    )
    record = Record(audit, token, head.token, epoch, retired_by(audit))
    return Writes(record, head, (*always, *entries))


def commit(
    client: Any,
    plan: Callable[[bool], tuple[T, Writes | None]],
    ahead: Callable[[Writes], None],
) -> T:
    """Plan the change and write it, again and again until it is done; return the plan's result.

    `ahead` is called with each try before it is written: what it puts elsewhere is there when the
    change is, whatever happens in between.

    `plan(unsure)` reads the table and returns what the change results in and its writes, or None
    where there is nothing left to do; it raises `Refusal` where the change must not be. It is
    called anew for each try. `unsure` says that an earlier try may have been written: a plan that
    finds its own change in the table then has the result. Raises `Contended` when time is up, and
    `Unconfirmed` when it had to stop without knowing whether an earlier try was written.
    """
    unsure = False
    pause = FIRST_PAUSE
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            result, writes = plan(unsure)
            if writes is None:
                return result
            ahead(writes)
        except Refusal:
            raise
        except BaseException as err:
            if unsure:
                raise Unconfirmed from err
            raise
        try:
            client.transact_write_items(
                TransactItems=list(writes.entries), ClientRequestToken=writes.record.token
            )
        except HTTPClientError:
            unsure = True
        except ClientError as err:
            unsure = _judge(err, writes.head) or unsure
        else:
            return result
        if time.monotonic() > deadline:
            raise Unconfirmed if unsure else Contended
        time.sleep(random.uniform(0, pause))  # noqa: S311 - jitter, not a secret
        pause = min(2 * pause, LONGEST_PAUSE)


def _judge(err: ClientError, head: Head) -> bool:
    """Whether the change may have been written; raises if trying again is no use."""
    code = err.response.get("Error", {}).get("Code", "")
    if code == "TransactionCanceledException":
        reasons = [str(reason.get("Code")) for reason in err.response["CancellationReasons"]]
        failed = set(reasons) - {"None"}
        if not failed or not failed <= RACE | BUSY:
            raise err
        if reasons[0] == "None" and "ConditionalCheckFailed" in reasons[1:3]:
            raise Damaged(head) from err  # see recorded(): the counter, the change, the audit
        return False
    if code in THROTTLED:
        return False
    if code in UNCERTAIN:
        return True
    raise err
