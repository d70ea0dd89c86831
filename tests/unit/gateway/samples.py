"""Machines, plans and messages that the tests of this folder start from."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from gateway import network
from gateway.access import EVERYWHERE
from gateway.decide import Desired, Observed, SlotPlan
from gateway.firewall import Filter
from gateway.network import Link, Route, Rule
from gateway.wireguard import Device, DevicePeer
from registry.items import Control, Head


def stands_in(fake: object) -> Any:
    """A fake, for a parameter that names the real class."""
    return fake


POOL = IPv4Network("100.96.0.0/16")
VPC = (IPv4Network("10.20.0.0/16"),)
ALICE, BOB = IPv4Address("100.96.0.5"), IPv4Address("100.96.0.6")
PEERS = {"KEY-alice": ALICE}
REACHES = {ALICE: EVERYWHERE}
SYSCTL = {"net/ipv4/ip_forward": "1"}
FILTER = Filter(
    port=51820,
    health_port=9585,
    metrics_port=9586,
    gossip_port=9588,
    client_pool=POOL,
    reach=VPC,
    gateways=frozenset({IPv4Address("10.20.0.10")}),
    peer_to_peer=False,
)


def control(*generations: int) -> Control:
    return Control(generations, 51820, VPC, (), POOL)


def head(generation: int = 0, *generations: int, epoch: str = "e") -> Head:
    return Head(generation, epoch, control(*generations) if generations else None)


def slot_plan(generation: int) -> SlotPlan:
    slot = (generation - 1) % 2
    return SlotPlan(
        slot=slot,
        generation=generation,
        interface=f"wg{slot}",
        port=51820 + slot,
        public_key=f"SERVER-{generation}",
        key_file=Path(f"/keys/{generation}"),
    )


def desired(*generations: int) -> Desired:
    return Desired(
        slots=tuple(map(slot_plan, generations)),
        peers=PEERS,
        reaches=REACHES,
        pool=POOL,
        own_address=POOL[1],
        mtu=1420,
        filter=FILTER,
        sysctl=SYSCTL,
    )


RULES = frozenset(Rule(network.mark_of(slot), network.table_of(slot)) for slot in (0, 1))

BARE = Observed(
    links={},
    devices={},
    rules=frozenset(),
    routes=frozenset(),
    sysctl={"net/ipv4/ip_forward": "0"},
    filter=None,
    reaches=None,
)
"""A machine that has just booted."""


def serving(*generations: int) -> Observed:
    """A machine that is exactly as `desired(*generations)` wants it."""
    links, devices, routes = {}, {}, set()
    for plan in map(slot_plan, generations):
        name = plan.interface
        links[name] = Link(name, up=True, mtu=1420, addresses=frozenset({"100.96.0.1/32"}))
        peers = {key: DevicePeer(key, (f"{ip}/32",)) for key, ip in PEERS.items()}
        devices[name] = Device(name, plan.public_key, plan.port, peers)
        routes |= {Route(network.table_of(plan.slot), name)}
    if generations:
        routes |= {Route("main", slot_plan(generations[-1]).interface)}
    return replace(
        BARE,
        links=links,
        devices=devices,
        rules=RULES if len(generations) > 1 else frozenset(),
        routes=frozenset(routes),
        sysctl=SYSCTL,
        filter=FILTER,
        reaches=REACHES,
    )
