"""The lab's daemons: started detached, found again by a later command, stopped for certain.

A pid file holds the pid and the time the process started, so a pid that another process has taken
since is never signalled; signals go through a pidfd, which closes the gap between look and kill.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from effects import Failed, write_atomic
from lab import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MARK = "GATEPAIR_LAB_DAEMON"
"""Set in each daemon's environment to `ROOT:NAME`: finds what a killed command left behind."""

READY_TIMEOUT = 20.0
STOP_TIMEOUT = 10.0
_TAIL = 2000

_children: dict[int, subprocess.Popen[bytes]] = {}
"""Daemons this very process started: it has to reap them when they end."""


@dataclass(frozen=True)
class Process:
    """A process that ran when it was looked at. `started` is in clock ticks since boot."""

    name: str
    pid: int
    started: int


def await_condition(
    what: str, condition: Callable[[], bool], *, timeout: float, interval: float = 0.02
) -> None:
    """Return once `condition()` holds; `TimeoutError` naming `what` after `timeout` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= end:
            message = f"{what}: not so after {timeout:g} s"
            raise TimeoutError(message)
        time.sleep(interval)


def end_as_if_interrupted() -> None:
    """From now on SIGTERM raises `KeyboardInterrupt`: what is undone at one is at the other."""
    signal.signal(signal.SIGTERM, _interrupt)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def daemon(module: str, *arguments: str) -> list[str]:
    """The command of a daemon of ours: `python -m lab.MODULE ARGUMENTS`."""
    return [sys.executable, "-m", f"lab.{module}", *arguments]


def start(
    name: str,
    command: Sequence[str],
    *,
    ready: Callable[[], bool],
    timeout: float = READY_TIMEOUT,
    env: Mapping[str, str] | None = None,
) -> Process:
    """Start daemon `name` in the checkout and return once `ready()` holds; if it runs, only await.

    `env` is added to this process's environment. Output goes to `paths.log(name)`. Raises `Failed`
    with the end of the log when the process dies first, or is not ready after `timeout` seconds
    (it is stopped then).
    """
    paths.prepare()
    found = find(name)
    process = found or _spawn(name, command, {} if env is None else env)
    end = time.monotonic() + timeout
    while not ready():
        if not alive(process):
            _pid_file(name).unlink(missing_ok=True)
            raise Failed(command, None if found else _status(process), _tail(name))
        if time.monotonic() >= end:
            stop(name)
            raise Failed(command, None, f"not ready after {timeout:g} s: {_tail(name)}")
        time.sleep(0.02)
    return process


def find(name: str) -> Process | None:
    """The running daemon `name`, or None; a pid file whose process is gone counts as none."""
    try:
        record = json.loads(_pid_file(name).read_text())
        process = Process(name, int(record["pid"]), int(record["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return process if alive(process) else None


def look(name: str, pid: int) -> Process | None:
    """The process that has this pid now, called `name` from here on; None if there is none."""
    started = _started(pid)
    return None if started is None else Process(name, pid, started)


def running() -> list[Process]:
    """Every daemon with a pid file that still runs, by name."""
    names = sorted(path.stem for path in paths.pids().glob("*.json"))
    return [process for name in names if (process := find(name))]


def strays() -> list[Process]:
    """Daemons of this lab by their environment, so also those without a pid file.

    Children inherit the mark, so what a daemon started is in the list too.
    """
    mark = f"{MARK}={paths.root()}:"
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        name = next((v.removeprefix(mark) for v in variables if v.startswith(mark)), None)
        started = _started(int(entry.name))
        if name is not None and started is not None:
            found.append(Process(name, int(entry.name), started))
    return sorted(found, key=lambda process: (process.name, process.pid))


def mark(name: str) -> dict[str, str]:
    """The environment of a child that is found again as `name`, should its parent be killed."""
    return {**os.environ, MARK: f"{paths.root()}:{name}"}


def outlast(name: str, *, timeout: float) -> None:
    """Wait for what a killed command left running as `name`; end it after `timeout` seconds."""
    end = time.monotonic() + timeout
    for process in strays():
        if process.name == name:
            while alive(process) and time.monotonic() < end:
                time.sleep(0.05)
            end_process(process)


def alive(process: Process) -> bool:
    """Whether that very process still runs (a zombie does not)."""
    child = _children.get(process.pid)
    if child is not None:
        child.poll()
    return _started(process.pid) == process.started


def stop(name: str, *, timeout: float = STOP_TIMEOUT) -> bool:
    """End daemon `name`; False if it did not run. After the call it does not run."""
    process = find(name)
    if process is not None:
        end_process(process, timeout=timeout)
    _pid_file(name).unlink(missing_ok=True)
    return process is not None


def end_process(
    process: Process,
    *,
    timeout: float = STOP_TIMEOUT,
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGKILL),
) -> None:
    """TERM, and KILL after `timeout` seconds; returns when the process has ended.

    Raises `TimeoutError` if even KILL does not end it within `timeout` (it hangs in the kernel).
    """
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        for number in signals:
            # Compared after the pidfd was opened: now the pid cannot change hands unseen
            if not alive(process):
                return
            signal.pidfd_send_signal(handle, number)
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            if poll.poll(timeout * 1000):
                alive(process)  # reaps it if it was ours
                return
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
    message = f"{process.name} (pid {process.pid}): still there {timeout:g} s after SIGKILL"
    raise TimeoutError(message)


def _spawn(name: str, command: Sequence[str], env: Mapping[str, str]) -> Process:
    mark = {MARK: f"{paths.root()}:{name}"}
    with paths.log(name).open("ab") as log:
        child = subprocess.Popen(  # noqa: S603 - commands of the lab's own code
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=paths.CHECKOUT,
            env={**os.environ, **mark, **env},
        )
    _children[child.pid] = child
    # A child that died at once is a zombie until it is reaped, so its start time is still there
    process = Process(name, child.pid, _started(child.pid, zombie=True) or 0)
    record = {"pid": process.pid, "started": process.started}
    write_atomic(_pid_file(name), json.dumps(record), mode=0o600)
    return process


def _started(pid: int, *, zombie: bool = False) -> int | None:
    """Field 22 of /proc/PID/stat (proc(5)); None if there is no such process, or only a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name is in parentheses and may hold anything, also spaces and parentheses
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" and not zombie else int(fields[19])


def _status(process: Process) -> int | None:
    child = _children.get(process.pid)
    return child.poll() if child else 1


def _tail(name: str) -> str:
    try:
        return paths.log(name).read_text(errors="replace")[-_TAIL:]
    except OSError:
        return ""


def _pid_file(name: str) -> Path:
    return paths.pids() / f"{name}.json"
