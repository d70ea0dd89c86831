"""Return traffic to clients of other gateways: a VXLAN device and a route for each. Pure.

In routed mode the VPC sends what goes to clients to one gateway, and another one may hold a
client's session. Routing table `TABLE` has one /32 for each such client, by that gateway, through
`DEVICE`. The packet filter (gateway.routed) marks what has to be looked up there: never what has
come through `DEVICE` itself, so that a packet crosses at most two gateways.

Neighbours and forwarding entries are told and never learned: nothing is flooded, and a frame goes
only to a gateway that the membership names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.network import Rule, documents, link_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

DEVICE = "gpfwd"
PORT = 4789
"""UDP of VXLAN (RFC 7348, section 5)."""

_VNI = 1
_MAC_PREFIX = "02:67"
"""Locally administered; the four bytes of the private address follow."""

MARK = 0x6702
"""Packet mark of what is looked up in `TABLE`."""
TABLE = "51830"
_PREFERENCE = "6690"
"""Before the rules of the slots (gateway.network)."""

RULE = Rule(MARK, TABLE)
ADD_RULE = (
    *("ip", "-4", "rule", "add", "fwmark", hex(MARK)),
    *("lookup", TABLE, "preference", _PREFERENCE),
)
DELETE_RULE = tuple("delete" if word == "add" else word for word in ADD_RULE)

NEIGHBOURS = ("ip", "-4", "-json", "neighbour", "show", "dev", DEVICE, "nud", "permanent")
ENTRIES = ("bridge", "-json", "fdb", "show", "dev", DEVICE)
ROUTES = ("ip", "-4", "route", "show", "table", TABLE)
"""Plain text: ten thousand lines of it are read in a tenth of the time that their JSON takes."""

BATCH = ("ip", "-4", "-force", "-batch", "-")
"""Reads route commands, one a line, and goes on after one that fails."""

Routes: TypeAlias = "Mapping[str, str]"
"""A client's tunnel address -> the private address of the gateway that holds its session. As text:
thousands are compared, for which addresses as objects take fifty times as long."""

NO_ROUTES: Routes = {}


@dataclass(frozen=True, kw_only=True)
class Forwarding:
    """As it should be."""

    local: IPv4Address | None
    """This gateway's private address; None while it is not known, and nothing is touched."""
    address: IPv4Address
    """The device's own: the tunnel address that every gateway has. A device without any fails the
    kernel's check of source addresses, however loose."""
    mtu: int
    """That of the tunnels: what fits here fits there."""
    gateways: frozenset[IPv4Address]
    """The others' private addresses."""
    routes: Routes = field(compare=False)
    """Changes by `moves`; the rest by `commands`."""


@dataclass(frozen=True)
class Device:
    """The VXLAN device as it is."""

    up: bool
    mtu: int
    mac: str
    local: str
    vni: int
    port: int
    learning: bool
    addresses: frozenset[str] = frozenset()
    """IPv4, with prefix length."""


@dataclass(frozen=True)
class Present:
    """As it is."""

    device: Device | None = None
    neighbours: frozenset[tuple[IPv4Address, str]] = frozenset()
    """Private address and MAC."""
    entries: frozenset[tuple[str, IPv4Address]] = frozenset()
    """MAC, and the address to which its frames go."""
    routes: Routes = field(default_factory=dict)


ABSENT = Present()


def mac_of(address: IPv4Address) -> str:
    """The MAC address of the device of the gateway with this private address."""
    return ":".join((_MAC_PREFIX, *(f"{byte:02x}" for byte in address.packed)))


# ------------------------------------------------------------------ reading


def device_of(addresses: Iterable[dict[str, Any]]) -> Device | None:
    """From what `ip -json -details address show` lists (gateway.network.ADDRESSES)."""
    for link in addresses:
        if link.get("ifname") == DEVICE:
            return _device(link)
    return None


def _device(document: dict[str, Any]) -> Device:
    link, data = link_of(document), document.get("linkinfo", {}).get("info_data", {})
    return Device(
        up=link.up,
        mtu=link.mtu,
        mac=document.get("address", ""),
        local=data.get("local", ""),
        vni=data.get("id", 0),
        port=data.get("port", 0),
        learning=bool(data.get("learning", True)),
        addresses=link.addresses,
    )


def parse_neighbours(text: str) -> frozenset[tuple[IPv4Address, str]]:
    """From the answer to `NEIGHBOURS`."""
    return frozenset((IPv4Address(one["dst"]), one.get("lladdr", "")) for one in documents(text))


def parse_entries(text: str) -> frozenset[tuple[str, IPv4Address]]:
    """From the answer to `ENTRIES`."""
    return frozenset(
        (one["mac"], IPv4Address(one["dst"])) for one in documents(text) if "dst" in one
    )


class RouteReader:
    """Reads the answer to `ROUTES`; the same text is read once and gives the same mapping."""

    def __init__(self) -> None:
        self._text, self._routes = "", NO_ROUTES

    def read(self, text: str) -> Routes:
        """Client -> gateway."""
        if text != self._text:
            found = {}
            for words in map(str.split, text.splitlines()):
                # 100.96.0.5 via 10.20.0.11 dev gpfwd onlink
                via = words.index("via") + 1 if "via" in words else 0
                if via:
                    found[words[0]] = words[via]
            self._text, self._routes = text, found
        return self._routes


# ------------------------------------------------------------------ changing


def commands(wanted: Forwarding, present: Present) -> Iterator[tuple[str, ...]]:
    """What makes the device and its neighbours; nothing for what is right already."""
    local = wanted.local
    if local is None:
        return
    if not stays(wanted, present):
        if present.device is not None:
            yield DELETE_DEVICE
        yield (
            *("ip", "link", "add", DEVICE, "address", mac_of(local), "mtu", str(wanted.mtu)),
            *("type", "vxlan", "id", str(_VNI), "local", str(local)),
            *("dstport", str(PORT), "nolearning"),
        )
        present = ABSENT
    elif present.device is not None and present.device.mtu != wanted.mtu:
        yield ("ip", "link", "set", DEVICE, "mtu", str(wanted.mtu))
    address, there = f"{wanted.address}/32", present.device.addresses if present.device else ()
    if address not in there:
        yield ("ip", "address", "replace", address, "dev", DEVICE)
    if present.device is None or not present.device.up:
        yield ("ip", "link", "set", DEVICE, "up")
    yield from _neighbours(wanted, present)


def _neighbours(wanted: Forwarding, present: Present) -> Iterator[tuple[str, ...]]:
    neighbours = {(address, mac_of(address)) for address in wanted.gateways}
    entries = {(mac, address) for address, mac in neighbours}
    for address, _mac in sorted(present.neighbours):
        if address not in wanted.gateways:
            yield ("ip", "neighbour", "delete", str(address), "dev", DEVICE)
    for mac, address in sorted(present.entries - entries):
        yield ("bridge", "fdb", "delete", mac, "dev", DEVICE, "dst", str(address))
    for mac, address in sorted(entries - present.entries):
        yield ("bridge", "fdb", "append", mac, "dev", DEVICE, "dst", str(address))
    for address, mac in sorted(neighbours - present.neighbours):
        words = ("ip", "neighbour", "replace", str(address), "lladdr", mac)
        yield (*words, "dev", DEVICE, "nud", "permanent")


DELETE_DEVICE = ("ip", "link", "delete", DEVICE)
"""Its routes and neighbours go with it."""


def stays(wanted: Forwarding, present: Present) -> bool:
    """Whether the device that is there is the wanted one, however it is set."""
    device, local = present.device, wanted.local
    return (
        device is not None
        and local is not None
        and (device.mac, device.local, device.vni, device.port, device.learning)
        == (mac_of(local), str(local), _VNI, PORT, False)
    )


def moves(before: Routes, after: Routes) -> str:
    """Lines for `BATCH` from one set of routes to another; empty when they are the same."""
    if before is after:
        return ""
    gone = [f"route delete {client}/32 table {TABLE}\n" for client in before.keys() - after.keys()]
    put = [
        f"route replace {client}/32 via {gateway} dev {DEVICE} onlink table {TABLE}\n"
        for client, gateway in after.items()
        if before.get(client) != gateway
    ]
    return "".join((*gone, *put))
