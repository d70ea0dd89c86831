"""Secrets that gateways make themselves and share: whoever writes a version first has made it.

Every gateway computes the version's id by itself; Secrets Manager takes one text for it and refuses
any other.
"""

from __future__ import annotations

import base64
import binascii
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

READ_TRIES = 5
FIRST_PAUSE = 0.2
"""Seconds before a version that ought to be there is read again; doubles each time."""


KEY_BYTES = 32
"""Of every key here: a Curve25519 private key, or the one that gossip is sealed with."""


def decode(text: str) -> bytes:
    """The key that a version's text is. Raises `ValueError`, which never repeats the text."""
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"not {KEY_BYTES} bytes of base64")
    return key


class KeyPending(Exception):  # noqa: N818 - an answer
    """The key is being made by another gateway and cannot be read yet. Tried again soon."""


class Store(Protocol):
    """The secret's versions."""

    def get(self, version: str) -> str | None:
        """The version's text, or None."""
        ...

    def put(self, version: str, value: str, stage: str) -> bool:
        """Create the version; False when it is there with another text."""
        ...


@dataclass(frozen=True)
class Made:
    """A version's text, and whether it is ours."""

    text: str
    ours: bool


@dataclass(frozen=True)
class Custody:
    """Reads and makes versions. Errors of AWS's client pass through: try again later."""

    store: Store
    pause: Callable[[float], None] = time.sleep

    def read(self, version: str, *, tries: int = READ_TRIES) -> str | None:
        """The version's text; None when it is not there after so many tries."""
        pause = FIRST_PAUSE
        for attempt in range(tries):
            if attempt:
                self.pause(pause)
                pause *= 2
            text = self.store.get(version)
            if text is not None:
                return text
        return None

    def make(self, version: str, text: str, stage: str) -> Made:
        """Write `text`, unless another gateway was faster: then that one's. Raises `KeyPending`."""
        if self.store.put(version, text, stage):
            return Made(text, ours=True)
        winner = self.read(version)
        if winner is None:
            raise KeyPending("another gateway has made the key, but it cannot be read yet")
        return Made(winner, ours=False)
