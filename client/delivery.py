"""Files that hold a private key: written before the peer is registered, shown only after.

A staged file is complete and on disk under a name of its own; `keep()` gives it the name that was
asked for, `discard()` leaves nothing. Neither replaces a file that is there.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from effects import Refusal, stage

if TYPE_CHECKING:
    from pathlib import Path

MODE = 0o600


class Unplaced(Exception):  # noqa: N818 - named as a sentence: the file is not in its place
    """The content is safe at `where`, but could not be given the wanted name."""

    def __init__(self, wanted: Path, where: Path, why: str) -> None:
        super().__init__(f"{wanted}: {why}; its content is in {where}")
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


class Unsettled(Exception):  # noqa: N818 - named as a sentence: something is left to settle
    """The peer is there, or may be, and the operator has something to put right: `messages`."""

    def __init__(self, messages: list[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = messages


class StagedFile:
    """A file for `path`, with mode 0600 from its first byte on."""

    def __init__(self, path: Path) -> None:
        refuse_unusable(path)
        self.path = path
        self._staged: Path | None = None

    def write(self, data: bytes) -> None:
        """Put the content on disk; what an earlier call put there is kept until then."""
        staged = stage(self.path, data, mode=MODE)
        self.discard()
        self._staged = staged

    def keep(self) -> None:
        """Give the file its name. Raises `Unplaced`, and keeps the content, if that fails."""
        if self._staged is None:
            return
        try:
            _rename_to_new(self._staged, self.path)
        except FileExistsError as err:
            why = "has appeared meanwhile and was left alone"
            raise Unplaced(self.path, self._staged, why) from err
        except OSError as err:
            raise Unplaced(self.path, self._staged, str(err.strerror)) from err
        self._staged = None

    def discard(self) -> None:
        """Remove what was staged; nothing to do after `keep()`."""
        if self._staged is not None:
            self._staged.unlink(missing_ok=True)
            self._staged = None


def _rename_to_new(source: Path, target: Path) -> None:
    """Rename, unless the target exists: rename alone would replace it."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(target):
            raise FileExistsError(target) from None
        source.rename(target)
    else:
        source.unlink()
