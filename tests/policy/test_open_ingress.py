"""What the world may reach."""

from __future__ import annotations

from typing import Any

import pytest

from judging import resource, violations
from policy.model import Gap, Resource
from policy.open_ingress import judge, judge_place

WORLD = "0.0.0.0/0"
UDP = {"ipProtocol": "udp", "fromPort": 51820, "toPort": 51821}
PATH_MTU = {"ipProtocol": "icmp", "fromPort": 3, "toPort": 4}
SSH = {"ipProtocol": "tcp", "fromPort": 22, "toPort": 22}

GROUP = resource("ec2/securityGroup:SecurityGroup", "balancer-sg")
OTHER = resource("ec2/securityGroup:SecurityGroup", "other-sg")
BALANCER = resource(
    "lb/loadBalancer:LoadBalancer", references={"securityGroups": frozenset({GROUP.urn})}
)


def rule(said: dict[str, Any], source: Any = WORLD, group: Resource = GROUP) -> Resource:
    return resource(
        "vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        props={"cidrIpv4": source, **said},
        references={"securityGroupId": frozenset({group.urn})},
    )


def listener(port: int, **more: Any) -> Resource:
    return resource(
        "lb/listener:Listener",
        f"listener-{port}",
        props={"port": port, "protocol": "UDP", **more},
        references={"loadBalancerArn": frozenset({BALANCER.urn})},
    )


STACK = [GROUP, OTHER, BALANCER, listener(51820), listener(51821)]


@pytest.mark.parametrize("kind", ["open-ingress", "open-ingress-place"])
def test_no_stack_breaks_it(stack: str, kind: str) -> None:
    assert violations(stack, kind) == []


@pytest.mark.parametrize("said", [UDP, {**UDP, "toPort": 51820}, {**UDP, "ipProtocol": "17"}])
def test_two_udp_ports_may_be_open_to_the_world(said: dict[str, Any]) -> None:
    assert list(judge(rule(said))) == []
    assert list(judge_place([*STACK, rule(said)])) == []


def test_path_mtu_discovery_may_come_from_everywhere() -> None:
    assert list(judge(rule(PATH_MTU))) == []
    assert list(judge_place([*STACK, rule(PATH_MTU)])) == []


@pytest.mark.parametrize(
    "said",
    [
        SSH,
        {**UDP, "ipProtocol": "tcp"},
        {**UDP, "toPort": 51822},
        {"ipProtocol": "udp"},
        {"ipProtocol": "-1"},
        {"ipProtocol": "icmp", "fromPort": -1, "toPort": -1},
    ],
)
def test_nothing_else_may_be_open_to_the_world(said: dict[str, Any]) -> None:
    (wrong,) = judge(rule(said))
    assert wrong.what == "it cidrIpv4"
    assert wrong.value == WORLD


@pytest.mark.parametrize("source", ["::/0", "2000::/3", "0.0.0.0/1", "128.0.0.0/1", "pl-0a1b2c"])
def test_the_world_has_other_names_too(source: str) -> None:
    assert len(list(judge(rule(SSH, source)))) == 1


@pytest.mark.parametrize("source", ["203.0.113.0/24", "10.0.0.0/8", "17.0.0.0/8", "2001:db8::/32"])
def test_what_one_organisation_holds_is_not_the_world(source: str) -> None:
    assert list(judge(rule(SSH, source))) == []


@pytest.mark.parametrize("gone", ["ipProtocol", "fromPort", "cidrIpv4"])
def test_what_nobody_knows_yet_is_judged_later(gone: str) -> None:
    assert list(judge(rule({**SSH, gone: Gap.UNKNOWN}))) == []


@pytest.mark.parametrize(
    ("typ", "props"),
    [
        (
            "ec2/securityGroup:SecurityGroup",
            {"ingress": [{"cidrBlocks": [WORLD], "protocol": "tcp"}]},
        ),
        (
            "ec2/defaultSecurityGroup:DefaultSecurityGroup",
            {"ingress": [{"ipv6CidrBlocks": ["::/0"], "protocol": "-1"}]},
        ),
        (
            "ec2/securityGroupRule:SecurityGroupRule",
            {"type": "ingress", "cidrBlocks": ["10.0.0.0/8", WORLD], "protocol": "tcp"},
        ),
        ("lambda/functionUrl:FunctionUrl", {"authorizationType": "NONE"}),
        ("lambda/permission:Permission", {"principal": "*"}),
    ],
)
def test_whatever_else_opens_something_is_judged_too(typ: str, props: dict[str, Any]) -> None:
    assert len(list(judge(resource(typ, props=props)))) == 1


@pytest.mark.parametrize(
    ("typ", "props"),
    [
        (
            "ec2/securityGroup:SecurityGroup",
            {"egress": [{"cidrBlocks": [WORLD], "protocol": "-1"}]},
        ),
        ("ec2/securityGroup:SecurityGroup", {"ingress": Gap.UNKNOWN}),
        ("ec2/securityGroupRule:SecurityGroupRule", {"type": "egress", "cidrBlocks": [WORLD]}),
        ("lambda/functionUrl:FunctionUrl", {"authorizationType": "AWS_IAM"}),
        ("lambda/permission:Permission", {"principal": "events.amazonaws.com"}),
    ],
)
def test_what_goes_out_or_is_signed_may_be(typ: str, props: dict[str, Any]) -> None:
    assert list(judge(resource(typ, props=props))) == []


@pytest.mark.parametrize("said", [UDP, PATH_MTU])
def test_only_the_load_balancer_may_be_open(said: dict[str, Any]) -> None:
    (wrong,) = judge_place([*STACK, rule(said, group=OTHER)])
    assert "not for the load balancer alone" in wrong.why


@pytest.mark.parametrize("typ", ["ec2/launchTemplate:LaunchTemplate", "ec2/instance:Instance"])
def test_a_group_that_machines_are_in_too_may_not_be_open(typ: str) -> None:
    sharing = resource(typ, references={"vpcSecurityGroupIds": frozenset({GROUP.urn})})
    assert len(list(judge_place([*STACK, sharing, rule(UDP)]))) == 1


def test_another_groups_rule_may_name_the_load_balancers_group() -> None:
    names = resource(
        "vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        props=UDP,
        references={
            "securityGroupId": frozenset({OTHER.urn}),
            "referencedSecurityGroupId": frozenset({GROUP.urn}),
        },
    )
    assert list(judge_place([*STACK, names, rule(UDP)])) == []


def test_an_open_group_that_the_program_does_not_make_is_refused() -> None:
    foreign = resource(
        "vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        props={"cidrIpv4": WORLD, "securityGroupId": "sg-0a", **UDP},
    )
    assert len(list(judge_place([*STACK, foreign]))) == 1


def test_an_open_port_on_which_nothing_listens_is_refused() -> None:
    (wrong,) = judge_place([*STACK, rule({**UDP, "fromPort": 51819, "toPort": 51820})])
    assert "listens on, which is 51820, 51821" in wrong.why


def test_a_listener_for_tcp_opens_no_udp_port() -> None:
    listening = [listener(51820), listener(51821, protocol="TCP")]
    assert len(list(judge_place([GROUP, BALANCER, *listening, rule(UDP)]))) == 1


def test_what_is_wrong_in_kind_is_said_once() -> None:
    assert list(judge_place([*STACK, rule(SSH)])) == []
