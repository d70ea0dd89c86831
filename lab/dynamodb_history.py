"""Point-in-time recovery for the lab: moto's copies the present, whatever time it is asked for.

Each table notes what every write replaced. A restore copies the present and undoes what is younger
than its moment, newest first: it costs what has changed since, and a write costs one note. The
notes are bounded, so the earliest moment comes nearer. AWS's restores take many minutes, and cannot
reach the last five; the lab's do neither. `lab.dynamodb.install()` puts this into moto.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from moto.dynamodb.exceptions import ERROR_TYPE_PREFIX, DynamodbException
from moto.dynamodb.models import DynamoDBBackend
from moto.dynamodb.models.table import Table
from moto.dynamodb.responses import DynamoResult

from lab import dynamodb_items as items
from lab.dynamodb_items import LOCK, Partition

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from moto.dynamodb.models.dynamo_type import DynamoType, Item
    from moto.dynamodb.responses import DynamoHandler

KEPT = 100_000
"""Writes of one table that can be undone: emptying one with 10,000 peers is 40,000."""

AGE = 7200.0
"""Seconds for which they can be. What they replaced stays in memory: some 10 KB for a gateway's
item, of which two gateways write 24 a minute."""

clock = time.time

_new_table = Table.__init__
_restore = DynamoDBBackend.restore_table_to_point_in_time
_describe = DynamoDBBackend.describe_continuous_backups


class Note(NamedTuple):
    """One write: when, where, and what stood there before."""

    at: float
    hash_key: DynamoType
    range_key: DynamoType
    before: Item | None


@dataclass
class Notes:
    """The writes of one table, oldest first. Use it under `LOCK` only."""

    kept: deque[Note] = field(default_factory=deque)
    forgotten: float = 0.0
    """When the youngest write was that has been forgotten; epoch seconds."""

    def add(self, hash_key: DynamoType, range_key: DynamoType, before: Item | None) -> None:
        """Note a write that is about to be made."""
        now = _moment()
        while self.kept and (len(self.kept) >= KEPT or self.kept[0].at < now - AGE):
            self.forgotten = self.kept.popleft().at
        self.kept.append(Note(now, hash_key, range_key, before))

    def since(self, at: float) -> Iterator[Note]:
        """The writes after a moment, newest first."""
        for note in reversed(self.kept):
            if note.at <= at:
                return
            yield note


_one_moment: list[float] = []
"""The moment of the transaction under way; under `LOCK` there is one at most."""


@contextmanager
def one_moment() -> Generator[None]:
    """All that is written meanwhile is written at the same moment. Use it under `LOCK`."""
    _one_moment.append(clock())
    try:
        yield
    finally:
        _one_moment.pop()


def _moment() -> float:
    return _one_moment[0] if _one_moment else clock()


class NotedPartition(Partition):
    """A partition whose writes are noted."""

    def __init__(self, hash_key: DynamoType, notes: Notes) -> None:
        super().__init__()
        self._hash_key, self._notes = hash_key, notes

    def __setitem__(self, key: DynamoType, item: Item) -> None:
        self._notes.add(self._hash_key, key, self.get(key))
        super().__setitem__(key, item)

    def pop(self, key: DynamoType) -> Item:
        item = super().pop(key)
        self._notes.add(self._hash_key, key, item)
        return item


class Partitions(defaultdict):
    """A table's items: hash key -> partition."""

    def __init__(self) -> None:
        super().__init__()
        self.notes = Notes()

    def __missing__(self, hash_key: DynamoType) -> NotedPartition:
        made = self[hash_key] = NotedPartition(hash_key, self.notes)
        return made

    def __deepcopy__(self, _memo: dict[int, Any]) -> Partitions:
        """For moto's backups. Items are shared, since nothing alters them; notes are not."""
        twin = Partitions()
        for hash_key, partition in self.items():
            twin[hash_key].take_over(partition)
        return twin


def new_table(table: Table, *args: Any, **kwargs: Any) -> None:
    _new_table(table, *args, **kwargs)
    if table.range_key_attr:
        table.items = Partitions()


def notes_of(table: Any) -> Notes:
    """A table's; none are kept for one without a sort key."""
    return getattr(table.items, "notes", None) or Notes()


def _window(table: Table) -> tuple[float, float]:
    """The earliest and the latest moment, in epoch seconds. Raises as AWS does."""
    described = table.continuous_backups["PointInTimeRecoveryDescription"]
    if described["PointInTimeRecoveryStatus"] != "ENABLED":
        raise DynamodbException(
            f"{ERROR_TYPE_PREFIX}PointInTimeRecoveryUnavailableException",
            f"Point in time recovery is not enabled for table '{table.name}'",
        )
    enabled = float(described["EarliestRestorableDateTime"])
    return max(enabled, notes_of(table).forgotten), clock()


def describe_continuous_backups(backend: DynamoDBBackend, table_name: str) -> dict[str, Any]:
    described = dict(_describe(backend, table_name))
    recovery = described["PointInTimeRecoveryDescription"]
    if recovery["PointInTimeRecoveryStatus"] == "ENABLED":
        earliest, latest = _window(backend.get_table(table_name))
        described["PointInTimeRecoveryDescription"] = {
            **recovery,
            "EarliestRestorableDateTime": earliest,
            "LatestRestorableDateTime": latest,
        }
    return described


def _moment_asked(source: Table, body: dict[str, Any]) -> float:
    """The moment to restore, in epoch seconds. Raises as AWS does."""
    earliest, latest = _window(source)
    asked: datetime | None = body.get("RestoreDateTime")
    at = asked.timestamp() if asked else latest
    if not int(earliest) <= at <= latest:
        raise DynamodbException(
            f"{ERROR_TYPE_PREFIX}InvalidRestoreTimeException",
            "The specified restore time is not within the recovery window",
        )
    return at


def handle_restore(handler: DynamoHandler) -> DynamoResult:
    """RestoreTableToPointInTime: the present, less what is younger than the moment."""
    backend, body = handler.dynamodb_backend, handler.body
    source = backend.tables.get(body["SourceTableName"])
    with LOCK:
        at = clock() if source is None else _moment_asked(source, body)
        # moto raises what AWS does for a missing source and for a target that is there
        made = _restore(backend, body["TargetTableName"], body["SourceTableName"])
        for note in notes_of(source).since(at):
            items.put_back(made, note.hash_key, note.range_key, note.before)
        notes_of(made).kept.clear()
    made.restore_date_time = datetime.fromtimestamp(at, UTC)
    return DynamoResult(made.describe())
