"""Where flows go and which ones move; the ruleset is tried on the kernel where root allows."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import pytest
from lab_unit.balancers import A, B, balancer, group, states

from effects import run
from lab import flows, health
from lab.flows import Flows, Ingress, Listener
from lab.health import Health, State

BAD, GOOD, NEW = State.UNHEALTHY, State.HEALTHY, State.INITIAL


def ids(chosen: tuple[flows.Target, ...]) -> list[str]:
    """The chosen targets' names."""
    return [one.id for one in chosen]


@pytest.mark.parametrize(
    ("a", "b", "wanted"),
    [
        (GOOD, GOOD, ["i-a", "i-b"]),
        (GOOD, BAD, ["i-a"]),
        (BAD, GOOD, ["i-b"]),
        (GOOD, NEW, ["i-a"]),
        (BAD, BAD, ["i-a", "i-b"]),
        (NEW, BAD, ["i-a", "i-b"]),
    ],
)
def test_new_flows_go_to_healthy_targets_and_to_all_when_none_is(
    a: State, b: State, wanted: list[str]
) -> None:
    """Fail-open."""
    one = balancer()
    for zone in ("a", "b"):
        assert ids(flows.chosen(one, one.groups[0], states(one, i_a=a, i_b=b), zone)) == wanted


def test_without_cross_zone_a_node_sends_to_its_own_zone_only() -> None:
    """And nowhere while only another zone has a healthy target."""
    one = balancer(cross_zone=False)
    both = states(one)
    assert ids(flows.chosen(one, one.groups[0], both, "a")) == ["i-a"]
    assert ids(flows.chosen(one, one.groups[0], both, "b")) == ["i-b"]
    sick = states(one, i_a=BAD)
    assert ids(flows.chosen(one, one.groups[0], sick, "a")) == []
    none = states(one, i_a=BAD, i_b=BAD)
    assert ids(flows.chosen(one, one.groups[0], none, "a")) == ["i-a"]


def test_a_target_groups_own_cross_zone_setting_goes_first() -> None:
    """As the attribute of the group overrides the load balancer's."""
    one = balancer(group(0, A, B, cross_zone=False), group(1, A, B))
    assert ids(flows.chosen(one, one.groups[0], states(one), "a")) == ["i-a"]
    assert ids(flows.chosen(one, one.groups[1], states(one), "a")) == ["i-a", "i-b"]


def test_a_stopped_target_or_one_in_a_zone_without_a_node_gets_nothing_even_fail_open() -> None:
    """There is nothing behind it, or no way to it."""
    gone, far = replace(A, running=False), replace(B, zone="c")
    one = balancer(group(0, gone, far), group(1, A, B))
    assert flows.chosen(one, one.groups[0], {}, "a") == ()


def test_flows_leave_an_unhealthy_target_in_the_slot_that_is_unhealthy_only() -> None:
    """A bad new key must not take out the old one."""
    one = balancer()
    now = states(one) | {("group-1", "i-a", 51821): BAD}
    assert flows.forbidden(one, now, {}) == {Flows("udp", "10.20.0.130", 51821)}


def test_flows_stay_when_all_targets_are_unhealthy_and_move_once_one_is_well() -> None:
    """Fail-open sends new flows there too; moving them would break what may work."""
    one = balancer()
    assert flows.forbidden(one, states(one, i_a=BAD, i_b=BAD), {}) == frozenset()
    moved = flows.forbidden(one, states(one, i_b=BAD), {})
    assert {flow.address for flow in moved} == {"10.20.0.146"}


def test_flows_of_an_initial_target_stay() -> None:
    """Nothing is known against it: a balancer that starts again disturbs nobody."""
    one = balancer()
    assert flows.forbidden(one, states(one, i_a=NEW), {}) == frozenset()


def test_an_ended_registration_loses_its_flows_unless_its_address_serves_again() -> None:
    """Addresses are used again by the next instance."""
    one = balancer()
    old = Flows("udp", "10.20.0.200", 51820)
    again = Flows("udp", "10.20.0.130", 51820)
    ended = {("group-0", "i-x", 51820): (old, again)}
    assert flows.forbidden(one, states(one), ended) == {old}


def test_the_data_plane_hears_of_an_unhealthy_target_as_late_as_told() -> None:
    """And of a healthy one at once."""
    name = ("group-0", "i-a", 51820)
    sick = {name: Health(BAD, since=100.0)}
    assert flows.effective(sick, 30.0, 129.9) == {name: GOOD}
    assert flows.effective(sick, 30.0, 130.0) == {name: BAD}
    assert flows.effective(sick, 0.0, 100.0) == {name: BAD}
    assert flows.effective({name: Health(NEW, since=100.0)}, 30.0, 101.0) == {name: NEW}


def test_a_target_that_is_said_to_be_lost_is_unhealthy_to_the_data_plane_at_once() -> None:
    """Also while it would hear of it late; one that is on its way out stays that."""
    name, other = ("group-0", "i-a", 51820), ("group-0", "i-b", 51820)
    well = {name: Health(GOOD, since=0.0), other: Health(GOOD, since=0.0)}
    assert flows.effective(well, 60.0, 1.0, {"i-a"}) == {name: BAD, other: GOOD}
    late = {name: Health(BAD, since=100.0)}
    assert flows.effective(late, 60.0, 101.0, {"i-a"}) == {name: BAD}
    leaving = {name: health.draining(0.0)}
    assert flows.effective(leaving, 0.0, 1.0, {"i-a"}) == {name: State.DRAINING}


def test_names_resolve_to_every_node_that_has_somewhere_to_send_to() -> None:
    """All of them when none has: as the load balancer fails open."""
    one = balancer(cross_zone=False)
    assert flows.addresses(one, states(one))["nlb.example"] == ("203.0.113.10", "203.0.113.11")
    names = flows.addresses(one, states(one, i_a=BAD))
    assert names["nlb.example"] == ("203.0.113.11",)
    assert names["a.nlb.example"] == ("203.0.113.10",)
    empty = balancer(group(0), group(1))
    assert flows.addresses(empty, {})["nlb.example"] == ("203.0.113.10", "203.0.113.11")


def test_the_rules_of_a_listener_hash_the_5_tuple_over_its_targets() -> None:
    """One rule for each node and protocol, the client's source untouched."""
    one = balancer()
    text = flows.ruleset(one, states(one, i_b=BAD))
    assert (
        'iifname "inet" ip daddr 203.0.113.11 udp dport 51821 dnat ip to jhash ip saddr . udp sport'
        " . ip daddr . udp dport mod 1 seed 0x1 map { 0 : 10.20.0.130 . 51821 }" in text
    )
    assert text.count("dnat ip to") == 4
    assert "snat" not in text
    assert "masquerade" not in text


def test_what_the_security_group_does_not_let_in_is_dropped() -> None:
    """The last rule, after those of the group; an established flow has been judged before."""
    one = balancer()
    rules = flows.ruleset(one, states(one)).partition("chain admit {")[2].partition("}")[0]
    lines = [line.strip() for line in rules.splitlines() if line.strip()]
    assert lines[1:] == [
        'iifname != "inet" accept',
        "ct state established accept",
        "ip saddr 0.0.0.0/0 udp dport 51820-51821 accept",
        "ip saddr 0.0.0.0/0 meta l4proto icmp icmp type 3 icmp code 4 accept",
        "drop",
    ]


def test_without_a_load_balancer_nothing_passes() -> None:
    """The ruleset is there before the load balancer is."""
    text = flows.ruleset(None, {})
    assert "dnat ip to" not in text
    assert "policy drop" in text


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")
@pytest.mark.parametrize("name", ["whole", "both protocols", "everything allowed", "none"])
def test_the_kernel_takes_the_ruleset(name: str) -> None:
    """`--check` changes nothing; a namespace of its own, for the table to be absent."""
    one = balancer()
    both = replace(one, listeners=(Listener(port=443, protocols=("tcp", "udp"), group="group-0"),))
    all_in = Ingress(protocol="-1", from_port=-1, to_port=-1, cidr="192.0.2.0/24")
    ping = Ingress(protocol="icmp", from_port=-1, to_port=-1, cidr="0.0.0.0/0")
    case = {
        "whole": one,
        "both protocols": both,
        "everything allowed": replace(one, ingress=(all_in, ping)),
        "none": None,
    }[name]
    text = flows.ruleset(case, states(one))
    run(["unshare", "--net", "nft", "--check", "-f", "-"], stdin=text)
