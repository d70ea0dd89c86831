"""The two effects everything else goes through, and the way a refusal reads.

`run()` starts a program, `write_atomic()` replaces a file. Shipped to gateways: standard library.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_TIMEOUT = 30.0
"""Seconds. Every child process has a limit; callers raise it where the work is longer."""


class Refusal(Exception):  # noqa: N818 - it is an answer, not an accident
    """Bad input or a missing precondition: what, the value got, why, and the cure.

    Commands print it as one line on stderr and exit 2; nothing was changed.
    """

    def __init__(self, what: str, why: str, cure: str = "") -> None:
        super().__init__(f"{what}: {why}" + (f"; {cure}" if cure else ""))
        self.what, self.why, self.cure = what, why, cure


class Failed(Exception):  # noqa: N818 - named as a sentence: the command failed
    """A child process ended badly. Its text never holds the input that was piped to it."""

    def __init__(self, command: Sequence[str], status: int | None, stderr: str) -> None:
        ending = "ran out of time" if status is None else f"exit status {status}"
        super().__init__(f"{' '.join(command)}: {ending}: {stderr.strip() or 'no message'}")
        self.command, self.status, self.stderr = tuple(command), status, stderr


@dataclass(frozen=True)
class Ran:
    """How a child process ended."""

    status: int
    stdout: str
    stderr: str


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Ran:
    """Run `command` without a shell and return its output as text.

    `stdin` is the way to hand over a secret: arguments and environment are visible to others.
    Raises `Failed` on a status other than 0 (unless `check` is false) and on a timeout (seconds).
    """
    try:
        done = subprocess.run(  # noqa: S603 - the one place where programs are started
            list(command),
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env=None if env is None else dict(env),
            cwd=cwd,
        )
    except subprocess.TimeoutExpired as err:
        raise Failed(command, None, "") from err
    except FileNotFoundError as err:
        raise Failed(command, 127, f"{command[0]} is not installed") from err
    if check and done.returncode != 0:
        raise Failed(command, done.returncode, done.stderr)
    return Ran(done.returncode, done.stdout, done.stderr)


def write_atomic(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Replace `path` in one step: a reader sees the old file or the new one, also after a crash.

    The file never exists with wider permissions than `mode`. Its directory must exist.
    """
    staged = stage(path, content.encode() if isinstance(content, str) else content, mode=mode)
    try:
        staged.replace(path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def stage(path: Path, data: bytes, *, mode: int) -> Path:
    """A complete file on disk beside `path`, under a name of its own, for the caller to rename.

    The file never exists with wider permissions than `mode`; nothing is left when this raises.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            os.fchmod(out.fileno(), mode)
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)
