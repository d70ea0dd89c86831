"""Handshake messages and packets as they lie on the wire, for tests."""

from __future__ import annotations

import base64
import hashlib
import struct
from ipaddress import ip_address

COVERED = {1: 116, 2: 60}


def public_key(name: str) -> str:
    """A key that looks like one."""
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


def handshake(kind: int, index: int, to: str) -> bytes:
    """An initiation (1) or response (2) for the owner of a public key; its mac1 is right."""
    head = bytes([kind, 0, 0, 0]) + struct.pack("!I", index)
    covered = head + bytes(range(COVERED[kind] - len(head)))
    key = hashlib.blake2s(b"mac1----" + base64.b64decode(to)).digest()
    return covered + hashlib.blake2s(covered, key=key, digest_size=16).digest() + bytes(16)


def transport(index: int) -> bytes:
    """A keepalive."""
    return bytes([4, 0, 0, 0]) + struct.pack("!I", index) + bytes(24)


def udp(source: tuple[str, int], destination: tuple[str, int], payload: bytes) -> bytes:
    """The IP packet around it; IPv4 has options in its header."""
    one, other = ip_address(source[0]), ip_address(destination[0])
    inner = struct.pack("!HHHH", source[1], destination[1], 8 + len(payload), 0) + payload
    if one.version == 6:
        head = struct.pack("!IHBB", 6 << 28, len(inner), 17, 64)
        return head + one.packed + other.packed + inner
    head = struct.pack("!BBHHHBBH", 0x46, 0, 24 + len(inner), 0, 0, 64, 17, 0)
    return head + one.packed + other.packed + bytes(4) + inner
