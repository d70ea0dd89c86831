"""What clients see of each fault is what was promised: the cases of `bench/faults.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from lab_driver import ROOT

from bench.fault_cases import CASES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lab_driver import LabDriver

QUICK = [name for name, case in CASES.items() if case.quick]
OTHERS = [name for name in CASES if name not in QUICK]

_runs: dict[tuple[str, ...], dict[str, Any] | str] = {}
"""Cases -> name to sample, or why there is none: one run has many cases, or each would wait for
clients of its own."""


def seen(lab: LabDriver, name: str, together: Iterable[str], limit: float) -> dict[str, Any]:
    """The sample of a case, from one run with others."""
    names = tuple(together)
    if names not in _runs:
        lab.both_healthy()
        clients = lab.status()["clients"]
        words = [word for one in names for word in ("--only", one)]
        command = [sys.executable, str(ROOT / "bench" / "faults.py"), "--json", *words]
        _runs[names] = "the run has not ended"
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=limit, check=False
        )
        sys.stderr.write(done.stderr)
        if done.returncode != 0:
            _runs[names] = done.stderr
        else:
            _runs[names] = {one["name"]: one for one in json.loads(done.stdout)["samples"]}
            assert lab.status()["clients"] == clients, "none of its own is left"
    found = _runs[names]
    assert isinstance(found, dict), found
    return found[name]


@pytest.mark.long
@pytest.mark.timeout(420)  # the first of them is all of them
@pytest.mark.parametrize("name", QUICK)
def test_clients_see_of_a_quick_fault_what_was_promised(lab: LabDriver, name: str) -> None:
    sample = seen(lab, name, QUICK, 400)
    assert sample["broken"] == []
    assert sample["there"]["sent"] > 100, "or there was nothing to lose"


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", OTHERS)
def test_clients_see_of_a_longer_fault_what_was_promised(lab: LabDriver, name: str) -> None:
    sample = seen(lab, name, OTHERS, 1180)
    assert sample["broken"] == []
    assert sample["there"]["sent"] > 100, "or there was nothing to lose"
