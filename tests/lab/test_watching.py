"""CloudWatch is told by every gateway, and its alarms are on what it is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from lab_driver import eventually

from gateway.cloudwatch import DIMENSION, NAMESPACE

if TYPE_CHECKING:
    from lab_driver import LabDriver

WITHIN = 200.0
"""Seconds: a gateway tells the second minute that it sees, in its middle, and then each."""

EC2_ALONE = {"PacketsOverAllowance"}
"""Metrics that need the driver of EC2's network cards."""

pytestmark = pytest.mark.timeout(260)


def minutes(lab: LabDriver, metric: str) -> list[dict[str, Any]]:
    """The metric's numbers of the last minutes, as CloudWatch puts them together."""
    now = datetime.now(UTC)
    return lab.cloud.client("cloudwatch").get_metric_statistics(
        Namespace=NAMESPACE,
        MetricName=metric,
        Dimensions=[{"Name": DIMENSION, "Value": "lab"}],
        StartTime=now - timedelta(minutes=6),
        EndTime=now,
        Period=60,
        Statistics=["SampleCount", "Sum", "Maximum"],
    )["Datapoints"]


def told(lab: LabDriver) -> set[str]:
    """Names of all metrics that any gateway has told."""
    pages = lab.cloud.client("cloudwatch").get_paginator("list_metrics")
    found = [one for page in pages.paginate(Namespace=NAMESPACE) for one in page["Metrics"]]
    assert all(one["Dimensions"] == [{"Name": DIMENSION, "Value": "lab"}] for one in found)
    return {one["MetricName"] for one in found}


def test_each_gateway_tells_cloudwatch_once_a_minute_that_it_serves(lab: LabDriver) -> None:
    gateways = lab.both_healthy()

    def both() -> list[dict[str, Any]]:
        found = minutes(lab, "Serving")
        return [one for one in found if (one["SampleCount"], one["Sum"]) == (2, 2)]

    eventually("both serve in one and the same minute", both, within=WITHIN, every=2)
    for gateway in gateways:
        assert "cloudwatch" not in lab.faults(gateway)
    (newest, *_) = sorted(minutes(lab, "RegistryAge"), key=lambda one: one["Timestamp"])[::-1]
    assert 0 <= newest["Maximum"] < 60


def test_every_alarm_of_the_stack_is_on_what_is_told(lab: LabDriver) -> None:
    eventually("something is told", lambda: told(lab), within=WITHIN, every=2)
    alarms = lab.cloud.client("cloudwatch").describe_alarms()["MetricAlarms"]
    watched = {
        metric["MetricName"]
        for alarm in alarms
        for metric in (
            [query["MetricStat"]["Metric"] for query in alarm["Metrics"] if "MetricStat" in query]
            if alarm.get("Metrics")
            else [alarm]
        )
        if metric["Namespace"] == NAMESPACE
    }
    assert watched - EC2_ALONE == told(lab) - EC2_ALONE
    topic = lab.cloud.client("sns").list_topics()["Topics"][0]["TopicArn"]
    assert {action for alarm in alarms for action in alarm["AlarmActions"]} == {topic}


def test_flows_are_logged_into_the_stacks_log(lab: LabDriver) -> None:
    (flow,) = lab.cloud.client("ec2").describe_flow_logs()["FlowLogs"]
    (log,) = lab.cloud.client("logs").describe_log_groups(logGroupNamePrefix="network-flows-log-")[
        "logGroups"
    ]
    assert (flow["LogGroupName"], flow["TrafficType"]) == (log["logGroupName"], "ALL")
    assert log["retentionInDays"] == 365
