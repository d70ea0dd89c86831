"""A handshake's first message, against a responder written from WireGuard's whitepaper."""

from __future__ import annotations

import struct
from base64 import b64decode
from hashlib import blake2s

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import BLAKE2s
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bench.initiation import Identity, answered_index, answers, initiation, timestamp

NOW = 1_700_000_000_123_456_789


def hashed(*parts: bytes) -> bytes:
    return blake2s(b"".join(parts)).digest()


def kdf(count: int, salt: bytes, data: bytes) -> list[bytes]:
    text = HKDF(BLAKE2s(32), 32 * count, salt, b"").derive(data)
    return [text[start : start + 32] for start in range(0, len(text), 32)]


def respond(server: Identity, message: bytes) -> tuple[bytes, bytes, bytes]:
    """The answer of a responder, the initiator's public key and the timestamp it has found."""
    kind, sender, point, static, stamp, mac1, _ = struct.unpack("<B3xI32s48s28s16s16s", message)
    assert kind == 1
    label = hashed(b"mac1----", server.public)
    assert mac1 == blake2s(message[:116], key=label, digest_size=16).digest()
    chain = hashed(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
    state = hashed(hashed(chain, b"WireGuard v1 zx2c4 Jason@zx2c4.com"), server.public)
    remote = X25519PublicKey.from_public_bytes(point)
    (chain,) = kdf(1, chain, point)
    state = hashed(state, point)
    chain, key = kdf(2, chain, server.private.exchange(remote))
    initiator = ChaCha20Poly1305(key).decrypt(bytes(12), static, state)
    state = hashed(state, static)
    known = X25519PublicKey.from_public_bytes(initiator)
    chain, key = kdf(2, chain, server.private.exchange(known))
    when = ChaCha20Poly1305(key).decrypt(bytes(12), stamp, state)
    state = hashed(state, stamp)
    own = X25519PrivateKey.generate()
    answer = own.public_key().public_bytes_raw()
    (chain,) = kdf(1, chain, answer)
    state = hashed(state, answer)
    (chain,) = kdf(1, chain, own.exchange(remote))
    (chain,) = kdf(1, chain, own.exchange(known))
    chain, mixed, key = kdf(3, chain, bytes(32))
    empty = ChaCha20Poly1305(key).encrypt(bytes(12), b"", hashed(state, mixed))
    body = struct.pack("<B3xII", 2, 7, sender) + answer + empty
    return body + bytes(32), initiator, when


def test_the_responder_understands_it_and_its_answer_checks_out() -> None:
    client, server = Identity.new(), Identity.new()
    pending = initiation(client, server.public_text, 0xDEADBEEF, NOW)
    answer, who, when = respond(server, pending.message)
    assert who == client.public
    assert when == timestamp(NOW)
    assert answered_index(answer) == 0xDEADBEEF
    assert answers(answer, pending)


def test_it_is_for_one_server_only() -> None:
    pending = initiation(Identity.new(), Identity.new().public_text, 1, NOW)
    with pytest.raises((AssertionError, InvalidTag)):
        respond(Identity.new(), pending.message)


@pytest.mark.parametrize("place", [0, 8, 12, 43, 44, 59])
def test_an_answer_with_any_other_byte_is_none(place: int) -> None:
    server = Identity.new()
    pending = initiation(Identity.new(), server.public_text, 1, NOW)
    answer, _, _ = respond(server, pending.message)
    wrong = answer[:place] + bytes([answer[place] ^ 1]) + answer[place + 1 :]
    assert not answers(wrong, pending)


def test_the_answer_to_another_initiation_is_none() -> None:
    client, server = Identity.new(), Identity.new()
    first, second = (initiation(client, server.public_text, 1, NOW) for _ in range(2))
    answer, _, _ = respond(server, first.message)
    assert not answers(answer, second)
    assert answers(answer, first)


@pytest.mark.parametrize("message", [b"", b"\x02" * 91, b"\x01" + bytes(91), b"\x03" + bytes(63)])
def test_what_is_no_answer_has_no_index(message: bytes) -> None:
    assert answered_index(message) is None


def test_the_timestamp_never_runs_ahead_of_a_client_that_hides_the_lower_bits() -> None:
    seconds, nanoseconds = struct.unpack("!QI", timestamp(NOW))
    assert seconds - 0x400000000000000A == 1_700_000_000
    assert nanoseconds == 123_456_789 & ~0xFFFFFF
    assert timestamp(NOW + 50_000_000) > timestamp(NOW), "or a second knock would be a replay"


def test_keys_are_written_as_wireguard_writes_them() -> None:
    identity = Identity.new()
    assert b64decode(identity.public_text) == identity.public
    assert len(b64decode(identity.private_text)) == 32
