"""Runs a command as root in a virtual machine: `python -m lab.guest SOCKET CMD...`, on the host.

QEMU's guest agent answers on a virtio channel whose other end only the host's root can open
(commands and shapes: QEMU's documentation, "QEMU Guest Agent Protocol Reference"). The command gets
no input, and its output comes when it has ended. One caller at a time has the channel, for one
question.
"""

from __future__ import annotations

import base64
import fcntl
import json
import random
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effects import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Ask = Callable[[str, dict[str, Any]], Any]

ANSWER_TIMEOUT = 60.0
"""Seconds: an emulated machine that is busy booting is slow to answer."""
FAILED = 125
"""Exit status when the command could not be run at all, as env(1) has it."""
_SENTINEL = b"\xff"
_FIRST_LOOK, _LONGEST_PAUSE = 0.02, 0.5


def run(ask: Ask, command: Sequence[str]) -> tuple[int, bytes, bytes]:
    """Run `command` in the machine: its exit status (128 and the signal's number, if that ended
    it), output and errors. `ask` is one question to the agent."""
    path, *arguments = command
    request = {"path": path, "arg": arguments, "capture-output": True}
    pid = ask("guest-exec", request)["pid"]
    pause = _FIRST_LOOK
    while not (ended := ask("guest-exec-status", {"pid": pid}))["exited"]:
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)
    status = ended.get("exitcode", 128 + ended.get("signal", 0))
    out, err = (base64.b64decode(ended.get(f"{name}-data", "")) for name in ("out", "err"))
    return status, out, err


def asking(channel: Path) -> Ask:
    """Questions over a machine's channel. They raise `OSError` and `Failed`."""

    def ask(name: str, arguments: dict[str, Any]) -> Any:
        # QEMU serves one caller, lets one or two wait, and refuses the next
        with channel.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
                link.settimeout(ANSWER_TIMEOUT)
                link.connect(str(channel))
                return exchange(link, name, arguments)

    return ask


def exchange(link: socket.socket, name: str, arguments: dict[str, Any]) -> Any:
    """One question and its answer, after whatever a caller that was killed has left unread."""
    mark = random.randrange(1 << 31)  # noqa: S311 - tells questions apart, nothing more
    _send(link, "guest-sync-delimited", {"id": mark}, before=_SENTINEL)
    with link.makefile("rb") as answers:
        while True:
            line = _line(answers)
            # Only the answer to a delimited synchronisation begins with the sentinel
            if _SENTINEL in line:
                found = json.loads(line.rpartition(_SENTINEL)[2])
                if found.get("return") == mark:
                    break
        _send(link, name, arguments)
        answer = json.loads(_line(answers))
    if "error" in answer:
        raise Failed([name], None, answer["error"].get("desc", "the agent refuses"))
    return answer["return"]


def _send(
    link: socket.socket, name: str, arguments: dict[str, Any], *, before: bytes = b""
) -> None:
    question = json.dumps({"execute": name, "arguments": arguments})
    link.sendall(before + question.encode() + b"\n")


def _line(answers: Any) -> bytes:
    line = answers.readline()
    if not line.endswith(b"\n"):
        raise ConnectionResetError("the machine has gone")
    return line


def main(arguments: Sequence[str]) -> int:
    """Run it, and be to the caller what it would have been."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel, *command = arguments
    try:
        status, out, err = run(asking(Path(channel)), command)
    except (OSError, Failed) as error:
        sys.stderr.write(f"lab: the machine's agent does not answer: {error}\n")
        return FAILED
    sys.stdout.buffer.write(out)
    sys.stderr.buffer.write(err)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
