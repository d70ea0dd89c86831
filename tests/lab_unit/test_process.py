"""Daemons of the lab: found, stopped, never mistaken for another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from effects import Failed
from lab import paths, process

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEP = [sys.executable, "-c", "import signal; signal.pause()"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\nwhile True: signal.pause()",
]


@pytest.fixture(autouse=True)
def lab_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give each test a lab directory of its own, and end what it started there."""
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path / "lab"))
    yield tmp_path
    for left in process.strays():
        process.end_process(left, timeout=5)


def test_a_daemon_is_found_again_and_started_once() -> None:
    first = process.start("one", SLEEP, ready=lambda: True)
    assert process.find("one") == first
    assert process.start("one", SLEEP, ready=lambda: True) == first
    assert process.running() == [first]
    assert os.getsid(first.pid) == first.pid


def test_stop_ends_a_daemon_and_says_whether_there_was_one() -> None:
    started = process.start("one", SLEEP, ready=lambda: True)
    assert process.stop("one") is True
    assert not process.alive(started)
    assert process.stop("one") is False
    assert process.running() == []


def test_a_daemon_deaf_to_term_is_killed_after_the_deadline() -> None:
    log = paths.log("deaf")
    started = process.start("deaf", STUBBORN, ready=lambda: "deaf" in log.read_text())
    process.stop("deaf", timeout=0.2)
    assert not process.alive(started)


def test_a_daemon_that_dies_before_it_is_ready_fails_with_the_end_of_its_log() -> None:
    dies = [sys.executable, "-c", "raise SystemExit('no such table')"]
    with pytest.raises(Failed, match="exit status 1: no such table"):
        process.start("dies", dies, ready=lambda: False)
    assert process.find("dies") is None


def test_a_daemon_that_is_not_ready_in_time_is_stopped() -> None:
    with pytest.raises(Failed, match=r"not ready after 0\.2 s"):
        process.start("slow", SLEEP, ready=lambda: False, timeout=0.2)
    assert process.strays() == []


def test_a_pid_that_another_process_has_taken_since_is_left_alone() -> None:
    paths.prepare()
    with subprocess.Popen(SLEEP) as other:  # noqa: S603
        record = {"pid": other.pid, "started": 1}
        (paths.pids() / "one.json").write_text(json.dumps(record))
        assert process.find("one") is None
        assert process.stop("one") is False
        process.end_process(process.Process("one", other.pid, 1), timeout=0.2)
        assert other.poll() is None
        other.send_signal(signal.SIGKILL)


def test_a_daemon_without_a_pid_file_is_found_by_its_environment() -> None:
    started = process.start("one", SLEEP, ready=lambda: True)
    (paths.pids() / "one.json").unlink()
    process.await_condition("it runs", lambda: process.strays() == [started], timeout=5)


def test_a_broken_pid_file_counts_as_no_daemon() -> None:
    paths.prepare()
    for content in ("", "{", "[]", '{"pid": "x"}', '{"pid": 1}'):
        (paths.pids() / "one.json").write_text(content)
        assert process.find("one") is None


def test_awaiting_a_condition_names_it_when_time_is_up() -> None:
    with pytest.raises(TimeoutError, match=r"the sky falls: not so after 0\.1 s"):
        process.await_condition("the sky falls", lambda: False, timeout=0.1)


def test_a_command_can_be_ended_like_one_that_is_interrupted() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        process.end_as_if_interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
