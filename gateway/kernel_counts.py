"""What the kernel counts by itself: tracked flows, an interface's bytes, the filter's counters."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from effects import run
from gateway import ethtool
from gateway.generations import INTERFACES
from gateway.routed import COUNTERS, LIST_COUNTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


REFUSED_BY_EC2 = "conntrack_allowance_exceeded"
"""Packets that EC2 dropped because the instance had as many tracked connections as its type may
have; as the driver of EC2's network devices names it (EC2 user guide, "Monitor network performance
for ENA settings on your EC2 instance")."""


def _list_counters() -> str:
    return run(LIST_COUNTERS, timeout=5.0, check=False).stdout


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
    list_counters: Callable[[], str] = field(default=_list_counters)

    def forwarded(self) -> dict[str, int]:
        """Packets, by the packet filter's named counters (gateway.routed)."""
        try:
            listed = json.loads(self.list_counters() or "{}").get("nftables", ())
        except ValueError:
            listed = ()
        found = [entry["counter"] for entry in listed if "counter" in entry]
        return {one["name"]: one["packets"] for one in found if one["name"] in COUNTERS}

    statistics: Callable[[str], Mapping[str, int]] = ethtool.statistics
    """A device's own counters, by its name."""

    def flows(self) -> Flows | None:
        """Tracked flows of this network namespace."""
        found = _numbers(self.conntrack, "nf_conntrack_count", "nf_conntrack_max")
        return None if found is None else Flows(*found)

    def refused_by_ec2(self) -> int | None:
        """Packets since the boot, of all network cards; None where no driver counts them."""
        found = [
            count
            for device in sorted(self.interfaces.glob("*/device"))
            if (count := self._statistic(device.parent.name, REFUSED_BY_EC2)) is not None
        ]
        return sum(found) if found else None

    def _statistic(self, device: str, name: str) -> int | None:
        try:
            return self.statistics(device).get(name)
        except OSError:
            return None

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
