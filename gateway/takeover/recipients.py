"""Whom a handshake message is for, by its mac1. Pure.

mac1 is keyed by the recipient's public key, so it names the peer for certain; where the message
went is only a hint which peer to try first. Without one all are tried: some 10 ms for 10,000.
"""

from __future__ import annotations

import base64
from hashlib import blake2s
from typing import TYPE_CHECKING, NewType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.takeover.packets import Endpoint, Handshake

PeerId = NewType("PeerId", bytes)
"""Short name of a public key, the same on every gateway."""

PEER_ID_BYTES = 16
_LABEL = b"mac1----"
_HINTS_FOR_EACH = 4
_MAC1_BYTES = 16


def _mac1_key(public_key: str) -> bytes:
    return blake2s(_LABEL + base64.b64decode(public_key)).digest()


def peer_id(public_key: str) -> PeerId:
    """The first half of what keys mac1, which has to be worked out for every peer anyway."""
    return PeerId(_mac1_key(public_key)[:PEER_ID_BYTES])


class Recipients:
    """The peers that a message may be for."""

    def __init__(self) -> None:
        self._public_keys: dict[PeerId, str] = {}
        self._mac1_keys: dict[PeerId, bytes] = {}
        self._ids: dict[str, PeerId] = {}
        self._hints: dict[Endpoint, PeerId] = {}

    def admit(self, public_keys: Iterable[str]) -> None:
        """These and no others, from now on."""
        wanted = set(public_keys)
        for public_key in self._ids.keys() - wanted:
            name = self._ids.pop(public_key)
            del self._public_keys[name], self._mac1_keys[name]
        for public_key in wanted - self._ids.keys():
            mac1_key = _mac1_key(public_key)
            name = PeerId(mac1_key[:PEER_ID_BYTES])
            self._ids[public_key] = name
            self._public_keys[name], self._mac1_keys[name] = public_key, mac1_key

    def public_key(self, name: PeerId) -> str | None:
        """The key behind a name; None when that peer is not admitted."""
        return self._public_keys.get(name)

    def id_of(self, public_key: str) -> PeerId | None:
        """The name of an admitted peer."""
        return self._ids.get(public_key)

    def hint(self, endpoint: Endpoint, name: PeerId) -> None:
        """A message to this endpoint is likely for that peer."""
        if len(self._hints) > _HINTS_FOR_EACH * (len(self._ids) + 64):
            self._hints.clear()
        self._hints[endpoint] = name

    def find(self, message: Handshake, destination: Endpoint) -> PeerId | None:
        """Whom it is for; None when that is no admitted peer."""
        covered, mac1 = message.covered, message.mac1
        likely = self._hints.get(destination)
        known = None if likely is None else self._mac1_keys.get(likely)
        if known and blake2s(covered, key=known, digest_size=_MAC1_BYTES).digest() == mac1:
            return likely
        for name, mac1_key in reversed(self._mac1_keys.items()):
            if blake2s(covered, key=mac1_key, digest_size=_MAC1_BYTES).digest() == mac1:
                self.hint(destination, name)
                # tried first from now on: WireGuard calls a peer that is silent again and again
                self._mac1_keys[name] = self._mac1_keys.pop(name)
                return name
        return None
