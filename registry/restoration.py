"""Makes the registry what it was, less what was taken away since, while gateways serve on.

In this order, and each step may be done again:

1. lock: the counter says that a restore is under way, under which token, and what the counter and
   the epoch will be. From here on gateways keep what they have, and no change is written;
2. the archive gets the record of the restore, with every key that it takes away;
3. keys, addresses and audit items are written, then peers;
4. unlock: the counter gets its new number and epoch. Gateways read everything anew.

Every write is a transaction on the condition that the lock is still this restore's. So whoever was
interrupted, or stood still for an hour, either does what remains or nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from effects import Refusal
from registry import items, recovery
from registry.errors import RegistryError
from registry.items import GENERATION_KEY, Audit, Head, ItemError, Restoring, attribute
from registry.records import Record, credible, from_audit, gaps
from registry.recovery import Snapshot
from registry.store import now as moment
from registry.table import Table
from registry.transactions import Writes, commit, put, put_new

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from registry.archive import Archive
    from registry.items import Item
    from registry.recovery import Recovery

TORN = 100
"""Changes before the moment whose records are looked at too. AWS brings a transaction's items into
its backups one by one, so the last changes may be there in part."""

CHUNK = 90
"""Items written at a time; a transaction takes 100, and one is the lock's check."""

NOBODY = "*"
"""Whom the audit item of a restore is about: no peer can have that name."""


class Overtaken(RegistryError):  # noqa: N818 - named as a sentence: the restore was overtaken
    """The lock is gone: another call has finished this restore."""

    def __init__(self) -> None:
        super().__init__("registry: another call has finished this restore; see `peers audit`")


@dataclass(frozen=True)
class Source:
    """What is to be restored, read once: it does not change any more."""

    table: str
    """Where it has been put."""
    to: str
    then: Snapshot
    server_keys: tuple[Item, ...]


class Restoration:
    """One registry's restore. `client` is a DynamoDB client, `caller` an AWS identity's ARN."""

    def __init__(self, client: Any, table: str, archive: Archive, caller: str) -> None:
        self._table, self._archive, self._caller = Table(client, table), archive, caller

    # -------------------------------------------------------------- reading

    def refuse_other(self, to: str) -> None:
        """Raise `Refusal` if a restore to another moment than `to` is under way."""
        _refuse_other(self.under_way(), to)

    def under_way(self) -> Restoring | None:
        """The restore that a former call has begun."""
        return self._head().restoring

    def source(self, table: str, to: str) -> Source:
        """Read the table that holds the registry of the moment `to` (ISO 8601, UTC).

        Raises `Refusal` where that moment is in the middle of a restore.
        """
        then = _snapshot(Table(self._table.client, table))
        if then.head.restoring is not None:
            raise Refusal(
                f"--to {to}",
                "at that moment a restore was under way, and the table half written",
                "choose a moment before or after it, see `peers audit`",
            )
        found = Table(self._table.client, table).query("server-key")
        return Source(table, to, then, tuple(found))

    def records(self, source: Source, *, from_archive: bool) -> Sequence[Record]:
        """The changes since, from the table's audit items or from the archive.

        Raises `Refusal` where they are not all there.
        """
        after = max(0, source.then.head.generation - TORN)
        if from_archive:
            records = self._archive.records(after)
            self._refuse_foreign(source, records)
            return credible(records)
        head = self._head()
        cure = "add --from-archive, which has them all"
        if not head.epoch or (head.restoring and head.generation < source.then.head.generation):
            raise Refusal("registry", "its counter is gone: the table was emptied", cure)
        try:
            found = [Audit.from_item(item) for item in self._audit(after)]
        except ItemError as err:
            raise Refusal("registry", str(err), cure) from err
        records = from_audit(found)
        if missing := gaps(records, source.then.head.generation, head.generation):
            raise Refusal("registry", f"audit item {missing[0]} is missing", cure)
        return records

    def _audit(self, after: int) -> Iterator[Item]:
        return self._table.query("audit", after=items.numbered(after))

    def _refuse_foreign(self, source: Source, records: Sequence[Record]) -> None:
        head = source.then.head
        mine = {record.token for record in records if record.generation == head.generation}
        if head.token and head.token not in mine:
            raise Refusal(
                f"archive {self._archive.bucket}",
                f"has no record of change {head.generation}, the last one before the moment",
                "is it this registry's? See /gatepair/STACK in the parameter store",
            )

    def plan(self, source: Source, records: Sequence[Record], *, lost: bool) -> Recovery:
        """What would be written now."""
        found = _snapshot(self._table)
        restoring = found.head.restoring
        number = restoring.generation if restoring else _next(source.then, found, records)
        return recovery.plan(source.then, found, records, generation=number, at=moment(), lost=lost)

    # -------------------------------------------------------------- writing

    def lock(self, source: Source, records: Sequence[Record]) -> Restoring:
        """Begin: from now on gateways keep what they have and operators change nothing.

        Returns the lock of a former call if there is one. Raises `Refusal` if that one is to
        another moment.
        """

        def plan(unsure: bool) -> tuple[Restoring, Writes | None]:
            del unsure  # a lock that is there already is found as a former call's
            found = _snapshot(self._table)
            if found.head.restoring is not None:
                return found.head.restoring, None
            number = _next(source.then, found, records)
            restoring = Restoring(
                str(uuid.uuid4()), source.table, source.to, number, str(uuid.uuid4())
            )
            return restoring, self._writes(
                found.head, _locked(self._table.name, found.head, restoring)
            )

        restoring = commit(self._table.client, plan, lambda _: None)
        _refuse_other(restoring, source.to)
        return restoring

    def carry_out(self, restoring: Restoring, source: Source, *, from_archive: bool) -> Recovery:
        """Write what is to be restored, and unlock; what it was. Raises `Overtaken`, `Refusal`.

        The changes since are read anew: one may have been made until the lock.
        """
        records = self.records(source, from_archive=from_archive)
        planned = self.plan(source, records, lost=from_archive)
        to = {"to": restoring.to}
        audit = Audit(restoring.generation, moment(), "restore", NOBODY, self._caller, to)
        previous = self._mine(restoring).token
        self._archive.write(
            Record(audit, restoring.token, previous, restoring.epoch, planned.retired)
        )
        for item in source.server_keys:
            self._table.put_if_new(item)
        name = self._table.name
        entries = [put(name, item) for item in (*planned.first, *planned.peers)]
        entries += [{"Delete": {"TableName": name, "Key": key}} for key in planned.gone]
        for start in range(0, len(entries), CHUNK):
            self._guarded(restoring, *entries[start : start + CHUNK])
        self._unlock(restoring, audit)
        return planned

    def _guarded(self, restoring: Restoring, *entries: Mapping[str, Any]) -> None:
        check = {
            "ConditionCheck": {
                "TableName": self._table.name,
                "Key": GENERATION_KEY,
                **_still(restoring),
            }
        }

        def plan(unsure: bool) -> tuple[None, Writes]:
            del unsure  # written twice is the same
            return None, self._writes(self._mine(restoring), check, *entries)

        commit(self._table.client, plan, lambda _: None)

    def _unlock(self, restoring: Restoring, audit: Audit) -> None:
        condition = _still(restoring)
        update = {
            "Update": {
                "TableName": self._table.name,
                "Key": GENERATION_KEY,
                "UpdateExpression": (
                    "SET #value = :value, epoch = :epoch, #token = :token REMOVE restoring"
                ),
                "ConditionExpression": condition["ConditionExpression"],
                "ExpressionAttributeNames": {
                    **condition["ExpressionAttributeNames"],
                    "#value": "value",
                },
                "ExpressionAttributeValues": {
                    **condition["ExpressionAttributeValues"],
                    ":value": attribute(restoring.generation),
                    ":epoch": attribute(restoring.epoch),
                },
            }
        }

        def plan(unsure: bool) -> tuple[None, Writes | None]:
            if unsure and self._head().epoch == restoring.epoch and not self.under_way():
                return None, None
            return None, self._writes(
                self._mine(restoring), update, put_new(self._table.name, audit.to_item())
            )

        commit(self._table.client, plan, lambda _: None)

    # -------------------------------------------------------------- parts

    def _head(self) -> Head:
        (counter,) = self._table.get((GENERATION_KEY,))
        return Head.from_items(counter, None)

    def _mine(self, restoring: Restoring) -> Head:
        head = self._head()
        if head.restoring is None or head.restoring.token != restoring.token:
            raise Overtaken
        return head

    def _writes(self, head: Head, *entries: Mapping[str, Any]) -> Writes:
        """A step of the restore: no change of its own, so the record is for its token only."""
        audit = Audit(head.generation, "", "restore", NOBODY, self._caller)
        return Writes(Record(audit, token=str(uuid.uuid4())), head, entries)


def _refuse_other(restoring: Restoring | None, to: str) -> None:
    if restoring is not None and restoring.to != to:
        raise Refusal(
            f"--to {to}",
            f"a restore to {restoring.to} is under way",
            f"finish it first: call again with --to {restoring.to}",
        )


def _snapshot(table: Table) -> Snapshot:
    (counter,) = table.get((GENERATION_KEY,))
    parts = {
        pk: {item["sk"]["S"]: item for item in table.query(pk)}
        for pk in ("peer", "address", "key", "audit")
    }
    return Snapshot(
        Head.from_items(counter, None),
        parts["peer"],
        parts["address"],
        parts["key"],
        parts["audit"],
    )


def _next(then: Snapshot, found: Snapshot, records: Sequence[Record]) -> int:
    """A number that no change has had, nor any that may have been lost."""
    numbers = [then.head.generation, found.head.generation]
    numbers += [record.generation for record in records]
    numbers += [int(sk) for table in (then, found) for sk in table.audit if sk.isdecimal()]
    return max(numbers) + 1


def _locked(table: str, head: Head, restoring: Restoring) -> Mapping[str, Any]:
    """The entry that sets the lock, if the counter is what it was."""
    if not head.epoch:
        return put_new(table, replace(head, epoch=restoring.epoch, restoring=restoring).to_item())
    return {
        "Update": {
            "TableName": table,
            "Key": GENERATION_KEY,
            "UpdateExpression": "SET restoring = :restoring",
            "ConditionExpression": (
                "#value = :now AND epoch = :epoch AND attribute_not_exists(restoring)"
            ),
            "ExpressionAttributeNames": {"#value": "value"},
            "ExpressionAttributeValues": {
                ":now": attribute(head.generation),
                ":epoch": attribute(head.epoch),
                ":restoring": restoring.to_attribute(),
            },
        }
    }


def _still(restoring: Restoring) -> dict[str, Any]:
    """The condition that the lock is this restore's."""
    return {
        "ConditionExpression": "restoring.#token = :token",
        "ExpressionAttributeNames": {"#token": "token"},
        "ExpressionAttributeValues": {":token": attribute(restoring.token)},
    }
