"""What the streams of bench/connections.py say, and how both ends check it.

Lines: both ends say a numbered line every 0.2 s, each by its own clock, as a terminal and what runs
in it. Bulk: the host sends bytes that are told by their place, at a steady pace. Whatever arrives
is compared with what must come next: nothing lost, nothing twice, nothing of another connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from hashlib import shake_128
from typing import TYPE_CHECKING, BinaryIO

from bench.courses import BEAT, CLOSED, FAILED, HEARD, RECORD, RESET, WRONG

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

LINES, BULK = "lines", "bulk"
PORT = 5302
LINE_EVERY = 0.2
PIECE_EVERY = 0.1
BEAT_EVERY = 0.05
READ = 1 << 15
"""Bytes taken at once; less than `PERIOD`."""
PERIOD = 65521
"""Bytes after which a bulk stream repeats itself: a prime, so that no block of TCP's fits it."""


class Notes:
    """What one end writes down; its reader may be a twentieth of a second behind."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def note(self, number: int, what: int) -> None:
        """Take down that it is so now."""
        self._out.write(RECORD.pack(number, what, time.monotonic()))

    async def beat(self) -> None:
        """For ever: say that this program is awake, and hand on what is written down."""
        while True:
            self.note(0, BEAT)
            self._out.flush()
            await asyncio.sleep(BEAT_EVERY)


def hello(kind: str, number: int, rate: int) -> bytes:
    """A connection's first line: what it is, its number, for bulk the bytes a second."""
    return f"{kind} {number} {rate}\n".encode()


def read_hello(said: bytes) -> tuple[str, int, int]:
    """The same, read. Raises `ValueError`."""
    kind, number, rate = said.decode().split()
    if kind not in {LINES, BULK}:
        raise ValueError(kind)
    return kind, int(number), int(rate)


def line(number: int, count: int) -> bytes:
    """The line of that count, from 0, of a connection."""
    return f"{number:010d} {count:010d}\n".encode()


class Pattern:
    """The bytes of a bulk stream."""

    def __init__(self, number: int) -> None:
        once = shake_128(str(number).encode()).digest(PERIOD)
        self._twice = once + once

    def at(self, place: int, size: int) -> bytes:
        """`size` bytes, `PERIOD` at most, from that place on."""
        start = place % PERIOD
        return self._twice[start : start + size]


# ------------------------------------------------------------------ what an end does


async def lines(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, notes: Notes
) -> int:
    """Say lines and hear lines until the connection has ended; returns how it has."""

    async def speak() -> None:
        async for count in _paced(LINE_EVERY):
            writer.write(line(number, count))
            await writer.drain()

    async def hear() -> int:
        count = 0
        while (said := await reader.readline()).endswith(b"\n"):
            if said != line(number, count):
                return WRONG
            notes.note(number, HEARD)
            count += 1
        return CLOSED

    return await _while_heard(hear, speak)


async def pour(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int, rate: int
) -> int:
    """Send `rate` bytes a second until the connection has ended; returns how it has."""
    pattern, size = Pattern(number), max(1, min(PERIOD, round(rate * PIECE_EVERY)))

    async def speak() -> None:
        async for count in _paced(PIECE_EVERY):
            writer.write(pattern.at(count * size, size))
            await writer.drain()

    async def hear() -> int:
        return WRONG if await reader.read(1) else CLOSED

    return await _while_heard(hear, speak)


async def swallow(reader: asyncio.StreamReader, number: int, notes: Notes) -> int:
    """Take in what `pour` sends until the connection has ended; returns how it has."""
    pattern = Pattern(number)

    async def hear() -> int:
        place = 0
        while piece := await reader.read(READ):
            if piece != pattern.at(place, len(piece)):
                return WRONG
            place += len(piece)
            notes.note(number, HEARD)
        return CLOSED

    return await _while_heard(hear)


async def _while_heard(
    hear: Callable[[], Awaitable[int]], speak: Callable[[], Awaitable[None]] | None = None
) -> int:
    """Speak as long as there is something to hear; returns how that ended."""

    async def speaking() -> None:
        # Who hears is told of the end as well, and says so
        with contextlib.suppress(OSError):
            if speak is not None:
                await speak()

    beside = asyncio.create_task(speaking())
    try:
        return await hear()
    except ConnectionError:  # a write that found it so says EPIPE
        return RESET
    except ValueError:  # a line without an end
        return WRONG
    except OSError:
        return FAILED
    finally:
        beside.cancel()


async def _paced(every: float) -> AsyncIterator[int]:
    """Numbers from 0 on, one each so many seconds; what was held up is not made up for."""
    clock = asyncio.get_running_loop().time
    count, due = 0, clock()
    while True:
        yield count
        count, due = count + 1, max(due + every, clock())
        await asyncio.sleep(due - clock())


async def ended() -> None:
    """Return when whoever started this program has closed its standard input, or is gone."""
    async for _ in orders():
        pass


async def orders() -> AsyncIterator[bytes]:
    """The lines of standard input, as they come."""
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), _stdin())
    while said := await reader.readline():
        yield said


def _stdin() -> BinaryIO:
    return open(0, "rb", buffering=0, closefd=False)
