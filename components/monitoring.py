"""Who is told when something is wrong: CloudWatch's alarms, the topic they go to, a dashboard."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import cloudwatch, sns

from components import dashboard
from components.alarms import BALANCER, DIMENSION, NAMESPACE, alarms
from components.load_balancer import SLOTS
from components.statements import acting_for

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.alarms import Alarm, Series
    from components.load_balancer import LoadBalancer
    from settings import Settings

RUNBOOKS = "docs/runbooks"


@dataclass(frozen=True, kw_only=True)
class MonitoringArgs:
    """Inputs of `Monitoring`."""

    settings: Settings
    balancer: LoadBalancer
    tags: Mapping[str, str] = field(default_factory=dict)


def topic_policy(arn: str, alarm_names: str) -> dict[str, Any]:
    """Who may publish: this account's alarms of these names (a pattern).

    As in the CloudWatch user guide, "Amazon SNS topics and permissions". Who may administer the
    topic, IAM says.
    """
    _, partition, _, region, account, *_ = arn.split(":")
    source = f"arn:{partition}:cloudwatch:{region}:{account}:alarm:{alarm_names}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AlarmsOfThisStack",
                "Effect": "Allow",
                "Principal": {"Service": "cloudwatch.amazonaws.com"},
                "Action": "sns:Publish",
                "Resource": arn,
                "Condition": acting_for(account, source),
            }
        ],
    }


class Monitoring(pulumi.ComponentResource):
    """Alarms that mail somebody, and a dashboard to look at then.

    Creates an SNS topic with its policy, a subscription where the stack names an address, an alarm
    for each of `alarms.alarms`, and the dashboard `gatepair-STACK`. The topic is not encrypted with
    a KMS key: CloudWatch may use none that AWS manages, one of our own costs a dollar a month, and
    what alarms say is no secret.
    """

    topic_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: MonitoringArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:monitoring:Monitoring", name, {}, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self._stack = pulumi.get_stack()

        topic = sns.Topic(
            f"{name}-topic",
            # a mail's sender is called so
            display_name=f"gatepair {self._stack}",
            tags=self._tags("topic"),
            opts=self._child,
        )
        allowed = sns.TopicPolicy(
            f"{name}-topic-policy",
            arn=topic.arn,
            policy=pulumi.Output.json_dumps(
                topic.arn.apply(lambda arn: topic_policy(arn, f"{name}-*"))
            ),
            opts=self._child,
        )
        if args.settings.alarm_email:
            sns.TopicSubscription(
                f"{name}-email",
                topic=topic.arn,
                protocol="email",
                endpoint=args.settings.alarm_email,
                opts=self._child,
            )
        wanted = alarms(gateways=args.settings.gateway_count, slots=SLOTS)
        # the policy's topic: no alarm may fire before it may tell anybody
        made = [self._alarm(alarm, allowed.arn) for alarm in wanted]
        cloudwatch.Dashboard(
            f"{name}-dashboard",
            # CloudWatch has no other identity for it; people find it by its name
            dashboard_name=f"gatepair-{self._stack}",
            dashboard_body=pulumi.Output.json_dumps(self._body([alarm.arn for alarm in made])),
            opts=self._child,
        )

        self.topic_arn = topic.arn
        self.register_outputs({"topic_arn": self.topic_arn})

    def _alarm(self, alarm: Alarm, topic: pulumi.Output[str]) -> cloudwatch.MetricAlarm:
        return cloudwatch.MetricAlarm(
            f"{self._name}-{alarm.name}",
            alarm_description=(
                f"gatepair {self._stack}: {alarm.says}. What to do: {RUNBOOKS}/{alarm.runbook}.md"
            ),
            comparison_operator=alarm.compare,
            threshold=alarm.threshold,
            evaluation_periods=alarm.times,
            datapoints_to_alarm=alarm.times,
            treat_missing_data=alarm.missing,
            **(self._queries(alarm) if alarm.expression else self._single(alarm)),
            alarm_actions=[topic],
            ok_actions=[topic],
            tags=self._tags(alarm.name),
            opts=self._child,
        )

    def _single(self, alarm: Alarm) -> dict[str, Any]:
        (series,) = alarm.series.values()
        return {**self._metric(series), "statistic": series.statistic, "period": alarm.period}

    def _queries(self, alarm: Alarm) -> dict[str, Any]:
        inputs = [
            {
                "id": name,
                "metric": {
                    **self._metric(series),
                    "stat": series.statistic,
                    "period": alarm.period,
                },
            }
            for name, series in alarm.series.items()
        ]
        result = {
            "id": "result",
            "expression": alarm.expression,
            "label": alarm.says,
            "return_data": True,
        }
        return {"metric_queries": [*inputs, result]}

    def _metric(self, series: Series) -> dict[str, Any]:
        balancer = self._args.balancer
        if series.slot is None:
            namespace, dimensions = NAMESPACE, {DIMENSION: self._stack}
        else:
            group = balancer.target_group_metrics_names[series.slot]
            namespace = BALANCER
            dimensions = {"LoadBalancer": balancer.metrics_name, "TargetGroup": group}
        return {"namespace": namespace, "metric_name": series.metric, "dimensions": dimensions}

    def _body(self, alarm_arns: list[pulumi.Output[str]]) -> pulumi.Output[dict[str, Any]]:
        balancer = self._args.balancer
        return pulumi.Output.all(
            stack=self._stack,
            region=self._args.settings.region,
            balancer=balancer.metrics_name,
            target_groups=list(balancer.target_group_metrics_names),
            alarms=alarm_arns,
        ).apply(lambda known: dashboard.body(dashboard.Place(**known)))

    def _tags(self, suffix: str) -> dict[str, str]:
        return {**self._args.tags, "Name": f"{self._name}-{suffix}"}
