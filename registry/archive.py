"""The copy of every audit item outside the table: objects that are written once.

A record is there before its change is in the table (registry/records.py says what that means when
the change then did not happen). Nothing here overwrites or deletes, and the bucket's policy lets
nobody (components/audit_archive.py).
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from registry.items import numbered
from registry.records import PREFIX, Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READERS = 10
"""Records read at a time: as many connections as botocore keeps."""

TRIES = 5
"""How often a write that S3 found in conflict with another is repeated, 0.05 s apart."""


class Archive:
    """One bucket. `connect` makes the S3 client when it is first needed: few commands write."""

    def __init__(self, connect: Callable[[], Any], bucket: str) -> None:
        self._connect, self.bucket = connect, bucket

    @cached_property
    def _client(self) -> Any:
        return self._connect()

    def write(self, record: Record) -> None:
        """Write a record unless it is there: the same token is the same record."""
        for tried in range(TRIES):
            try:
                self._client.put_object(
                    Bucket=self.bucket,
                    Key=record.key,
                    Body=record.to_json().encode(),
                    ContentType="application/json",
                    IfNoneMatch="*",
                )
            except ClientError as err:
                code = err.response.get("Error", {}).get("Code")
                if code == "PreconditionFailed":
                    return
                if code != "ConditionalRequestConflict" or tried == TRIES - 1:
                    raise
                time.sleep(0.05)
            else:
                return

    def used(self) -> bool:
        """Whether a change has been written: a second record was planned on a first change.

        First records alone may be those of a change that never happened.
        """
        answer = self._client.list_objects_v2(
            Bucket=self.bucket, Prefix=PREFIX, StartAfter=_behind(1), MaxKeys=1
        )
        return bool(answer.get("Contents"))

    def records(self, after: int = 0) -> list[Record]:
        """Every record of a number behind `after`, by number. Raises `Illegible`.

        Of an object that somebody has overwritten the first version counts.
        """
        with ThreadPoolExecutor(READERS) as pool:
            found = list(pool.map(self._read, self._first_versions(after)))
        return sorted(found, key=lambda record: (record.generation, record.token))

    def _first_versions(self, after: int) -> Iterator[tuple[str, str]]:
        """Keys with the version that was written first, also where it has been deleted since."""
        first: dict[str, str] = {}
        pages = self._client.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self.bucket, Prefix=PREFIX):
            for version in page.get("Versions", ()):  # newest first, so the last one is the oldest
                first[version["Key"]] = version["VersionId"]
        behind = _behind(after)
        return ((key, version) for key, version in first.items() if key > behind)

    def _read(self, where: tuple[str, str]) -> Record:
        key, version = where
        answer = self._client.get_object(Bucket=self.bucket, Key=key, VersionId=version)
        return Record.from_json(key, answer["Body"].read())


def _behind(number: int) -> str:
    """What sorts behind all records of this number: `0` is the character after the slash."""
    return f"{PREFIX}{numbered(number)}0"
