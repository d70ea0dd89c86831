"""Security groups compiled to nftables: what the router lets through, decided without a kernel.

The ruleset is read back by a small interpreter of the few expressions it may contain, so a test
says which packets pass and not which text was written.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest

from effects import run
from lab.inventory import Attachment, Balancer, Network, Rule
from lab.security import BALANCER, BALANCER_MARK, ruleset
from lab.tracking import KNOWN_IN, KNOWN_OUT

VPC = IPv4Network("10.20.0.0/16")
ONE, TWO, HOST = IPv4Address("10.20.0.4"), IPv4Address("10.20.1.4"), IPv4Address("10.20.32.10")
CLIENT = IPv4Address("198.51.100.10")


@dataclass(frozen=True)
class Packet:
    """A packet as the router's forward chain sees it; the first of a flow unless `known`."""

    source: IPv4Address
    target: IPv4Address
    iif: str
    oif: str
    protocol: str = "tcp"
    port: int = 80
    sport: int = 40000
    icmp: tuple[int, int] = (8, 0)
    known: int = 0
    """Whose interface knows its flow: `tracking.KNOWN_*`."""


def attachment(
    interface: str, address: IPv4Address, *groups: str, check: bool = True
) -> Attachment:
    return Attachment(interface, address, "subnet-1", "vpc-1", groups, source_check=check)


def rule(group: str, *, egress: bool = False, **changes: Any) -> Rule:
    values: dict[str, Any] = {"protocol": "-1", "low": -1, "high": -1}
    return Rule(group, egress, **(values | changes))


ANYWHERE = IPv4Network("0.0.0.0/0")
OUT = (
    rule("sg-gw", egress=True, cidr=ANYWHERE),
    rule("sg-host", egress=True, cidr=ANYWHERE),
)
GATEWAYS = (attachment("i-one", ONE, "sg-gw"), attachment("i-two", TWO, "sg-gw"))
ALL = (*GATEWAYS, attachment("h-host", HOST, "sg-host"))


def network(*rules: Rule, ports: tuple[int, ...] = ()) -> Network:
    return Network(
        cidrs={"vpc-1": (VPC,)},
        rules=(*OUT, *rules),
        balancers=(Balancer("lb.example", (), groups=("sg-lb",)),),
        ports=ports,
    )


class Filter:
    """Runs packets through the compiled text."""

    def __init__(self, text: str) -> None:
        self.chains: dict[str, list[str]] = {}
        self.sets: dict[str, set[str]] = {}
        self.maps: dict[str, dict[str, str]] = {}
        for kind, name, body in re.findall(
            r"^(chain|set|map) (\S+) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL
        ):
            lines = body.splitlines()
            elements = next((x for x in lines if x.startswith("elements")), "")
            inner = elements.partition("{")[2].rpartition("}")[0]
            if kind == "chain":
                self.chains[name] = lines
            elif kind == "set":
                self.sets[f"@{name}"] = {word.strip() for word in inner.split(",") if word.strip()}
            else:
                pairs = re.findall(r'"(\S+)" : (goto \S+?)(?:,|$)', inner.strip())
                self.maps[f"@{name}"] = dict(pairs)

    def passes(self, packet: Packet) -> bool:
        if self._run("prerouting", packet) == "drop":
            return False
        return self._run("forward", packet) == "accept"

    def mark(self, packet: Packet) -> bool:
        return any(
            f"meta mark set {BALANCER_MARK:#x}" in line and self._matches(line, packet)
            for line in self.chains["prerouting"]
        )

    def _run(self, chain: str, packet: Packet) -> str:
        for line in self.chains[chain]:
            if line.startswith(("type ", "ct state")) or "meta mark set" in line:
                continue
            known = re.match(r"meta mark & (\S+) == ", line)
            if known and not packet.known & int(known[1], 16):
                continue
            vmap = re.search(r"(iifname|oifname) vmap (\S+)", line)
            if vmap:
                name = packet.iif if vmap[1] == "iifname" else packet.oif
                verdict = self.maps[vmap[2]].get(name, "")
            else:
                verdict = line if self._matches(line, packet) else ""
            ends = re.search(r"(?:(accept|drop)|(goto|jump) (\S+))$", verdict)
            if not ends:
                continue
            if ends[1]:
                return ends[1]
            result = self._run(ends[3], packet)
            if result or ends[2] == "goto":
                return result
        return ""

    def _matches(self, line: str, packet: Packet) -> bool:
        checks = {
            r"iifname (!= )?\"(\S+)\"": lambda value: packet.iif == value,
            r"oifname (!= )?\"(\S+)\"": lambda value: packet.oif == value,
            r"ip saddr (!= )?(\{.*?\}|\S+)": lambda value: self._holds(value, packet.source),
            r"ip daddr (!= )?(\{.*?\}|\S+)": lambda value: self._holds(value, packet.target),
            r"meta l4proto (!= )?(\S+)": lambda value: packet.protocol == value,
            r"(?:tcp|udp) dport (!= )?(\S+)": lambda value: _between(packet.port, value),
            r"udp sport (!= )?\{ (.*?) \}": lambda value: str(packet.sport) in value.split(", "),
            r"icmp type (!= )?(\d+)": lambda value: packet.icmp[0] == int(value),
            r"icmp code (!= )?(\d+)": lambda value: packet.icmp[1] == int(value),
        }
        for pattern, check in checks.items():
            found = re.search(pattern, line)
            if found and check(found[2]) is bool(found[1]):
                return False
        named = re.search(r"\b(tcp|udp|icmp) (?:dport|sport|type)", line)
        return named is None or named[1] == packet.protocol

    def _holds(self, value: str, address: IPv4Address) -> bool:
        if value.startswith("@"):
            return str(address) in self.sets[value]
        words = value.strip("{} ").split(", ")
        return any(address in IPv4Network(word) for word in words)


def _between(port: int, value: str) -> bool:
    low, _, high = value.partition("-")
    return int(low) <= port <= int(high or low)


def between_gateways(**changes: Any) -> Packet:
    return Packet(ONE, TWO, "i-one", "i-two", **changes)


def passes(packet: Packet, *rules: Rule, attachments: tuple[Attachment, ...] = ALL) -> bool:
    return Filter(ruleset(attachments, network(*rules))).passes(packet)


def test_without_an_ingress_rule_nothing_arrives() -> None:
    assert not passes(between_gateways())


def test_a_rule_for_a_group_lets_its_members_in_and_nobody_else() -> None:
    ours = rule("sg-gw", peer_group="sg-gw")
    assert passes(between_gateways(), ours)
    assert not passes(Packet(HOST, TWO, "h-host", "i-two"), ours)


def test_a_rule_for_a_cidr_lets_its_addresses_in_and_nobody_else() -> None:
    ours = rule("sg-gw", cidr=IPv4Network("10.20.32.0/24"))
    assert passes(Packet(HOST, TWO, "h-host", "i-two"), ours)
    assert not passes(between_gateways(), ours)


@pytest.mark.parametrize(
    ("protocol", "port", "expected"),
    [("tcp", 9584, False), ("tcp", 9585, True), ("tcp", 9586, True), ("tcp", 9587, False)],
)
def test_a_port_range_holds_both_ends(protocol: str, port: int, *, expected: bool) -> None:
    ours = rule("sg-gw", protocol="tcp", low=9585, high=9586, cidr=ANYWHERE)
    assert passes(between_gateways(protocol=protocol, port=port), ours) is expected


def test_a_tcp_rule_does_not_let_udp_in() -> None:
    ours = rule("sg-gw", protocol="tcp", low=9585, high=9585, cidr=ANYWHERE)
    assert not passes(between_gateways(protocol="udp", port=9585), ours)
    every = rule("sg-gw", protocol="tcp", low=0, high=65535, cidr=ANYWHERE)
    assert not passes(between_gateways(protocol="udp", port=9585), every)
    assert passes(between_gateways(protocol="tcp", port=1), every)


def test_icmp_rules_tell_types_apart() -> None:
    echo = rule("sg-gw", protocol="icmp", low=8, high=-1, cidr=ANYWHERE)
    assert passes(between_gateways(protocol="icmp"), echo)
    assert not passes(between_gateways(protocol="icmp", icmp=(3, 4)), echo)
    too_big = rule("sg-gw", protocol="icmp", low=3, high=4, cidr=ANYWHERE)
    assert passes(between_gateways(protocol="icmp", icmp=(3, 4)), too_big)
    assert not passes(between_gateways(protocol="icmp", icmp=(3, 1)), too_big)


def test_what_the_sender_may_not_send_does_not_arrive() -> None:
    welcome = rule("sg-host", cidr=ANYWHERE)
    packet = Packet(ONE, HOST, "i-one", "h-host")
    assert passes(packet, welcome)
    silent = Network(rules=(welcome,), balancers=())
    assert not Filter(ruleset(ALL, silent)).passes(packet)


def test_egress_rules_are_judged_by_the_target() -> None:
    narrow = Network(
        rules=(
            rule("sg-gw", egress=True, cidr=IPv4Network("10.20.32.0/24")),
            rule("sg-host", cidr=ANYWHERE),
            rule("sg-gw", cidr=ANYWHERE),
        )
    )
    judged = Filter(ruleset(ALL, narrow))
    assert judged.passes(Packet(ONE, HOST, "i-one", "h-host"))
    assert not judged.passes(between_gateways())


def test_any_one_of_several_groups_is_enough() -> None:
    both = (GATEWAYS[0], attachment("i-two", TWO, "sg-empty", "sg-gw"))
    assert passes(between_gateways(), rule("sg-gw", peer_group="sg-gw"), attachments=both)


def test_a_group_without_rules_fences_its_instance_off() -> None:
    fenced = (attachment("i-one", ONE, "sg-fence"), GATEWAYS[1], ALL[2])
    rules = (rule("sg-gw", cidr=ANYWHERE), rule("sg-host", cidr=ANYWHERE))
    assert not passes(between_gateways(), *rules, attachments=fenced)
    assert not passes(Packet(TWO, ONE, "i-two", "i-one"), *rules, attachments=fenced)
    assert passes(Packet(TWO, HOST, "i-two", "h-host"), *rules, attachments=fenced)


def test_the_load_balancers_group_is_known_by_where_packets_come_from() -> None:
    ours = rule("sg-gw", protocol="udp", low=51820, high=51821, peer_group="sg-lb")
    arrived = Packet(CLIENT, ONE, BALANCER, "i-one", protocol="udp", port=51820)
    assert passes(arrived, ours)
    assert not passes(between_gateways(protocol="udp", port=51820), ours)
    another = Packet(CLIENT, ONE, BALANCER, "i-one", protocol="udp", port=9586)
    assert not passes(another, ours)


def test_a_flow_that_both_interfaces_know_passes_without_a_rule() -> None:
    assert passes(between_gateways(known=KNOWN_OUT | KNOWN_IN))
    silent = Filter(ruleset(ALL, Network()))
    assert silent.passes(between_gateways(known=KNOWN_OUT | KNOWN_IN))


def test_a_flow_that_only_one_interface_knows_needs_the_others_rules() -> None:
    """An answer that comes by another way than the question went."""
    packet = Packet(HOST, TWO, "h-host", "i-two", known=KNOWN_OUT)
    assert not passes(packet)
    assert passes(packet, rule("sg-gw", cidr=IPv4Network("10.20.32.0/24")))
    mute = Network(rules=(rule("sg-gw", cidr=ANYWHERE),))
    judged = Filter(ruleset(ALL, mute))
    assert judged.passes(packet)
    assert not judged.passes(replace(packet, known=KNOWN_IN))


def test_a_known_flow_to_a_strangers_address_is_dropped_where_that_is_checked() -> None:
    """The check is of every packet, also of the answers to what once went out."""
    elsewhere = replace(between_gateways(), target=CLIENT, known=KNOWN_OUT | KNOWN_IN)
    assert not passes(elsewhere)
    router = (GATEWAYS[0], attachment("i-two", TWO, "sg-gw", check=False))
    assert passes(elsewhere, attachments=router)


def test_a_false_source_address_goes_nowhere() -> None:
    open_to_all = (rule("sg-gw", cidr=ANYWHERE), rule("sg-host", cidr=ANYWHERE))
    pool = IPv4Address("100.96.0.7")
    packet = Packet(pool, HOST, "i-one", "h-host")
    assert not passes(packet, *open_to_all)
    router = (attachment("i-one", ONE, "sg-gw", check=False), *ALL[1:])
    assert passes(packet, *open_to_all, attachments=router)


def test_what_is_not_for_an_instance_reaches_it_only_without_the_check() -> None:
    open_to_all = (rule("sg-gw", cidr=ANYWHERE),)
    pool = IPv4Address("100.96.0.7")
    packet = Packet(HOST, pool, "h-host", "i-one")
    assert not passes(packet, *open_to_all)
    router = (attachment("i-one", ONE, "sg-gw", check=False), *ALL[1:])
    assert passes(packet, *open_to_all, attachments=router)


def test_nobody_asks_the_vpcs_services_under_a_false_name() -> None:
    router = (attachment("i-one", ONE, "sg-gw", check=False),)
    judged = Filter(ruleset(router, network()))
    metadata = IPv4Address("169.254.169.254")
    assert judged._run("prerouting", Packet(TWO, metadata, "i-one", "lo")) == "drop"
    assert judged._run("prerouting", Packet(ONE, metadata, "i-one", "lo")) == ""
    assert judged._run("prerouting", Packet(CLIENT, metadata, BALANCER, "lo")) == "drop"


def test_wireguard_answers_to_the_outside_go_back_through_the_load_balancer() -> None:
    judged = Filter(ruleset(ALL, network(ports=(51820, 51821))))
    answer = Packet(ONE, CLIENT, "i-one", "", protocol="udp", sport=51821, port=9)
    assert judged.mark(answer)
    assert not judged.mark(Packet(ONE, CLIENT, "i-one", "", protocol="udp", sport=53, port=9))
    assert not judged.mark(Packet(ONE, HOST, "i-one", "", protocol="udp", sport=51820, port=9))
    assert not judged.mark(Packet(CLIENT, ONE, BALANCER, "", protocol="udp", sport=51820))
    assert not judged.mark(Packet(ONE, CLIENT, "i-one", "", protocol="tcp", sport=51820))


def test_a_strangers_interface_is_dropped() -> None:
    open_to_all = rule("sg-gw", cidr=ANYWHERE)
    assert not passes(Packet(CLIENT, ONE, "eth9", "i-one"), open_to_all)


def test_the_text_does_not_depend_on_the_order_in_which_moto_answers() -> None:
    rules = (rule("sg-gw", cidr=ANYWHERE), rule("sg-gw", peer_group="sg-host"))
    one = ruleset(ALL, network(*rules))
    other = ruleset(tuple(reversed(ALL)), network(*reversed(rules)))
    assert one == other


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_the_kernel_takes_the_ruleset_and_takes_it_again() -> None:
    rules = (
        rule("sg-gw", protocol="udp", low=51820, high=51821, peer_group="sg-lb"),
        rule("sg-gw", protocol="tcp", low=0, high=65535, cidr=VPC),
        rule("sg-gw", protocol="icmp", low=3, high=4, cidr=ANYWHERE),
        rule("sg-gw", protocol="50", peer_group="sg-gw"),
        rule("sg-host", cidr=ANYWHERE),
    )
    full = ruleset(ALL, network(*rules, ports=(51820, 51821)))
    empty = ruleset((), Network())
    script = full + full + empty
    listed = run(["unshare", "--net", "sh", "-ec", "nft -f -; nft list ruleset"], stdin=script)
    assert "chain forward" in listed.stdout
    assert "i-one" not in listed.stdout
