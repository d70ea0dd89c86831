"""What gateways say to each other over UDP, and which of it counts. Pure.

A datagram is header, body and a keyed BLAKE2s over both. Header: magic, kind, the sender's instance
id and boot id, a number that rises with every datagram, and the sender's time. The key is the
gateways' own (gateway.gossip_key); nothing in it is taken on trust from anybody who has it not.

A kind is a number and a body. Those that are not known are passed over, so that gateways of
different versions get along; a new one needs a number here and a handler in its own module.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from gateway import wire
from registry.items import Change, ItemError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MAGIC = b"gpg1"
TAG_BYTES = 16

LIMIT = 1200
"""Bytes of a datagram that holds several changes; below every path's MTU."""

OVERHEAD = 160
"""Bytes of a datagram that are not its body's items: header, ids, tag, count."""

LARGEST = 8192
"""Bytes of any datagram: a change with very many rules goes alone. A VPC carries 9001."""

WINDOW = 30.0
"""Seconds that a sender's clock may differ from ours, and a datagram be under way."""

REMEMBER = 4 * WINDOW
"""Seconds after which a silent sender is forgotten; by then anything it has sent is too old."""

LATE = 64
"""Numbers by which a datagram may have been overtaken and still count."""

_HEAD = struct.Struct("!4sBQQ")


class Kind(IntEnum):
    """What a body is."""

    HELLO = 1
    """I have come (or come back): tell me all that I may lack. Body as APPLIED."""
    APPLIED = 2
    """This generation of this epoch is in force here: an acknowledgement."""
    CHANGES = 3
    """Changes of the registry, in order."""
    SESSIONS = 4
    """A part of the sender's journal of sessions and claims (gateway.takeover.words)."""
    SESSIONS_WANTED = 5
    """Send your journal from this number on."""
    SESSIONS_RETURNED = 6
    """What I know of your sessions: you seem to have been started again."""
    PRESENCE = 7
    """I am here; and in a word what I do for clients (gateway.presence)."""
    CONNECTIONS = 8
    """Open TCP connections of clients that are here (gateway.takeover.connections)."""


class Refused(ValueError):  # noqa: N818 - an answer
    """A datagram that does not count; `why` is one of a few words, for counting."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


FORGED, STALE, REPLAYED, GARBLED = "forged", "stale", "replayed", "garbled"


# ------------------------------------------------------------------ frames


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One datagram's content."""

    kind: int
    sender: str
    """Instance id."""
    boot: str
    """The kernel's boot id there."""
    number: int
    sent: int
    """Milliseconds since the epoch, by the sender's clock."""
    body: bytes = b""


def seal(key: bytes, frame: Frame) -> bytes:
    """The datagram of a frame."""
    message = (
        _HEAD.pack(MAGIC, frame.kind, frame.number, frame.sent)
        + wire.text(frame.sender)
        + wire.text(frame.boot)
        + frame.body
    )
    return message + _tag(key, message)


def unseal(key: bytes, datagram: bytes) -> Frame:
    """The frame in a datagram. Raises `Refused`."""
    message, tag = datagram[:-TAG_BYTES], datagram[-TAG_BYTES:]
    if not hmac.compare_digest(_tag(key, message), tag):
        raise Refused(FORGED)
    reader = wire.Reader(message)
    try:
        magic, kind, number, sent = _HEAD.unpack(reader.take(_HEAD.size))
        sender, boot = reader.text(), reader.text()
    except ValueError as err:
        raise Refused(GARBLED) from err
    if magic != MAGIC or not sender or not boot:
        raise Refused(GARBLED)
    return Frame(kind=kind, sender=sender, boot=boot, number=number, sent=sent, body=reader.rest())


def _tag(key: bytes, message: bytes) -> bytes:
    return hashlib.blake2s(message, key=key, digest_size=TAG_BYTES).digest()


# ------------------------------------------------------------------ what is new


@dataclass
class _Sender:
    boot: str
    highest: int
    sent: int
    """Of the newest frame."""
    heard: float
    late: int = 1
    """Bit n: the frame `highest - n` has come."""
    former: deque[str] = field(default_factory=lambda: deque(maxlen=16))
    """Boots that are over."""


class Guard:
    """Lets every frame pass once, while it is fresh and of its sender's present boot."""

    def __init__(self) -> None:
        self._senders: dict[str, _Sender] = {}

    def admit(self, frame: Frame, now: float) -> None:
        """Take note of a genuine frame; `now` in epoch seconds. Raises `Refused`."""
        if abs(now - frame.sent / 1000) > WINDOW:
            raise Refused(STALE)
        self._senders = {
            name: known
            for name, known in self._senders.items()
            if abs(now - known.heard) <= REMEMBER
        }
        known = self._senders.get(frame.sender)
        if known is None:
            self._senders[frame.sender] = _Sender(frame.boot, frame.number, frame.sent, now)
        elif frame.boot != known.boot:
            self._rebooted(known, frame)
        else:
            _next(known, frame)
        self._senders[frame.sender].heard = now

    def _rebooted(self, known: _Sender, frame: Frame) -> None:
        if frame.boot in known.former or frame.sent <= known.sent:
            raise Refused(REPLAYED)
        known.former.append(known.boot)
        known.boot, known.highest, known.sent, known.late = frame.boot, frame.number, frame.sent, 1


def _next(known: _Sender, frame: Frame) -> None:
    ahead = frame.number - known.highest
    if ahead > 0:
        known.late = (known.late << min(ahead, LATE) | 1) & ((1 << LATE) - 1)
        known.highest, known.sent = frame.number, max(known.sent, frame.sent)
    elif -ahead >= LATE or known.late >> -ahead & 1:
        raise Refused(REPLAYED)
    else:
        known.late |= 1 << -ahead


# ------------------------------------------------------------------ bodies


@dataclass(frozen=True)
class Applied:
    """How far a gateway is: the body of APPLIED and of HELLO."""

    epoch: str
    generation: int

    def pack(self) -> bytes:
        """As bytes."""
        return wire.number(self.generation) + wire.text(self.epoch)

    @classmethod
    def unpack(cls, body: bytes) -> Applied:
        """From bytes. Raises `ValueError`."""
        reader = wire.Reader(body)
        generation, epoch = reader.number(), reader.text()
        reader.end()
        return cls(epoch, generation)


@dataclass(frozen=True)
class Changes:
    """Changes of one epoch, in order: the body of CHANGES."""

    epoch: str
    changes: tuple[Change, ...]

    @classmethod
    def unpack(cls, body: bytes) -> Changes:
        """From bytes. Raises `ValueError`; a change that does not parse is one, too."""
        reader = wire.Reader(body)
        epoch = reader.text()
        try:
            changes = [Change.from_item(wire.unpack(reader)) for _ in range(reader.count())]
        except ItemError as err:
            raise ValueError(str(err)) from err
        reader.end()
        return cls(epoch, tuple(changes))


def pack_changes(epoch: str, changes: Iterable[Change]) -> Iterator[bytes]:
    """Bodies of CHANGES, each small enough for a datagram.

    It ends before a change that fits into none: without it those behind it are of no use.
    """
    head, some = wire.text(epoch), list[bytes]()
    for change in changes:
        packed = _packed(change)
        if len(packed) > LARGEST - LIMIT:
            break
        if some and sum(map(len, some)) + len(packed) > LIMIT - OVERHEAD - len(head):
            yield head + wire.count(len(some)) + b"".join(some)
            some = []
        some.append(packed)
    if some:
        yield head + wire.count(len(some)) + b"".join(some)


def _packed(change: Change) -> bytes:
    item = change.to_item()
    return wire.pack({name: value for name, value in item.items() if name not in ("pk", "sk")})


# ------------------------------------------------------------------ who lacks what


@dataclass(frozen=True)
class Heard:
    """The last that was heard of another gateway."""

    boot_id: str
    applied: Applied
    at: float
    """Epoch seconds, by our clock."""


MOST_AT_ONCE = 200
"""Changes that are sent to one gateway before it has said that it has them."""


def lacking(recent: Sequence[Change], epoch: str, other: Applied) -> Sequence[Change]:
    """Which of our `recent` changes (without a gap) of `epoch` another gateway has yet to apply.

    None if it is of another epoch, or so far behind that it has to read the registry.
    """
    if not recent or other.epoch != epoch or other.generation + 1 < recent[0].generation:
        return ()
    start = other.generation + 1 - recent[0].generation
    return recent[start : start + MOST_AT_ONCE]
