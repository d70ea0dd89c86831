"""Who may talk to a gateway, and to whom it may talk: its security group's rules. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components.load_balancer import SLOTS
from settings import METRICS_PORT, VXLAN_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv4Network

    from settings import Settings

BALANCER, GATEWAYS = "load balancer", "gateways"
"""The two security groups, where a rule's other side is one."""
ALL = "-1"
"""All protocols, as AWS writes it."""
_EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of the gateways' group."""

    name: str
    """Of the resource, behind the component's."""
    says: str
    protocol: str
    ports: tuple[int, int] | None = None
    """First and last; None with all protocols."""
    other: str
    """An IPv4 block, `BALANCER` or `GATEWAYS`."""


def from_balancer(settings: Settings) -> Iterator[Rule]:
    """What the load balancer sends. Its own group needs the same, outwards."""
    slots = (settings.port, settings.port + len(SLOTS) - 1)
    health = (settings.health_port, settings.health_port)
    yield Rule(name="wireguard", says="wireguard", protocol="udp", ports=slots, other=BALANCER)
    yield Rule(name="health", says="health", protocol="tcp", ports=health, other=BALANCER)


def ingress(settings: Settings) -> Iterator[Rule]:
    """What else comes in."""
    # Out they go by the rules for the VPC's blocks below.
    between = [("gossip", "gossip, between gateways", settings.gossip_port)]
    if settings.routed:
        between.append(("forwarded", "clients' packets, between gateways", VXLAN_PORT))
    for name, says, port in between:
        yield Rule(name=name, says=says, protocol="udp", ports=(port, port), other=GATEWAYS)
    for cidr in settings.monitoring_cidrs:
        yield Rule(
            name=f"metrics-from-{_named(cidr)}",
            says="metrics",
            protocol="tcp",
            ports=(METRICS_PORT, METRICS_PORT),
            other=str(cidr),
        )
    # An answer comes to the gateway that holds the route, which need not be the one that the
    # question left by: its security group has not tracked it, so a rule must let it in. What of it
    # is for the gateway itself is the packet filter's to judge.
    for cidr in settings.reachable_cidrs if settings.routed else ():
        name, says = f"to-clients-from-{_named(cidr)}", "to clients, from what they may reach"
        yield Rule(name=name, says=says, protocol=ALL, other=str(cidr))


def egress(settings: Settings) -> Iterator[Rule]:
    """What goes out.

    No UDP to the internet: a gateway's own WireGuard packets must not reach a client but as replies
    through the load balancer, or the client would turn to this gateway's address.
    """
    for name, port in (("to-https", 443), ("to-http", 80)):
        yield Rule(
            name=name,
            says="AWS and Debian",
            protocol="tcp",
            ports=(port, port),
            other=_EVERYWHERE,
        )
    for cidr in settings.reachable_cidrs:
        says = "what clients may reach"
        yield Rule(name=f"to-{_named(cidr)}", says=says, protocol=ALL, other=str(cidr))


def _named(cidr: IPv4Network) -> str:
    return f"{cidr.network_address}-{cidr.prefixlen}"
