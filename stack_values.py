"""One stack's values as Pulumi hands them over, turned into types; what is wrong is collected.

Every value arrives as text: lists and objects as JSON, the defaults of Pulumi.yaml included.
"""

from __future__ import annotations

import difflib
import json
import re
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

PRIVATE = tuple(
    IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")
)
NOWHERE = IPv4Network("0.0.0.0/32")
"""Stands where a block was refused: it overlaps no private block, so it is refused only once."""


def is_private(network: IPv4Network) -> bool:
    """Whether all of `network` is RFC 1918 or shared (100.64.0.0/10) address space."""
    return any(network.subnet_of(block) for block in PRIVATE)


class Values:
    """Typed reads. A bad value is noted in `wrong` and a harmless one returned in its place."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given
        self._declared: set[str] = set()
        self.wrong: list[str] = []

    def refuse(self, key: str, value: object, why: str, cure: str) -> None:
        """Note one wrong value."""
        shown = value if isinstance(value, str) and value else json.dumps(value, default=str)
        self.wrong.append(f"{key}: {shown}: {why}; {cure}")

    def text(self, key: str) -> str:
        """A string without the blanks around it; empty when it is not given."""
        self._declared.add(key)
        value = self._given.get(key, "")
        return value.strip() if isinstance(value, str) else str(value)

    def whole(self, key: str, low: int, high: int, because: str) -> int:
        """A whole number of `low` (above 0) to `high`; 0 in place of a wrong one."""
        text = self.text(key)
        if not re.fullmatch(r"-?\d{1,9}", text):
            self.refuse(key, text, "is no whole number", f"use {low} to {high}")
        elif not low <= int(text) <= high:
            self.refuse(key, text, f"is not {low} to {high}: {because}", f"use {low} to {high}")
        else:
            return int(text)
        return 0

    def flag(self, key: str) -> bool:
        """`true` or `false`; false when it is not given."""
        text = self.text(key)
        if text not in ("true", "false", ""):
            self.refuse(key, text, "is neither true nor false", "write true or false")
        return text == "true"

    def choice(self, key: str, known: Sequence[str]) -> str:
        """One of `known`; the first of them when it is not given, and in place of a wrong one."""
        text = self.text(key) or known[0]
        if text not in known:
            self.refuse(key, text, f"is none of {', '.join(known)}", f"write {' or '.join(known)}")
            return known[0]
        return text

    def document(self, key: str, keys: Iterable[str]) -> dict[str, Any] | None:
        """An object with no other keys than `keys`; None in place of a wrong one."""
        value = self._json(key, {})
        if not isinstance(value, dict):
            self.refuse(key, value, "is no object", f"write {', '.join(keys)} under it")
            return None
        for name in value:
            if name not in keys:
                self.refuse(f"{key}.{name}", value[name], "is not a key", _nearest(name, keys))
        return value

    def items(self, key: str) -> Any:
        """What should be a list; empty when it is not given."""
        return self._json(key, [])

    def networks(self, key: str, *, private: bool) -> tuple[IPv4Network, ...]:
        """A list of IPv4 blocks; wrong and repeated ones are left out."""
        return self.blocks(key, self.items(key), private=private)

    def listed(self, key: str, value: Any) -> list[Any] | None:
        """`value` if it is a list, None if it is not."""
        if isinstance(value, list):
            return value
        self.refuse(key, value, "is no list", "write it as [a, b]")
        return None

    def strings(self, key: str, value: Any, pattern: str, example: str) -> tuple[str, ...]:
        """The strings of a list, each different and each like `pattern`."""
        good: list[str] = []
        for item in self.listed(key, value) or []:
            if not isinstance(item, str) or not re.fullmatch(pattern, item):
                self.refuse(key, item, "has another form", f"write it like {example}, as a string")
            elif item in good:
                self.refuse(key, item, "stands twice", "name it once")
            else:
                good.append(item)
        return tuple(good)

    def blocks(self, key: str, value: Any, *, private: bool) -> tuple[IPv4Network, ...]:
        """`networks` of a value that stands inside an object."""
        good: list[IPv4Network] = []
        for item in self.listed(key, value) or []:
            block = self.block(key, item, private=private)
            if block in good:
                self.refuse(key, item, "stands twice", "name it once")
            elif block != NOWHERE:
                good.append(block)
        return tuple(good)

    def block(self, key: str, value: Any, *, private: bool) -> IPv4Network:
        """One IPv4 block; `NOWHERE` in place of a wrong one."""
        try:
            network = IPv4Network(value if isinstance(value, str) else "")
        except ValueError:
            self.refuse(key, value, *_bad_block(value))
            return NOWHERE
        if private and not is_private(network):
            cure = "use a block of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or 100.64.0.0/10"
            self.refuse(key, value, "is not private address space", cure)
            return NOWHERE
        return network

    def refuse_unknown(self) -> None:
        """Note every key that was given and that nothing has read."""
        for key in sorted(set(self._given) - self._declared):
            self.refuse(key, self._given[key], "is not a key", _nearest(key, self._declared))

    def _json(self, key: str, default: Any) -> Any:
        text = self.text(key)
        try:
            return json.loads(text) if text else default
        except ValueError:
            return text


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1)
    return (
        f"did you mean {near[0]}?" if near else f"remove it; there are {', '.join(sorted(known))}"
    )


def _bad_block(value: object) -> tuple[str, str]:
    """Why `value` is no IPv4 block, and the cure."""
    if isinstance(value, str) and ":" in value:
        return "is IPv6", "write an IPv4 block; IPv6 is not supported"
    try:
        whole = IPv4Network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        return "is no IPv4 block", "write it like 10.1.0.0/16"
    return "has host bits set", f"write {whole}"
