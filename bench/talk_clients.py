"""`python -m bench.talk_clients FILE`: the clients' ends of the streams, until stdin ends.

A line of standard input is JSON: `{"leave": [NUMBER...], "begin": [a `Call`'s fields...]}`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import talk
from bench.courses import FAILED
from lab import netns

CONNECT_LIMIT = 5.0


@dataclass(frozen=True)
class Call:
    """A stream that a client begins."""

    number: int
    namespace: str
    target: str
    kind: str
    rate: int
    """Bytes a second that it asks for, of bulk."""


async def hold(call: Call, notes: talk.Notes) -> None:
    """Have a stream, and write down what arrives and how it ends."""
    # A socket stays where it was made
    with netns.inside(call.namespace):
        plug = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    plug.setblocking(False)
    try:
        async with asyncio.timeout(CONNECT_LIMIT):
            await asyncio.get_running_loop().sock_connect(plug, (call.target, talk.PORT))
        reader, writer = await asyncio.open_connection(sock=plug)
    except OSError:
        plug.close()
        notes.note(call.number, FAILED)
        return
    try:
        writer.write(talk.hello(call.kind, call.number, call.rate))
        if call.kind == talk.LINES:
            how = await talk.lines(reader, writer, call.number, notes)
        else:
            how = await talk.swallow(reader, call.number, notes)
        notes.note(call.number, how)
    finally:
        writer.transport.abort()


async def serve(file: Path) -> None:
    """Begin and leave what is asked for."""
    held: dict[int, asyncio.Task[None]] = {}
    with file.open("ab") as out:
        notes = talk.Notes(out)
        beating = asyncio.create_task(notes.beat())
        async for said in talk.orders():
            order = json.loads(said)
            for number in order["leave"]:
                held.pop(number).cancel()
            for one in order["begin"]:
                held[one["number"]] = asyncio.create_task(hold(Call(**one), notes))
        left = [*held.values(), beating]
        for one in left:
            one.cancel()
        await asyncio.gather(*left, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
