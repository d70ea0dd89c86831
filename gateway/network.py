"""Links, addresses, routes and rules: parsing `ip -json`, building `ip`. Pure.

Return path: the packet filter marks what goes to a client with its slot's mark, the mark picks the
table, the table has one route to the slot's interface. The route in the main table serves clients
that have not sent anything yet, and all of them until two slots are served for the first time: only
then are there rules by which a mark picks a table.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network

ADDRESSES = ("ip", "-json", "-details", "address", "show")
RULES = ("ip", "-4", "-json", "rule", "show")

_MARK_BASE = 0x6700  # any number that nobody else on the machine uses
MAIN = "main"


def mark_of(slot: int) -> int:
    """Packet mark of what goes to a client through this slot's interface."""
    return _MARK_BASE + slot


def table_of(slot: int) -> str:
    """Number of the routing table with the slot's one route; also its rule's preference."""
    return str(6700 + slot)


def show_routes(pool: IPv4Network) -> tuple[str, ...]:
    """Command that lists the routes to exactly the pool, in all tables."""
    return ("ip", "-4", "-json", "route", "show", "table", "all", "exact", str(pool))


@dataclass(frozen=True)
class Link:
    """A network interface."""

    name: str
    up: bool
    mtu: int
    addresses: frozenset[str]
    """IPv4, with prefix length."""


@dataclass(frozen=True)
class Rule:
    """A routing rule that looks a mark up in a table."""

    mark: int
    table: str


@dataclass(frozen=True)
class Route:
    """The pool's route in one table."""

    table: str
    interface: str


def documents(text: str) -> list[dict[str, Any]]:
    """What `ip -json` or `bridge -json` lists."""
    # an empty answer may be no text at all, and a command may put {} where it skipped something
    return [document for document in json.loads(text or "[]") if document]


def links_of(addresses: Iterable[dict[str, Any]]) -> dict[str, Link]:
    """Interfaces by name, from what `ADDRESSES` lists."""
    return {link.name: link for link in map(link_of, addresses)}


def link_of(document: dict[str, Any]) -> Link:
    """One of them, from its part of the listing."""
    return Link(
        name=document["ifname"],
        up="UP" in document["flags"],
        mtu=document["mtu"],
        addresses=frozenset(
            f"{address['local']}/{address['prefixlen']}"
            for address in document.get("addr_info", ())
            if address.get("family") == "inet"
        ),
    )


def parse_rules(text: str) -> frozenset[Rule]:
    """The rules by mark, from `ip -json rule show`."""
    return frozenset(
        Rule(int(rule["fwmark"], 16), str(rule["table"]))
        for rule in documents(text)
        if "fwmark" in rule and "table" in rule
    )


def parse_routes(text: str) -> frozenset[Route]:
    """The pool's routes, from `ip -json route show table all exact POOL`."""
    return frozenset(
        Route(str(route.get("table", MAIN)), route.get("dev", "")) for route in documents(text)
    )


def own_addresses(links: dict[str, Link], tunnels: tuple[str, ...]) -> frozenset[IPv4Address]:
    """The machine's own addresses, without loopback and tunnel addresses."""
    found = (
        IPv4Address(address.partition("/")[0])
        for link in links.values()
        if link.name not in tunnels
        for address in link.addresses
    )
    return frozenset(address for address in found if not address.is_loopback)


def add_rule(slot: int) -> tuple[str, ...]:
    """Command for the slot's rule."""
    mark, table = hex(mark_of(slot)), table_of(slot)
    return ("ip", "-4", "rule", "add", "fwmark", mark, "lookup", table, "preference", table)


def replace_route(pool: IPv4Network, interface: str, table: str) -> tuple[str, ...]:
    """Command for the pool's route in a table."""
    return ("ip", "-4", "route", "replace", str(pool), "dev", interface, "table", table)


def delete_route(pool: IPv4Network, table: str) -> tuple[str, ...]:
    """Command that takes the pool's route out of a table."""
    return ("ip", "-4", "route", "delete", str(pool), "table", table)
