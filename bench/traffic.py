"""Live traffic of many clients from one process: an ICMP echo every so many milliseconds each.

`Traffic` starts `python -m bench.traffic`, which opens a raw socket in every client's namespace,
sends from one schedule, and appends what it sent and heard to a file; `refresh()` reads what is new
in it. A process of its own, so that nothing a bench does meanwhile moves its clock; ICMP, because
the kernel of the private host answers it, and no program there can be late.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self

from bench.echoes import Echoes
from bench.growing import Growing
from lab import netns, paths, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

RECORD = struct.Struct("<HBxId")
"""Flow's place in the list, SENT or HEARD, probe's number, monotonic seconds."""
SENT, HEARD = 0, 1

MAGIC = b"gpbench1"
_ECHO = struct.Struct("!BBHHH8sIH")
"""Type, code, checksum, identifier, sequence; then ours: magic, number, flow."""
_REQUEST, _REPLY = 8, 0
_IP_HEADER = 20

ROOM = 1 << 20
"""Bytes of a socket's receive buffer: seconds of answers, should the machine be busy."""
FLUSH_EVERY = 0.05
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h; not among Python's names
_START_LIMIT = 15.0
_STOP_LIMIT = 10.0


@dataclass(frozen=True)
class Flow:
    """One client's probes."""

    name: str
    namespace: str
    target: str
    every: float
    """Seconds between two of them."""


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def request(flow: int, number: int) -> bytes:
    """An echo request (RFC 792) that carries the probe's number."""
    bare = _ECHO.pack(_REQUEST, 0, 0, flow, number & 0xFFFF, MAGIC, number, flow)
    return bare[:2] + struct.pack("!H", checksum(bare)) + bare[4:]


def answer(packet: bytes, flow: int) -> int | None:
    """The number of this flow's probe that an IPv4 packet answers; None for anything else."""
    start = (packet[0] & 0x0F) * 4 if packet else _IP_HEADER
    if len(packet) < start + _ECHO.size:
        return None
    kind, _, _, _, _, magic, number, of = _ECHO.unpack_from(packet, start)
    return number if (kind, magic, of) == (_REPLY, MAGIC, flow) else None


class Recording:
    """What the sender has written, as far as it has been read."""

    def __init__(self, file: Path, flows: Sequence[Flow]) -> None:
        self._growing = Growing(file, RECORD)
        self._by_place = [Echoes() for _ in flows]
        self.flows = {flow.name: one for flow, one in zip(flows, self._by_place, strict=True)}

    def refresh(self) -> None:
        """Read what is new."""
        for place, kind, number, at in self._growing.fresh():
            echoes = self._by_place[place]
            (echoes.send if kind == SENT else echoes.hear)(number, at)


class Traffic:
    """The sender, while the context lasts."""

    def __init__(self, flows: Sequence[Flow], file: Path) -> None:
        file.write_bytes(b"")
        self._flows, self._file = tuple(flows), file
        self._recording = Recording(file, flows)
        self._sender: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start it; returns once every flow has sent."""
        command = [sys.executable, "-m", "bench.traffic", str(self._file)]
        self._sender = subprocess.Popen(  # noqa: S603 - this very module
            command,
            stdin=subprocess.PIPE,
            # Ctrl-C is the bench's; the sender ends with it
            start_new_session=True,
            cwd=paths.CHECKOUT,
            env=process.mark("bench-traffic"),
        )
        try:
            assert self._sender.stdin is not None  # noqa: S101 - it is a pipe
            self._sender.stdin.write(json.dumps([asdict(flow) for flow in self._flows]).encode())
            self._sender.stdin.close()
            self.await_true(
                "every client sends",
                lambda: all(echoes.sent for echoes in self._recording.flows.values()),
                within=_START_LIMIT,
            )
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it; what it has recorded can still be asked for."""
        self.stop()

    def stop(self) -> None:
        """End the sender, and read the last it has written."""
        if self._sender is None:
            return
        sender, self._sender = self._sender, None
        sender.terminate()
        try:
            sender.wait(_STOP_LIMIT)
        except subprocess.TimeoutExpired:
            sender.kill()
            sender.wait()
        self._recording.refresh()

    def of(self, name: str) -> Echoes:
        """A client's probes up to now."""
        if self._sender is not None:
            if self._sender.poll() is not None:
                message = f"the traffic's process has ended with status {self._sender.returncode}"
                raise OSError(message)
            self._recording.refresh()
        return self._recording.flows[name]

    def await_true(self, what: str, seen: Callable[[], bool], *, within: float) -> None:
        """Return once `seen()` holds; `TimeoutError` naming `what` after `within` seconds."""

        def looked() -> bool:
            self.of(self._flows[0].name)
            return seen()

        process.await_condition(what, looked, timeout=within)

    def await_answers(self, names: Iterable[str], *, since: float, within: float) -> None:
        """Return once every one of these clients has an answer to a probe sent after `since`."""
        missing = set(names)

        def none_missing() -> bool:
            for name in list(missing):
                if self._recording.flows[name].first_fresh(since) is not None:
                    missing.discard(name)
            return not missing

        try:
            self.await_true("answers", none_missing, within=within)
        except TimeoutError:
            message = f"no answer within {within:g} s for {', '.join(sorted(missing))}"
            raise TimeoutError(message) from None

    def sender_late_max(self) -> float:
        """Seconds by which the sender itself was at most behind its schedule between two probes."""
        every = {flow.name: flow.every for flow in self._flows}
        return max(
            (
                later - earlier - every[name]
                for name, echoes in self._recording.flows.items()
                for earlier, later in zip(echoes.sent, echoes.sent[1:], strict=False)
            ),
            default=0.0,
        )


# ------------------------------------------------------------------ the sender


def _open(flow: Flow) -> socket.socket:
    with netns.inside(flow.namespace):
        plug = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    plug.setblocking(False)
    plug.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, ROOM)
    return plug


def _send(flows: Sequence[Flow], out: BinaryIO, ended: Callable[[], bool]) -> None:
    plugs = [_open(flow) for flow in flows]
    poll = select.epoll()
    places = {plug.fileno(): place for place, plug in enumerate(plugs)}
    for plug in plugs:
        poll.register(plug, select.EPOLLIN)
    begin = time.monotonic() + FLUSH_EVERY
    # Spread over the first interval: packets in one burst would wait for each other
    due = [(begin + flow.every * place / len(flows), place, 0) for place, flow in enumerate(flows)]
    heapq.heapify(due)
    flush_at = begin
    while not ended():
        now = time.monotonic()
        while due[0][0] <= now:
            at, place, number = due[0]
            sent = time.monotonic()
            # A tunnel that is down refuses; that probe is lost, as the client's packet would be
            with contextlib.suppress(OSError):
                plugs[place].sendto(request(place, number), (flows[place].target, 0))
            out.write(RECORD.pack(place, SENT, number, sent))
            heapq.heapreplace(due, (at + flows[place].every, place, number + 1))
        if now >= flush_at:
            out.flush()
            flush_at = now + FLUSH_EVERY
        for handle, _ in poll.poll(max(0.0, min(due[0][0], flush_at) - time.monotonic())):
            _hear(plugs[places[handle]], places[handle], out)
    out.flush()


def _hear(plug: socket.socket, place: int, out: BinaryIO) -> None:
    with contextlib.suppress(BlockingIOError):
        while True:
            packet = plug.recv(2048)
            number = answer(packet, place)
            if number is not None:
                out.write(RECORD.pack(place, HEARD, number, time.monotonic()))


def main() -> int:
    """Send until SIGTERM."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    flows = [Flow(**one) for one in json.load(sys.stdin)]
    parent = os.getppid()
    with Path(sys.argv[1]).open("ab", buffering=1 << 16) as out:
        # A bench that was killed cannot say so
        _send(flows, out, lambda: bool(stopped) or os.getppid() != parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
