"""Looking at the machine: every question to the kernel the agent asks. Effects."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, Any

from effects import Failed, run
from gateway import access, chrony, firewall, forwarding, network, ruleset, sysctl, wireguard
from gateway.decide import Observed
from gateway.forwarding import Present

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from ipaddress import IPv4Network

    from gateway.access import Element, Reaches
    from gateway.firewall import Filter
    from gateway.forwarding import RouteReader
    from gateway.paths import Paths
    from gateway.wireguard import Device

TIMEOUT = 10.0
PROBE = "gpprobe"


class FilterMemory:
    """What we put into the packet filter, and whether anybody else has changed it since.

    nftables numbers its transactions: while the number is the one after our own last transaction,
    everything is as we left it and nothing is listed. Two threads of ours make transactions; the
    lock keeps each one's numbers apart.
    """

    def __init__(self, generation: Callable[[], int] = ruleset.generation) -> None:
        self._generation = generation
        self._filter: Filter | None = None
        self._fingerprint = ""
        self._reaches: Reaches | None = None
        self._rules_at: int | None = None
        self._sets_at: int | None = None
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def changing(self, reaches: Reaches) -> Generator[None]:
        """Around a transaction of ours after which the sets say `reaches`, if it goes well."""
        with self._lock:
            before = self._now()
            yield
            after = self._now()
            alone = before is not None and after == before + 1
            self._reaches = reaches
            # after a look that found what was to be changed, the number was taken before the look
            self._sets_at = after if alone and self._sets_at == before else None
            self._rules_at = after if alone and self._rules_at == before else None

    @contextlib.contextmanager
    def beside(self) -> Generator[None]:
        """Around a transaction of ours that touches neither the rules nor who may go where."""
        with self._lock:
            before = self._now()
            yield
            after = self._now()
            if before is not None and after == before + 1:
                self._sets_at = after if self._sets_at == before else self._sets_at
                self._rules_at = after if self._rules_at == before else self._rules_at

    def remember(self, filter_: Filter) -> None:
        """Note that `filter_` has just been loaded."""
        with self._lock:
            self._rules_at = self._now()
            self._filter, self._fingerprint = filter_, _listing()

    def agree(self, reaches: Reaches) -> None:
        """Note that the sets were found to say `reaches` at the last look."""
        self._reaches = reaches

    def present(self) -> Filter | None:
        """The loaded filter, if the kernel still has every rule of it and no other."""
        with self._lock:
            now = self._now()
            if self._filter is None or (now is not None and now == self._rules_at):
                return self._filter
            if _listing() != self._fingerprint:
                return None
            self._rules_at = now
            return self._filter

    def sets(self) -> tuple[Reaches | None, frozenset[Element]]:
        """What the sets were made to say; or None and what is in them."""
        with self._lock:
            now = self._now()
            if self._reaches is not None and now is not None and now == self._sets_at:
                return self._reaches, frozenset()
            self._sets_at = now
        found = frozenset(
            element
            for name in access.SETS
            for element in access.parse_listing(name, _answer(access.listing(name), check=False))
        )
        if self._reaches is not None and found == access.all_elements(self._reaches):
            return self._reaches, frozenset()
        return None, found

    def _now(self) -> int | None:
        try:
            return self._generation()
        except OSError:
            return None


def _answer(command: tuple[str, ...], *, check: bool = True) -> str:
    return run(command, timeout=TIMEOUT, check=check).stdout


def _listing() -> str:
    ran = run(firewall.LISTING, timeout=TIMEOUT, check=False)
    return firewall.fingerprint(ran.stdout) if ran.status == 0 else ""


def kernel_has_wireguard() -> bool:
    """Whether an interface of the kernel's WireGuard can be made (its module is loaded for it)."""
    made = run(("ip", "link", "add", PROBE, "type", "wireguard"), check=False, timeout=TIMEOUT)
    run(("ip", "link", "delete", PROBE), check=False, timeout=TIMEOUT)
    return made.status == 0


def list_devices(dumps: wireguard.DumpReader) -> dict[str, Device]:
    """WireGuard's devices with all their peers: with thousands, most of what a look costs."""
    return dumps.read(_answer(wireguard.DUMP))


def see_forwarding(addresses: Iterable[dict[str, Any]], routes: RouteReader) -> Present:
    """The way to other gateways; asked for only where its device is.

    `addresses`: what `network.ADDRESSES` lists.
    """
    device = forwarding.device_of(addresses)
    if device is None:
        return forwarding.ABSENT
    return Present(
        device,
        forwarding.parse_neighbours(_answer(forwarding.NEIGHBOURS)),
        forwarding.parse_entries(_answer(forwarding.ENTRIES)),
        routes.read(_answer(forwarding.ROUTES, check=False)),
    )


def observe(
    pool: IPv4Network,
    paths: Paths,
    memory: FilterMemory,
    devices: Mapping[str, Device],
    routes: RouteReader,
    *,
    kernel_wireguard: bool,
) -> Observed:
    """The machine as it is now. Raises `effects.Failed` or `ValueError` when it cannot be seen.

    `devices` may be from an earlier listing: those whose interface is gone are left out.
    """
    wanted = sysctl.parse(paths.sysctl_wanted.read_text())
    addresses = network.documents(_answer(network.ADDRESSES))
    links = network.links_of(addresses)
    filter_ = memory.present()
    reaches, elements = memory.sets()
    return Observed(
        links=links,
        devices={name: device for name, device in devices.items() if name in links},
        rules=network.parse_rules(_answer(network.RULES)),
        routes=network.parse_routes(_answer(network.show_routes(pool))),
        sysctl=sysctl.observe(wanted, paths.sysctl),
        filter=filter_,
        reaches=reaches,
        elements=elements,
        kernel_wireguard=kernel_wireguard,
        forwarding=see_forwarding(addresses, routes),
    )


def clock() -> chrony.Clock:
    """The clock's state; never raises."""
    with contextlib.suppress(Failed):
        return chrony.parse_tracking(run(chrony.TRACKING, timeout=5.0).stdout)
    return chrony.Clock(synchronised=False, why="chrony does not answer")
