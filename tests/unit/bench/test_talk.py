"""What the streams say, and that either end notices what should not have come."""

from __future__ import annotations

import asyncio
import io
import socket
from typing import TYPE_CHECKING

import pytest

from bench import talk
from bench.courses import CLOSED, FAILED, HEARD, RECORD, RESET, WRONG

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    End = tuple[asyncio.StreamReader, asyncio.StreamWriter]

LIMIT = 10.0


def noted(out: io.BytesIO) -> list[tuple[int, int]]:
    return [(number, what) for number, what, _ in RECORD.iter_unpack(out.getvalue())]


class Counted(talk.Notes):
    """Notes that can be waited for."""

    def __init__(self, out: io.BytesIO, wanted: int) -> None:
        super().__init__(out)
        self._left = wanted
        self.enough = asyncio.Event()

    def note(self, number: int, what: int) -> None:
        super().note(number, what)
        self._left -= 1
        if self._left == 0:
            self.enough.set()


def between(meeting: Callable[[End, End], Awaitable[None]]) -> None:
    """Let both ends of a connection meet, for so long at most."""

    async def run() -> None:
        ends = [await asyncio.open_connection(sock=one) for one in socket.socketpair()]
        try:
            async with asyncio.timeout(LIMIT):
                await meeting(ends[0], ends[1])
        finally:
            for _, writer in ends:
                writer.transport.abort()

    asyncio.run(run())


def heard(said: bytes | Exception) -> tuple[int, list[tuple[int, int]]]:
    """How a talk of lines ends for connection 7 when that comes and no more, and its notes."""
    out, found = io.BytesIO(), []

    async def meeting(here: End, _: End) -> None:
        reader = asyncio.StreamReader()
        if isinstance(said, bytes):
            reader.feed_data(said)
            reader.feed_eof()
        else:
            reader.set_exception(said)
        found.append(await talk.lines(reader, here[1], 7, talk.Notes(out)))

    between(meeting)
    return found[0], noted(out)


def test_lines_in_their_order_are_noted_each() -> None:
    how, notes = heard(talk.line(7, 0) + talk.line(7, 1))
    assert (how, notes) == (CLOSED, [(7, HEARD)] * 2)


@pytest.mark.parametrize(
    "said",
    [talk.line(7, 1), talk.line(8, 0), talk.line(7, 0) * 2, b"something else\n", b"x" * 100_000],
    ids=["one is missing", "another connection's", "one comes twice", "nonsense", "no end"],
)
def test_a_line_that_is_not_the_next_one_ends_the_talk(said: bytes) -> None:
    assert heard(said)[0] == WRONG


def test_a_line_that_was_cut_off_by_the_end_is_only_the_end() -> None:
    assert heard(talk.line(7, 0) + talk.line(7, 1)[:5]) == (CLOSED, [(7, HEARD)])


@pytest.mark.parametrize(
    ("error", "how"),
    [(ConnectionResetError(), RESET), (BrokenPipeError(), RESET), (TimeoutError(), FAILED)],
)
def test_how_a_connection_ended_is_told(error: Exception, how: int) -> None:
    assert heard(error) == (how, [])


def test_both_ends_say_lines_by_their_own_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "LINE_EVERY", 0.01)
    out, far_out = io.BytesIO(), io.BytesIO()

    async def meeting(here: End, there: End) -> None:
        near, far = Counted(out, 5), Counted(far_out, 5)
        one = asyncio.create_task(talk.lines(*here, 7, near))
        other = asyncio.create_task(talk.lines(*there, 7, far))
        await near.enough.wait()
        await far.enough.wait()
        one.cancel()
        await asyncio.wait([one])
        here[1].write_eof()
        assert await other == CLOSED

    between(meeting)
    assert {*noted(out), *noted(far_out)} == {(7, HEARD)}


def test_what_is_poured_is_swallowed_whole_until_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(talk, "PIECE_EVERY", 0.001)
    out = io.BytesIO()

    async def meeting(here: End, there: End) -> None:
        # Beyond one period of the pattern
        pouring = asyncio.create_task(talk.pour(*there, 7, 30_000_000))
        notes = Counted(out, 10)
        swallowing = asyncio.create_task(talk.swallow(here[0], 7, notes))
        await notes.enough.wait()
        here[1].write_eof()
        assert await pouring == CLOSED
        there[1].write_eof()
        assert await swallowing == CLOSED

    between(meeting)
    assert set(noted(out)) == {(7, HEARD)}


@pytest.mark.parametrize(
    "said",
    [
        talk.Pattern(8).at(0, 10),
        talk.Pattern(7).at(0, 10) * 2,
        talk.Pattern(7).at(0, 10) + talk.Pattern(7).at(11, 10),
    ],
    ids=["another connection's", "twice", "a byte is missing"],
)
def test_bytes_that_are_not_the_next_ones_end_a_download(said: bytes) -> None:
    async def swallowed() -> int:
        reader = asyncio.StreamReader()
        reader.feed_data(said)
        reader.feed_eof()
        return await talk.swallow(reader, 7, talk.Notes(io.BytesIO()))

    assert asyncio.run(swallowed()) == WRONG


def test_a_place_of_a_download_tells_its_bytes_also_across_a_period() -> None:
    pattern = talk.Pattern(7)
    whole = pattern.at(0, talk.PERIOD) + pattern.at(talk.PERIOD, talk.PERIOD)
    place = talk.PERIOD - 10
    assert pattern.at(place, 20) == whole[place : place + 20]
    assert pattern.at(5, 20) != pattern.at(6, 20)


def test_a_connection_says_first_what_it_is() -> None:
    assert talk.read_hello(talk.hello(talk.BULK, 12, 125_000)) == ("bulk", 12, 125_000)
    for said in (b"GET / HTTP/1.1\n", b"", b"lines x 0\n", b"lines 1\n"):
        with pytest.raises(ValueError, match=r".*"):
            talk.read_hello(said)


def test_what_was_held_up_is_not_made_up_for() -> None:
    async def three() -> list[float]:
        clock, found = asyncio.get_running_loop().time, []
        async for count in talk._paced(0.05):
            found.append(clock())
            if count == 0:
                await asyncio.sleep(0.2)
            if count == 2:
                break
        return found

    first, second, third = asyncio.run(three())
    assert second - first >= 0.2
    assert third - second >= 0.045, "not at once"
