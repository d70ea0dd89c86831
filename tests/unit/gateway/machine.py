"""A machine made of data: it obeys the commands the agent gives, as the kernel would."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unit.gateway.samples import BARE

from effects import Failed
from gateway.access import all_elements
from gateway.decide import (
    Action,
    ChangeSets,
    Command,
    CutFlows,
    LoadFilter,
    MoveRoutes,
    Observed,
    SetSysctl,
)
from gateway.forwarding import ABSENT, RULE
from gateway.forwarding import Device as Forwarder
from gateway.network import Link, Route, Rule
from gateway.preshared import fingerprint
from gateway.wireguard import Device, DevicePeer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.access import Element, SetChanges


@dataclass
class Machine:
    """`observed` is its present state; `said` is every action it was given."""

    observed: Observed = BARE
    said: list[Action] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    """Scopes whose actions fail."""
    blind: bool = False
    """Nothing can be seen of it."""
    cut: frozenset[IPv4Address] = frozenset()
    """Clients whose flows were cut."""

    def look(self) -> Observed:
        """What `observe()` returns."""
        if self.blind:
            raise Failed(("ip",), None, "")
        return self.observed

    def carry_out(self, actions: Iterable[Action]) -> dict[str, str]:
        """What `Actor.carry_out` does."""
        failed: dict[str, str] = {}
        for action in actions:
            if action.scope in failed or getattr(action, "needs", "") in failed:
                continue
            self.said.append(action)
            if action.scope in self.broken:
                failed[action.scope] = "broken"
                continue
            self._obey(action)
        return failed

    @property
    def elements(self) -> frozenset[Element]:
        """What is in the filter's sets."""
        now = self.observed
        return now.elements if now.reaches is None else all_elements(now.reaches)

    def commands(self) -> list[str]:
        """The commands given so far, as text."""
        return [" ".join(action.argv) for action in self.said if isinstance(action, Command)]

    def _obey(self, action: Action) -> None:
        now = self.observed
        match action:
            case SetSysctl(name, value):
                self.observed = replace(now, sysctl={**now.sysctl, name: value})
            case LoadFilter(filter_, changes, reaches):
                self._sets(changes)
                self.observed = replace(self.observed, filter=filter_, reaches=reaches)
            case ChangeSets(changes, reaches):
                assert now.filter is not None, "there are no sets without the table"
                self._sets(changes)
                self.observed = replace(self.observed, reaches=reaches)
            case CutFlows(addresses):
                self.cut |= addresses
            case MoveRoutes(lines):
                self._move_routes(lines)
            case Command(argv) if "gpfwd" in argv or RULE.table in argv:
                self._forwarding(argv)
            case Command(argv):
                self._run(argv)

    def _sets(self, changes: SetChanges) -> None:
        now, there = self.observed, self.elements
        assert set(changes.delete) <= there, "nft refuses to delete what is not there"
        assert not set(changes.add) & there
        self.observed = replace(now, elements=there - {*changes.delete} | {*changes.add})

    def _move_routes(self, lines: str) -> None:
        routes = dict(self.observed.forwarding.routes)
        for words in map(str.split, lines.splitlines()):
            client = words[2].removesuffix("/32")
            if words[1] == "delete":
                del routes[client]
            else:
                device = self.observed.forwarding.device
                assert device is not None, "there is nothing they could lead through"
                assert device.up
                routes[client] = words[4]
        self._forward(routes=routes)

    def _forwarding(self, argv: tuple[str, ...]) -> None:
        present = self.observed.forwarding
        match argv:
            case ("ip", "-4", "rule", verb, *_):
                rules = self.observed.rules
                rules = rules | {RULE} if verb == "add" else rules - {RULE}
                self.observed = replace(self.observed, rules=rules)
            case ("ip", "link", "add", _, "address", mac, "mtu", mtu, *words):
                assert present == ABSENT
                local, learning = words[words.index("local") + 1], "nolearning" not in words
                made = Forwarder(False, int(mtu), mac, local, 1, 4789, learning)
                self._forward(device=made)
            case ("ip", "link", "delete", _):
                self.observed = replace(self.observed, forwarding=ABSENT)
            case ("ip", "link", "set", _, "up"):
                assert present.device is not None
                self._forward(device=replace(present.device, up=True))
            case ("ip", "address", "replace", address, *_):
                assert present.device is not None
                self._forward(device=replace(present.device, addresses=frozenset({address})))
            case ("bridge", "fdb", verb, mac, "dev", _, "dst", address):
                entry = mac, IPv4Address(address)
                keep = present.entries - {entry}
                self._forward(entries=keep | {entry} if verb == "append" else keep)
            case ("ip", "neighbour", verb, address, *words):
                others = {one for one in present.neighbours if str(one[0]) != address}
                if verb == "replace":
                    others.add((IPv4Address(address), words[1]))
                self._forward(neighbours=frozenset(others))
            case _:
                raise AssertionError(f"the machine does not know {argv}")

    def _forward(self, **changes: Any) -> None:
        present = replace(self.observed.forwarding, **changes)
        self.observed = replace(self.observed, forwarding=present)

    def _run(self, argv: tuple[str, ...]) -> None:  # noqa: C901 - a case a command
        match argv:
            case ("ip", "link", "add", name, "type", "wireguard"):
                assert name not in self.observed.links
                self._link(name, Link(name, up=False, mtu=1420, addresses=frozenset()))
                self._device(name, Device(name, "", 0, {}))
            case ("ip", "link", "delete", name):
                self._gone(name)
            case ("ip", "link", "set", name, "mtu", mtu):
                self._link(name, replace(self.observed.links[name], mtu=int(mtu)))
            case ("ip", "link", "set", name, "up"):
                self._link(name, replace(self.observed.links[name], up=True))
            case ("ip", "address", "replace", address, "dev", name):
                link = self.observed.links[name]
                self._link(name, replace(link, addresses=link.addresses | {address}))
            case ("ip", "address", "delete", address, "dev", name):
                link = self.observed.links[name]
                self._link(name, replace(link, addresses=link.addresses - {address}))
            case ("ip", "-4", "rule", "add", "fwmark", mark, "lookup", table, *_):
                rule = Rule(int(mark, 16), table)
                self.observed = replace(self.observed, rules=self.observed.rules | {rule})
            case ("ip", "-4", "route", "replace", _, "dev", name, "table", table):
                assert self.observed.links[name].up, "a route needs a link that is up"
                others = {route for route in self.observed.routes if route.table != table}
                self.observed = replace(
                    self.observed, routes=frozenset(others | {Route(table, name)})
                )
            case ("wg", "set", name, "private-key", path):
                public = f"SERVER-{Path(path).name}"
                self._device(name, replace(self.observed.devices[name], public_key=public))
            case ("wg", "set", name, "listen-port", port):
                self._device(name, replace(self.observed.devices[name], port=int(port)))
            case ("wg", "set", name, *words):
                self._peers(name, words)
            case _:
                raise AssertionError(f"the machine does not know {argv}")

    def _peers(self, name: str, words: list[str]) -> None:
        peers = dict(self.observed.devices[name].peers)
        while words:
            assert words.pop(0) == "peer"
            key, verb = words.pop(0), words.pop(0)
            if verb == "remove":
                del peers[key]
                continue
            if verb == "persistent-keepalive":
                assert key in peers, "it would be made anew, without an address"
                words.pop(0)
                continue
            preshared = peers[key].preshared if key in peers else ""
            if verb == "preshared-key":
                preshared = fingerprint(Path(words.pop(0)).read_text())
                verb = words.pop(0)
            assert verb == "allowed-ips"
            allowed = words.pop(0)
            for other, peer in peers.items():  # an address has one peer: the last to ask for it
                rest = tuple(ip for ip in peer.allowed_ips if ip != allowed)
                peers[other] = replace(peer, allowed_ips=rest)
            peers[key] = DevicePeer(key, (allowed,), preshared=preshared)
            while words and words[0] in ("endpoint", "persistent-keepalive"):
                verb, value = words.pop(0), words.pop(0)
                if verb == "endpoint":
                    peers[key] = replace(peers[key], endpoint=value)
        self._device(name, replace(self.observed.devices[name], peers=peers))

    def _link(self, name: str, link: Link) -> None:
        self.observed = replace(self.observed, links={**self.observed.links, name: link})

    def _device(self, name: str, device: Device) -> None:
        self.observed = replace(self.observed, devices={**self.observed.devices, name: device})

    def _gone(self, name: str) -> None:
        now = self.observed
        assert name in now.links
        self.observed = replace(
            now,
            links={key: link for key, link in now.links.items() if key != name},
            devices={key: device for key, device in now.devices.items() if key != name},
            routes=frozenset(route for route in now.routes if route.interface != name),
        )
