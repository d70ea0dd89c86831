"""A registry item's attributes as bytes, for gossip. Pure.

The shape is DynamoDB's own, so that an attribute this version knows nothing of passes through
unharmed. Reading is strict: whatever does not fit is a `ValueError`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNT = struct.Struct("!H")
_MOST = 0xFFFF
_DEEPEST = 8


class Reader:
    """Takes bytes off the front."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise ValueError("cut short")
        part, self._at = self._data[self._at : end], end
        return part

    def count(self) -> int:
        """A number of two bytes."""
        return _COUNT.unpack(self.take(_COUNT.size))[0]

    def number(self) -> int:
        """A number of eight bytes."""
        return int.from_bytes(self.take(8), "big")

    def text(self) -> str:
        """A string. A `UnicodeDecodeError` is a `ValueError`."""
        return self.take(self.count()).decode()

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(len(self._data) - self._at)

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self._at == len(self._data)

    def end(self) -> None:
        """Refuse anything that follows."""
        if not self.ended:
            raise ValueError("too long")


def count(number: int) -> bytes:
    """A number of two bytes."""
    if not 0 <= number <= _MOST:
        raise ValueError("too many to send")
    return _COUNT.pack(number)


def number(value: int) -> bytes:
    """A number of eight bytes."""
    return value.to_bytes(8, "big")


def text(value: str) -> bytes:
    """A string with its length."""
    data = value.encode()
    return count(len(data)) + data


def pack(attributes: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The attributes of an item, or of a map in it."""
    parts = [count(len(attributes))]
    for name, value in attributes.items():
        parts += [text(name), _value(value)]
    return b"".join(parts)


def _value(value: Mapping[str, Any]) -> bytes:
    ((kind, content),) = value.items()
    match kind:
        case "S" | "N":
            return kind.encode() + text(content)
        case "BOOL":
            return b"T" if content else b"F"
        case "M":
            return b"M" + pack(content)
        case "L":
            return b"L" + count(len(content)) + b"".join(map(_value, content))
    raise ValueError(f"attribute type {kind}")


def unpack(reader: Reader, depth: int = 0) -> dict[str, dict[str, Any]]:
    """What `pack` made."""
    return {reader.text(): _read(reader, depth) for _ in range(reader.count())}


def _read(reader: Reader, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    match reader.take(1):
        case b"S":
            return {"S": reader.text()}
        case b"N":
            return {"N": reader.text()}
        case b"T":
            return {"BOOL": True}
        case b"F":
            return {"BOOL": False}
        case b"M":
            return {"M": unpack(reader, depth + 1)}
        case b"L":
            return {"L": [_read(reader, depth + 1) for _ in range(reader.count())]}
        case other:
            raise ValueError(f"attribute type {other!r}")
