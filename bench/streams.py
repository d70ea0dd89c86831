"""Open TCP connections of many clients to the private host: two programs, and what they noted.

One program has all the clients' ends, each in its client's namespace, the other the host's: so that
nothing a bench does meanwhile moves their clocks, and forty connections are not eighty processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from itertools import count, pairwise
from typing import TYPE_CHECKING, NamedTuple, Self

from bench import talk
from bench.courses import BEAT, RECORD, Course
from bench.growing import Growing
from bench.talk_clients import Call
from lab import host, netns, paths, process

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from bench.ground import Ground

KINDS = (talk.LINES, talk.BULK)
PATIENCE = 6.0
"""Seconds after which a connection that does not talk is begun anew."""
TALK_WITHIN = 60.0
_STARTS_WITHIN = 15.0
_ENDS_WITHIN = 10.0
_LOOK_EVERY = 0.1


class Place(NamedTuple):
    """Whose stream, and what it is."""

    client: str
    kind: str


class Record:
    """What both ends have noted, by connection's number."""

    def __init__(self, near: Path, far: Path) -> None:
        self._files = [(Growing(file, RECORD), file == far) for file in (near, far)]
        self._beats: tuple[list[float], list[float]] = ([], [])
        self.courses: dict[int, Course] = {}

    def refresh(self) -> None:
        """Read what is new. Of connections that nobody has asked about nothing is kept."""
        for file, far in self._files:
            for number, what, at in file.fresh():
                if what == BEAT:
                    self._beats[far].append(at)
                elif number in self.courses:
                    self.courses[number].note(what, at, far=far)

    @property
    def awake(self) -> bool:
        """Whether both programs run."""
        return all(self._beats)

    def late_max(self) -> float:
        """Seconds by which one of the programs was at most behind its own schedule."""
        gaps = (b - a - talk.BEAT_EVERY for beats in self._beats for a, b in pairwise(beats))
        return max(gaps, default=0.0)


class Streams:
    """A connection of each kind for each client, while the context lasts."""

    def __init__(self, ground: Ground, clients: Mapping[str, str], rate: int) -> None:
        """`clients`: name -> namespace. `rate`: bytes a second of each bulk stream."""
        self._clients, self._rate, self._target = clients, rate, str(ground.host)
        self._files = [ground.directory / f"connections.{end}" for end in ("near", "far")]
        for file in self._files:
            file.write_bytes(b"")
        self.record = Record(*self._files)
        self._numbers = count(1)
        self._present: dict[Place, int] = {}
        self._begun: dict[Place, float] = {}
        self._programs: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        """Start both programs; no connection is open yet."""
        near, far = map(str, self._files)
        with ExitStack() as undone:
            undone.callback(self._stop)
            server = [sys.executable, "-m", "bench.talk_host", far]
            self._start(netns.within(host.NAMESPACE, server))
            self._start([sys.executable, "-m", "bench.talk_clients", near])
            listens = ["ss", "-Hlnt", f"sport = :{talk.PORT}"]
            process.await_condition(
                "both ends of the streams run",
                lambda: (
                    self._awake() and bool(netns.run_in(host.NAMESPACE, listens).stdout.strip())
                ),
                timeout=_STARTS_WITHIN,
                interval=_LOOK_EVERY,
            )
            undone.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End them; what they have noted can still be asked for."""
        self._stop()

    def _start(self, command: Sequence[str]) -> None:
        self._programs.append(
            subprocess.Popen(  # noqa: S603 - the bench's own programs
                command,
                stdin=subprocess.PIPE,
                # Ctrl-C is the bench's; they end when their standard input does
                start_new_session=True,
                cwd=paths.CHECKOUT,
                env=process.mark("bench-streams"),
            )
        )

    def _stop(self) -> None:
        # The clients' end first: to the host it is they who leave
        while self._programs:
            one = self._programs.pop()
            try:
                one.communicate(timeout=_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        self.record.refresh()

    def refresh(self) -> None:
        """Read what both ends have noted. Raises `OSError` if one of the programs is gone."""
        for one in self._programs:
            if one.poll() is not None:
                message = f"a program of the streams has ended with status {one.returncode}"
                raise OSError(message)
        self.record.refresh()

    def _awake(self) -> bool:
        self.refresh()
        return self.record.awake

    def present(self) -> dict[Place, Course]:
        """The connection of each place, as far as it is known by now."""
        self.refresh()
        return {place: self.record.courses[number] for place, number in self._present.items()}

    def renew(self, *, anew: Collection[str] = (), within: float = TALK_WITHIN) -> None:
        """Return once every stream talks; a connection that does not is begun anew.

        Those of the clients named in `anew` are in any case.
        """
        places = [Place(client, kind) for client in anew for kind in KINDS]
        self._begin(places, time.monotonic())

        def all_talk() -> bool:
            courses, now = self.present(), time.monotonic()
            wanted = [Place(client, kind) for client in self._clients for kind in KINDS]
            silent = [p for p in wanted if p not in courses or not courses[p].talks(now)]
            self._begin(
                [
                    place
                    for place in silent
                    if place not in courses
                    or courses[place].over(now)
                    or now > self._begun[place] + PATIENCE
                ],
                now,
            )
            return not silent

        process.await_condition(
            "every stream talks", all_talk, timeout=within, interval=_LOOK_EVERY
        )

    def settle(self, within: float) -> None:
        """Return once it is known of every stream what has become of it."""

        def all_decided() -> bool:
            courses, now = self.present(), time.monotonic()
            return all(one.decided(now) for one in courses.values())

        what = "every stream talks, has ended, or is silent for good"
        process.await_condition(what, all_decided, timeout=within, interval=_LOOK_EVERY)

    def _begin(self, places: Sequence[Place], now: float) -> None:
        if not places:
            return
        left = [self._present[place] for place in places if place in self._present]
        calls = []
        for place in places:
            number = next(self._numbers)
            self.record.courses[number] = Course(both_ways=place.kind == talk.LINES)
            self._present[place], self._begun[place] = number, now
            namespace = self._clients[place.client]
            calls.append(Call(number, namespace, self._target, place.kind, self._rate))
        order = {"leave": left, "begin": [asdict(one) for one in calls]}
        pipe = self._programs[-1].stdin
        assert pipe is not None  # noqa: S101 - it is a pipe
        pipe.write(json.dumps(order).encode() + b"\n")
        pipe.flush()
