"""Puts the units and settings of this version in place and starts the agent.

Run by the bootstrap program after unpacking; doing it again changes nothing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from effects import Failed, run, write_atomic
from gateway.paths import UNITS

AGENT = "gatepair-agent.service"
CONNECTIONS = "gatepair-connections.service"


@dataclass(frozen=True)
class Place:
    """Where a file of units/ goes."""

    source: str
    directory: str
    name: str


PLACES = (
    Place(AGENT, "etc/systemd/system", AGENT),
    Place(CONNECTIONS, "etc/systemd/system", CONNECTIONS),
    Place("gatepair-wireguard-go@.service", "etc/systemd/system", "gatepair-wireguard-go@.service"),
    Place("gatepair.sources", "etc/chrony/sources.d", "gatepair.sources"),
    Place("gatepair.sysctl.conf", "etc/sysctl.d", "60-gatepair.conf"),
    Place("gatepair.networkd.conf", "etc/systemd/networkd.conf.d", "gatepair.conf"),
    Place("gatepair.modules.conf", "etc/modules-load.d", "gatepair.conf"),
)


def put_in_place(root: Path = Path("/"), units: Path = UNITS) -> list[str]:
    """Write what differs; returns the names of the files written."""
    written: list[str] = []
    for place in PLACES:
        content = (units / place.source).read_bytes()
        target = root / place.directory / place.name
        if target.is_file() and target.read_bytes() == content:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, content)
        written.append(place.source)
    return written


def main() -> int:
    """Install, then start. The clock comes first: it takes seconds, and health waits for it."""
    written = put_in_place()
    _try("chronyc", "reload", "sources")
    _try("systemctl", "start", "--no-block", "chrony.service")
    # a container may refuse these two; the machine outside has then seen to them
    _try("systemctl", "restart", "systemd-modules-load.service")
    _try("systemctl", "restart", "systemd-sysctl.service")
    for unit in (AGENT, CONNECTIONS):
        run(("systemctl", "enable", unit))  # makes systemd read the new units, too
        run(("systemctl", "restart" if unit in written else "start", "--no-block", unit))
    return 0


def _try(*command: str) -> None:
    try:
        run(command)
    except Failed as err:
        sys.stderr.write(f"gatepair-install: {err}\n")


if __name__ == "__main__":
    sys.exit(main())
