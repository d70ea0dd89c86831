"""Reading `ip -json`, and the commands for routes and rules."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv4Network

from gateway import network
from gateway.network import Link, Route, Rule

POOL = IPv4Network("100.96.0.0/16")


def test_links_are_read_with_their_ipv4_addresses_only() -> None:
    text = json.dumps(
        [
            {
                "ifname": "eth0",
                "flags": ["BROADCAST", "UP"],
                "mtu": 9001,
                "addr_info": [
                    {"family": "inet", "local": "10.20.0.10", "prefixlen": 24},
                    {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
                ],
            },
            {},
            {"ifname": "wg0", "flags": ["POINTOPOINT"], "mtu": 1420, "addr_info": []},
        ]
    )
    links = network.links_of(network.documents(text))
    assert links["eth0"] == Link("eth0", up=True, mtu=9001, addresses=frozenset({"10.20.0.10/24"}))
    assert not links["wg0"].up


def test_the_machines_own_addresses_are_without_loopback_and_tunnels() -> None:
    links = {
        "lo": Link("lo", up=True, mtu=65536, addresses=frozenset({"127.0.0.1/8"})),
        "eth0": Link("eth0", up=True, mtu=9001, addresses=frozenset({"10.20.0.10/24"})),
        "wg0": Link("wg0", up=True, mtu=1420, addresses=frozenset({"100.96.0.1/32"})),
    }
    own = network.own_addresses(links, ("wg0", "wg1"))
    assert own == {IPv4Address("10.20.0.10")}


def test_rules_without_a_mark_are_not_ours() -> None:
    text = '[{"priority":0,"src":"all","table":"local"},{"fwmark":"0x6701","table":"6701"}]'
    assert network.parse_rules(text) == {Rule(network.mark_of(1), "6701")}


def test_a_route_without_a_table_is_in_the_main_one() -> None:
    text = (
        '[{"dst":"100.96.0.0/16","dev":"wg0","table":"6700"},{"dst":"100.96.0.0/16","dev":"wg1"}]'
    )
    assert network.parse_routes(text) == {Route("6700", "wg0"), Route("main", "wg1")}
    assert network.parse_routes("") == frozenset()


def test_each_slot_has_a_mark_a_table_and_a_rule_of_its_own() -> None:
    assert network.add_rule(0) != network.add_rule(1)
    assert network.mark_of(0) != network.mark_of(1)
    assert network.replace_route(POOL, "wg1", "6701")[-4:] == ("dev", "wg1", "table", "6701")
