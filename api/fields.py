"""What may stand in a body or a query, judged by the rules that the commands have. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.problems import Fault, fault
from effects import Refusal
from registry import allow, validation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

LONGEST_WAIT = 25
"""Seconds: below what proxies and clients wait for an answer by default."""

NEVER = "never"

KEY_CURE = "keep it where it was made: `wg pubkey` prints the public key that belongs here"


@dataclass(frozen=True)
class Field:
    """One value by name."""

    name: str
    text: str
    """What it is, for the OpenAPI document."""
    schema: Mapping[str, Any]
    """JSON schema; its `type` is checked here, all else by `judge`."""
    judge: Callable[[Any, datetime], Any]
    """The value in the form that the registry takes; raises `Refusal`. The moment is now."""
    required: bool = False
    default: Any = None
    """In the form that `judge` returns."""


_NUMBER = re.compile(r"-?[0-9]{1,9}")

_TYPES: Mapping[str, type] = {"string": str, "integer": int, "array": list, "boolean": bool}


def of_query(
    fields: Iterable[Field], pairs: Iterable[tuple[str, str]], faults: list[Fault]
) -> dict[str, Any]:
    """A query's values, numbers as such; a name that stands twice is added to `faults`."""
    numbers = {one.name for one in fields if one.schema["type"] == "integer"}
    given: dict[str, Any] = {}
    for name, text in pairs:
        if name in given:
            faults.append(Fault(name, text, "stands twice", "give it once"))
        number = name in numbers and _NUMBER.fullmatch(text)
        given[name] = int(text) if number else text
    return given


def read(
    fields: Iterable[Field], given: Mapping[str, Any], now: datetime, faults: list[Fault]
) -> dict[str, Any]:
    """The value of every field; what is wrong is added to `faults`."""
    known = {one.name: one for one in fields}
    faults += [_unknown(name, known) for name in given if name not in known]
    values = {}
    for name, one in known.items():
        if given.get(name) is None:
            values[name] = one.default
            if one.required:
                faults.append(Fault(name, None, "is missing", f"give it: {one.text}"))
            continue
        values[name] = _judged(one, given[name], now, faults)
    return values


def _judged(one: Field, value: Any, now: datetime, faults: list[Fault]) -> Any:
    kind = one.schema["type"]
    # a bool is an int in Python and none in JSON
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        # in place of a yes somebody may have sent the very key
        said = None if one is PRESHARED else value
        faults.append(Fault(one.name, said, f"is no {kind}", f"send a JSON {kind}"))
        return one.default
    if kind == "array":
        return [
            judged
            for number, item in enumerate(value)
            if (judged := _item(one, f"{one.name}[{number}]", item, now, faults)) is not None
        ]
    try:
        return one.judge(value, now)
    except Refusal as err:
        faults.append(fault(one.name, value, err))
        return one.default


def _item(one: Field, name: str, item: Any, now: datetime, faults: list[Fault]) -> Any:
    if not isinstance(item, str):
        faults.append(Fault(name, item, "is no string", "send a JSON string"))
        return None
    try:
        return one.judge(item, now)
    except Refusal as err:
        faults.append(fault(name, item, err))
        return None


def _unknown(name: str, known: Mapping[str, Field]) -> Fault:
    """Never with its value: that may be a private key which somebody sent all the same."""
    shown = name if name.isprintable() and len(name) <= validation.OWNER_LIMIT else "a field"
    if "private" in name.lower() or "preshared" in name.lower():
        return Fault(shown, None, "no secret key goes through this API", KEY_CURE)
    cure = f"send {', '.join(known)}" if known else "send nothing here"
    return Fault(shown, None, "is not known here", cure)


def _seconds(value: int, now: datetime) -> int:
    del now
    if not 0 <= value <= LONGEST_WAIT:
        cure = f"send 0 to {LONGEST_WAIT}; call again to wait longer"
        raise Refusal("wait", f"not 0 to {LONGEST_WAIT} seconds", cure)
    return value


def _end(value: str, now: datetime) -> int | None:
    return None if value == NEVER else validation.expiry(value, now)


_TEXT: Mapping[str, Any] = {"type": "string"}

NAME = Field(
    "name",
    "the peer's name: 1 to 63 of a-z 0-9 . _ -, a letter or digit at both ends",
    {"type": "string", "pattern": f"^{validation.NAME.pattern}$", "examples": ["alice-laptop"]},
    lambda value, _: validation.peer_name(value),
    required=True,
)
PUBLIC_KEY = Field(
    "public_key",
    "the WireGuard public key, as `wg pubkey` prints it; the private key stays with its owner",
    {"type": "string", "minLength": 44, "maxLength": 44},
    lambda value, _: validation.public_key(value),
    required=True,
)
OWNER = Field(
    "owner",
    "who answers for the peer, such as an e-mail address",
    {"type": "string", "maxLength": validation.OWNER_LIMIT},
    lambda value, _: validation.owner(value),
    default="",
)
EXPIRES = Field(
    "expires",
    "when access ends: 12h, 30d, 2w, the last day in UTC (2027-01-31), or never",
    {**_TEXT, "examples": ["30d", "2027-01-31", NEVER]},
    _end,
)
NEW_END = Field(EXPIRES.name, EXPIRES.text, EXPIRES.schema, EXPIRES.judge, required=True)
ALLOW = Field(
    "allow",
    "reach only this, CIDR[:PROTO[/PORT]] each; without it all that the stack lets peers reach",
    {
        "type": "array",
        "items": {"type": "string", "examples": ["10.20.3.0/24:tcp/5432"]},
        "maxItems": allow.MOST,
    },
    lambda value, _: allow.canonical(value),
    default=[],
)
PRESHARED = Field(
    "preshared_key",
    "whether to make a pre-shared key too; the answer's config is the only one that has it",
    {"type": "boolean", "default": False},
    lambda value, _: value,
    default=False,
)
OF_PEER = Field(NAME.name, "of this peer only, also a revoked one", NAME.schema, NAME.judge)
WAIT = Field(
    "wait",
    f"seconds to wait for the gateways' confirmation, 0 to {LONGEST_WAIT}",
    {"type": "integer", "minimum": 0, "maximum": LONGEST_WAIT, "default": LONGEST_WAIT},
    _seconds,
    default=LONGEST_WAIT,
)
