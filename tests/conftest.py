"""Fast tests touch nothing outside the process; which tests may run beside which."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
sys.path[:0] = [str(ROOT), str(TESTS)]

FAST = ("unit", "program", "policy")
"""Folders whose tests are refused everything outside the process."""

ONE_AFTER_ANOTHER = {
    "lab": "lab",
    "kernel": "lab",
    "lab_unit/test_data_plane.py": "lab",
    "lab_unit/test_host.py": "lab",
    "lab_unit/test_probe.py": "lab",
    "gateway_lab": "bed",
}
"""Folder or module -> what its tests share with others: the lab and its network namespaces, or the
bed and its port. All other modules share nothing, and stay whole for their fixtures' sake."""

# An Output inside an f-string becomes a readable but wrong string; make it raise instead.
os.environ["PULUMI_ERROR_OUTPUT_STRING"] = "true"


class Turns(LoadScopeScheduling):
    """What shares something goes to one worker, in its order; the two long ones begin."""

    def _split_scope(self, nodeid: str) -> str:
        return _group(Path(nodeid.partition("::")[0]).relative_to(TESTS.name))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Turns:
    """Called by pytest-xdist, where tests run beside each other."""
    return Turns(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On one of several workers."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        order = {"lab": 0, "bed": 1}
        items.sort(key=lambda item: order.get(_group(item.path.relative_to(TESTS)), 2))


def _group(module: Path) -> str:
    for place in (module, *module.parents):
        if (group := ONE_AFTER_ANOTHER.get(str(place))) is not None:
            return group
    return str(module)


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
