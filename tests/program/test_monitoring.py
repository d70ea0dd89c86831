"""CloudWatch's alarms, the topic they go to, the dashboard: on what gateways really tell."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from unit.gateway.test_cloudwatch import WELL

import plan as plans
from components import alarms
from components.load_balancer import SLOTS, metrics_name
from components.monitoring import topic_policy
from gateway import cloudwatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from recorder import Declared, Recorder

TOPIC = "arn:aws:mock:::monitoring-topic"
ALARM = "cloudwatch/metricAlarm:MetricAlarm"
ALL = alarms.alarms(gateways=3, slots=SLOTS)
NAMES = [alarm.name for alarm in ALL]

GIVEN_BY_AWS = {"HealthyHostCount", "UnHealthyHostCount", "ProcessedBytes", "NewFlowCount"}
"""Metrics of the load balancer (its user guide, "CloudWatch metrics for your Network Load
Balancer"); that they are reported is AWS's to keep."""


def told(stack: str) -> set[tuple[str, str, str]]:
    """Namespace, metric and dimension of all that a gateway of the stack really sends."""
    kernel = cloudwatch.Kernel(tracked=1.0, refused=0)
    log = cloudwatch.ConnectionLog(working=True)
    points = cloudwatch.points(WELL, kernel, log, 12, wall=2000.0, monotonic=101.0)
    sent = cloudwatch.request(stack, 1_800_000_000, points)
    return {
        (sent["Namespace"], point["MetricName"], f"{one['Name']}={one['Value']}")
        for point in sent["MetricData"]
        for one in point["Dimensions"]
    }


def watched(alarm: Declared) -> Iterator[dict[str, Any]]:
    """The metrics of an alarm, with the statistic and the period."""
    inputs = alarm.inputs
    if "metricQueries" in inputs:
        for query in inputs["metricQueries"]:
            if "metric" in query:
                yield query["metric"]
    else:
        names = ("namespace", "metricName", "dimensions", "period")
        yield {**{name: inputs[name] for name in names}, "stat": inputs["statistic"]}


def named(metric: dict[str, Any]) -> tuple[str, str, str]:
    ((key, value),) = metric["dimensions"].items()
    return metric["namespace"], metric["metricName"], f"{key}={value}"


def of_ours(plan: Recorder) -> list[dict[str, Any]]:
    found = [metric for alarm in plan.of(ALARM) for metric in watched(alarm)]
    return [metric for metric in found if metric["namespace"] == "gatepair"]


def test_every_alarm_is_on_a_metric_that_gateways_tell(stack: str, plan: Recorder) -> None:
    assert len(of_ours(plan)) == 14
    assert {named(metric) for metric in of_ours(plan)} <= told(stack)


def test_every_metric_that_gateways_tell_has_an_alarm_and_is_on_the_dashboard(
    stack: str, plan: Recorder
) -> None:
    assert {named(metric) for metric in of_ours(plan)} == told(stack)
    shown = {
        (line[0], line[1], f"{line[2]}={line[3]}")
        for line in lines(plan)
        if line[0] == cloudwatch.NAMESPACE
    }
    assert shown == told(stack)


def test_the_other_alarms_are_on_the_load_balancers_own_metrics(plan: Recorder) -> None:
    theirs = [m for alarm in plan.of(ALARM) for m in watched(alarm) if m not in of_ours(plan)]
    assert {metric["namespace"] for metric in theirs} == {"AWS/NetworkELB"}
    assert {(m["metricName"], m["dimensions"]["TargetGroup"]) for m in theirs} == {
        (name, f"load-balancer-slot-{slot}")
        for name in ("HealthyHostCount", "UnHealthyHostCount")
        for slot in (0, 1)
    }
    for metric in theirs:
        assert metric["dimensions"]["LoadBalancer"] == "load-balancer-nlb"


def spelled(alarm: Declared) -> tuple[Any, ...]:
    """What is looked at, and when it is bad."""
    inputs = alarm.inputs
    metrics = [(metric["metricName"], metric["stat"]) for metric in watched(alarm)]
    result = next(
        (q["expression"] for q in inputs.get("metricQueries", []) if "metric" not in q), ""
    )
    (period,) = {metric["period"] for metric in watched(alarm)}
    sign = {"GreaterThanThreshold": ">", "LessThanThreshold": "<"}[inputs["comparisonOperator"]]
    assert inputs["datapointsToAlarm"] == inputs["evaluationPeriods"]
    return (
        *metrics,
        result,
        f"{sign} {inputs['threshold']:g}",
        f"{inputs['evaluationPeriods']:g} x {period:g} s",
        inputs["treatMissingData"],
    )


def test_the_alarms_are_exactly_these(mine: Recorder) -> None:
    fine, bad = "notBreaching", "breaching"
    said = {alarm.name.removeprefix("monitoring-"): spelled(alarm) for alarm in mine.of(ALARM)}
    lost, ill = ("HealthyHostCount", "Maximum"), ("UnHealthyHostCount", "Maximum")
    due, done = ("ChangesKnownAMinuteAgo", "Maximum"), ("ChangesInForce", "Minimum")
    now, before = ("OnlineClients", "Sum"), ("OnlineClientsHalfAnHourAgo", "Sum")
    assert said == {
        "lost-0": (lost, "", "< 1", "2 x 60 s", bad),
        "lost-1": (lost, "", "< 1", "2 x 60 s", bad),
        "unhealthy-0": (ill, "", "> 0", "6 x 60 s", fine),
        "unhealthy-1": (ill, "", "> 0", "6 x 60 s", fine),
        "silent": (("Serving", "SampleCount"), "", "< 3", "5 x 60 s", bad),
        "faults": (("Faults", "Maximum"), "", "> 0", "15 x 60 s", fine),
        "not-confirmed": (due, done, "known - done", "> 0", "2 x 60 s", fine),
        "registry-stale": (("RegistryAge", "Maximum"), "", "> 120", "2 x 60 s", fine),
        "key-old": (("KeyAge", "Minimum"), "", "> 7.9488e+06", "1 x 3600 s", fine),
        "clients-drop": (
            now,
            before,
            "IF(before >= 10, now / before, 1)",
            "< 0.5",
            "3 x 60 s",
            fine,
        ),
        "clock-off": (("ClockOffset", "Maximum"), "", "> 0.05", "2 x 60 s", fine),
        "flows-full": (("TrackedFlows", "Maximum"), "", "> 80", "5 x 60 s", fine),
        "flows-refused": (("PacketsOverAllowance", "Maximum"), "", "> 0", "2 x 60 s", fine),
        "connections-unrecorded": (
            ("RecordsConnections", "Minimum"),
            "",
            "< 1",
            "5 x 60 s",
            fine,
        ),
        "connections-left-out": (("ConnectionsLeftOut", "Maximum"), "", "> 0", "1 x 60 s", fine),
        "connections-queued": (("ConnectionQueue", "Maximum"), "", "> 80", "1 x 60 s", fine),
    }


def test_the_silence_of_one_of_the_stacks_gateways_is_noticed(plan: Recorder) -> None:
    group = plan.one("autoscaling/group:Group").inputs
    assert plan.named("monitoring-silent").inputs["threshold"] == group["desiredCapacity"]


def test_an_expression_is_of_its_own_series_and_is_alone_what_the_alarm_goes_by(
    plan: Recorder,
) -> None:
    math = [alarm for alarm in plan.of(ALARM) if "metricQueries" in alarm.inputs]
    assert math
    for alarm in math:
        *series, result = alarm.inputs["metricQueries"]
        words = set(re.findall(r"[a-z]\w*", result["expression"]))
        assert words == {query["id"] for query in series}
        assert result["returnData"] is True
        assert not any(query.get("returnData") for query in series)


def test_every_alarm_tells_the_topic_when_it_begins_and_when_it_is_over(plan: Recorder) -> None:
    for alarm in plan.of(ALARM):
        assert alarm.inputs["alarmActions"] == alarm.inputs["okActions"] == [TOPIC]
        depends = alarm.request.propertyDependencies["alarmActions"].urns
        assert any(urn.endswith("::monitoring-topic-policy") for urn in depends), "too early"


@pytest.mark.parametrize("alarm", ALL, ids=NAMES)
def test_every_alarm_says_whose_it_is_and_which_page_helps(alarm: alarms.Alarm) -> None:
    for stack in ("prod", "mine"):
        said = plans.built(stack).named(f"monitoring-{alarm.name}").inputs["alarmDescription"]
        assert said.startswith(f"gatepair {stack}: ")
        found = re.search(r"docs/runbooks/[\w-]+\.md$", said)
        assert found
        page = plans.ROOT / found[0]
        assert f"`{alarm.name.rpartition('-')[0]}-N`" in page.read_text() or (
            f"`{alarm.name}`" in page.read_text()
        ), "a page says which alarms lead to it"


def test_the_docs_list_every_alarm_and_no_other() -> None:
    page = (plans.ROOT / "docs" / "monitoring.md").read_text()
    (section,) = re.findall(r"\n## CloudWatch\n(.*?)(?=\n## )", page, re.DOTALL)
    listed = re.findall(r"^\| `([\w-]+)` \| \[", section, re.MULTILINE)
    assert set(listed) == {re.sub(r"-\d$", "-N", name) for name in NAMES}
    metrics = set(re.findall(r"`([A-Z]\w+)`", section)) - GIVEN_BY_AWS
    assert metrics == {name for _namespace, name, _stack in told("prod")}


@pytest.mark.parametrize("gateways", [2, 12])
def test_names_and_thresholds_are_what_cloudwatch_takes(gateways: int) -> None:
    found = alarms.alarms(gateways=gateways, slots=SLOTS)
    assert len({alarm.name for alarm in found}) == len(found)
    for alarm in found:
        assert alarm.period in (60, 3600)
        assert bool(alarm.expression) == (len(alarm.series) > 1)
        assert all(re.fullmatch(r"[a-z][a-zA-Z0-9_]*", name) for name in alarm.series)


def test_mail_goes_to_whom_the_stack_names_and_to_nobody_else() -> None:
    assert plans.built("mine").one("sns/topicSubscription:TopicSubscription").inputs == {
        "topic": TOPIC,
        "protocol": "email",
        "endpoint": "oncall@example.com",
    }
    for stack in set(plans.STACKS) - {"mine"}:
        assert not plans.built(stack).of("sns/topicSubscription:TopicSubscription")


def test_a_mails_sender_is_the_stack(stack: str, plan: Recorder) -> None:
    topic = dict(plan.one("sns/topic:Topic").inputs)
    assert topic.pop("tags")["Name"] == "monitoring-topic"
    assert topic == {"displayName": f"gatepair {stack}"}


def test_only_alarms_of_this_account_and_program_may_publish() -> None:
    arn = "arn:aws-us-gov:sns:us-gov-west-1:210987654321:monitoring-topic-1a2b3c4"
    (statement,) = topic_policy(arn, "monitoring-*")["Statement"]
    assert {key: value for key, value in statement.items() if key != "Sid"} == {
        "Effect": "Allow",
        "Principal": {"Service": "cloudwatch.amazonaws.com"},
        "Action": "sns:Publish",
        "Resource": arn,
        "Condition": {
            "StringEquals": {"aws:SourceAccount": "210987654321"},
            "ArnLike": {
                "aws:SourceArn": "arn:aws-us-gov:cloudwatch:us-gov-west-1:210987654321:"
                "alarm:monitoring-*"
            },
        },
    }


def test_the_topic_has_that_policy(plan: Recorder) -> None:
    inputs = plan.one("sns/topicPolicy:TopicPolicy").inputs
    assert inputs["arn"] == TOPIC
    assert json.loads(inputs["policy"]) == topic_policy(TOPIC, "monitoring-*")
    assert all(alarm.name.startswith("monitoring-") for alarm in plan.of(ALARM))


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("loadbalancer/net/nlb-1a2b3c4/50dc6c495c0c9188", "net/nlb-1a2b3c4/50dc6c495c0c9188"),
        (
            "targetgroup/slot-0-1a2b3c4/73e2d6bc24d8a067",
            "targetgroup/slot-0-1a2b3c4/73e2d6bc24d8a067",
        ),
    ],
)
def test_load_balancers_are_called_what_cloudwatch_calls_them(arn: str, name: str) -> None:
    """As the Elastic Load Balancing user guide shows both, side by side."""
    full = f"arn:aws:elasticloadbalancing:eu-west-1:123456789012:{arn}"
    assert metrics_name(full) == name


# ------------------------------------------------------------------ the dashboard


def body(plan: Recorder) -> dict[str, Any]:
    return json.loads(plan.one("cloudwatch/dashboard:Dashboard").inputs["dashboardBody"])


def lines(plan: Recorder) -> list[list[Any]]:
    """All lines of all graphs."""
    return [
        line for widget in body(plan)["widgets"] for line in widget["properties"].get("metrics", [])
    ]


def test_the_dashboard_is_found_by_the_stacks_name(stack: str, plan: Recorder) -> None:
    board = plan.one("cloudwatch/dashboard:Dashboard")
    assert board.inputs["dashboardName"] == f"gatepair-{stack}"


def test_the_dashboard_begins_with_all_alarms(plan: Recorder) -> None:
    first = body(plan)["widgets"][0]
    assert (first["type"], first["x"], first["y"], first["width"]) == ("alarm", 0, 0, 24)
    assert sorted(first["properties"]["alarms"]) == sorted(
        f"arn:aws:mock:::{alarm.name}" for alarm in plan.of(ALARM)
    )


def test_every_graph_says_where_and_how_its_metrics_are_put_together(
    stack: str, plan: Recorder
) -> None:
    region = plans.config(stack)["aws:region"]
    for widget in body(plan)["widgets"][1:]:
        says = widget["properties"]
        assert (says["region"], says["period"], says["view"]) == (region, 60, "timeSeries")
        assert says["title"]
        for line in says["metrics"]:
            assert line[-1].keys() == {"stat", "label"}
            assert all(line), "a name that is not known"


def test_the_load_balancers_graphs_are_of_this_one(plan: Recorder) -> None:
    theirs = [line for line in lines(plan) if line[0] == "AWS/NetworkELB"]
    assert {line[1] for line in theirs} == GIVEN_BY_AWS
    for line in theirs:
        dimensions = dict(zip(line[2:-1:2], line[3:-1:2], strict=True))
        assert dimensions["LoadBalancer"] == "load-balancer-nlb"
        if line[1].endswith("HostCount"):
            assert dimensions["TargetGroup"].startswith("load-balancer-slot-")
    slots = [line[3] for line in theirs if line[1] == "HealthyHostCount"]
    assert slots == ["load-balancer-slot-0", "load-balancer-slot-1"]


def test_widgets_do_not_cover_each_other_and_stand_within_the_width(plan: Recorder) -> None:
    widgets = body(plan)["widgets"]
    assert all(w["x"] + w["width"] <= 24 for w in widgets)
    for one, other in combinations(widgets, 2):
        beside = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        below = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert beside or below, (one, other)
