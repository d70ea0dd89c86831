"""Prometheus' own checker, as the tests of monitoring/ call it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

LIMIT = 50
"""Seconds."""


@dataclass(frozen=True)
class Answer:
    """What it said on both streams, and whether it was content."""

    good: bool
    text: str


def program(name: str) -> str:
    """Where it is. One that is not there is an error: a skipped check looks like a passed one."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name}: not installed; run scripts/install prometheus"
    return found


def promtool(*words: str | Path, stdin: str = "") -> Answer:
    """Call it."""
    ran = subprocess.run(  # noqa: S603 - words are the tests' own
        [program("promtool"), *map(str, words)],
        input=stdin,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=LIMIT,
    )
    return Answer(ran.returncode == 0, ran.stdout)
