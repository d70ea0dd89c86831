"""The key of gossip: 32 random bytes that the first gateway makes and all share.

Not derived from a server key, which may leak or be rotated. A copy on disk lets a gateway that
restarts without AWS go on talking.
"""

from __future__ import annotations

import base64
import logging
import secrets
from typing import TYPE_CHECKING

from effects import write_atomic
from gateway.aws import ERRORS, reason
from gateway.custody import KEY_BYTES, KeyPending, decode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.custody import Custody
    from gateway.gossip_link import Link

log = logging.getLogger(__name__)

STAGE = "gossip"
COMPARE_EVERY = 3600.0
"""Seconds between comparisons with the secret: its version may have been made anew."""


def generate() -> str:
    """A new key, base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


class GossipKey:
    """Gives the link its key: at once from disk, then from the secret."""

    def __init__(
        self,
        custody: Custody,
        version: str,
        path: Path,
        link: Link,
        make: Callable[[], str] = generate,
    ) -> None:
        self._custody, self._version, self._path = custody, version, path
        self._link, self._make = link, make

    def recall(self) -> None:
        """From disk, if it is there."""
        try:
            self._link.key = decode(self._path.read_text())
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as err:
            log.warning("gossip key on disk: %s", err)

    def step(self) -> float:
        """Read or make it; returns the seconds until it is compared again."""
        try:
            text = self._custody.read(self._version, tries=1)
            if text is None:
                text = self._custody.make(self._version, self._make(), STAGE).text
        except (KeyPending, *ERRORS) as err:
            raise OSError(str(err) if isinstance(err, KeyPending) else reason(err)) from None
        try:
            key = decode(text)
        except ValueError as err:
            raise ValueError(f"the gossip key is {err}: delete its version") from None
        if key != self._link.key:
            write_atomic(self._path, text.strip() + "\n", mode=0o600)
            self._link.key = key
            log.info("gossip: the key is here")
        return COMPARE_EVERY
