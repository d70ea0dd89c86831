"""The client helper beside which something is done, and what its user would see."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from lab_driver import ROOT

if TYPE_CHECKING:
    from collections.abc import Generator

    from lab_driver import LabDriver

HELPER = ROOT / "client" / "gatepair_helper.py"


def with_helper(lab: LabDriver, client: str) -> tuple[str, ...]:
    """The helper's command for a client, asking once a second, with its events as JSON."""
    words = ("python3", str(HELPER), client, "--config", str(config_of(lab, client)))
    return (*words, "--interval", "1", "--json")


@contextmanager
def beside(client: str, *command: str, log: Path) -> Generator[subprocess.Popen[bytes]]:
    """A command that runs as a client while other things happen; interrupted at the end."""
    words = [str(ROOT / "scripts" / "lab"), "exec", client, *command]
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdout=out, stderr=out)  # noqa: S603
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=15)


def lost(log: Path) -> tuple[int, list[int]]:
    """How many pings were answered, and which between the first and the last one were not."""
    heard = [int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", log.read_text())]
    between = range(min(heard, default=0), max(heard, default=-1) + 1)
    return len(heard), sorted(set(between) - set(heard))


def config_of(lab: LabDriver, client: str) -> Path:
    (found,) = [one["config"] for one in lab.status()["clients"] if one["name"] == client]
    return Path(found)
