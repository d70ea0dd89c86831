"""WireGuard key pairs, made where the config is made and written nowhere else."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

KEY_LENGTH = 32
"""Bytes."""

_CLAMP_FIRST, _CLAMP_LAST, _SET_LAST = 0xF8, 0x7F, 0x40


@dataclass(frozen=True)
class KeyPair:
    """Both halves in base64, as `wg genkey` and `wg pubkey` print them."""

    private: str = field(repr=False)
    """Never in a repr: those end up in logs and tracebacks."""
    public: str


def generate() -> KeyPair:
    """A new pair from the system's random numbers, clamped as `wg genkey` does (RFC 7748, 5)."""
    raw = bytearray(secrets.token_bytes(KEY_LENGTH))
    raw[0] &= _CLAMP_FIRST
    raw[-1] = raw[-1] & _CLAMP_LAST | _SET_LAST
    return pair_of(base64.b64encode(raw).decode())


def pair_of(private: str) -> KeyPair:
    """The pair that a private key in base64 belongs to."""
    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private, validate=True))
    return KeyPair(private, base64.b64encode(key.public_key().public_bytes_raw()).decode())
