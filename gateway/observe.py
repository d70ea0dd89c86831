"""Looking at the machine: every question to the kernel the agent asks. Effects."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from effects import Failed, run
from gateway import chrony, firewall, network, sysctl, wireguard
from gateway.decide import Observed

if TYPE_CHECKING:
    from ipaddress import IPv4Network

    from gateway.firewall import Filter
    from gateway.paths import Paths

TIMEOUT = 10.0
PROBE = "gpprobe"


class FilterMemory:
    """Which rules we loaded, and how the kernel listed them right after."""

    def __init__(self) -> None:
        self._filter: Filter | None = None
        self._fingerprint = ""

    def remember(self, filter_: Filter) -> None:
        """Note that `filter_` has just been loaded."""
        self._filter, self._fingerprint = filter_, _listing()

    def present(self) -> Filter | None:
        """The loaded filter, if the kernel still has every rule of it and no other."""
        return self._filter if self._filter and _listing() == self._fingerprint else None


def _listing() -> str:
    ran = run(firewall.LISTING, timeout=TIMEOUT, check=False)
    return firewall.fingerprint(ran.stdout) if ran.status == 0 else ""


def kernel_has_wireguard() -> bool:
    """Whether an interface of the kernel's WireGuard can be made (its module is loaded for it)."""
    made = run(("ip", "link", "add", PROBE, "type", "wireguard"), check=False, timeout=TIMEOUT)
    run(("ip", "link", "delete", PROBE), check=False, timeout=TIMEOUT)
    return made.status == 0


def observe(
    pool: IPv4Network,
    paths: Paths,
    memory: FilterMemory,
    dumps: wireguard.DumpReader,
    *,
    kernel_wireguard: bool,
) -> Observed:
    """The machine as it is now. Raises `effects.Failed` or `ValueError` when it cannot be seen."""

    def answer(command: tuple[str, ...]) -> str:
        return run(command, timeout=TIMEOUT).stdout

    wanted = sysctl.parse(paths.sysctl_wanted.read_text())
    return Observed(
        links=network.parse_links(answer(network.ADDRESSES)),
        devices=dumps.read(answer(wireguard.DUMP)),
        rules=network.parse_rules(answer(network.RULES)),
        routes=network.parse_routes(answer(network.show_routes(pool))),
        sysctl=sysctl.observe(wanted, paths.sysctl),
        filter=memory.present(),
        kernel_wireguard=kernel_wireguard,
    )


def clock() -> chrony.Clock:
    """The clock's state; never raises."""
    with contextlib.suppress(Failed):
        return chrony.parse_tracking(run(chrony.TRACKING, timeout=5.0).stdout)
    return chrony.Clock(synchronised=False, why="chrony does not answer")
