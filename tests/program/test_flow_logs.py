"""VPC flow logs: of what, into which log, written by whom."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import plan as plans
from components.flow_logs import policy, trust

if TYPE_CHECKING:
    from recorder import Recorder

LOG = "arn:aws-cn:logs:cn-north-1:210987654321:log-group:network-flows-log-1a2b3c4"
FLOW = "ec2/flowLog:FlowLog"


def test_a_new_vpc_is_watched_as_a_whole(mine: Recorder) -> None:
    flow = dict(mine.one(FLOW).inputs)
    assert flow.pop("tags")["Name"] == "network-flows-vpc"
    assert flow.pop("logFormat").startswith("${version} ${account-id} ${interface-id} ${srcaddr} ")
    assert flow == {
        "vpcId": mine.one("ec2/internetGateway:InternetGateway").inputs["vpcId"],
        "trafficType": "ALL",
        "logDestinationType": "cloud-watch-logs",
        "logDestination": "arn:aws:mock:::network-flows-log",
        "iamRoleArn": "arn:aws:mock:::network-flows-role",
        "maxAggregationInterval": 60,
    }


def test_of_an_adopted_vpc_only_the_gateways_subnets_are() -> None:
    flows = plans.built("adopting").of(FLOW)
    assert sorted(flow.inputs["subnetId"] for flow in flows) == ["subnet-0c", "subnet-0d"]
    assert not any("vpcId" in flow.inputs for flow in flows)
    assert {flow.inputs["logDestination"] for flow in flows} == {"arn:aws:mock:::network-flows-log"}


def test_a_record_tells_the_packets_own_addresses_and_who_began(plan: Recorder) -> None:
    for flow in plan.of(FLOW):
        fields = flow.inputs["logFormat"].split()
        assert {"${pkt-srcaddr}", "${pkt-dstaddr}", "${tcp-flags}", "${flow-direction}"} <= {
            *fields
        }
        assert len(fields) == len(set(fields)) == 18


@pytest.mark.parametrize(("stack", "days"), [("mine", 731), ("prod", 365)])
def test_the_log_is_kept_as_long_as_the_stack_says(stack: str, days: int) -> None:
    log = plans.built(stack).named("network-flows-log").inputs
    assert log["retentionInDays"] == days


def test_a_flow_log_begins_when_its_role_may_write_and_the_former_one_is_gone(
    plan: Recorder,
) -> None:
    for flow in plan.of(FLOW):
        depends = flow.request.dependencies
        assert any(urn.endswith("::network-flows-policy") for urn in depends)
        assert flow.request.deleteBeforeReplace


def test_only_flow_logs_of_this_account_and_region_write_in_the_roles_name() -> None:
    (statement,) = trust(LOG)["Statement"]
    assert statement == {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
        "Condition": {
            "StringEquals": {"aws:SourceAccount": "210987654321"},
            "ArnLike": {"aws:SourceArn": "arn:aws-cn:ec2:cn-north-1:210987654321:vpc-flow-log/*"},
        },
    }


def test_the_role_writes_this_log_and_nothing_else(plan: Recorder) -> None:
    write, find = policy(LOG)["Statement"]
    assert (write["Action"], write["Resource"]) == (
        ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
        f"{LOG}:*",
    )
    assert (find["Action"], find["Resource"]) == ("logs:DescribeLogGroups", "*")
    log = "arn:aws:mock:::network-flows-log"
    inputs = plan.named("network-flows-policy").inputs
    assert inputs["role"] == "network-flows-role-id"
    assert json.loads(inputs["policy"]) == policy(log)
    assert json.loads(plan.named("network-flows-role").inputs["assumeRolePolicy"]) == trust(log)
