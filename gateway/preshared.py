"""Peers' pre-shared keys on this machine: decrypted once, then one file each, for root alone.

A file's name is its peer's seal, a digest of public key and ciphertext: a key that was decrypted
for one peer is never found for another, nor for another ciphertext. The files are kept as the
server's private keys are (gateway/keys.py), so a restart without AWS serves; `wg` reads them, and
the agent itself goes by their fingerprints.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from effects import write_atomic
from gateway.custody import decode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from registry.items import Peer


@dataclass(frozen=True, slots=True)
class Preshared:
    """A pre-shared key by the file that holds it."""

    file: Path
    fingerprint: str


Opened: TypeAlias = "Mapping[str, Preshared]"
"""By seal: the keys that are here."""


def seal(peer: Peer) -> str:
    """What names a peer's pre-shared key."""
    return _seal(peer.public_key, peer.preshared)


@lru_cache(maxsize=32768)
def _seal(public_key: str, ciphertext: str) -> str:
    """Remembered: with each change of one peer all are gone through."""
    return hashlib.sha256(f"{public_key}\n{ciphertext}".encode()).hexdigest()


def fingerprint(text: str) -> str:
    """Tells keys apart and gives nothing of them away: they are random, 256 bits each."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:32]


class PresharedFiles:
    """The files, in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def recall(self) -> dict[str, Preshared]:
        """Those that hold a key. A damaged one would make `wg` refuse all peers of a request."""
        found = {}
        for path in self._paths():
            try:
                found[path.name] = Preshared(path, _fingerprint_of(path.read_text()))
            except (OSError, ValueError):
                continue
        return found

    def keep(self, name: str, clear: bytes) -> Preshared:
        """Write one, readable by root alone from the first byte. Raises `ValueError`, `OSError`.

        An empty file would be no key at all to `wg`, so nothing but 32 bytes is written.
        """
        text = _encoded(clear)
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._directory / name
        write_atomic(path, text + "\n", mode=0o600)
        return Preshared(path, fingerprint(text))

    def names(self) -> set[str]:
        """The seals of which there is a file."""
        return {path.name for path in self._paths()}

    def forget(self, names: Iterable[str]) -> None:
        """Delete these."""
        for name in names:
            (self._directory / name).unlink(missing_ok=True)

    def _paths(self) -> Iterator[Path]:
        if self._directory.is_dir():
            yield from [*self._directory.iterdir()]


def _encoded(clear: bytes) -> str:
    text = base64.b64encode(clear).decode()
    decode(text)
    return text


def _fingerprint_of(text: str) -> str:
    decode(text)
    return fingerprint(text)
