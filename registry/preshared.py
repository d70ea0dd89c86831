"""Pre-shared keys: made where a peer is let in, read again by gateways alone.

WireGuard mixes such a key into every handshake: who has recorded the traffic and learns both
private keys, or computes them with a machine of the future, still lacks it. The table, its changes,
audit and archive hold it encrypted under the stack's KMS key. The encryption context ties each
ciphertext to one stack and one public key: moved to another peer, it cannot be decrypted.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from effects import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BYTES = 32

LARGEST = 1024
"""Bytes of a ciphertext. KMS makes some 170 of 32, of a format that is its own; and a change has to
fit into one datagram between gateways (gateway/gossip.py)."""


def context(stack: str, public_key: str) -> dict[str, str]:
    """What a ciphertext is bound to. Not secret: CloudTrail shows it with each use of the key.

    The policies that let somebody use the KMS key name `stack` (components/preshared_keys.py).
    """
    return {"stack": stack, "public_key": public_key}


def ciphertext(text: str) -> str:
    """A ciphertext as items have it, base64. Raises `Refusal`."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not 0 < len(raw) <= LARGEST:
        raise Refusal("pre-shared key", f"not 1 to {LARGEST} bytes in base64")
    return text


@dataclass(frozen=True)
class Preshared:
    """A key that has just been made."""

    clear: str = field(repr=False)
    """Base64, as WireGuard's configs have it. Kept nowhere."""
    ciphertext: str
    """Base64, for the registry."""


class Sealer:
    """Makes keys of one stack. `connect` makes the KMS client when the first one is wanted.

    Encrypt and not GenerateDataKey: nobody but a gateway then needs a right under which KMS hands
    out clear text.
    """

    def __init__(self, connect: Callable[[], Any], stack: str, key_arn: str) -> None:
        self._connect, self._stack, self._key_arn = connect, stack, key_arn

    def refuse_unable(self) -> None:
        """Raise `Refusal` where the stack has no KMS key."""
        if not self._key_arn:
            raise Refusal(
                "pre-shared key",
                f"stack {self._stack} has no KMS key to encrypt it under",
                "set gatepair:presharedKeys to true in the stack file, and deploy it",
            )

    def make(self, public_key: str) -> Preshared:
        """A new key for the peer with this public key. Raises as `refuse_unable`, and as KMS."""
        self.refuse_unable()
        clear = secrets.token_bytes(KEY_BYTES)
        answer = self._connect().encrypt(
            KeyId=self._key_arn,
            Plaintext=clear,
            EncryptionContext=context(self._stack, public_key),
        )
        sealed = base64.b64encode(answer["CiphertextBlob"]).decode()
        return Preshared(base64.b64encode(clear).decode(), sealed)
