"""Where the gateways' records of clients' connections are kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import cloudwatch, iam

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.gateway_role import GatewayRole
    from settings import Settings


@dataclass(frozen=True, kw_only=True)
class ConnectionLogArgs:
    """Inputs of `ConnectionLog`."""

    settings: Settings
    role: GatewayRole
    """The gateways', which write it."""
    tags: Mapping[str, str] = field(default_factory=dict)


class ConnectionLog(pulumi.ComponentResource):
    """Records of who reached what (docs/audit.md), encrypted by AWS as all its logs are.

    Creates a log group of CloudWatch Logs, and the part of the gateways' policy that lets them
    write it. With `protect` the group is not deleted: nobody can make its records again.
    """

    group: pulumi.Output[str]
    """Its name."""
    streams_arn: pulumi.Output[str]
    """Of all that is in it, which is also how policies name the group itself."""

    def __init__(
        self, name: str, args: ConnectionLogArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:connection_log:ConnectionLog", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)

        log = cloudwatch.LogGroup(
            f"{name}-connections",
            retention_in_days=args.settings.retention_days,
            tags={**args.tags, "Name": f"{name}-connections"},
            opts=pulumi.ResourceOptions.merge(
                child, pulumi.ResourceOptions(protect=args.settings.protect)
            ),
        )
        self.group = log.name
        self.streams_arn = pulumi.Output.concat(log.arn, ":*")
        iam.RolePolicy(
            f"{name}-policy",
            role=args.role.name,
            policy=pulumi.Output.json_dumps(writing(self.streams_arn)),
            opts=child,
        )
        self.register_outputs({"group": self.group})


def writing(streams_arn: pulumi.Input[str]) -> dict[str, Any]:
    """What a gateway may do: add records. It can neither read nor delete any."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "RecordConnections",
                "Effect": "Allow",
                "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
                "Resource": streams_arn,
            }
        ],
    }


def reading(streams_arn: pulumi.Input[str]) -> dict[str, Any]:
    """A statement for who may see who reached what."""
    return {
        "Sid": "ReadConnections",
        "Effect": "Allow",
        "Action": "logs:FilterLogEvents",
        "Resource": streams_arn,
    }
