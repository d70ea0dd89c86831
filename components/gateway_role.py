"""What a gateway may do in AWS, and nothing more."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import iam

from components import gateway_routes
from components.alarms import NAMESPACE
from components.statements import partition, tagged, writes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.artifact_store import ArtifactStore
    from components.gateway_key import GatewayKey
    from components.network import Network
    from components.peer_registry import PeerRegistry
    from settings import Settings

_ASSUME = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "ec2.amazonaws.com"},
        }
    ],
}


@dataclass(frozen=True, kw_only=True)
class GatewayRoleArgs:
    """Inputs of `GatewayRole`."""

    settings: Settings
    network: Network
    registry: PeerRegistry
    key: GatewayKey
    store: ArtifactStore
    tags: Mapping[str, str] = field(default_factory=dict)
    """The Auto Scaling group carries them too: a gateway may act on the group with these alone."""


def policy(args: GatewayRoleArgs) -> dict[str, Any]:
    """The role's one policy."""
    region = args.settings.region
    groups = f"arn:{partition(region)}:autoscaling:{region}:*:autoScalingGroup:*:*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "ReadRegistry",
                "Effect": "Allow",
                "Action": ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"],
                "Resource": args.registry.table_arn,
            },
            writes(
                "WriteOwnItem",
                ["dynamodb:PutItem", "dynamodb:UpdateItem"],
                args.registry.table_arn,
                ["gateway#${ec2:SourceInstanceARN}"],
            ),
            writes(
                "PublishServerKey", ["dynamodb:PutItem"], args.registry.table_arn, ["server-key"]
            ),
            {
                "Sid": "KeepServerKeys",
                "Effect": "Allow",
                "Action": [
                    "secretsmanager:DescribeSecret",
                    "secretsmanager:GetSecretValue",
                    "secretsmanager:PutSecretValue",
                ],
                "Resource": args.key.secret_arn,
            },
            {
                "Sid": "FetchCode",
                "Effect": "Allow",
                "Action": "s3:GetObject",
                "Resource": pulumi.Output.concat(args.store.bucket_arn, "/gateway-*.tar"),
            },
            {
                "Sid": "SeeMembership",
                "Effect": "Allow",
                "Action": [
                    "autoscaling:DescribeAutoScalingGroups",
                    "autoscaling:DescribeAutoScalingInstances",
                ],
                # AWS knows no narrower resource for these two
                "Resource": "*",
            },
            {
                "Sid": "ActOnOwnGroup",
                "Effect": "Allow",
                "Action": [
                    "autoscaling:CompleteLifecycleAction",
                    "autoscaling:SetInstanceHealth",
                ],
                # by its tags and not its name: the group is made after this role
                "Resource": groups,
                "Condition": tagged(args.tags),
            },
            *gateway_routes.statements(
                args.settings, args.network.route_table_arns, args.registry.table_arn
            ),
            {
                "Sid": "TellCloudWatch",
                "Effect": "Allow",
                "Action": "cloudwatch:PutMetricData",
                # AWS knows no resource for it, but the namespace
                "Resource": "*",
                "Condition": {"StringEquals": {"cloudwatch:namespace": NAMESPACE}},
            },
        ],
    }


class GatewayRole(pulumi.ComponentResource):
    """The gateways' role, its policy, and the instance profile that carries it."""

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    profile_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: GatewayRoleArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:gateway_role:GatewayRole", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)

        role = iam.Role(
            f"{name}-role",
            description="A gatepair gateway",
            assume_role_policy=json.dumps(_ASSUME),
            tags={**args.tags, "Name": f"{name}-role"},
            opts=child,
        )
        allowed = iam.RolePolicy(
            f"{name}-policy",
            role=role.id,
            policy=pulumi.Output.json_dumps(policy(args)),
            opts=child,
        )
        # The right comes before the word that asks for it, and the word before the first gateway;
        # both stay until the last one is gone.
        told = args.registry.tell(after=allowed)
        profile = iam.InstanceProfile(
            f"{name}-profile",
            # the policy's role: no instance starts before the role may do anything
            role=allowed.role,
            tags={**args.tags, "Name": f"{name}-profile"},
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(depends_on=[told])),
        )

        self.name, self.arn = role.id, role.arn
        self.profile_arn = profile.arn
        self.register_outputs({"profile_arn": self.profile_arn})
