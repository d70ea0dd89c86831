"""VPC flow logs: which address spoke to which, kept by AWS, whoever runs on the gateways."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import cloudwatch, ec2, iam

from components.statements import acting_for

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMAT = " ".join(
    f"${{{name}}}"
    for name in (
        *("version", "account-id", "interface-id", "srcaddr", "dstaddr", "srcport", "dstport"),
        *("protocol", "packets", "bytes", "start", "end", "action", "log-status"),
        # the packet's own addresses, where an interface only passes it on; who began; which way
        *("pkt-srcaddr", "pkt-dstaddr", "tcp-flags", "flow-direction"),
    )
)
"""AWS's default fields, then ours (VPC user guide, "Flow log records")."""

INTERVAL = 60
"""Seconds that one record covers at most; a Nitro instance's never cover more."""


@dataclass(frozen=True, kw_only=True)
class FlowLogsArgs:
    """Inputs of `FlowLogs`."""

    of: Mapping[str, Mapping[str, pulumi.Input[str]]]
    """What is watched, by a name that stays: `{"vpc_id": ID}` or `{"subnet_id": ID}`."""
    retention_days: int
    protect: bool = False
    """Refuse to delete the log: nobody can make it again."""
    tags: Mapping[str, str] = field(default_factory=dict)


def trust(log_arn: str) -> dict[str, Any]:
    """Who may write in the role's name: flow logs of this account and region."""
    _, partition, _, region, account, *_ = log_arn.split(":")
    source = f"arn:{partition}:ec2:{region}:{account}:vpc-flow-log/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": "sts:AssumeRole",
                "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
                "Condition": acting_for(account, source),
            }
        ],
    }


def policy(log_arn: str) -> dict[str, Any]:
    """What it takes to write this one log (VPC user guide, "IAM role for publishing flow logs")."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "WriteFlows",
                "Effect": "Allow",
                "Action": [
                    "logs:CreateLogStream",
                    "logs:DescribeLogStreams",
                    "logs:PutLogEvents",
                ],
                "Resource": f"{log_arn}:*",
            },
            {
                "Sid": "FindLog",
                "Effect": "Allow",
                "Action": "logs:DescribeLogGroups",
                # AWS asks for it without naming a log
                "Resource": "*",
            },
        ],
    }


class FlowLogs(pulumi.ComponentResource):
    """The flows of a VPC, or of some subnets of it, in CloudWatch Logs.

    Creates a log group with a retention, a role that may write into it and nothing else, and a flow
    log for each thing that is watched: accepted and rejected packets, except those to AWS's own
    services of every machine (metadata, time, DNS), which AWS leaves out.
    """

    log_group: pulumi.Output[str]

    def __init__(
        self, name: str, args: FlowLogsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:flow_logs:FlowLogs", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)

        log = cloudwatch.LogGroup(
            f"{name}-log",
            retention_in_days=args.retention_days,
            tags={**args.tags, "Name": f"{name}-log"},
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=args.protect)),
        )
        role = iam.Role(
            f"{name}-role",
            description="gatepair's VPC flow logs",
            assume_role_policy=pulumi.Output.json_dumps(log.arn.apply(trust)),
            tags={**args.tags, "Name": f"{name}-role"},
            opts=child,
        )
        allowed = iam.RolePolicy(
            f"{name}-policy",
            role=role.id,
            policy=pulumi.Output.json_dumps(log.arn.apply(policy)),
            opts=child,
        )
        ready = pulumi.ResourceOptions.merge(
            child,
            pulumi.ResourceOptions(
                # what a flow log may not write when it begins, it marks as failed
                depends_on=[allowed],
                # EC2 may refuse a second one of the same thing into the same log
                delete_before_replace=True,
            ),
        )
        for key, watched in args.of.items():
            ec2.FlowLog(
                f"{name}-{key}",
                vpc_id=watched.get("vpc_id"),
                subnet_id=watched.get("subnet_id"),
                traffic_type="ALL",
                log_destination_type="cloud-watch-logs",
                log_destination=log.arn,
                iam_role_arn=role.arn,
                log_format=FORMAT,
                max_aggregation_interval=INTERVAL,
                tags={**args.tags, "Name": f"{name}-{key}"},
                opts=ready,
            )

        self.log_group = log.name
        self.register_outputs({"log_group": self.log_group})
