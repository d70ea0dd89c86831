"""A Prometheus of the tests' own, on loopback, gone when its block ends."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lab_driver import eventually
from promtool import program

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

READY_WITHIN = 20.0
ENDS_WITHIN = 10.0
"""Seconds."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP API, and what it has logged."""

    port: int
    log: Path

    def ask(self, path: str, **words: str) -> Any:
        """The data of an answer. An error says what Prometheus said."""
        target = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        try:
            with _DIRECT.open(target, timeout=5) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as err:
            with err:
                raise AssertionError(f"{path} {words}: {err.read().decode()}") from err

    @property
    def ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with _DIRECT.open(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False


@contextmanager
def prometheus(configuration: Mapping[str, Any], place: Path) -> Generator[Prometheus]:
    """One that runs with this configuration; its files are in `place`."""
    path = place / "prometheus.yml"
    path.write_text(json.dumps(configuration))  # which is YAML
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Prometheus(port, place / "prometheus.log")
    words = {
        "--config.file": str(path),
        "--storage.tsdb.path": str(place / "data"),
        "--web.listen-address": f"127.0.0.1:{port}",
    }
    command = [program("prometheus"), *(f"{name}={value}" for name, value in words.items())]
    with made.log.open("w") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - as above
    try:
        eventually(
            "Prometheus answers",
            lambda: made.ready or running.poll() is not None,
            within=READY_WITHIN,
        )
        assert running.poll() is None, made.log.read_text()
        yield made
    finally:
        running.terminate()
        try:
            running.wait(ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
