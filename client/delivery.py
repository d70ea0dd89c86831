"""Files that hold a private key: written before the peer is registered, shown only after.

A staged file is complete and on disk under a name of its own; `keep()` gives it the name that was
asked for, `discard()` leaves nothing. Neither replaces a file that is there.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from effects import Refusal

MODE = 0o600


class Taken(Exception):  # noqa: N818 - named as a sentence: the name is taken
    """The wanted name has been taken since it was asked for; the content is at `where`."""

    def __init__(self, wanted: Path, where: Path) -> None:
        super().__init__(f"{wanted} has appeared meanwhile and was left alone; yours is {where}")
        self.where = where


def refuse_unusable(path: Path) -> None:
    """Refuse a path that exists, or whose directory cannot take a new file."""
    if path.is_dir():
        raise Refusal(f"output {path}", "is a directory", f"name a file, such as {path}/peer.conf")
    if os.path.lexists(path):
        raise Refusal(
            f"output {path}", "exists", "remove it or name another: no key is overwritten"
        )
    if not path.parent.is_dir():
        raise Refusal(f"output {path}", f"no directory {path.parent}", "make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise Refusal(
            f"output {path}", f"{path.parent} is not writable", "choose another directory"
        )


class StagedFile:
    """A file for `path`, with mode 0600 from its first byte on."""

    def __init__(self, path: Path) -> None:
        refuse_unusable(path)
        self.path = path
        self._staged: Path | None = None

    def write(self, data: bytes) -> None:
        """Put the content on disk, in place of what an earlier call put there."""
        self.discard()
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        self._staged = Path(name)
        with os.fdopen(handle, "wb") as out:
            os.fchmod(out.fileno(), MODE)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())

    def keep(self) -> None:
        """Give the file its name. Raises `Taken`, and keeps the file, if the name is in use."""
        if self._staged is None:
            return
        try:
            os.link(self._staged, self.path)  # unlike a rename, never replaces
        except FileExistsError as err:
            raise Taken(self.path, self._staged) from err
        except OSError:  # a file system without hard links
            if os.path.lexists(self.path):
                raise Taken(self.path, self._staged) from None
            self._staged.rename(self.path)
        else:
            self._staged.unlink()
        self._staged = None

    def discard(self) -> None:
        """Remove what was staged; nothing to do after `keep()`."""
        if self._staged is not None:
            self._staged.unlink(missing_ok=True)
            self._staged = None
