"""Fast tests touch nothing outside the process: no network, no child process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
sys.path[:0] = [str(ROOT), str(TESTS)]

FAST = ("unit", "program")
"""Folders whose tests are refused everything outside the process."""

# An Output inside an f-string becomes a readable but wrong string; make it raise instead.
os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "true"


@pytest.fixture(autouse=True)
def nothing_leaves_the_process(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that must start a program defines a fixture of this name that does nothing."""
    if request.path.relative_to(TESTS).parts[0] not in FAST:
        return

    def refuse(*args: object, **_: object) -> None:
        raise AssertionError(f"a fast test reached outside the process: {args!r}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
