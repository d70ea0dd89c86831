"""A machine that is frozen: everything in it, and nothing else."""

from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effects import Refusal
from lab import nspawn, process

if TYPE_CHECKING:
    from collections.abc import Generator

INSIDE = "sleep 60 & sleep 60 & wait"


def state(pid: int) -> str:
    """T: stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def container() -> Generator[int]:
    """The pid of the first process of a pid namespace with some more in it."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", INSIDE]
    with subprocess.Popen(words) as outer:  # noqa: S603
        try:
            deadline = time.monotonic() + 10
            while not (inner := children(outer.pid)) or len(children(inner[0])) < 2:
                assert time.monotonic() < deadline, "the container does not start"
                time.sleep(0.01)
            yield inner[0]
        finally:
            outer.kill()


@pytest.mark.lab
def test_all_that_runs_in_it_stops_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with container() as first, container() as another:
        monkeypatch.setattr(nspawn, "_init", lambda name: process.look(name, first))
        everyone = [first, *children(first)]
        nspawn.Containers().freeze("i-1")
        stopped = lambda: {state(pid) for pid in everyone} == {"T"}  # noqa: E731
        process.await_condition("it stands still", stopped, timeout=5)
        assert "T" not in {state(pid) for pid in (another, *children(another))}
        nspawn.Containers().thaw("i-1")
        running = lambda: "T" not in {state(pid) for pid in everyone}  # noqa: E731
        process.await_condition("it goes on", running, timeout=5)


def test_a_machine_that_is_off_cannot_be_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nspawn, "_init", lambda _: None)
    with pytest.raises(Refusal, match="not running"):
        nspawn.Containers().freeze("i-1")
