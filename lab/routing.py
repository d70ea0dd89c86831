"""VPC route tables as the router's policy routing: a pure compiler to `ip rule` and `ip route`.

Each sender's interface looks into its subnet's table. In it, the VPC's own CIDRs fall through to
the main table, where every attachment has a /32; a gateway of any kind leads nowhere in the lab,
and says so at once.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.security import BALANCER, BALANCER_MARK

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from lab.inventory import Attachment, Network, Route, RouteTable

BALANCER_ADDRESS = "169.254.171.2"
BALANCER_TABLE = 100
_BALANCER_PRIORITY = 100
_SENDER_PRIORITY = 1000


@dataclass(frozen=True)
class Routing:
    """Arguments of `ip rule add` and `ip route replace`, each once, in a fixed order."""

    rules: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()


def compile_routing(
    attachments: Sequence[Attachment], network: Network, *, balancer: bool
) -> Routing:
    """The routing of what is attached now; `balancer`: whether the link to it exists."""
    rules = []
    # An address of the VPC where nobody is: silence, as on AWS, so a dead gateway is just not there
    cidrs = {cidr for known in network.cidrs.values() for cidr in known}
    routes = [f"blackhole {cidr} table main" for cidr in sorted(cidrs)]
    if balancer:
        rules.append(
            f"priority {_BALANCER_PRIORITY} fwmark {BALANCER_MARK:#x} lookup {BALANCER_TABLE}"
        )
        via = f"via {BALANCER_ADDRESS} dev {BALANCER}"
        routes.append(f"default {via} table {BALANCER_TABLE}")
        nodes = {
            network.node(subnet_id)
            for one in network.balancers
            for subnet_id in one.subnet_ids
            if subnet_id in network.subnets
        }
        routes += [f"{node}/32 {via} table main" for node in sorted(nodes)]
    used: dict[str, RouteTable] = {}
    for attachment in sorted(attachments, key=lambda one: one.interface):
        table = table_of(attachment.subnet_id, attachment.vpc_id, network.tables)
        if table is not None:
            used[table.id] = table
            rules.append(
                f"priority {_SENDER_PRIORITY} iif {attachment.interface} lookup {number(table.id)}"
            )
    for table_id in sorted(used):
        routes += _table(used[table_id], attachments)
    return Routing(tuple(rules), tuple(routes))


def table_of(subnet_id: str, vpc_id: str, tables: Iterable[RouteTable]) -> RouteTable | None:
    """The subnet's own route table, else its VPC's main one."""
    main = None
    for table in tables:
        if subnet_id in table.subnet_ids:
            return table
        if table.main and table.vpc_id == vpc_id:
            main = table
    return main


def number(table_id: str) -> int:
    """A kernel routing table for a VPC route table: the same one in every run, none of Linux's."""
    return 0x40000000 | zlib.crc32(table_id.encode()) & 0x3FFFFFFF


def _table(table: RouteTable, attachments: Sequence[Attachment]) -> list[str]:
    lines = {}
    for route in table.routes:
        lines[route.destination] = _route(route, attachments)
    texts = [
        f"{line.format(destination=destination)} table {number(table.id)}"
        for destination, line in sorted(lines.items())
    ]
    if not any(destination.prefixlen == 0 for destination in lines):
        # Or the search would go on in the main table, which knows every VPC
        texts.append(f"unreachable default table {number(table.id)}")
    return texts


def _route(route: Route, attachments: Sequence[Attachment]) -> str:
    if route.kind == "local":
        return "throw {destination}"
    if route.kind == "outside":
        return "prohibit {destination}"
    for attachment in attachments:
        if route.target and route.target in {attachment.id, attachment.interface_id}:
            return f"{{destination}} via {attachment.address} dev {attachment.interface} onlink"
    return "blackhole {destination}"
