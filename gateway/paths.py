"""Where things are on a gateway. Tests give the agent other places."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

UNITS = Path(__file__).parent / "units"


@dataclass(frozen=True)
class Paths:
    """Files the agent reads and writes."""

    environment: Path = Path("/etc/gatepair/environment.json")
    state: Path = Path("/var/lib/gatepair")
    """Kept over a reboot; only root may enter it."""
    sysctl_wanted: Path = UNITS / "gatepair.sysctl.conf"
    sysctl: Path = Path("/proc/sys")
    boot_id: Path = Path("/proc/sys/kernel/random/boot_id")
    connections: Path = Path("/var/lib/gatepair-connections")
    """Records of connections that wait to be shipped, by a process of their own."""
    connection_counts: Path = Path("/run/gatepair-connections/counts.json")

    @property
    def clock(self) -> Path:
        """The highest time that peers have expired by."""
        return self.state / "clock"

    @property
    def last_answer(self) -> Path:
        """When the registry last answered, by that time."""
        return self.state / "last-answer"

    @property
    def gossip_key(self) -> Path:
        """What gateways sign their messages to each other with, 0600."""
        return self.state / "gossip.key"

    @property
    def routed(self) -> Path:
        """There while the VPC's routes may have to do with this gateway."""
        return self.state / "routed"

    @property
    def held(self) -> Path:
        """The clients whose sessions are here."""
        return self.state / "held.json"

    @property
    def keys(self) -> Path:
        """Private keys by generation, 0600: a restart without AWS serves."""
        return self.state / "keys"

    @property
    def preshared(self) -> Path:
        """Peers' pre-shared keys, 0600, for the same reason."""
        return self.state / "preshared"


@dataclass(frozen=True)
class Userspace:
    """How WireGuard is run where the kernel has none. `{}` is the interface's name."""

    start: tuple[str, ...] = ("systemctl", "restart", "gatepair-wireguard-go@{}.service")
    stop: tuple[str, ...] = ("systemctl", "stop", "gatepair-wireguard-go@{}.service")


def for_interface(command: tuple[str, ...], interface: str) -> tuple[str, ...]:
    """The command with the interface's name in its place."""
    return tuple(word.format(interface) for word in command)
