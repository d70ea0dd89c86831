"""Records that wait on disk until AWS has them: survives a restart, and days without AWS.

Files of lines, numbered; what is added goes to the last one, which is sealed after seconds or when
it is as large as one request may be. Only sealed files are shipped, each whole, and then deleted.
When all of them together are as large as they may be, what is new is refused: a flood does not push
out what was there before it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import IO, TYPE_CHECKING

from gateway.connections.records import Line

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 64 << 20
"""Bytes on disk: some 180,000 records, of a root volume of 8 GiB."""
SEGMENT = 512 << 10
"""Bytes of one file; with CloudWatch's 26 for each line well below its limit of a request."""
_SUFFIX = ".records"


class Spool:
    """A directory. One thread adds and seals, another reads and deletes what is sealed."""

    def __init__(self, directory: Path, *, limit: int = LIMIT, segment: int = SEGMENT) -> None:
        """Whatever is there from before is sealed. Raises `OSError`."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory, self._limit, self._segment = directory, limit, segment
        self._lock = threading.Lock()
        found = sorted(directory.glob(f"*{_SUFFIX}"))
        self._sealed = {path: path.stat().st_size for path in found}
        self._next = int(found[-1].name.removesuffix(_SUFFIX)) + 1 if found else 1
        self._out: IO[bytes] | None = None
        self._path = directory / "none"
        self._written = 0

    @property
    def size(self) -> int:
        """Bytes that wait."""
        with self._lock:
            return sum(self._sealed.values()) + self._written

    def add(self, line: Line) -> bool:
        """Append it; False when there is no room. On disk once it is sealed. Raises `OSError`."""
        data = f"{line.at} {line.text}\n".encode()
        if self.size + len(data) > self._limit:
            return False
        if self._out is None:
            self._path = self._directory / f"{self._next:012d}{_SUFFIX}"
            self._next += 1
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._out = os.fdopen(handle, "wb")
        self._out.write(data)
        self._written += len(data)
        if self._written >= self._segment:
            self.seal()
        return True

    def flush(self) -> None:
        """What was added outlives this process."""
        if self._out is not None:
            self._out.flush()

    def seal(self) -> None:
        """What was added is on disk, and may be shipped."""
        if self._out is None:
            return
        out, self._out = self._out, None
        try:
            with out:
                out.flush()
                os.fsync(out.fileno())
        finally:  # a full disk: what is on it is shipped all the same
            with self._lock:
                self._sealed[self._path] = self._written
                self._written = 0

    def sealed(self) -> list[Path]:
        """What may be shipped, oldest first."""
        with self._lock:
            return sorted(self._sealed)

    def done(self, path: Path) -> None:
        """It has been shipped."""
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        with self._lock:
            self._sealed.pop(path, None)


def read(path: Path) -> list[Line]:
    """The records of a file; a line that a crash has cut off is none."""
    found: list[Line] = []
    for line in path.read_text(errors="replace").splitlines(keepends=True):
        at, _, text = line.partition(" ")
        if line.endswith("\n") and at.isdecimal() and text.endswith("}\n"):
            found.append(Line(int(at), text[:-1]))
    return found
