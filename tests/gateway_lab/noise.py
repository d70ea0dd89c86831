"""WireGuard's handshake and keepalives in plain Python, for a thousand clients in one process.

As in the whitepaper, section 5.4 (https://www.wireguard.com/papers/wireguard.pdf), without
preshared keys and without cookies.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import time
from base64 import b64decode, b64encode
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

INITIATION, RESPONSE, TRANSPORT = 1, 2, 4
_START = hashlib.blake2s(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s").digest()
_NAMED = hashlib.blake2s(_START + b"WireGuard v1 zx2c4 Jason@zx2c4.com").digest()
_NONCE = bytes(12)
_RAW = serialization.Encoding.Raw, serialization.PublicFormat.Raw


def _hash(*parts: bytes) -> bytes:
    return hashlib.blake2s(b"".join(parts)).digest()


def _derive(key: bytes, data: bytes, count: int) -> list[bytes]:
    secret = hmac.digest(key, data, "blake2s")
    found = [b""]
    for number in range(1, count + 1):
        found.append(hmac.digest(secret, found[-1] + bytes([number]), "blake2s"))
    return found[1:]


def _mac1(message: bytes, to: bytes) -> bytes:
    key = _hash(b"mac1----", to)
    return hashlib.blake2s(message, key=key, digest_size=16).digest()


def _public(private: X25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(*_RAW)


@dataclass
class Peer:
    """One client's end of a tunnel to a server whose key it knows."""

    server: bytes
    private: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    index: int = 0
    """Ours, of the latest session."""
    remote: int = 0
    """The server's, of the latest session."""
    sending: bytes = b""
    receiving: bytes = b""
    _sent: int = 0
    _pending: tuple[X25519PrivateKey, bytes, bytes] | None = None

    def __post_init__(self) -> None:
        self.public = _public(self.private)
        self._server = X25519PublicKey.from_public_bytes(self.server)

    @property
    def public_key(self) -> str:
        """As `wg` writes it."""
        return b64encode(self.public).decode()

    def initiate(self) -> bytes:
        """A handshake of our own."""
        self.index = int.from_bytes(os.urandom(4), "little")
        ephemeral = X25519PrivateKey.generate()
        ours = _public(ephemeral)
        hashed = _hash(_NAMED, self.server)
        (chain,) = _derive(_START, ours, 1)
        hashed = _hash(hashed, ours)
        chain, key = _derive(chain, ephemeral.exchange(self._server), 2)
        static = ChaCha20Poly1305(key).encrypt(_NONCE, self.public, hashed)
        hashed = _hash(hashed, static)
        chain, key = _derive(chain, self.private.exchange(self._server), 2)
        now = time.time()
        stamp = struct.pack("!QI", 2**62 + 10 + int(now), int(now % 1 * 1e9))
        stamped = ChaCha20Poly1305(key).encrypt(_NONCE, stamp, hashed)
        self._pending = ephemeral, chain, _hash(hashed, stamped)
        message = struct.pack("<II", INITIATION, self.index) + ours + static + stamped
        return message + _mac1(message, self.server) + bytes(16)

    def finish(self, message: bytes) -> bool:
        """Take the response to `initiate`, if it is one; raises for a forged one."""
        if self._pending is None or struct.unpack_from("<I", message, 8)[0] != self.index:
            return False
        ephemeral, chain, hashed = self._pending
        self.remote = struct.unpack_from("<I", message, 4)[0]
        theirs = message[12:44]
        other = X25519PublicKey.from_public_bytes(theirs)
        (chain,) = _derive(chain, theirs, 1)
        hashed = _hash(hashed, theirs)
        (chain,) = _derive(chain, ephemeral.exchange(other), 1)
        (chain,) = _derive(chain, self.private.exchange(other), 1)
        chain, middle, key = _derive(chain, bytes(32), 3)
        ChaCha20Poly1305(key).decrypt(_NONCE, message[44:60], _hash(hashed, middle))
        self.sending, self.receiving = _derive(chain, b"", 2)
        self._sent, self._pending = 0, None
        return True

    def respond(self, message: bytes) -> bytes:
        """The answer to the server's initiation; raises for a forged one."""
        remote = struct.unpack_from("<I", message, 4)[0]
        theirs, static, stamped = message[8:40], message[40:88], message[88:116]
        other = X25519PublicKey.from_public_bytes(theirs)
        hashed = _hash(_NAMED, self.public)
        (chain,) = _derive(_START, theirs, 1)
        hashed = _hash(hashed, theirs)
        chain, key = _derive(chain, self.private.exchange(other), 2)
        assert ChaCha20Poly1305(key).decrypt(_NONCE, static, hashed) == self.server
        hashed = _hash(hashed, static)
        chain, key = _derive(chain, self.private.exchange(self._server), 2)
        ChaCha20Poly1305(key).decrypt(_NONCE, stamped, hashed)
        hashed = _hash(hashed, stamped)

        self.index, self.remote = int.from_bytes(os.urandom(4), "little"), remote
        ephemeral = X25519PrivateKey.generate()
        ours = _public(ephemeral)
        (chain,) = _derive(chain, ours, 1)
        hashed = _hash(hashed, ours)
        (chain,) = _derive(chain, ephemeral.exchange(other), 1)
        (chain,) = _derive(chain, ephemeral.exchange(self._server), 1)
        chain, middle, key = _derive(chain, bytes(32), 3)
        empty = ChaCha20Poly1305(key).encrypt(_NONCE, b"", _hash(hashed, middle))
        self.receiving, self.sending = _derive(chain, b"", 2)
        self._sent = 0
        answer = struct.pack("<III", RESPONSE, self.index, remote) + ours + empty
        return answer + _mac1(answer, self.server) + bytes(16)

    def keepalive(self) -> bytes:
        """An empty packet in the latest session."""
        nonce = bytes(4) + struct.pack("<Q", self._sent)
        sealed = ChaCha20Poly1305(self.sending).encrypt(nonce, b"", None)
        message = struct.pack("<IIQ", TRANSPORT, self.remote, self._sent) + sealed
        self._sent += 1
        return message

    def opens(self, message: bytes) -> bool:
        """Whether a transport packet is of the latest session; raises for a forged one."""
        if struct.unpack_from("<I", message, 4)[0] != self.index:
            return False
        nonce = bytes(4) + message[8:16]
        ChaCha20Poly1305(self.receiving).decrypt(nonce, message[16:], None)
        return True


def server_key(text: str) -> bytes:
    """From `wg show INTERFACE public-key`."""
    return b64decode(text)
