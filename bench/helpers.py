"""The client helper beside many tunnels at once, and what each of them has said.

It runs as its service would have it (docs/client-helper.md), as a process in the client's place.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from bench.command import NotMeasured
from bench.crowd import LIVE_WITHIN
from lab import paths, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from bench.tunnels import Client

HELPER = paths.CHECKOUT / "client" / "gatepair_helper.py"
MOVED_AFTER = 30.0
"""Seconds, beyond the longest pause between a helper's questions, for it to have moved."""
_ENDS_WITHIN = 10.0


class Helpers:
    """One helper beside each client's tunnel, while the context lasts.

    `follows`: others have run beside these tunnels before. What a config says already no helper
    says again, so what those have said counts.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        interval: int,
        directory: Path,
        *,
        follows: bool = False,
    ) -> None:
        self._clients, self._interval = clients, interval
        self._logs = {one.name: directory / f"{one.name}.events" for one in clients}
        if not follows:
            for log in self._logs.values():
                log.unlink(missing_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.proved: dict[str, float] = {}
        """Client -> when it was seen to have proved the new key; monotonic seconds."""

    def __enter__(self) -> Self:
        """Start them; returns once each has had its first answer."""
        try:
            for client in self._clients:
                self._running[client.name] = self._start(client)
            self._await("every helper has been answered", self._settled, LIVE_WITHIN)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Stop them; what they have said stays."""
        self.stop()

    def _start(self, client: Client) -> subprocess.Popen[bytes]:
        words = [client.tunnel.interface, "--config", str(client.tunnel.config), "--json"]
        command = [sys.executable, str(HELPER), *words, "--interval", str(self._interval)]
        with self._logs[client.name].open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the project's own helper
                client.tunnel.command(command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is the bench's
                start_new_session=True,
                env=process.mark(f"bench-helper-{client.name}"),
            )

    def stop(self) -> None:
        """End them all."""
        running, self._running = self._running, {}
        for one in running.values():
            one.terminate()
        for one in running.values():
            try:
                one.wait(_ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()

    def said(self, name: str) -> list[dict[str, Any]]:
        """The events of a client's helper up to now."""
        return events(self._logs[name].read_text())

    def all_moved(self, generation: int) -> bool:
        """Whether every one of them has proved the key of that generation; notes who has."""
        for name in self._logs.keys() - self.proved.keys():
            if happened(self.said(name), "proved", generation):
                self.proved[name] = time.monotonic()
        return len(self.proved) == len(self._logs)

    def await_moved(self, generation: int) -> None:
        """Return once all have moved to the key of that generation. Raises `NotMeasured`."""
        what = f"every helper has moved to server key {generation}"
        try:
            self._await(
                what, lambda: self.all_moved(generation), 1.5 * self._interval + MOVED_AFTER
            )
        except TimeoutError as err:
            left = sorted(self._logs.keys() - self.proved.keys())
            last = [f"{name}: {(self.said(name) or ['nothing'])[-1]}" for name in left]
            raise NotMeasured(f"{err}; {'; '.join(last)}") from err

    def _settled(self) -> bool:
        return all(happened(self.said(name), "kept") for name in self._logs)

    def _await(self, what: str, condition: Callable[[], bool], limit: float) -> None:
        def looked() -> bool:
            for name, one in self._running.items():
                if one.poll() is not None:
                    text = self._logs[name].read_text()[-500:]
                    raise NotMeasured(f"the helper of {name} has ended: {text}")
            return condition()

        process.await_condition(what, looked, timeout=limit, interval=0.1)


def events(text: str) -> list[dict[str, Any]]:
    """What a helper has said with --json; a line that is half written is not there yet. Pure."""
    whole = (line for line in text.splitlines(keepends=True) if line.endswith("\n"))
    return [json.loads(line) for line in whole if line.startswith("{")]


def happened(said: Iterable[Mapping[str, Any]], event: str, generation: int | None = None) -> bool:
    """Whether a helper has said so, of that generation if one is given. Pure."""
    return any(
        one["event"] == event and generation in (None, one.get("generation")) for one in said
    )
