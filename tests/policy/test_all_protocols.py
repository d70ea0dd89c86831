"""Whom a rule may let in with every protocol."""

from __future__ import annotations

from typing import Any

import pytest

from judging import resource, violations
from policy.all_protocols import judge
from policy.model import Gap

EVERYTHING = {"ipProtocol": "-1"}


def wrong(typ: str = "vpc/securityGroupIngressRule:SecurityGroupIngressRule", **props: Any) -> int:
    return len(list(judge(resource(typ, props=props))))


def test_no_stack_breaks_it(stack: str) -> None:
    assert violations(stack, "all-protocols") == []


@pytest.mark.parametrize(
    "block", ["10.70.0.0/16", "172.16.0.0/12", "192.168.7.0/24", "100.64.0.0/10", "fd00::/8"]
)
def test_private_addresses_may_send_everything(block: str) -> None:
    name = "cidrIpv6" if ":" in block else "cidrIpv4"
    assert wrong(**EVERYTHING, **{name: block}) == 0


@pytest.mark.parametrize(
    "block",
    ["3.4.0.0/16", "203.0.113.7/32", "172.32.0.0/16", "100.0.0.0/9", "2001:db8::/48"],
)
def test_public_addresses_may_not_however_few(block: str) -> None:
    name = "cidrIpv6" if ":" in block else "cidrIpv4"
    (said,) = judge(
        resource(
            "vpc/securityGroupIngressRule:SecurityGroupIngressRule",
            props={**EVERYTHING, name: block},
        )
    )
    assert said.what == f"it {name}"
    assert said.value == block


def test_named_ports_are_another_rules_matter() -> None:
    assert wrong(ipProtocol="tcp", fromPort=22, toPort=22, cidrIpv4="203.0.113.7/32") == 0


def test_the_whole_world_is_said_once_and_by_the_rule_about_it() -> None:
    assert wrong(**EVERYTHING, cidrIpv4="0.0.0.0/0") == 0


def test_a_group_and_what_nobody_knows_yet_pass() -> None:
    assert wrong(**EVERYTHING, referencedSecurityGroupId="sg-1") == 0
    assert wrong(**EVERYTHING, cidrIpv4=Gap.UNKNOWN) == 0
    assert wrong(ipProtocol=Gap.UNKNOWN, cidrIpv4="203.0.113.7/32") == 0


@pytest.mark.parametrize("protocol", ["-1", "all", -1])
@pytest.mark.parametrize(
    "typ", ["ec2/securityGroup:SecurityGroup", "ec2/defaultSecurityGroup:DefaultSecurityGroup"]
)
def test_rules_inside_a_group_are_read_too(typ: str, protocol: Any) -> None:
    inline = {"protocol": protocol, "cidrBlocks": ["10.0.0.0/8", "203.0.113.0/24"]}
    assert wrong(typ, ingress=[inline]) == 1
    assert wrong(typ, egress=[inline]) == 0


def test_older_rules_are_read_by_their_direction() -> None:
    said = {"protocol": "-1", "cidrBlocks": ["203.0.113.0/24"]}
    typ = "ec2/securityGroupRule:SecurityGroupRule"
    assert wrong(typ, type="ingress", **said) == 1
    assert wrong(typ, type="egress", **said) == 0
