"""From what is wanted and what is there to the actions in between. Pure.

Nothing is touched that is right already: a peer with its right address is in no command, so its
session goes on; an interface with its right key is never made anew.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, TypeAlias

from gateway import access, forwarding, network, wireguard
from gateway.forwarding import ABSENT, NO_ROUTES, Present
from gateway.generations import INTERFACES
from gateway.paths import Userspace, for_interface
from gateway.wireguard import PeerChanges
from registry.key_slots import SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from gateway.access import Element, Reaches, SetChanges
    from gateway.firewall import Filter
    from gateway.forwarding import Forwarding
    from gateway.network import Link, Route, Rule
    from gateway.wireguard import Device, Keys

# ------------------------------------------------------------------ what is wanted, what is there


@dataclass(frozen=True)
class SlotPlan:
    """One slot in use: its interface with its key and port."""

    slot: int
    generation: int
    interface: str
    port: int
    public_key: str
    key_file: Path


@dataclass(frozen=True, kw_only=True)
class Desired:
    """The machine as it should be."""

    slots: tuple[SlotPlan, ...]
    """Those in use, the newest generation last; an interface of a slot that is not here goes."""
    peers: Mapping[str, IPv4Address] = field(compare=False)
    """Public key -> tunnel address, the same on every interface."""
    preshared: Keys = field(compare=False, default_factory=dict)
    """Public key -> pre-shared key; another mapping of `peers` comes with another one of these."""
    reaches: Reaches = field(compare=False)
    """Tunnel address -> where it may go. These three change by `step`, the rest by `plan`."""
    pool: IPv4Network
    own_address: IPv4Address
    mtu: int
    filter: Filter
    sysctl: Mapping[str, str]
    forwarding: Forwarding | None = None
    """To other gateways; None: not in this mode, and nothing of it stays."""

    def plan_of(self, interface: str) -> SlotPlan | None:
        """What is planned for an interface."""
        return next((plan for plan in self.slots if plan.interface == interface), None)


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The machine as it is."""

    links: Mapping[str, Link]
    devices: Mapping[str, Device]
    rules: frozenset[Rule]
    routes: frozenset[Route]
    sysctl: Mapping[str, str]
    filter: Filter | None
    """What the rules in the kernel were made from; None when they are not as we loaded them."""
    reaches: Reaches | None
    """What the filter's sets were made to say, if nobody has touched them since; else None, and
    `elements` is what was found in them."""
    elements: frozenset[Element] = frozenset()
    kernel_wireguard: bool = True
    forwarding: Present = ABSENT


# ------------------------------------------------------------------ actions

MACHINE = "machine"
"""Scope of what concerns no single interface."""


@dataclass(frozen=True)
class Command:
    """Run a program. If it fails, the rest of its scope waits for the next look at the machine."""

    argv: tuple[str, ...]
    scope: str = MACHINE
    needs: str = ""
    """Another scope in which nothing may have failed before."""


@dataclass(frozen=True)
class SetSysctl:
    """Write a kernel setting."""

    name: str
    value: str

    @property
    def scope(self) -> str:
        """Each by itself: one that cannot be set holds no other one up."""
        return f"sysctl {self.name}"


FILTER = "filter"


@dataclass(frozen=True)
class LoadFilter:
    """Load the packet filter, and with it what else its sets need."""

    filter: Filter
    changes: SetChanges
    reaches: Reaches
    """What the sets say after it."""
    scope: str = FILTER


@dataclass(frozen=True)
class ChangeSets:
    """Change who may go where."""

    changes: SetChanges
    reaches: Reaches
    """What the sets say after it."""
    scope: str = FILTER


@dataclass(frozen=True)
class CutFlows:
    """End what these clients have under way through the gateway."""

    addresses: frozenset[IPv4Address]
    scope: str = "flows"


FORWARDING = "forwarding"


@dataclass(frozen=True)
class MoveRoutes:
    """Change by which gateway clients are reached."""

    lines: str
    """For `forwarding.BATCH`."""
    scope: str = FORWARDING


Action: TypeAlias = Command | SetSysctl | LoadFilter | ChangeSets | CutFlows | MoveRoutes


@dataclass(frozen=True)
class Decider:
    """The decision, with what it needs to know of the machine's kind."""

    userspace: Userspace = field(default_factory=Userspace)

    def plan(self, desired: Desired, observed: Observed) -> list[Action]:
        """The actions, in order. None when everything is as it should be.

        Who is no longer admitted goes first. The filter stands before any interface and any new
        peer does, and new interfaces before old ones go: in a rotation clients always find one of
        the two.
        """
        staying = {
            plan.interface: wireguard.differences(
                desired.peers, observed.devices[plan.interface], desired.preshared
            )
            for plan in desired.slots
            if self._stays(plan, observed)
        }
        gone = frozenset(
            address
            for name, changes in staying.items()
            for key in changes.remove
            for address in _clients(observed.devices[name].peers[key].allowed_ips, desired.pool)
        )
        sets = _set_changes(desired, observed, gone)
        return [
            *(
                Command(argv, name)
                for name, changes in staying.items()
                for argv in wireguard.remove_peers(name, changes)
            ),
            *_settings(desired, observed),
            *_filter(desired, observed, sets),
            *(step for plan in desired.slots for step in self._interface(plan, desired, observed)),
            *_routing(desired, observed),
            *_forwarding(desired, observed),
            *(
                self._delete(name, observed)
                for name in INTERFACES
                if desired.plan_of(name) is None
                and (name in observed.links or name in observed.devices)
            ),
            *_cut(gone | _translated_anew(desired, observed), sets),
        ]

    def _stays(self, plan: SlotPlan, observed: Observed) -> bool:
        """Whether the interface that is there is the planned one, however it is set."""
        device = observed.devices.get(plan.interface)
        return (
            plan.interface in observed.links
            and device is not None
            and device.public_key in ("", plan.public_key)
        )

    def _interface(self, plan: SlotPlan, desired: Desired, observed: Observed) -> Iterator[Action]:
        name = plan.interface
        link, device = observed.links.get(name), observed.devices.get(name)
        if not self._stays(plan, observed):
            # An interface without its other half is broken; one with another key belongs to a
            # generation that is over, and so do its sessions
            if link is not None:
                yield self._delete(name, observed)
            yield self._create(name, observed)
            link, device = None, None

        def command(argv: tuple[str, ...]) -> Command:
            return Command(argv, name)

        if device is None or device.public_key != plan.public_key:
            yield command(wireguard.set_key(name, plan.key_file))
        if device is None or device.port != plan.port:
            yield command(wireguard.set_port(name, plan.port))
        if link is None or link.mtu != desired.mtu:
            yield command(("ip", "link", "set", name, "mtu", str(desired.mtu)))
        own, there = f"{desired.own_address}/32", link.addresses if link else frozenset()
        if own not in there:
            yield command(("ip", "address", "replace", own, "dev", name))
        for other in sorted(there - {own}):
            yield command(("ip", "address", "delete", other, "dev", name))
        changes = wireguard.differences(desired.peers, device, desired.preshared)
        yield from _put_peers(name, changes)
        if link is None or not link.up:
            yield command(("ip", "link", "set", name, "up"))

    def _create(self, name: str, observed: Observed) -> Command:
        if observed.kernel_wireguard:
            return Command(("ip", "link", "add", name, "type", "wireguard"), name)
        return Command(for_interface(self.userspace.start, name), name)

    def _delete(self, name: str, observed: Observed) -> Command:
        if observed.kernel_wireguard:
            return Command(("ip", "link", "delete", name), name)
        return Command(for_interface(self.userspace.stop, name), name)


def peer_delta(before: Desired, after: Desired) -> PeerChanges:
    """What to change on an interface that has exactly the peers of `before`."""
    old, new = before.peers, after.peers
    stale = {
        key
        for key in before.preshared.keys() | after.preshared.keys()
        if before.preshared.get(key) != after.preshared.get(key)
    }
    put = tuple(
        (key, address) for key, address in new.items() if old.get(key) != address or key in stale
    )
    return PeerChanges(
        remove=tuple(key for key in old if key not in new or key in stale),
        put=put,
        preshared=wireguard.only(after.preshared, put),
    )


def step(before: Desired, after: Desired) -> list[Action]:
    """The actions on a machine that is exactly as `before` says, when only peers have changed, or
    by which gateway they are reached.

    Out first, then the filter, then in: nobody ever has another one's access, not for a moment.
    """
    if before.peers is after.peers and before.reaches is after.reaches:
        return list(_moves(before.forwarding, after.forwarding))
    peers = peer_delta(before, after)
    gone = frozenset(before.peers[key] for key in peers.remove)
    changes = replace(access.differences(before.reaches, after.reaches), forget=_sorted(gone))
    names = [plan.interface for plan in after.slots]
    return [
        *(Command(argv, name) for name in names for argv in wireguard.remove_peers(name, peers)),
        *([ChangeSets(changes, after.reaches)] if changes else ()),
        *(command for name in names for command in _put_peers(name, peers)),
        *_moves(before.forwarding, after.forwarding),
        *_cut(gone, changes),
    ]


def _moves(before: Forwarding | None, after: Forwarding | None) -> Iterator[MoveRoutes]:
    known = before is not None and before.local is not None
    if known and after is not None and (lines := forwarding.moves(before.routes, after.routes)):
        yield MoveRoutes(lines)


def _put_peers(interface: str, changes: PeerChanges) -> Iterator[Command]:
    for argv in wireguard.put_peers(interface, changes):
        yield Command(argv, interface, needs=FILTER)


def _cut(gone: frozenset[IPv4Address], changes: SetChanges) -> Iterator[CutFlows]:
    if ended := gone | changes.narrowed:
        yield CutFlows(ended)


def _sorted(addresses: Iterable[IPv4Address]) -> tuple[IPv4Address, ...]:
    return tuple(sorted(addresses))


def _clients(allowed_ips: Iterable[str], pool: IPv4Network) -> Iterator[IPv4Address]:
    """The single tunnel addresses among a device's allowed IPs."""
    for text in allowed_ips:
        with contextlib.suppress(ValueError):
            network = IPv4Network(text)
            if network.prefixlen == network.max_prefixlen and network.subnet_of(pool):
                yield network.network_address


def _settings(desired: Desired, observed: Observed) -> Iterator[Action]:
    for name, value in desired.sysctl.items():
        # values of several numbers are listed with tabs
        if name in observed.sysctl and observed.sysctl[name].split() != value.split():
            yield SetSysctl(name, value)


def _set_changes(desired: Desired, observed: Observed, gone: frozenset[IPv4Address]) -> SetChanges:
    if observed.reaches is not None:
        changes = access.differences(observed.reaches, desired.reaches)
    else:
        changes = access.converge(observed.elements, access.all_elements(desired.reaches))
    return replace(changes, forget=_sorted(gone))


def _filter(desired: Desired, observed: Observed, changes: SetChanges) -> Iterator[Action]:
    if observed.filter != desired.filter:
        yield LoadFilter(desired.filter, changes, desired.reaches)
    elif changes:
        yield ChangeSets(changes, desired.reaches)


def _routing(desired: Desired, observed: Observed) -> Iterator[Action]:
    # With its first rule a kernel begins, for good, to look up every packet the long way: one that
    # serves a single slot has no need of marks, as the main route leads there
    for slot in SLOTS if len(desired.slots) > 1 else ():
        rule = network.Rule(network.mark_of(slot), network.table_of(slot))
        if rule not in observed.rules:
            yield Command(network.add_rule(slot))
    wanted = {network.table_of(plan.slot): plan.interface for plan in desired.slots}
    if desired.slots:
        wanted[network.MAIN] = desired.slots[-1].interface
    for table, interface in wanted.items():
        # An interface that was made anew just now has lost the routes that were seen
        if network.Route(table, interface) not in observed.routes or not _settled(
            interface, desired, observed
        ):
            yield Command(network.replace_route(desired.pool, interface, table), interface)


def _forwarding(desired: Desired, observed: Observed) -> Iterator[Action]:
    wanted, present = desired.forwarding, observed.forwarding
    ruled = forwarding.RULE in observed.rules
    if wanted is None:
        if ruled:
            yield Command(forwarding.DELETE_RULE, FORWARDING)
        if present.device is not None:
            yield Command(forwarding.DELETE_DEVICE, FORWARDING)
        return
    if wanted.local is None:
        return
    if not ruled:
        yield Command(forwarding.ADD_RULE, FORWARDING)
    for argv in forwarding.commands(wanted, present):
        yield Command(argv, FORWARDING)
    there = present.routes if forwarding.stays(wanted, present) else NO_ROUTES
    if lines := forwarding.moves(there, wanted.routes):
        yield MoveRoutes(lines)


def _translated_anew(desired: Desired, observed: Observed) -> frozenset[IPv4Address]:
    """Whose flows began without a translation, and find no way back with one: they end at once."""
    before = observed.filter
    ends = before is not None and before.routed is not None and desired.filter.routed is None
    return frozenset(desired.peers.values()) if ends else frozenset()


def _settled(interface: str, desired: Desired, observed: Observed) -> bool:
    """Whether the interface is up and stays as it is."""
    plan, link = desired.plan_of(interface), observed.links.get(interface)
    device = observed.devices.get(interface)
    return (
        plan is not None
        and link is not None
        and link.up
        and device is not None
        and device.public_key in ("", plan.public_key)
    )
