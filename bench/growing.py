"""A file of records of one size that another process appends to, read as it grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import struct
    from collections.abc import Iterator
    from pathlib import Path


class Growing:
    """Gives every record once; one that is half written is not there yet."""

    def __init__(self, file: Path, record: struct.Struct) -> None:
        self._file, self._record, self._read = file, record, 0

    def fresh(self) -> Iterator[tuple[Any, ...]]:
        """What is new since the last call."""
        with self._file.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        whole = len(data) - len(data) % self._record.size
        self._read += whole
        return self._record.iter_unpack(data[:whole])
