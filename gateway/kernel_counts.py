"""What the kernel counts by itself: tracked flows, and the bytes of an interface."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.generations import INTERFACES


@dataclass(frozen=True)
class Flows:
    """Flows that connection tracking has, and how many it can; beyond that it drops new ones."""

    entries: int
    limit: int


@dataclass(frozen=True)
class Traffic:
    """Bytes since the interface was made."""

    received: int
    sent: int


@dataclass(frozen=True)
class KernelCounts:
    """Reads them. What is not there is left out: a module that is not loaded, an idle slot."""

    conntrack: Path = Path("/proc/sys/net/netfilter")
    """https://docs.kernel.org/networking/nf_conntrack-sysctl.html"""
    interfaces: Path = Path("/sys/class/net")
    """https://docs.kernel.org/networking/statistics.html"""

    def flows(self) -> Flows | None:
        """Tracked flows of this network namespace."""
        found = _numbers(self.conntrack, "nf_conntrack_count", "nf_conntrack_max")
        return None if found is None else Flows(*found)

    def traffic(self) -> dict[str, Traffic]:
        """By WireGuard interface."""
        found = {
            name: _numbers(self.interfaces / name / "statistics", "rx_bytes", "tx_bytes")
            for name in INTERFACES
        }
        return {name: Traffic(*numbers) for name, numbers in found.items() if numbers is not None}


def _numbers(directory: Path, *names: str) -> list[int] | None:
    try:
        return [int((directory / name).read_text()) for name in names]
    except (OSError, ValueError):
        return None
