"""Who last used which generation of the server's key: what gateways say while two are served. Pure.

Each gateway writes one item of its own beside its record, small enough for 40,000 peers: eight
bytes for each that has ever shaken hands with it.
"""

from __future__ import annotations

import base64
import binascii
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registry import items
from registry.items import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registry.items import Item, Value

MOST = 24_000
"""Entries in one item: 256 KB as text; DynamoDB takes 400 KB. The latest handshakes are kept."""

_ENTRY = struct.Struct("!II")


@dataclass(frozen=True, order=True, slots=True)
class Use:
    """A peer's last handshake."""

    at: int
    """Epoch seconds."""
    generation: int


@dataclass(frozen=True)
class Sessions:
    """What one gateway has seen."""

    arn: str
    """The gateway's."""
    generations: tuple[int, ...]
    """Those it serves, the newest last."""
    at: int
    """When it looked; epoch seconds."""
    uses: Mapping[int, Use] = field(default_factory=dict)
    """By the number of the peer's tunnel address in the client pool."""
    left_out: int = 0
    """Peers that did not fit."""

    def to_item(self) -> dict[str, Value]:
        """As it stands in the table."""
        latest = sorted(self.uses.items(), key=lambda one: one[1].at, reverse=True)[:MOST]
        seen = {
            str(generation): _packed(
                (number, use.at) for number, use in latest if use.generation == generation
            )
            for generation in self.generations
        }
        values = {
            "generations": self.generations,
            "at": self.at,
            "seen": seen,
            "left_out": self.left_out + len(self.uses) - len(latest),
        }
        return {**items.sessions_key(self.arn), **items.attributes(values)}

    @classmethod
    def from_item(cls, item: Item) -> Sessions:
        """Parse the item. Raises `ItemError`."""
        read = Reader(item)
        uses: dict[int, Use] = {}
        for name, value in read.map("seen").items():
            if not name.isdecimal() or "S" not in value:
                raise read.fault("seen: not a map of key generations to texts")
            for number, at in _unpacked(read, value["S"]):
                uses[number] = max(uses.get(number, Use(0, 0)), Use(at, int(name)))
        return cls(
            arn=read.text("pk").removeprefix("gateway#"),
            generations=read.numbers("generations"),
            at=read.number("at"),
            uses=uses,
            left_out=read.number("left_out"),
        )


def _packed(entries: Iterable[tuple[int, int]]) -> str:
    return base64.b64encode(b"".join(_ENTRY.pack(*one) for one in sorted(entries))).decode()


def _unpacked(read: Reader, text: str) -> list[tuple[int, int]]:
    try:
        raw = base64.b64decode(text, validate=True)
        return list(_ENTRY.iter_unpack(raw))
    except (binascii.Error, ValueError, struct.error) as err:
        raise read.fault("seen: not a list of entries") from err


def merged(many: Iterable[Mapping[int, Use]], newest: int) -> dict[int, Use]:
    """The last use of each peer, wherever it was; in doubt it was not the newest key."""
    found: dict[int, Use] = {}
    for uses in many:
        for number, use in uses.items():
            before = found.get(number)
            if before is None or _order(use, newest) > _order(before, newest):
                found[number] = use
    return found


def _order(use: Use, newest: int) -> tuple[int, bool]:
    return use.at, use.generation != newest
