"""Where the load balancer sends each client's flow, and when that changed: off its conntrack.

A flow is named by what the load balancer sees of the client, its public address and port. That its
entry ends means that its next packet goes to where new flows go. `conntrack -E` tells each change
with the time; a thread takes it down.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, NamedTuple, Self

from bench.command import NotMeasured
from lab import edge, netns, process

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

_ROOM = 1 << 22
"""Bytes for events that have not been read yet."""
_READY = 10.0
_KNOCK_EVERY = 0.05
_JOIN = 5.0

_EVENT = re.compile(r"\[(\d+\.\d+)\]\s+\[(NEW|DESTROY)\]\s")
_ENDS = re.compile(r"src=(\S+) dst=\S+ sport=(\d+) dport=(\d+)")


class Source(NamedTuple):
    """A client as the load balancer sees it."""

    address: IPv4Address
    port: int


class Entry(NamedTuple):
    """A flow and the target's address it is sent to."""

    source: Source
    gateway: IPv4Address


class Change(NamedTuple):
    """A flow's entry that began (`new`) or ended; `at` in seconds since the epoch."""

    at: float
    new: bool
    entry: Entry


def entry_of(line: str) -> Entry | None:
    """The flow in a line of conntrack's; None for what is no flow with ports."""
    ends = _ENDS.findall(line)
    if len(ends) != 2:  # noqa: PLR2004 - there and back
        return None
    (source, port, _), (gateway, _, _) = ends
    return Entry(Source(IPv4Address(source), int(port)), IPv4Address(gateway))


def change_of(line: str) -> Change | None:
    """The change in a line of `conntrack -E -o timestamp`."""
    event, entry = _EVENT.match(line), entry_of(line)
    if event is None or entry is None:
        return None
    return Change(float(event[1]), event[2] == "NEW", entry)


@dataclass
class Log:
    """What changed, by flow; times are of one clock."""

    begun: dict[Entry, list[float]] = field(default_factory=lambda: defaultdict(list))
    ended: dict[Entry, list[float]] = field(default_factory=lambda: defaultdict(list))

    def note(self, change: Change, ahead: float = 0.0) -> None:
        """Take it down; `ahead` is by how much the change's clock is ahead of the log's."""
        times = self.begun if change.new else self.ended
        times[change.entry].append(change.at - ahead)

    def left(self, source: Source, gateway: IPv4Address, since: float) -> float | None:
        """When the load balancer first let go of a flow to a gateway, from `since` on."""
        times = self.ended.get(Entry(source, gateway), ())
        return min((at for at in times if at >= since), default=None)

    def came(self, source: Source, gateway: IPv4Address, since: float) -> float | None:
        """When the first packet of a flow was sent to a gateway as a new one, from `since` on."""
        times = self.begun.get(Entry(source, gateway), ())
        return min((at for at in times if at >= since), default=None)


class Watch:
    """The load balancer's changes, while the context lasts; by the machine's monotonic clock.

    It has to be there before the flows are: the kernel tells nothing of an entry that was made
    while nobody listened (net.netfilter.nf_conntrack_events = 2, its default).
    """

    def __init__(self, to: tuple[str, int]) -> None:
        """`to` is what clients dial: by flows to it is seen that changes are heard of."""
        self._to = to
        self._log = Log()
        self._lock = threading.Lock()
        self._program: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._heard = threading.Event()

    def __enter__(self) -> Self:
        """Start; returns once changes are heard of."""
        command = ["conntrack", "-E", "-e", "NEW,DESTROY", "-p", "udp", "-o", "timestamp"]
        self._program = subprocess.Popen(  # noqa: S603 - conntrack in a namespace of the lab's
            netns.within(edge.BALANCER, [*command, "-b", str(_ROOM)]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            # Ctrl-C is the bench's
            start_new_session=True,
            env=process.mark("bench-flows"),
        )
        self._reader.start()
        try:
            self._await_heard()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; what has been heard can still be asked for."""
        self._stop()

    def left(self, source: Source, gateway: IPv4Address, since: float) -> float | None:
        """See `Log.left`."""
        with self._asked() as log:
            return log.left(source, gateway, since)

    def came(self, source: Source, gateway: IPv4Address, since: float) -> float | None:
        """See `Log.came`."""
        with self._asked() as log:
            return log.came(source, gateway, since)

    @contextmanager
    def _asked(self) -> Generator[Log]:
        if self._program is not None and self._program.poll() is not None:
            raise NotMeasured("conntrack has ended: it is not known any more where flows go")
        with self._lock:
            yield self._log

    def _await_heard(self) -> None:
        end = time.monotonic() + _READY
        while not self._heard.is_set():
            if time.monotonic() > end:
                raise NotMeasured("conntrack tells nothing of the load balancer's flows")
            # A port that nobody has had, so a new flow
            with netns.inside(edge.INTERNET):
                plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with plug:
                plug.sendto(b"\0", self._to)
            self._heard.wait(_KNOCK_EVERY)

    def _read(self) -> None:
        assert self._program is not None  # noqa: S101 - started before
        assert self._program.stdout is not None  # noqa: S101 - it is a pipe
        for line in self._program.stdout:
            change = change_of(line)
            if change is not None:
                with self._lock:
                    self._log.note(change, time.time() - time.monotonic())
                self._heard.set()

    def _stop(self) -> None:
        program, self._program = self._program, None
        if program is None:
            return
        program.terminate()
        try:
            program.wait(_JOIN)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()
        self._reader.join(_JOIN)


def present() -> dict[Source, IPv4Address]:
    """Where every live UDP flow is sent now."""
    listing = netns.run_in(edge.BALANCER, ["conntrack", "-L", "-p", "udp"]).stdout
    return dict(entry for line in listing.splitlines() if (entry := entry_of(line)) is not None)


def forget(sources: Iterable[Source]) -> None:
    """Let the load balancer forget these flows, as if there had been none for long."""
    for one in sources:
        where = ["--orig-src", str(one.address), "--orig-port-src", str(one.port)]
        # It ends with 1 when there was nothing to forget
        netns.run_in(edge.BALANCER, ["conntrack", "-D", "-p", "udp", *where], check=False)
