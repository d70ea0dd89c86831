"""`scripts/lab down` leaves nothing of the lab behind. Runs last: it ends the lab."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from effects import run

if TYPE_CHECKING:
    from lab_driver import LabDriver

STATE = "/var/lib/gatepair-lab"


def left_behind() -> dict[str, list[str]]:
    """What there is of the lab in this machine's kernel."""
    processes = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        line = b" ".join(words).decode(errors="replace")
        if STATE in line or "python -m lab." in line or line.startswith("wireguard-go"):
            processes.append(line)
    namespaces = run(["ip", "netns", "list"]).stdout.splitlines()
    mounts = Path("/proc/mounts").read_text().splitlines()
    return {
        "namespaces": [line for line in namespaces if line.startswith("gp-")],
        "mounts": [line for line in mounts if STATE in line or "netns/gp-" in line],
        "processes": processes,
        "tables": run(["nft", "list", "tables"]).stdout.splitlines(),
        "links": [
            line
            for line in run(["ip", "-o", "link"]).stdout.splitlines()
            if ": gp-" in line or "wg" in line.split(": ")[1]
        ],
        "resolvers": [str(path) for path in Path("/etc/netns").glob("gp-*")],
    }


@pytest.mark.timeout(180)
def test_down_leaves_nothing_behind(lab: LabDriver) -> None:
    there = left_behind()
    assert there["namespaces"]
    assert there["processes"], "or the search finds nothing whatever there is"
    lab.lab("down", timeout=120)
    now = left_behind()
    now["tables"] = [t for t in now["tables"] if t not in there["tables"] or "gatepair" in t]
    assert not any(now.values()), now
    assert lab.lab("status", check=False).status != 0
    assert lab.lab("down").status == 0, "a second time is no error"
