"""Alarms, dashboards, topics and flow logs, as the lab makes them on moto."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pulumi
import pulumi_aws as aws
import pytest
from moto import mock_aws

from lab import deploy, engine, project

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

REGION = "eu-west-1"
SESSION = boto3.Session("testing", "testing", region_name=REGION)
ACCOUNT = "123456789012"


@pytest.fixture
def up(tmp_path: Path) -> Generator[Callable[[Callable[[], None]], engine.Changes]]:
    """Deploys a program."""
    target = project.Project("small", tmp_path, "lab", {"aws:region": REGION})
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        return clients.setdefault(service, SESSION.client(service))

    def deployed(program: Callable[[], None]) -> engine.Changes:
        return deploy.deploy(target, client, tmp_path / "state.json", plan=False, program=program)

    with mock_aws():
        yield deployed


def names(urns: list[str]) -> list[str]:
    return sorted(urn.rsplit("::", 1)[-1] for urn in urns)


def provider() -> pulumi.ResourceOptions:
    return pulumi.ResourceOptions(provider=aws.Provider("aws", region=REGION))


def watching(*, threshold: float = 3, tag: str = "one", title: str = "one") -> Callable[[], None]:
    """A program with an alarm of each kind and a dashboard."""

    def program() -> None:
        options = provider()
        common: dict[str, Any] = {
            "comparison_operator": "GreaterThanThreshold",
            "evaluation_periods": 2,
            "datapoints_to_alarm": 2,
            "treat_missing_data": "breaching",
            "alarm_actions": ["arn:aws:sns:eu-west-1:123456789012:t"],
            "ok_actions": ["arn:aws:sns:eu-west-1:123456789012:t"],
            "tags": {"tag": tag},
            "opts": options,
        }
        aws.cloudwatch.MetricAlarm(
            "plain",
            threshold=threshold,
            alarm_description="it is bad",
            namespace="ours",
            metric_name="It",
            dimensions={"stack": "lab", "a": "b"},
            statistic="Sum",
            period=60,
            **common,
        )
        metric: Any = {"namespace": "ours", "metric_name": "M", "dimensions": {"stack": "lab"}}
        aws.cloudwatch.MetricAlarm(
            "math",
            threshold=threshold,
            metric_queries=[
                {"id": "m", "metric": {**metric, "stat": "Maximum", "period": 60}},
                {"id": "e", "expression": "m * 2", "label": "twice", "return_data": True},
            ],
            **common,
        )
        aws.cloudwatch.Dashboard(
            "board",
            dashboard_name="board",
            dashboard_body=json.dumps({"widgets": [], "title": title}),
            opts=options,
        )

    return program


def alarms() -> dict[str, Any]:
    found = SESSION.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {one["AlarmName"].rpartition("-")[0]: one for one in found}


def test_alarms_are_made_as_they_are_written(
    up: Callable[[Callable[[], None]], engine.Changes],
) -> None:
    up(watching())
    plain, math = alarms()["plain"], alarms()["math"]
    for one in (plain, math):
        assert one["Threshold"] == 3
        assert (one["EvaluationPeriods"], one["DatapointsToAlarm"]) == (2, 2)
        assert one["ComparisonOperator"] == "GreaterThanThreshold"
        assert one["TreatMissingData"] == "breaching"
        assert one["AlarmActions"] == one["OKActions"] == [f"arn:aws:sns:{REGION}:{ACCOUNT}:t"]
    assert (plain["Namespace"], plain["MetricName"], plain["Statistic"]) == ("ours", "It", "Sum")
    assert plain["Period"] == 60
    assert plain["AlarmDescription"] == "it is bad"
    assert plain["Dimensions"] == [{"Name": "a", "Value": "b"}, {"Name": "stack", "Value": "lab"}]
    metric, result = math["Metrics"]
    assert metric["MetricStat"]["Metric"]["MetricName"] == "M"
    assert metric["MetricStat"]["Metric"]["Dimensions"] == [{"Name": "stack", "Value": "lab"}]
    assert (metric["MetricStat"]["Stat"], metric["MetricStat"]["Period"]) == ("Maximum", 60)
    assert (result["Expression"], result["Label"]) == ("m * 2", "twice")
    assert [metric["ReturnData"], result["ReturnData"]] == [False, True]


def test_alarms_and_dashboards_are_changed_where_they_are_and_go(
    up: Callable[[Callable[[], None]], engine.Changes],
) -> None:
    cloudwatch = SESSION.client("cloudwatch")
    up(watching())
    assert not up(watching()).any
    changes = up(watching(threshold=4, tag="two", title="two"))
    assert names(changes.updated) == ["board", "math", "plain"]
    assert [one["Threshold"] for one in alarms().values()] == [4, 4]
    arn = alarms()["plain"]["AlarmArn"]
    tags = cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"]
    assert tags == [{"Key": "tag", "Value": "two"}]
    body = cloudwatch.get_dashboard(DashboardName="board")["DashboardBody"]
    assert json.loads(body)["title"] == "two"
    up(lambda: None)
    assert alarms() == {}
    assert cloudwatch.list_dashboards()["DashboardEntries"] == []


def telling(*, policy: str = "one", shown: str = "ours", mail: str = "a@b.de") -> Callable:
    """A program with a topic, its policy and a subscription."""

    def program() -> None:
        options = provider()
        topic = aws.sns.Topic("topic", display_name=shown, tags={"tag": shown}, opts=options)
        document = json.dumps({"Version": "2012-10-17", "Statement": [{"Sid": policy}]})
        aws.sns.TopicPolicy("policy", arn=topic.arn, policy=document, opts=options)
        if mail:
            aws.sns.TopicSubscription(
                "mail", topic=topic.arn, protocol="email", endpoint=mail, opts=options
            )

    return program


def test_a_topic_has_its_policy_and_subscription(
    up: Callable[[Callable[[], None]], engine.Changes],
) -> None:
    sns = SESSION.client("sns")
    up(telling())
    (topic,) = sns.list_topics()["Topics"]
    arn = topic["TopicArn"]
    attributes = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert attributes["DisplayName"] == "ours"
    assert json.loads(attributes["Policy"])["Statement"] == [{"Sid": "one"}]
    (subscribed,) = sns.list_subscriptions()["Subscriptions"]
    assert (subscribed["TopicArn"], subscribed["Endpoint"]) == (arn, "a@b.de")

    changes = up(telling(policy="two", shown="theirs", mail="c@d.de"))
    assert names(changes.updated) == ["policy", "topic"]
    assert names(changes.replaced) == ["mail"]
    attributes = sns.get_topic_attributes(TopicArn=arn)["Attributes"]
    assert attributes["DisplayName"] == "theirs"
    assert json.loads(attributes["Policy"])["Statement"] == [{"Sid": "two"}]
    assert sns.list_tags_for_resource(ResourceArn=arn)["Tags"] == [
        {"Key": "tag", "Value": "theirs"}
    ]
    found = sns.list_subscriptions()["Subscriptions"]
    assert [one["Endpoint"] for one in found] == ["c@d.de"]
    up(lambda: None)
    assert sns.list_topics()["Topics"] == []


def flowing(*, interval: int = 60, subnet: bool = False, tag: str = "one") -> Callable:
    """A program with a flow log of a VPC or of its subnet."""

    def program() -> None:
        options = provider()
        vpc = aws.ec2.Vpc("vpc", cidr_block="10.9.0.0/24", opts=options)
        inside = aws.ec2.Subnet("subnet", vpc_id=vpc.id, cidr_block="10.9.0.0/28", opts=options)
        log = aws.cloudwatch.LogGroup("log", opts=options)
        aws.ec2.FlowLog(
            "flows",
            vpc_id=None if subnet else vpc.id,
            subnet_id=inside.id if subnet else None,
            traffic_type="ALL",
            log_destination_type="cloud-watch-logs",
            log_destination=log.arn,
            iam_role_arn="arn:aws:iam::123456789012:role/r",
            log_format="${srcaddr} ${dstaddr}",
            max_aggregation_interval=interval,
            tags={"tag": tag},
            # as components/flow_logs.py does
            opts=pulumi.ResourceOptions.merge(
                options, pulumi.ResourceOptions(delete_before_replace=True)
            ),
        )

    return program


def test_a_flow_log_writes_into_its_group_and_is_replaced_when_it_changes(
    up: Callable[[Callable[[], None]], engine.Changes],
) -> None:
    ec2 = SESSION.client("ec2")
    up(flowing())
    (found,) = ec2.describe_flow_logs()["FlowLogs"]
    assert found["ResourceId"].startswith("vpc-")
    assert found["LogGroupName"].startswith("log-")
    assert (found["TrafficType"], found["DeliverLogsStatus"]) == ("ALL", "SUCCESS")
    assert found["DeliverLogsPermissionArn"] == "arn:aws:iam::123456789012:role/r"
    assert (found["LogFormat"], found["MaxAggregationInterval"]) == ("${srcaddr} ${dstaddr}", 60)
    assert names(up(flowing(tag="two")).updated) == ["flows"]
    (same,) = ec2.describe_flow_logs()["FlowLogs"]
    assert (same["FlowLogId"], same["Tags"]) == (
        found["FlowLogId"],
        [{"Key": "tag", "Value": "two"}],
    )
    for other in (flowing(interval=600, tag="two"), flowing(subnet=True)):
        assert names(up(other).replaced) == ["flows"]
    (last,) = ec2.describe_flow_logs()["FlowLogs"]
    assert last["ResourceId"].startswith("subnet-")
    up(lambda: None)
    assert ec2.describe_flow_logs()["FlowLogs"] == []
