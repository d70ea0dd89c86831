"""What the deploying role may do to each kind of resource that the program has. Data.

By tags where the service knows them, by name where it does not; the names are Pulumi's, made of the
program's own and seven letters or digits. After the "Service Authorization Reference" and what the
AWS provider is known to call. Not yet measured on AWS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of resource."""

    make: tuple[str, ...]
    """The actions that bring one into being; where `tagged`, only with the stack's tags."""
    change: tuple[str, ...] = ()
    """The actions on one that is there; where `tagged`, only if it has the stack's tags."""
    names: tuple[str, ...] = ("arn:{partition}:{service}:{region}:{account}:*",)
    """ARNs, with a * where Pulumi or AWS puts something of its own."""
    tagged: bool = True


def _here(service: str, *names: str) -> tuple[str, ...]:
    return tuple(f"arn:{{partition}}:{service}:{{region}}:{{account}}:{name}" for name in names)


def _iam(*names: str) -> tuple[str, ...]:
    return tuple(f"arn:{{partition}}:iam::{{account}}:{name}" for name in names)


_BUCKETS = ("artifact-bucket-*", "peer-registry-archive-bucket-*")
_BUCKET = tuple(f"arn:{{partition}}:s3:::{name}" for name in _BUCKETS)
_OBJECTS = ("arn:{partition}:s3:::artifact-bucket-*/*",)
_TABLE = _here("dynamodb", "table/peer-registry-table-*")
_ROLES = _iam("role/gateway-role-*", "role/http-api-role-*", "role/network-flows-role-*")
_DASHBOARD = ("arn:{partition}:cloudwatch::{account}:dashboard/gatepair-{stack}",)
_FUNCTION = _here("lambda", "function:http-api-function-*")

NONE = Kind(make=())
"""Made by Pulumi alone, without AWS."""

_GROUP_RULE = Kind(
    make=(),
    change=(
        "ec2:AuthorizeSecurityGroupEgress",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:ModifySecurityGroupRules",
        "ec2:RevokeSecurityGroupEgress",
        "ec2:RevokeSecurityGroupIngress",
    ),
)

KINDS: Mapping[str, Kind] = {
    "aws:autoscaling/group:Group": Kind(
        make=("autoscaling:CreateAutoScalingGroup", "autoscaling:CreateOrUpdateTags"),
        change=(
            "autoscaling:AttachLoadBalancerTargetGroups",
            "autoscaling:CancelInstanceRefresh",
            "autoscaling:DeleteAutoScalingGroup",
            "autoscaling:DeleteTags",
            "autoscaling:DetachLoadBalancerTargetGroups",
            "autoscaling:SetDesiredCapacity",
            "autoscaling:StartInstanceRefresh",
            "autoscaling:UpdateAutoScalingGroup",
        ),
        names=_here("autoscaling", "autoScalingGroup:*:autoScalingGroupName/gateways-group-*"),
    ),
    "aws:autoscaling/lifecycleHook:LifecycleHook": Kind(
        make=(),
        change=("autoscaling:DeleteLifecycleHook", "autoscaling:PutLifecycleHook"),
        names=_here("autoscaling", "autoScalingGroup:*:autoScalingGroupName/gateways-group-*"),
    ),
    "aws:cloudwatch/dashboard:Dashboard": Kind(
        make=("cloudwatch:DeleteDashboards", "cloudwatch:PutDashboard"),
        names=_DASHBOARD,
        tagged=False,
    ),
    "aws:cloudwatch/logGroup:LogGroup": Kind(
        make=(
            "logs:CreateLogGroup",
            "logs:DeleteLogGroup",
            "logs:DeleteRetentionPolicy",
            "logs:PutRetentionPolicy",
            "logs:TagResource",
            "logs:UntagResource",
        ),
        names=_here(
            "logs",
            "log-group:audit-*",
            "log-group:http-api-log-*",
            "log-group:network-flows-log-*",
        ),
        tagged=False,
    ),
    "aws:cloudwatch/metricAlarm:MetricAlarm": Kind(
        make=(
            "cloudwatch:DeleteAlarms",
            "cloudwatch:PutMetricAlarm",
            "cloudwatch:TagResource",
            "cloudwatch:UntagResource",
        ),
        names=_here("cloudwatch", "alarm:monitoring-*"),
        tagged=False,
    ),
    "aws:dynamodb/table:Table": Kind(
        make=(
            "dynamodb:CreateTable",
            "dynamodb:DeleteTable",
            "dynamodb:TagResource",
            "dynamodb:UntagResource",
            "dynamodb:UpdateContinuousBackups",
            "dynamodb:UpdateTable",
        ),
        names=_TABLE,
        tagged=False,
    ),
    # what it may write of the table: `WriteControl` in managing.py
    "aws:dynamodb/tableItem:TableItem": NONE,
    "aws:ec2/eip:Eip": Kind(
        make=("ec2:AllocateAddress",),
        change=("ec2:DisassociateAddress", "ec2:ReleaseAddress"),
    ),
    "aws:ec2/flowLog:FlowLog": Kind(make=("ec2:CreateFlowLogs",), change=("ec2:DeleteFlowLogs",)),
    "aws:ec2/internetGateway:InternetGateway": Kind(
        make=("ec2:CreateInternetGateway",),
        change=(
            "ec2:AttachInternetGateway",
            "ec2:DeleteInternetGateway",
            "ec2:DetachInternetGateway",
        ),
    ),
    "aws:ec2/launchTemplate:LaunchTemplate": Kind(
        make=("ec2:CreateLaunchTemplate",),
        change=(
            "ec2:CreateLaunchTemplateVersion",
            "ec2:DeleteLaunchTemplate",
            "ec2:DeleteLaunchTemplateVersions",
            "ec2:ModifyLaunchTemplate",
        ),
    ),
    "aws:ec2/route:Route": Kind(
        make=(), change=("ec2:CreateRoute", "ec2:DeleteRoute", "ec2:ReplaceRoute")
    ),
    "aws:ec2/routeTable:RouteTable": Kind(
        make=("ec2:CreateRouteTable",), change=("ec2:DeleteRouteTable",)
    ),
    "aws:ec2/routeTableAssociation:RouteTableAssociation": Kind(
        make=(),
        change=(
            "ec2:AssociateRouteTable",
            "ec2:DisassociateRouteTable",
            "ec2:ReplaceRouteTableAssociation",
        ),
    ),
    "aws:ec2/securityGroup:SecurityGroup": Kind(
        make=("ec2:CreateSecurityGroup",), change=("ec2:DeleteSecurityGroup",)
    ),
    "aws:ec2/subnet:Subnet": Kind(
        make=("ec2:CreateSubnet",), change=("ec2:DeleteSubnet", "ec2:ModifySubnetAttribute")
    ),
    "aws:ec2/vpc:Vpc": Kind(
        make=("ec2:CreateVpc",), change=("ec2:DeleteVpc", "ec2:ModifyVpcAttribute")
    ),
    "aws:ec2/vpcEndpoint:VpcEndpoint": Kind(
        make=("ec2:CreateVpcEndpoint",), change=("ec2:DeleteVpcEndpoints", "ec2:ModifyVpcEndpoint")
    ),
    "aws:iam/instanceProfile:InstanceProfile": Kind(
        make=("iam:CreateInstanceProfile", "iam:TagInstanceProfile"),
        change=(
            "iam:AddRoleToInstanceProfile",
            "iam:DeleteInstanceProfile",
            "iam:RemoveRoleFromInstanceProfile",
            "iam:UntagInstanceProfile",
        ),
        names=_iam("instance-profile/gateway-profile-*"),
    ),
    "aws:iam/policy:Policy": Kind(
        make=(
            "iam:CreatePolicy",
            "iam:CreatePolicyVersion",
            "iam:DeletePolicy",
            "iam:DeletePolicyVersion",
            "iam:TagPolicy",
            "iam:UntagPolicy",
        ),
        names=_iam("policy/gatepair/gatepair-{stack}-*"),
        tagged=False,
    ),
    "aws:iam/role:Role": Kind(
        make=("iam:CreateRole", "iam:TagRole"),
        change=(
            "iam:DeleteRole",
            "iam:UntagRole",
            "iam:UpdateAssumeRolePolicy",
            "iam:UpdateRole",
            "iam:UpdateRoleDescription",
        ),
        names=_ROLES,
    ),
    "aws:iam/rolePolicy:RolePolicy": Kind(
        make=(), change=("iam:DeleteRolePolicy", "iam:PutRolePolicy"), names=_ROLES
    ),
    "aws:kms/alias:Alias": Kind(
        make=("kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"),
        names=_here("kms", "alias/gatepair/{stack}"),
        tagged=False,
    ),
    "aws:kms/key:Key": Kind(
        make=("kms:CreateKey",),
        change=(
            "kms:CreateAlias",
            "kms:DeleteAlias",
            "kms:DisableKeyRotation",
            "kms:EnableKeyRotation",
            "kms:PutKeyPolicy",
            "kms:ScheduleKeyDeletion",
            "kms:UntagResource",
            "kms:UpdateAlias",
            "kms:UpdateKeyDescription",
        ),
        # a key that is being made has no ARN yet: AWS asks for *
        names=("*",),
    ),
    "aws:lambda/function:Function": Kind(
        make=(
            "lambda:CreateFunction",
            "lambda:DeleteFunction",
            "lambda:TagResource",
            "lambda:UntagResource",
            "lambda:UpdateFunctionCode",
            "lambda:UpdateFunctionConfiguration",
        ),
        names=_FUNCTION,
        tagged=False,
    ),
    "aws:lambda/functionUrl:FunctionUrl": Kind(
        make=(
            "lambda:CreateFunctionUrlConfig",
            "lambda:DeleteFunctionUrlConfig",
            "lambda:UpdateFunctionUrlConfig",
        ),
        names=_FUNCTION,
        tagged=False,
    ),
    "aws:lb/listener:Listener": Kind(
        make=("elasticloadbalancing:CreateListener",),
        change=("elasticloadbalancing:DeleteListener", "elasticloadbalancing:ModifyListener"),
    ),
    "aws:lb/loadBalancer:LoadBalancer": Kind(
        make=("elasticloadbalancing:CreateLoadBalancer",),
        change=(
            "elasticloadbalancing:DeleteLoadBalancer",
            "elasticloadbalancing:ModifyLoadBalancerAttributes",
            "elasticloadbalancing:RemoveTags",
            "elasticloadbalancing:SetSecurityGroups",
            "elasticloadbalancing:SetSubnets",
        ),
    ),
    "aws:lb/targetGroup:TargetGroup": Kind(
        make=("elasticloadbalancing:CreateTargetGroup",),
        change=(
            "elasticloadbalancing:DeleteTargetGroup",
            "elasticloadbalancing:ModifyTargetGroup",
            "elasticloadbalancing:ModifyTargetGroupAttributes",
        ),
    ),
    "aws:s3/bucket:Bucket": Kind(
        make=("s3:CreateBucket", "s3:DeleteBucket", "s3:PutBucketTagging", "s3:TagResource"),
        names=_BUCKET,
        tagged=False,
    ),
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": Kind(
        make=("s3:PutBucketObjectLockConfiguration",), names=_BUCKET, tagged=False
    ),
    "aws:s3/bucketObjectv2:BucketObjectv2": Kind(
        make=("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObject", "s3:PutObjectTagging"),
        names=_OBJECTS,
        tagged=False,
    ),
    "aws:s3/bucketPolicy:BucketPolicy": Kind(
        make=("s3:DeleteBucketPolicy", "s3:PutBucketPolicy"), names=_BUCKET, tagged=False
    ),
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": Kind(
        make=("s3:PutBucketPublicAccessBlock",), names=_BUCKET, tagged=False
    ),
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": Kind(
        make=("s3:PutEncryptionConfiguration",), names=_BUCKET, tagged=False
    ),
    "aws:s3/bucketVersioning:BucketVersioning": Kind(
        make=("s3:PutBucketVersioning",), names=_BUCKET, tagged=False
    ),
    "aws:secretsmanager/secret:Secret": Kind(
        make=("secretsmanager:CreateSecret", "secretsmanager:TagResource"),
        change=(
            "secretsmanager:DeleteSecret",
            "secretsmanager:UntagResource",
            "secretsmanager:UpdateSecret",
        ),
        names=_here("secretsmanager", "secret:gateway-key-secret-*"),
    ),
    "aws:sns/topic:Topic": Kind(
        make=(
            "sns:CreateTopic",
            "sns:DeleteTopic",
            "sns:SetTopicAttributes",
            "sns:TagResource",
            "sns:UntagResource",
        ),
        names=_here("sns", "monitoring-*"),
        tagged=False,
    ),
    "aws:sns/topicPolicy:TopicPolicy": Kind(
        make=("sns:SetTopicAttributes",), names=_here("sns", "monitoring-*"), tagged=False
    ),
    "aws:sns/topicSubscription:TopicSubscription": Kind(
        make=("sns:SetSubscriptionAttributes", "sns:Subscribe", "sns:Unsubscribe"),
        names=_here("sns", "monitoring-*"),
        tagged=False,
    ),
    "aws:ssm/parameter:Parameter": Kind(
        make=(
            "ssm:AddTagsToResource",
            "ssm:DeleteParameter",
            "ssm:PutParameter",
            "ssm:RemoveTagsFromResource",
        ),
        names=_here("ssm", "parameter/gatepair/{stack}"),
        tagged=False,
    ),
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule": _GROUP_RULE,
    "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule": _GROUP_RULE,
    "random:index/randomUuid:RandomUuid": NONE,
}
"""By Pulumi's name for the type. A type that is not here cannot be deployed by a workflow; a test
holds the list against the program."""

READ_EVERYWHERE = (
    "autoscaling:Describe*",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:ListTagsForResource",
    "ec2:Describe*",
    "elasticloadbalancing:Describe*",
    "kms:ListAliases",
    "logs:DescribeLogGroups",
    "logs:ListTagsForResource",
    "ssm:DescribeParameters",
)
"""For a refresh; AWS knows no narrower resource for most of these."""

READ: Mapping[tuple[str, ...], tuple[str, ...]] = {
    _BUCKET: (
        "s3:GetAccelerateConfiguration",
        "s3:GetBucket*",
        "s3:GetEncryptionConfiguration",
        "s3:GetLifecycleConfiguration",
        "s3:GetReplicationConfiguration",
        "s3:ListBucket",
        "s3:ListTagsForResource",
    ),
    _OBJECTS: ("s3:GetObject", "s3:GetObjectTagging"),
    _TABLE: (
        "dynamodb:BatchGetItem",
        "dynamodb:Describe*",
        "dynamodb:GetItem",
        "dynamodb:ListTagsOfResource",
        "dynamodb:Query",
    ),
    _here("secretsmanager", "secret:gateway-key-secret-*"): (
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetResourcePolicy",
    ),
    (*_ROLES, *_iam("instance-profile/gateway-profile-*", "policy/gatepair/gatepair-{stack}-*")): (
        "iam:Get*",
        "iam:List*",
    ),
    _here("ssm", "parameter/gatepair/{stack}"): (
        "ssm:GetParameter",
        "ssm:GetParameters",
        "ssm:ListTagsForResource",
    ),
    _FUNCTION: ("lambda:Get*", "lambda:List*"),
    _here("sns", "monitoring-*"): ("sns:Get*", "sns:List*"),
    _DASHBOARD: ("cloudwatch:GetDashboard",),
}
"""For a refresh, and for what `scripts/keys status` and `scripts/gateways wait` read."""

READ_TAGGED = (
    "kms:DescribeKey",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListResourceTags",
)
"""Of keys with the stack's tags."""
