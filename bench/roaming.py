"""Clients that change their place: another port, or another public address and port.

To the load balancer a client is an address and a port, so both are the same to it. That a place is
hashed to a certain gateway is found by trying, before there is a tunnel.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from bench import flows, tunnels
from bench.flows import Source
from bench.harm import dropping
from lab import edge

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from contextlib import AbstractContextManager

    from bench.tunnels import Client, Server
    from commands.stacks import Stack

ELSEWHERE = 100
"""Added to a client's public address: another that is nobody's while there are fewer clients."""
SECOND_PORTS = range(20100, 20164)


@dataclass
class Roamer:
    """A client and the places it can be at."""

    client: Client
    home: Mapping[IPv4Address, Source]
    """Private address of a gateway -> the place from where the client's flow goes there."""
    away: Mapping[IPv4Address, Source]
    at: Source

    @property
    def name(self) -> str:
        """The client's."""
        return self.client.name


def create(
    stack: Stack,
    to: Server,
    name: str,
    gateways: Collection[IPv4Address],
    at: IPv4Address,
    *,
    moves_house: bool,
) -> Roamer:
    """A client at home, with a tunnel through the gateway `at`, that has been elsewhere before."""
    tunnels.delete(stack, name)
    place = edge.create_client(name)
    home = away = place.own_public_address
    ports = tunnels.find_ports(place, to, gateways)
    if moves_house:
        away = IPv4Address(int(home) + ELSEWHERE)
        edge.set_public_address(place, away)
    others = tunnels.find_ports(place, to, gateways, ports=SECOND_PORTS, public=away)
    edge.set_public_address(place, home)
    client = tunnels.connect(stack, to, place, ports, at)
    return Roamer(
        client,
        home={one: Source(home, port) for one, port in ports.items()},
        away={one: Source(away, port) for one, port in others.items()},
        at=Source(home, ports[at]),
    )


def prepare(roamer: Roamer, to: Source) -> None:
    """Let the load balancer forget that the client has been there, unless it is there now."""
    if roamer.at != to:
        flows.forget([to])


def roam(roamer: Roamer, to: Source) -> float:
    """Be at another place from now on; monotonic seconds when it is so.

    Who changes the address is offline meanwhile, or packets would come from half a place.
    """
    place = roamer.client.tunnel.client
    with _offline(place) if roamer.at.address != to.address else nullcontext():
        if roamer.at.address != to.address:
            edge.set_public_address(place, to.address)
        roamer.client.tunnel.run(
            ["wg", "set", roamer.client.tunnel.interface, "listen-port", str(to.port)]
        )
    roamer.at = to
    return time.monotonic()


def _offline(place: edge.Client) -> AbstractContextManager[None]:
    """Nothing a client sends leaves its NAT. (A link that is taken down comes back after a second:
    the kernel tells its neighbours no sooner.)"""
    base = "{ type filter hook prerouting priority raw ; policy accept ; }"
    return dropping(edge.NAT, f"ip bench_{place.link}", base, f"ip saddr {place.address}")
