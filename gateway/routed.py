"""The packet filter's part in routed mode, as text for nftables. Pure.

Clients' packets leave with their own addresses, and what the VPC answers comes to the gateway that
a route table names. If another one holds the client's session, it goes there (gateway.forwarding)
without being kept track of; the *owner* judges it, by what it has seen of the connection or, for
TCP in the middle of one, by who may go where: so an open connection outlives the gateway that saw
it begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.access import PORTS, any_of, conditions
from gateway.forwarding import DEVICE, MARK, PORT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Network

FORWARDED, LOOPS = "forwarded", "forward_loops"
"""Named counters: packets handed to other gateways; packets that came from one and would not have
gone to a client."""

COUNTERS = (FORWARDED, LOOPS)

LIST_COUNTERS = ("nft", "--json", "list", "counters", "table", "inet", "gatepair")


@dataclass(frozen=True, kw_only=True)
class Routed:
    """What the rules of this mode are made from, beside all others'."""

    vpc: tuple[IPv4Network, ...]
    """From where the load balancer's health checks come."""
    monitoring: tuple[IPv4Network, ...]
    """Who may read metrics; empty: nobody."""
    connections_to_clients: bool = False


def first(pool: IPv4Network, wg: Iterable[str], gateways: str, *, peer_to_peer: bool) -> list[str]:
    """Before connection tracking: mark, and do not track, what goes on to another gateway.

    `gateways`: an operand with every gateway's address, or nothing. What has come from another
    gateway is never looked up again.
    """
    aside = ("lo", DEVICE, *(() if peer_to_peer else wg))
    names = any_of(f'"{name}"' for name in aside)
    return [
        *capsules(gateways),
        f"iifname != {names} ip daddr {pool} meta mark set {MARK:#010x}",
        f'meta mark {MARK:#010x} fib daddr . mark oifname != "{DEVICE}" meta mark set 0',
        f"meta mark {MARK:#010x} notrack",
    ]


def capsules(gateways: str) -> list[str]:
    """What gateways send each other is not tracked: each flow inside would be an entry outside."""
    both = f"ip saddr {gateways} ip daddr {gateways}"
    return [f"{both} udp dport {PORT} notrack accept"] if gateways else []


def asked(pool: IPv4Network) -> list[str]:
    """What the gateway asks a connection's end in the other's name is not tracked.

    It would be a connection that the host has opened. (gateway.takeover.question)
    """
    return [
        f"meta l4proto tcp ip {which} {pool} fib saddr type != local notrack"
        for which in ("saddr", "daddr")
    ]


def unasked() -> str:
    """Of what leaves: the questions are nobody's segments, and are not reported as such.

    All else that is not tracked goes to another gateway.
    """
    return f'oifname != "{DEVICE}" ct state untracked accept'


def stop_here() -> str:
    """Of what reaches the gateway itself: nothing that has come through another one."""
    return f'iifname "{DEVICE}" counter name "{LOOPS}" drop'


def through(pool: IPv4Network, wg: str, reach: str) -> list[str]:
    """What passes a gateway and does not come from a client of its own."""
    rules = [f'iifname "{DEVICE}" oifname != {wg} counter name "{LOOPS}" drop']
    if reach:
        rules += [
            f"oifname {wg} goto to_client",
            f'oifname "{DEVICE}" ip saddr {reach} ip daddr {pool} '
            f'counter name "{FORWARDED}" accept',
            # a router on the way may be none of those that clients may reach; the owner judges it
            f'oifname "{DEVICE}" ip daddr {pool} icmp type '
            "{ destination-unreachable, time-exceeded, parameter-problem } "
            f'counter name "{FORWARDED}" accept',
        ]
    return rules


def to_client(pool: IPv4Network, reach: str, routed: Routed, *, peer_to_peer: bool) -> list[str]:
    """Judge what goes to a client whose session is here. Only ever accepting."""
    between = [f'iifname "{DEVICE}" ip saddr {pool} accept'] if peer_to_peer else []
    rules = [
        *between,  # judged where it came in
        f"ip saddr {reach} ct state established,related accept",
        "meta l4proto icmp ct state related accept",
        f"ip saddr != {reach} drop",
        "tcp flags & (syn | ack) != syn goto answers",
    ]
    if routed.connections_to_clients:
        # from any port: who may reach one port of a host is not reached by it
        sets = conditions(reach, to_client=True).items()
        rules += [f"{condition} accept" for name, condition in sets if name != PORTS]
    return rules


def answers(reach: str) -> list[str]:
    """TCP that opens nothing: the same sets, the other way round."""
    return [f"{condition} accept" for condition in conditions(reach, to_client=True).values()]


def to_gateway(routed: Routed, gateways: str, health_port: int, metrics_port: int) -> list[str]:
    """What may reach the gateway itself, where the security group lets in the whole VPC."""
    known = [f"ip saddr {gateways} udp dport {PORT} accept"] if gateways else []
    watching = (
        [f"ip saddr {any_of(routed.monitoring)} tcp dport {metrics_port} accept"]
        if routed.monitoring
        else []
    )
    return [
        *known,
        f"udp dport {PORT} drop",
        "ct state established,related accept",
        f"ip saddr {any_of(routed.vpc)} tcp dport {health_port} accept",
        *watching,
    ]
