"""`python -m bench.talk_host FILE`: the private host's end of the streams, until stdin ends."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from bench import talk


async def serve(file: Path) -> None:
    """Answer whoever comes, and write down in `file` what arrives."""
    with file.open("ab") as out:
        notes = talk.Notes(out)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                kind, number, rate = talk.read_hello(await reader.readline())
                if kind == talk.LINES:
                    how = await talk.lines(reader, writer, number, notes)
                else:
                    how = await talk.pour(reader, writer, number, rate)
                notes.note(number, how)
            except (OSError, ValueError, asyncio.CancelledError):
                pass  # it went away before it had said what it is; or this program ends
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(answer, "0.0.0.0", talk.PORT)  # noqa: S104 - in gp-host
        beating = asyncio.create_task(notes.beat())
        await talk.ended()
        server.close()
        beating.cancel()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
