"""A WireGuard client's first message and the check of its answer. Pure.

Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s as in WireGuard's whitepaper (https://www.wireguard.com/papers/
wireguard.pdf, section 5.4), without pre-shared key. An answer that checks out proves that the
gateway has the client's key among its peers at that moment; nothing is confirmed by it, so the
gateway opens no session and takes no client over.
"""

from __future__ import annotations

import hmac
import struct
from base64 import b64decode, b64encode
from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

if TYPE_CHECKING:
    from collections.abc import Callable

CONSTRUCTION = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"
LABEL_MAC1 = b"mac1----"

INITIATION, RESPONSE = 1, 2
RESPONSE_SIZE = 92
_HEAD = struct.Struct("<B3xI")
_RESPONSE = struct.Struct("<B3xII32s16s32x")
_NONCE = bytes(12)
_NO_MAC2 = bytes(16)
_TAI_EPOCH = 0x400000000000000A
"""TAI64's label of 1970, ten leap seconds in, as every implementation of WireGuard counts."""
_COARSE = ~0xFFFFFF
"""Implementations hide the clock's lower bits (wireguard-go, tai64n.Now); so do we, or we would
be ahead of a client of the same key for up to 17 ms."""


@dataclass(frozen=True)
class Identity:
    """A client's key pair."""

    private: X25519PrivateKey

    @classmethod
    def new(cls) -> Identity:
        """A fresh one."""
        return cls(X25519PrivateKey.generate())

    @property
    def private_text(self) -> str:
        """As a config file has it."""
        return b64encode(self.private.private_bytes_raw()).decode()

    @property
    def public_text(self) -> str:
        """As the registry has it."""
        return b64encode(self.public).decode()

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return self.private.public_key().public_bytes_raw()


@dataclass(frozen=True)
class Pending:
    """An initiation that was sent, and what is needed to check its answer."""

    message: bytes
    index: int
    """The sender's; the answer names it."""
    ephemeral: X25519PrivateKey
    static: X25519PrivateKey
    chain: bytes
    hashed: bytes


def initiation(
    identity: Identity,
    server: str,
    index: int,
    at: int,
    ephemeral: Callable[[], X25519PrivateKey] = X25519PrivateKey.generate,
) -> Pending:
    """The message to a server with this public key. `at` is nanoseconds since 1970."""
    theirs = b64decode(server)
    remote = X25519PublicKey.from_public_bytes(theirs)
    chain = _hash(CONSTRUCTION)
    hashed = _hash(_hash(chain, IDENTIFIER), theirs)
    own = ephemeral()
    point = own.public_key().public_bytes_raw()
    (chain,) = _derive(chain, point, 1)
    hashed = _hash(hashed, point)
    chain, key = _derive(chain, own.exchange(remote), 2)
    static = ChaCha20Poly1305(key).encrypt(_NONCE, identity.public, hashed)
    hashed = _hash(hashed, static)
    chain, key = _derive(chain, identity.private.exchange(remote), 2)
    stamp = ChaCha20Poly1305(key).encrypt(_NONCE, timestamp(at), hashed)
    hashed = _hash(hashed, stamp)
    body = _HEAD.pack(INITIATION, index) + point + static + stamp
    message = body + _mac(_hash(LABEL_MAC1, theirs), body) + _NO_MAC2
    return Pending(message, index, own, identity.private, chain, hashed)


def timestamp(at: int) -> bytes:
    """TAI64N of nanoseconds since 1970."""
    seconds, nanoseconds = divmod(at, 1_000_000_000)
    return struct.pack("!QI", _TAI_EPOCH + seconds, nanoseconds & _COARSE)


def answered_index(message: bytes) -> int | None:
    """Whose initiation a message claims to answer; None if it is no answer at all."""
    if len(message) != RESPONSE_SIZE or message[0] != RESPONSE:
        return None
    return _RESPONSE.unpack(message)[2]


def answers(message: bytes, pending: Pending) -> bool:
    """Whether the message is the server's answer to this very initiation."""
    if answered_index(message) != pending.index:
        return False
    _, _, _, point, empty = _RESPONSE.unpack(message)
    remote = X25519PublicKey.from_public_bytes(point)
    (chain,) = _derive(pending.chain, point, 1)
    hashed = _hash(pending.hashed, point)
    (chain,) = _derive(chain, pending.ephemeral.exchange(remote), 1)
    (chain,) = _derive(chain, pending.static.exchange(remote), 1)
    chain, mixed, key = _derive(chain, bytes(32), 3)
    try:
        return ChaCha20Poly1305(key).decrypt(_NONCE, empty, _hash(hashed, mixed)) == b""
    except InvalidTag:
        return False


def _hash(*parts: bytes) -> bytes:
    return blake2s(b"".join(parts)).digest()


def _mac(key: bytes, data: bytes) -> bytes:
    return blake2s(data, key=key, digest_size=16).digest()


def _derive(key: bytes, data: bytes, count: int) -> list[bytes]:
    """HKDF of `count` outputs (whitepaper, section 5.4: KDF_n)."""
    secret = hmac.digest(key, data, "blake2s")
    found, last = [], b""
    for number in range(1, count + 1):
        last = hmac.digest(secret, last + bytes([number]), "blake2s")
        found.append(last)
    return found
