"""What a person may type: peer names, owners, WireGuard public keys, expiry, stack names.

Each function returns the value in the one form the registry stores, or raises `Refusal` with the
cure. The same rules judge what is read back from the table, so that a gateway never acts on an item
that no command would have written.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta

from effects import Refusal

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
"""Fits file names, metric labels, nftables comments and DNS labels alike."""

STACK = re.compile(r"[A-Za-z0-9_.-]{1,100}")
"""What Pulumi accepts as a stack's name."""

INSTANCE = re.compile(r"i-[0-9a-f]{8,17}")

KEY_LENGTH = 32
"""Bytes of a WireGuard key."""

OWNER_LIMIT = 200
"""Characters."""

EXPIRY_LIMIT = timedelta(days=3660)
"""Ten years: longer is a typing error."""

_P = 2**255 - 19
_SMALL_ORDER = frozenset(
    (
        0,
        1,
        _P - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)
"""The u coordinates whose shared secret is zero with everyone (RFC 7748, section 6.1)."""

_LENGTH = re.compile(r"([0-9]{1,6})([hdw])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_EXPIRY_CURE = "give a length such as 12h, 30d or 2w, or a date such as 2027-01-31"


def peer_name(text: str) -> str:
    """A peer's name: 1 to 63 of a-z, 0-9, `.`, `_`, `-`, with a letter or digit at both ends."""
    if NAME.fullmatch(text):
        return text
    cure = "use 1 to 63 of a-z 0-9 . _ - and begin and end with a letter or digit"
    better = re.sub(r"[^a-z0-9._-]+", "-", text.lower()).strip("._-")[:63].strip("._-")
    raise Refusal(
        f"peer name {text!r}",
        "not a usable name" if text else "empty",
        f"{cure}, such as {better}" if better else cure,
    )


def stack_name(text: str) -> str:
    """The name of a Pulumi stack."""
    if STACK.fullmatch(text):
        return text
    raise Refusal(f"stack {text!r}", "not a stack's name", "name one, such as prod or lab")


def instance_id(text: str) -> str:
    """The id of an EC2 instance."""
    if INSTANCE.fullmatch(text):
        return text
    raise Refusal(
        f"gateway {text!r}", "not an instance's id", "give one whole, as `list` prints it"
    )


def owner(text: str) -> str:
    """Who answers for the peer: free text on one line, without surrounding blanks."""
    text = text.strip()
    if not text.isprintable():
        raise Refusal(f"owner {text!r}", "has a character that cannot be printed", "leave it out")
    if len(text) > OWNER_LIMIT:
        raise Refusal(
            f"owner {text[:20]!r}...",
            f"{len(text)} characters",
            f"at most {OWNER_LIMIT}: an e-mail address or a team's name will do",
        )
    return text


def public_key(text: str) -> str:
    """A WireGuard public key: the base64 of a Curve25519 point, exactly as `wg pubkey` prints it.

    One point has one spelling here: otherwise a revoked key could come back in another one.
    """
    what = f"public key {text!r}"
    cure = "give the one line that `wg pubkey` prints"
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as err:
        raise Refusal(what, "not base64", cure) from err
    if len(raw) != KEY_LENGTH:
        raise Refusal(what, f"{len(raw)} bytes, a key has {KEY_LENGTH}", cure)
    if base64.b64encode(raw).decode() != text:
        raise Refusal(what, "not in canonical base64", cure)
    if not any(raw):
        raise Refusal(what, "all zero", cure)
    point = int.from_bytes(raw, "little")
    if point >= _P or point in _SMALL_ORDER:
        raise Refusal(what, "not a point that `wg pubkey` can print", cure)
    return text


def expiry(text: str, now: datetime) -> int:
    """When access ends, in epoch seconds: `12h`, `30d`, `2w` from `now`, or a date (`end_of`)."""
    length = _LENGTH.fullmatch(text)
    if not length:
        return refuse_past(text, end_of(text), now)
    try:
        end = now + int(length[1]) * _UNITS[length[2]]
    except OverflowError as err:
        raise Refusal(f"expiry {text!r}", "no such date", _EXPIRY_CURE) from err
    return refuse_past(text, int(end.timestamp()), now)


def end_of(text: str) -> int:
    """When access ends, in epoch seconds, by a date alone; it may be past.

    `2027-01-31` includes that day, in UTC; a date with a time needs its zone.
    """
    what = f"expiry {text!r}"
    try:
        if _DAY.fullmatch(text):
            end = datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)
        else:
            end = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as err:
        if _LENGTH.fullmatch(text):
            why = "a length of time would end at another moment each time it is read"
            raise Refusal(what, why, "give a date such as 2027-01-31") from err
        raise Refusal(what, "neither a length of time nor a date", _EXPIRY_CURE) from err
    if end.tzinfo is None:
        raise Refusal(what, "no time zone", f"add one, such as {text}Z")
    return int(end.timestamp())


def moment(text: str, now: datetime) -> datetime:
    """A past moment, to the second, in UTC: `2027-01-31T12:00:00Z`, or with another zone."""
    what, cure = f"moment {text!r}", "give one such as 2027-01-31T12:00:00Z"
    try:
        found = datetime.fromisoformat(text)
    except ValueError as err:
        raise Refusal(what, "not a date with a time", cure) from err
    if _DAY.fullmatch(text) or found.tzinfo is None:
        raise Refusal(what, "no time of day, or no time zone", cure)
    found = found.astimezone(UTC).replace(microsecond=0)
    if found > now:
        raise Refusal(what, "not in the past", cure)
    return found


def since(text: str, now: datetime) -> datetime:
    """A past moment: `12h`, `30d`, `2w` before `now`, a day's beginning in UTC, or a `moment`."""
    length = _LENGTH.fullmatch(text)
    what, cure = f"since {text!r}", "give 12h, 30d or 2w, a day such as 2027-01-31, or a moment"
    try:
        if length:
            return now - int(length[1]) * _UNITS[length[2]]
        if not _DAY.fullmatch(text):
            return moment(text, now)
        found = datetime.fromisoformat(text).replace(tzinfo=UTC)
    except (ValueError, OverflowError) as err:
        raise Refusal(what, "no such date", cure) from err
    if found > now:
        raise Refusal(what, "not in the past", cure)
    return found


def refuse_past(text: str, end: int, now: datetime) -> int:
    """`end` (epoch seconds) if it is after `now` and within ten years; `text` is how it was put."""
    what = f"expiry {text!r}"
    if end <= now.timestamp():
        raise Refusal(what, "not in the future", _EXPIRY_CURE)
    if end - now.timestamp() > EXPIRY_LIMIT.total_seconds():
        raise Refusal(what, "more than ten years away", "leave --expires out for no end")
    return end
