"""What the archive keeps of each change, and which of its records may have happened. Pure.

A record is written before its change, so there may be records of changes that never were: one that
lost a race was tried again under another token, with another record. Every record names the token
that the counter had when it was planned, which tells who won: that chain proves all others of the
same number wrong. What it leaves open (the last one, when its writer died) counts as happened: a
revocation that nobody can disprove holds.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registry.errors import RegistryError
from registry.items import Audit, numbered

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "audit/"
"""Where the records are in the archive: PREFIX, number, slash, token."""


class Illegible(RegistryError):  # noqa: N818 - it is a state of the archive
    """A record that does not parse: nobody knows what it took away."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"archive record {key}: {why}; nobody knows what it took away")


@dataclass(frozen=True)
class Record:
    """One change: its audit item, and what must never come back because of it."""

    audit: Audit
    token: str = ""
    """Of the transaction; empty where the record was made from the table's audit item."""
    previous: str = ""
    """The token of the change before, as the counter had it."""
    epoch: str = ""
    retired: Mapping[str, str] = field(default_factory=dict)
    """Public keys that were taken from somebody, with whom."""

    @property
    def generation(self) -> int:
        """The change's number."""
        return self.audit.generation

    @property
    def key(self) -> str:
        """Its object's key: sorts by number, and is another for each try."""
        return f"{PREFIX}{numbered(self.generation)}/{self.token}"

    def to_json(self) -> str:
        """As the archive has it."""
        return json.dumps(
            {
                "audit": vars(self.audit),
                "token": self.token,
                "previous": self.previous,
                "epoch": self.epoch,
                "retired": dict(self.retired),
            },
            sort_keys=True,
        )

    @classmethod
    def from_json(cls, key: str, text: str | bytes) -> Record:
        """Parse the object with this key. Raises `Illegible`."""
        try:
            raw = json.loads(text)
            record = cls(
                audit=Audit(**raw["audit"]),
                token=raw["token"],
                previous=raw["previous"],
                epoch=raw["epoch"],
                retired=dict(raw["retired"]),
            )
        except (ValueError, KeyError, TypeError) as err:
            raise Illegible(key, f"{type(err).__name__}: {err}") from err
        if record.key != key:
            raise Illegible(key, f"it says that it is {record.key}")
        return record


def retired_by(audit: Audit) -> dict[str, str]:
    """The keys that a change of one peer takes away, by what the audit says of it."""
    said = audit.details if audit.action == "revoke" else audit.details.get("before", {})
    key = said.get("public_key") if isinstance(said, dict) else None
    return {key: audit.name} if isinstance(key, str) else {}


def from_audit(found: Iterable[Audit]) -> list[Record]:
    """The table's audit items as records; what is in the table has happened."""
    return [Record(audit, retired=retired_by(audit)) for audit in found]


def credible(records: Iterable[Record]) -> list[Record]:
    """Those that may have happened, by number."""
    found = sorted(records, key=lambda record: (record.generation, record.token))
    won: dict[int, set[str]] = defaultdict(set)
    for record in found:
        if record.previous:
            won[record.generation - 1].add(record.previous)
    return [
        record
        for record in found
        if not won[record.generation] or record.token in won[record.generation]
    ]


def gaps(records: Iterable[Record], after: int, until: int) -> list[int]:
    """The numbers behind `after` up to `until` of which there is no record."""
    there = {record.generation for record in records}
    return [number for number in range(after + 1, until + 1) if number not in there]
