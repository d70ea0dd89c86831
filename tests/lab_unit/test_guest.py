"""Commands in a virtual machine, spoken over the channel of its guest agent."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effects import Failed
from lab import guest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]


class Agent:
    """Stands in for the guest agent: answers like it, one line for each line."""

    def __init__(self, command: Callable[[list[str]], dict[str, Any]]) -> None:
        self._command = command
        self._ended: dict[int, dict[str, Any]] = {}
        self._looks = 0
        self.leftover = b""
        """What an earlier caller has not read."""

    def serve(self, link: socket.socket) -> None:
        """Until the caller hangs up."""
        with link, link.makefile("rb") as questions:
            link.sendall(self.leftover)
            for line in questions:
                question = json.loads(line.removeprefix(b"\xff"))
                answer = self._answer(question["execute"], question["arguments"])
                before = b"\xff" if question["execute"] == "guest-sync-delimited" else b""
                link.sendall(before + json.dumps(answer).encode() + b"\n")

    def _answer(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        match name:
            case "guest-sync-delimited":
                return {"return": arguments["id"]}
            case "guest-exec":
                assert arguments["capture-output"] is True
                pid = 100 + len(self._ended)
                self._ended[pid] = self._command([arguments["path"], *arguments["arg"]])
                return {"return": {"pid": pid}}
            case "guest-exec-status":
                self._looks += 1
                if self._looks % 3:
                    return {"return": {"exited": False}}
                return {"return": {"exited": True, **self._ended[arguments["pid"]]}}
        return {"error": {"class": "CommandNotFound", "desc": f"{name} is not known"}}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def echo(words: list[str]) -> dict[str, Any]:
    out, err = encoded(" ".join(words)), encoded("careful")
    return {"exitcode": 3, "out-data": out, "err-data": err}


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Path]:
    """A machine's channel: as QEMU's it serves one caller at a time, and hardly any can wait."""
    path = tmp_path / "agent.sock"
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(path))
    listening.listen(1)
    agent = Agent(echo)

    def serve() -> None:
        while True:
            try:
                link = listening.accept()[0]
            except OSError:
                return
            agent.serve(link)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield path
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join(5)


def talking(agent: Agent) -> socket.socket:
    here, there = socket.socketpair()
    threading.Thread(target=agent.serve, args=(there,), daemon=True).start()
    here.settimeout(5)
    return here


def test_a_command_gives_its_status_output_and_errors(channel: Path) -> None:
    found = guest.run(guest.asking(channel), ["/usr/bin/env", "wg", "show"])
    assert found == (3, b"/usr/bin/env wg show", b"careful")


def test_a_command_that_was_killed_without_a_word_has_its_signals_status() -> None:
    def ask(name: str, _: dict[str, Any]) -> Any:
        return {"pid": 7} if name == "guest-exec" else {"exited": True, "signal": 9}

    assert guest.run(ask, ["/bin/true"]) == (128 + 9, b"", b"")


def test_callers_at_once_do_not_get_each_others_answers(channel: Path) -> None:
    found: dict[int, bytes] = {}

    def call(number: int) -> None:
        found[number] = guest.run(guest.asking(channel), ["/bin/echo", str(number)])[1]

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {number: f"/bin/echo {number}".encode() for number in range(8)}


@pytest.mark.parametrize(
    "leftover",
    [
        b'{"return": {"pid": 4}}\n',
        b'\xff{"return": 1}\n',
        b'{"return": {"exited": tr',
        b'ed": true}}\n',
    ],
)
def test_what_an_earlier_caller_did_not_read_is_passed_over(leftover: bytes) -> None:
    agent = Agent(echo)
    agent.leftover = leftover
    with talking(agent) as link:
        assert guest.exchange(link, "guest-exec-status", {"pid": 1}) == {"exited": False}


def test_an_agent_that_refuses_is_an_error_with_its_words() -> None:
    with talking(Agent(echo)) as link, pytest.raises(Failed, match="guest-fly is not known"):
        guest.exchange(link, "guest-fly", {})


def test_a_machine_that_goes_is_an_error_and_not_an_empty_answer() -> None:
    here, there = socket.socketpair()
    there.shutdown(socket.SHUT_WR)
    with here, there, pytest.raises(ConnectionResetError, match="gone"):
        guest.exchange(here, "guest-exec-status", {"pid": 1})


def test_the_program_is_to_its_caller_what_the_command_was(channel: Path) -> None:
    words = [sys.executable, "-m", "lab.guest", str(channel), "/bin/echo", "hello"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False, timeout=20)  # noqa: S603
    assert (done.returncode, done.stdout, done.stderr) == (3, b"/bin/echo hello", b"careful")


def test_the_program_says_that_nobody_answers(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lab.guest", str(tmp_path / "none.sock"), "/bin/true"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, check=False, timeout=20)  # noqa: S603
    assert done.returncode == guest.FAILED
    assert b"agent does not answer" in done.stderr
    assert done.stderr.count(b"\n") == 1
