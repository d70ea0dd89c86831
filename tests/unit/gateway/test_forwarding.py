"""The way to clients of other gateways: reading it, and the commands that make it."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from unit.gateway.samples import POOL

from gateway.forwarding import (
    ABSENT,
    DELETE_DEVICE,
    Device,
    Forwarding,
    Present,
    RouteReader,
    commands,
    device_of,
    mac_of,
    moves,
    parse_entries,
    parse_neighbours,
)

OWN, OTHER, THIRD = (IPv4Address(f"10.20.0.{last}") for last in (10, 11, 12))
ALICE, BOB, VIA = "100.96.0.5", "100.96.0.6", "10.20.0.11"
WANTED = Forwarding(
    local=OWN, address=POOL[1], mtu=1420, gateways=frozenset({OTHER}), routes={ALICE: VIA}
)
DEVICE = Device(
    up=True,
    mtu=1420,
    mac="02:67:0a:14:00:0a",
    local="10.20.0.10",
    vni=1,
    port=4789,
    learning=False,
    addresses=frozenset({"100.96.0.1/32"}),
)
PRESENT = Present(
    DEVICE,
    neighbours=frozenset({(OTHER, mac_of(OTHER))}),
    entries=frozenset({(mac_of(OTHER), OTHER)}),
    routes={ALICE: VIA},
)


def given(wanted: Forwarding, present: Present) -> list[str]:
    return [" ".join(argv) for argv in commands(wanted, present)]


def test_the_devices_mac_is_made_from_the_private_address() -> None:
    assert mac_of(OTHER) == "02:67:0a:14:00:0b"
    assert len({mac_of(address) for address in (OWN, OTHER, THIRD)}) == 3


def test_what_is_there_is_read_from_what_ip_and_bridge_print() -> None:
    link = {
        "ifname": "gpfwd",
        "flags": ["BROADCAST", "UP"],
        "mtu": 1420,
        "address": "02:67:0a:14:00:0a",
        "linkinfo": {
            "info_kind": "vxlan",
            "info_data": {"id": 1, "local": "10.20.0.10", "port": 4789, "learning": False},
        },
        "addr_info": [{"family": "inet", "local": "100.96.0.1", "prefixlen": 32}],
    }
    assert device_of([{"ifname": "eth0"}, link]) == DEVICE
    assert device_of([{"ifname": "eth0"}]) is None
    neighbours = [{"dst": "10.20.0.11", "lladdr": "02:67:0a:14:00:0b", "state": ["PERMANENT"]}]
    assert parse_neighbours(json.dumps(neighbours)) == PRESENT.neighbours
    entries = [
        {"mac": "02:67:0a:14:00:0b", "dst": "10.20.0.11", "flags": ["self"]},
        {"mac": "33:33:00:00:00:01", "flags": ["self"]},
    ]
    assert parse_entries(json.dumps(entries)) == PRESENT.entries


def test_the_same_routes_are_read_once() -> None:
    reader = RouteReader()
    text = "100.96.0.5 via 10.20.0.11 dev gpfwd onlink \n"
    first = reader.read(text)
    assert first == {ALICE: VIA}
    assert reader.read(text) is first
    assert reader.read("") == {}


def test_from_nothing_all_is_made_and_the_device_is_up_before_it_is_used() -> None:
    assert given(WANTED, ABSENT) == [
        "ip link add gpfwd address 02:67:0a:14:00:0a mtu 1420"
        " type vxlan id 1 local 10.20.0.10 dstport 4789 nolearning",
        "ip address replace 100.96.0.1/32 dev gpfwd",
        "ip link set gpfwd up",
        "bridge fdb append 02:67:0a:14:00:0b dev gpfwd dst 10.20.0.11",
        "ip neighbour replace 10.20.0.11 lladdr 02:67:0a:14:00:0b dev gpfwd nud permanent",
    ]


def test_nothing_is_touched_that_is_right() -> None:
    assert given(WANTED, PRESENT) == []
    assert moves(PRESENT.routes, WANTED.routes) == ""


@pytest.mark.parametrize(
    "change",
    [
        {"mac": "02:00:00:00:00:01"},
        {"local": "10.20.0.99"},
        {"vni": 2},
        {"port": 8472},
        {"learning": True},
    ],
)
def test_a_device_of_another_kind_is_made_anew(change: dict) -> None:
    other = replace(PRESENT, device=replace(DEVICE, **change))
    assert given(WANTED, other) == [" ".join(DELETE_DEVICE), *given(WANTED, ABSENT)]


@pytest.mark.parametrize(
    ("change", "command"),
    [
        ({"mtu": 1500}, "ip link set gpfwd mtu 1420"),
        ({"up": False}, "ip link set gpfwd up"),
        ({"addresses": frozenset()}, "ip address replace 100.96.0.1/32 dev gpfwd"),
    ],
)
def test_one_that_is_only_set_otherwise_is_set_right(change: dict, command: str) -> None:
    assert given(WANTED, replace(PRESENT, device=replace(DEVICE, **change))) == [command]


def test_gateways_come_and_go_without_a_change_to_the_rest() -> None:
    assert given(replace(WANTED, gateways=frozenset({OTHER, THIRD})), PRESENT) == [
        "bridge fdb append 02:67:0a:14:00:0c dev gpfwd dst 10.20.0.12",
        "ip neighbour replace 10.20.0.12 lladdr 02:67:0a:14:00:0c dev gpfwd nud permanent",
    ]
    assert given(replace(WANTED, gateways=frozenset()), PRESENT) == [
        "ip neighbour delete 10.20.0.11 dev gpfwd",
        "bridge fdb delete 02:67:0a:14:00:0b dev gpfwd dst 10.20.0.11",
    ]


def test_a_gateway_that_does_not_know_its_own_address_yet_touches_nothing() -> None:
    assert given(replace(WANTED, local=None), PRESENT) == []
    assert given(replace(WANTED, local=None), ABSENT) == []


def test_only_routes_that_differ_are_moved() -> None:
    before = {ALICE: VIA, BOB: VIA}
    assert moves(before, {**before}) == ""
    assert moves(before, {ALICE: "10.20.0.12"}) == (
        "route delete 100.96.0.6/32 table 51830\n"
        "route replace 100.96.0.5/32 via 10.20.0.12 dev gpfwd onlink table 51830\n"
    )
