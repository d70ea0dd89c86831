"""Kernel settings: the file that systemd reads at boot is also what the agent holds them to."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FORWARDING = "net/ipv4/ip_forward"


def parse(text: str) -> dict[str, str]:
    """Settings by their path below /proc/sys, from text in the form of sysctl.d(5).

    Those with a leading `-` (may fail at boot) are left out: nobody insists on them.
    """
    wanted: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";", "-")):
            wanted[name.strip().replace(".", "/")] = value.strip()
    return wanted


def observe(wanted: dict[str, str], root: Path) -> dict[str, str]:
    """The present value of every wanted setting that this kernel has."""
    found: dict[str, str] = {}
    for name in wanted:
        try:
            found[name] = (root / name).read_text().strip()
        except OSError:
            continue  # its module is not loaded: the setting comes with it
    return found
