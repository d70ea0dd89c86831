"""Finds a secret wherever it may have leaked to: in files, and in every process's arguments.

A secret is bytes. It is looked for as it is, in hex, as base64 text, inside base64 of something
longer (at each of the three alignments), and in all of these inside gzip streams. `planted` proves
that the search is not blind.
"""

from __future__ import annotations

import base64
import gzip
import os
import secrets
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_GZIP = b"\x1f\x8b\x08"
_UNPACKED_LIMIT = 64 << 20
_NESTED = 2
"""How deep streams inside streams are opened."""
_FIELDS = ("cmdline", "environ")


@dataclass(frozen=True)
class Finding:
    """Where a secret was, and the first form it was found in: its name, never the secret."""

    secret: str
    place: str
    form: str


class Blind(Exception):  # noqa: N818 - the search is blind
    """The planted secret was not found: what the search did not find proves nothing."""


class Search:
    """A search for named secrets of at least 16 bytes each."""

    def __init__(self, wanted: Mapping[str, bytes]) -> None:
        for name, secret in wanted.items():
            if len(secret) < 16:  # noqa: PLR2004 - a shorter one is found by chance
                message = f"secret {name}: too short to be looked for"
                raise ValueError(message)
        self._needles = [
            (name, form, needle)
            for name, secret in wanted.items()
            for form, needle in forms(secret).items()
        ]

    def text(self, data: bytes, place: str, depth: int = 0) -> Iterator[Finding]:
        """What is in `data`, and in the compressed streams in it."""
        seen = set()
        for name, form, needle in self._needles:
            if name not in seen and needle in data:
                seen.add(name)
                yield Finding(name, place, form)
        if depth < _NESTED:
            for offset, unpacked in streams(data):
                yield from self.text(unpacked, f"{place} (compressed, at {offset})", depth + 1)

    def files(self, roots: Iterable[Path], *, leave_out: Iterable[Path] = ()) -> Iterator[Finding]:
        """Every file under `roots`, with its name; not those at or under `leave_out`."""
        out = {path.resolve() for path in leave_out}
        for path in _walk(roots, out):
            yield from self.text(os.fsencode(path), f"name of {path}")
            try:
                data = path.read_bytes()
            except OSError:
                continue  # gone meanwhile
            yield from self.text(data, str(path))

    def processes(self, proc: Path = Path("/proc")) -> Iterator[Finding]:
        """The arguments and the environment of every process."""
        for entry in proc.iterdir():
            if entry.name.isdigit():
                for field in _FIELDS:
                    try:
                        data = (entry / field).read_bytes()
                    except OSError:
                        continue
                    yield from self.text(data, f"{entry}/{field}")


def forms(secret: bytes) -> dict[str, bytes]:
    """Every form a secret is looked for in.

    Text that is base64 (a WireGuard key) is looked for as what it encodes, too. Base64 of a longer
    text shows the secret at one of three alignments; what the neighbours decide is left out.
    """
    found = {"as it is": secret}
    raw = _decoded(secret)
    for word, value in (("", secret), ("decoded, ", raw)):
        if value is None:
            continue
        if word:
            found["decoded"] = value
        found[f"{word}hex"] = value.hex().encode()
        found[f"{word}hex in capitals"] = value.hex().upper().encode()
        found[f"{word}base64"] = base64.b64encode(value)
        for lead in range(3):
            encoded = base64.b64encode(bytes(lead) + value)
            first = (8 * lead + 5) // 6
            last = 8 * (lead + len(value)) // 6
            found[f"{word}inside base64, offset {lead}"] = encoded[first:last]
    urlsafe = {f"{n}, URL-safe": v.translate(_URL_SAFE) for n, v in found.items() if "base64" in n}
    return found | {name: value for name, value in urlsafe.items() if value not in found.values()}


_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def streams(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The gzip streams in `data`, wherever they begin, unpacked; also of one that is cut off."""
    at = data.find(_GZIP)
    while at >= 0:
        unpacked = _unpack(data[at:])
        if unpacked:
            yield at, unpacked
        at = data.find(_GZIP, at + 1)


def planted(directory: Path) -> None:
    """Plant a secret in `directory` in every form, and in a process's environment; look for it.

    Raises `Blind` if one of them is not found. What was planted is removed again.
    """
    secret = secrets.token_bytes(32)
    key = base64.b64encode(secret)
    search = Search({"planted": key})
    texts = {
        "text": b"PrivateKey = " + key + b"\n",
        "raw": b"\0\1" + secret + b"\2",
        "hex": secret.hex().upper().encode(),
        "gzip": gzip.compress(b"x" * 100 + key),
        "base64-of-gzip-free": base64.b64encode(b"ab" + key + b"tail"),
        "gzip-of-base64": b"junk" + gzip.compress(base64.b64encode(b"a" + secret)),
    }
    with tempfile.TemporaryDirectory(dir=directory) as name:
        place = Path(name)
        for form, text in texts.items():
            (place / form).write_bytes(text)
        found = {Path(one.place.split(" (")[0]).name for one in search.files([place])}
        if missing := sorted(texts.keys() - found):
            message = f"the planted secret was not found as {', '.join(missing)}"
            raise Blind(message)
        fake = place / "proc" / "1"
        fake.mkdir(parents=True)
        for field in _FIELDS:
            (fake / field).write_bytes(b"A=1\0K=" + key + b"\0")
        if len({one.place for one in search.processes(place / "proc")}) != len(_FIELDS):
            message = "the planted secret was not found in a process"
            raise Blind(message)


def _walk(roots: Iterable[Path], out: set[Path]) -> Iterator[Path]:
    for root in roots:
        if root.resolve() in out:
            continue
        if root.is_file() and not root.is_symlink():
            yield root
            continue
        for top, directories, names in os.walk(root):
            here = Path(top)
            directories[:] = [d for d in directories if (here / d).resolve() not in out]
            for name in names:
                path = here / name
                if path.is_file() and not path.is_symlink() and path.resolve() not in out:
                    yield path


def _decoded(secret: bytes) -> bytes | None:
    try:
        return base64.b64decode(secret.strip(), validate=True)
    except ValueError:
        return None


def _unpack(data: bytes) -> bytes:
    # Past the header it is a raw deflate stream: one without an end is unpacked as far as it goes
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    try:
        return inflate.decompress(data[_header(data) :], _UNPACKED_LIMIT)
    except (zlib.error, IndexError, ValueError):
        return b""


def _header(data: bytes) -> int:
    """The length of a gzip header (RFC 1952): ten bytes and what its flags announce."""
    flags, at = data[3], 10
    if flags & 4:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            at = data.index(b"\0", at) + 1
    return at + (2 if flags & 2 else 0)
