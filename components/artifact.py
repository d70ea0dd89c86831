"""The gateway's code as one file, the same bytes from the same sources, wherever it is made."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effects import write_atomic

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

PARTS = ("effects.py", "gateway", "registry")
"""What a gateway runs, relative to the repository."""
BUILD = ".build"


@dataclass(frozen=True)
class Artifact:
    """An archive, not compressed, and its SHA-256 (hex)."""

    data: bytes
    sha256: str
    form: str = "gateway-{}.tar"
    """Of its name, with the hash where the braces are."""

    @property
    def key(self) -> str:
        """Its name in the bucket: other contents, another name."""
        return self.form.format(self.sha256)


def build(root: Path) -> Artifact:
    """The artifact of the repository at `root`.

    Not compressed, since what gzip writes differs between versions of zlib; no times, owners or
    umask either. So a new hash means new code, and the same code never replaces a gateway.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for path in files(root, PARTS):
            entry = tarfile.TarInfo(path.relative_to(root).as_posix())
            data = path.read_bytes()
            entry.size = len(data)
            entry.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            archive.addfile(entry, io.BytesIO(data))
    data = out.getvalue()
    return Artifact(data, hashlib.sha256(data).hexdigest())


def write(artifact: Artifact, root: Path) -> Path:
    """Put the artifact under `root`, by its hash, and return where."""
    path = root / BUILD / artifact.key
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        write_atomic(path, artifact.data)
    return path


def files(root: Path, parts: Iterable[str]) -> list[Path]:
    """The files of these parts of the repository, in one order: no caches, nothing hidden."""
    return sorted(_files(root, parts), key=lambda path: path.relative_to(root).as_posix())


def _files(root: Path, parts: Iterable[str]) -> Iterator[Path]:
    for part in parts:
        base = root / part
        for path in [base] if base.is_file() else base.rglob("*"):
            hidden = any(name.startswith(".") for name in path.relative_to(root).parts)
            if path.is_file() and not hidden and "__pycache__" not in path.parts:
                yield path
