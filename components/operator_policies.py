"""What operators may do in AWS: four managed policies for people and pipelines.

`viewer` reads what the read commands need. `peer-admin` may change peers too, `gateway-admin` may
fence, order and replace gateways. None of them reads the gateways' secret. Who reached what is
about people, so that `auditor` alone may read it.

What IAM cannot say: that an item must not be there yet. A `peer-admin` needs PutItem to append to
the audit, and PutItem on an audit item's own key would replace it. So the policy allows that only
inside a transaction, and neither UpdateItem nor DeleteItem: no command rewrites history, and no
single request can. Who builds such a transaction by hand still could; CloudTrail's data events of
the table are the authority on what was written, and no policy here reaches them. Nor can IAM see
what is in an item: a `peer-admin` could set the counter back, or write a peer that every gateway
then refuses to read.

Not yet measured on AWS: that the conditions on DynamoDB's leading keys and EC2's tags hold as
documented for each part of a transaction, and for each resource of a request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import iam

from components import connection_log
from components.statements import archiving, partition, sealing, tagged, writes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.environment import EnvironmentArgs
    from components.network import Network

PATH = "/gatepair/"
"""Of the policies, in IAM."""

TRANSACTION = "TransactWriteItems"


@dataclass(frozen=True, kw_only=True)
class OperatorPoliciesArgs:
    """Inputs of `OperatorPolicies`."""

    environment: EnvironmentArgs
    """What the policies are about, as commands are told of it."""
    network: Network
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scope:
    """One environment, as policies name it."""

    stack: str
    region: str
    vpc_id: pulumi.Input[str]
    table_arn: pulumi.Input[str]
    archive_arn: pulumi.Input[str]
    """Of the bucket with the copy of the audit."""
    records_arn: pulumi.Input[str]
    """Of all that is in it."""
    group_arn: pulumi.Input[str]
    """Of the Auto Scaling group."""
    connections_arn: pulumi.Input[str]
    """Of the log group with the records of connections, and all that is in it."""
    tags: Mapping[str, str]
    """Whatever belongs to the environment carries them."""
    sealing_key_arn: pulumi.Input[str] | None = None
    """Of the KMS key for pre-shared keys, if there is one."""

    @property
    def fence(self) -> dict[str, str]:
        """The tags of the security group without rules; its name tells it from the gateways'."""
        return {**self.tags, "Name": f"gatepair-{self.stack}-fence"}

    @property
    def parameter_arn(self) -> str:
        """Of the parameter by which commands find the environment (components/environment.py)."""
        return self._arn("ssm", f"parameter/gatepair/{self.stack}")

    def every(self, kind: str) -> str:
        """All of EC2's resources of a kind."""
        return self._arn("ec2", f"{kind}/*")

    def _arn(self, service: str, resource: str) -> str:
        """In the region; a policy reaches no other account than its own."""
        return f"arn:{partition(self.region)}:{service}:{self.region}:*:{resource}"


def reading(scope: Scope) -> list[dict[str, Any]]:
    """What every command needs. `sts:GetCallerIdentity` is allowed to everybody."""
    return [
        {
            "Sid": "FindEnvironment",
            "Effect": "Allow",
            "Action": "ssm:GetParameter",
            "Resource": scope.parameter_arn,
        },
        {
            "Sid": "ReadRegistry",
            "Effect": "Allow",
            "Action": ["dynamodb:BatchGetItem", "dynamodb:Query"],
            "Resource": scope.table_arn,
        },
        {
            "Sid": "SeeGateways",
            "Effect": "Allow",
            "Action": [
                "autoscaling:DescribeAutoScalingGroups",
                "elasticloadbalancing:DescribeTargetHealth",
            ],
            # AWS knows no narrower resource for these
            "Resource": "*",
        },
    ]


def seeing_ends() -> dict[str, Any]:
    """Whether an instance is terminated, which EC2 knows before Auto Scaling does."""
    return {
        "Sid": "SeeInstances",
        "Effect": "Allow",
        "Action": "ec2:DescribeInstances",
        "Resource": "*",
    }


def changing_peers(scope: Scope) -> list[dict[str, Any]]:
    """A change is one transaction: the counter, its change and audit items, and the peer's three.

    A `key` item is never deleted: a revoked key does not come back.
    """
    table, key = scope.table_arn, scope.sealing_key_arn
    return [
        seeing_ends(),
        writes(
            "RecordChange",
            ["dynamodb:PutItem"],
            table,
            ["address", "audit", "change", "generation", "key", "peer"],
            within=TRANSACTION,
        ),
        writes("RaiseCounter", ["dynamodb:UpdateItem"], table, ["generation"], within=TRANSACTION),
        writes("RemovePeer", ["dynamodb:DeleteItem"], table, ["peer"], within=TRANSACTION),
        # once every gateway has confirmed, on its own
        writes("FreeAddress", ["dynamodb:DeleteItem"], table, ["address"]),
        *archiving(scope.archive_arn, scope.records_arn),
        # to encrypt and never to decrypt: no operator reads a peer's key again
        *(
            [sealing("MakePresharedKeys", "kms:Encrypt", key, scope.stack)]
            if key is not None
            else []
        ),
    ]


def fencing(scope: Scope) -> list[dict[str, Any]]:
    """To move a gateway, and nothing else, into the group without rules, and to terminate it.

    Tags are given only to a group that is being made, so nobody can name another group the fence.
    """
    groups, own, fence = scope.every("security-group"), tagged(scope.tags), tagged(scope.fence)
    made = tagged(scope.fence, "RequestTag")
    return [
        seeing_ends(),
        {
            "Sid": "SeeFence",
            "Effect": "Allow",
            "Action": "ec2:DescribeSecurityGroups",
            "Resource": "*",
        },
        {
            "Sid": "MakeFence",
            "Effect": "Allow",
            "Action": "ec2:CreateSecurityGroup",
            "Resource": groups,
            "Condition": made,
        },
        {
            "Sid": "MakeFenceHere",
            "Effect": "Allow",
            "Action": "ec2:CreateSecurityGroup",
            "Resource": scope.every("vpc"),
            "Condition": {"StringEquals": {"ec2:VpcID": scope.vpc_id}},
        },
        {
            "Sid": "NameFence",
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": groups,
            "Condition": {
                "StringEquals": {
                    **made["StringEquals"],
                    "ec2:CreateAction": "CreateSecurityGroup",
                }
            },
        },
        {
            "Sid": "UseFence",
            "Effect": "Allow",
            "Action": [
                "ec2:DeleteSecurityGroup",
                "ec2:ModifyNetworkInterfaceAttribute",
                "ec2:RevokeSecurityGroupEgress",
                "ec2:RevokeSecurityGroupIngress",
            ],
            "Resource": groups,
            "Condition": fence,
        },
        {
            "Sid": "MoveGateway",
            "Effect": "Allow",
            "Action": "ec2:ModifyNetworkInterfaceAttribute",
            "Resource": [scope.every("instance"), scope.every("network-interface")],
            "Condition": own,
        },
        {
            "Sid": "EndGateway",
            "Effect": "Allow",
            "Action": "ec2:TerminateInstances",
            "Resource": scope.every("instance"),
            "Condition": own,
        },
    ]


def ordering(scope: Scope) -> list[dict[str, Any]]:
    """Orders to the gateways, which are `command` items, and a new machine for each of them."""
    return [
        writes(
            "GiveOrders",
            ["dynamodb:UpdateItem"],
            scope.table_arn,
            ["command"],
        ),
        {
            "Sid": "ReplaceGateways",
            "Effect": "Allow",
            "Action": [
                "autoscaling:CancelInstanceRefresh",
                "autoscaling:SetDesiredCapacity",
                "autoscaling:StartInstanceRefresh",
                "autoscaling:TerminateInstanceInAutoScalingGroup",
            ],
            "Resource": scope.group_arn,
        },
        {
            "Sid": "SeeReplacement",
            "Effect": "Allow",
            "Action": "autoscaling:DescribeInstanceRefreshes",
            # AWS knows no narrower resource for it
            "Resource": "*",
        },
    ]


def documents(scope: Scope) -> dict[str, dict[str, Any]]:
    """The policies by role, each of them all that its role needs."""
    statements = {
        "viewer": reading(scope),
        "auditor": [*reading(scope), connection_log.reading(scope.connections_arn)],
        "peer-admin": [*reading(scope), *changing_peers(scope)],
        "gateway-admin": [*reading(scope), *fencing(scope), *ordering(scope)],
    }
    return {
        role: {"Version": "2012-10-17", "Statement": found} for role, found in statements.items()
    }


class OperatorPolicies(pulumi.ComponentResource):
    """One managed policy for each role, to be attached by whoever keeps the account's identities.

    Nothing here decides who has a role.
    """

    arns: Mapping[str, pulumi.Output[str]]
    """By role."""

    def __init__(
        self, name: str, args: OperatorPoliciesArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:operator_policies:OperatorPolicies", name, {}, opts)
        stack, here = pulumi.get_stack(), args.environment
        scope = Scope(
            stack=stack,
            region=here.settings.region,
            vpc_id=args.network.vpc_id,
            table_arn=here.registry.table_arn,
            archive_arn=here.registry.archive.bucket_arn,
            records_arn=here.registry.archive.records_arn,
            group_arn=here.gateways.auto_scaling_group_arn,
            connections_arn=here.log.streams_arn,
            tags=args.tags,
            sealing_key_arn=here.preshared.key_arn if here.preshared else None,
        )
        self.arns = {
            role: iam.Policy(
                f"{name}-{role}",
                # fixed: permission sets of IAM Identity Center refer to policies by path and name
                name=f"gatepair-{stack}-{role}",
                path=PATH,
                policy=pulumi.Output.json_dumps(document),
                tags={**args.tags, "Name": f"{name}-{role}"},
                opts=pulumi.ResourceOptions(parent=self),
            ).arn
            for role, document in documents(scope).items()
        }
        self.register_outputs({"arns": self.arns})
