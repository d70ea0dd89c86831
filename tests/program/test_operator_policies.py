"""What operators may do, exactly, as the program declares it for each stack."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import plan as plans

if TYPE_CHECKING:
    from recorder import Recorder

TABLE = "arn:aws:mock:::peer-registry-table"
SERVICES = {"ssm", "dynamodb", "autoscaling", "ec2", "elasticloadbalancing", "kms", "logs", "s3"}
ARCHIVE = "arn:aws:mock:::peer-registry-archive-bucket"
EC2 = "arn:aws:ec2:eu-central-1:*:"
OWN = {"aws:ResourceTag/project": "gatepair", "aws:ResourceTag/stack": "mine"}
FENCE = {**OWN, "aws:ResourceTag/Name": "gatepair-mine-fence"}
MADE = {
    "aws:RequestTag/Name": "gatepair-mine-fence",
    "aws:RequestTag/project": "gatepair",
    "aws:RequestTag/stack": "mine",
}
ROLES = {"viewer", "auditor", "peer-admin", "gateway-admin"}
POLICY_LIMIT = 6144
"""Characters without white space that IAM takes of a managed policy (IAM user guide, "IAM and STS
quotas")."""


def written(plan: Recorder, role: str) -> dict[str, Any]:
    return json.loads(plan.named(f"operator-{role}").inputs["policy"])


def allowed(role: str) -> list[dict[str, Any]]:
    """The statements, each by what it says and not by its name."""
    document = written(plans.built("mine"), role)
    assert document.keys() == {"Version", "Statement"}
    assert document["Version"] == "2012-10-17"
    return [{k: v for k, v in s.items() if k != "Sid"} for s in document["Statement"]]


def writes(actions: list[str], keys: list[str], *, transaction: bool = False) -> dict[str, Any]:
    condition = {
        "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": keys},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }
    if transaction:
        enclosing = {"dynamodb:EnclosingOperation": ["TransactWriteItems"]}
        condition["ForAnyValue:StringEquals"] = enclosing
    return {"Effect": "Allow", "Action": actions, "Resource": TABLE, "Condition": condition}


VIEWER = [
    {
        "Effect": "Allow",
        "Action": "ssm:GetParameter",
        "Resource": "arn:aws:ssm:eu-central-1:*:parameter/gatepair/mine",
    },
    {
        "Effect": "Allow",
        "Action": ["dynamodb:BatchGetItem", "dynamodb:Query"],
        "Resource": TABLE,
    },
    {
        "Effect": "Allow",
        "Action": [
            "autoscaling:DescribeAutoScalingGroups",
            "elasticloadbalancing:DescribeTargetHealth",
        ],
        "Resource": "*",
    },
]


SEEING = {"Effect": "Allow", "Action": "ec2:DescribeInstances", "Resource": "*"}


def test_a_viewer_may_do_exactly_this() -> None:
    assert allowed("viewer") == VIEWER


def test_who_reached_what_is_read_by_an_auditor_alone() -> None:
    reading = {
        "Effect": "Allow",
        "Action": "logs:FilterLogEvents",
        "Resource": "arn:aws:mock:::audit-connections:*",
    }
    assert allowed("auditor") == [*VIEWER, reading]
    for role in ROLES - {"auditor"}:
        assert "logs:" not in json.dumps(allowed(role))


def test_a_peer_admin_may_do_exactly_this() -> None:
    everything = ["address", "audit", "change", "generation", "key", "peer"]
    assert allowed("peer-admin") == [
        *VIEWER,
        SEEING,
        writes(["dynamodb:PutItem"], everything, transaction=True),
        writes(["dynamodb:UpdateItem"], ["generation"], transaction=True),
        writes(["dynamodb:DeleteItem"], ["peer"], transaction=True),
        writes(["dynamodb:DeleteItem"], ["address"]),
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{ARCHIVE}/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": ARCHIVE},
    ]


def test_a_gateway_admin_may_do_exactly_this() -> None:
    assert allowed("gateway-admin") == [
        *VIEWER,
        SEEING,
        {"Effect": "Allow", "Action": "ec2:DescribeSecurityGroups", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": "ec2:CreateSecurityGroup",
            "Resource": f"{EC2}security-group/*",
            "Condition": {"StringEquals": MADE},
        },
        {
            "Effect": "Allow",
            "Action": "ec2:CreateSecurityGroup",
            "Resource": f"{EC2}vpc/*",
            "Condition": {"StringEquals": {"ec2:VpcID": vpc("mine")}},
        },
        {
            "Effect": "Allow",
            "Action": "ec2:CreateTags",
            "Resource": f"{EC2}security-group/*",
            "Condition": {"StringEquals": {**MADE, "ec2:CreateAction": "CreateSecurityGroup"}},
        },
        {
            "Effect": "Allow",
            "Action": [
                "ec2:DeleteSecurityGroup",
                "ec2:ModifyNetworkInterfaceAttribute",
                "ec2:RevokeSecurityGroupEgress",
                "ec2:RevokeSecurityGroupIngress",
            ],
            "Resource": f"{EC2}security-group/*",
            "Condition": {"StringEquals": FENCE},
        },
        {
            "Effect": "Allow",
            "Action": "ec2:ModifyNetworkInterfaceAttribute",
            "Resource": [f"{EC2}instance/*", f"{EC2}network-interface/*"],
            "Condition": {"StringEquals": OWN},
        },
        {
            "Effect": "Allow",
            "Action": "ec2:TerminateInstances",
            "Resource": f"{EC2}instance/*",
            "Condition": {"StringEquals": OWN},
        },
        writes(["dynamodb:UpdateItem"], ["command"]),
        {
            "Effect": "Allow",
            "Action": [
                "autoscaling:CancelInstanceRefresh",
                "autoscaling:SetDesiredCapacity",
                "autoscaling:StartInstanceRefresh",
                "autoscaling:TerminateInstanceInAutoScalingGroup",
            ],
            "Resource": "arn:aws:mock:::gateways-group",
        },
        {
            "Effect": "Allow",
            "Action": "autoscaling:DescribeInstanceRefreshes",
            "Resource": "*",
        },
    ]


def vpc(stack: str) -> str:
    """The VPC that the stack's gateways stand in."""
    (group,) = [
        d for d in plans.built(stack).of("securityGroup:SecurityGroup") if d.name == "gateways-sg"
    ]
    return group.inputs["vpcId"]


def test_there_is_one_policy_a_role_and_the_stack_says_its_arn(stack: str, plan: Recorder) -> None:
    found = {d.name: d.inputs for d in plan.of("iam/policy:Policy")}
    assert found.keys() == {f"operator-{role}" for role in ROLES}
    for role in ROLES:
        inputs = found[f"operator-{role}"]
        assert (inputs["path"], inputs["name"]) == ("/gatepair/", f"gatepair-{stack}-{role}")
    assert not plan.of("policyAttachment:PolicyAttachment"), "who has a role is decided elsewhere"


def test_no_policy_is_longer_than_iam_takes(plan: Recorder) -> None:
    for role in ROLES:
        text = json.dumps(written(plan, role), separators=(",", ":"))
        assert len(text) < POLICY_LIMIT, role


@pytest.mark.parametrize("role", sorted(ROLES))
def test_no_operator_reads_the_secret_or_acts_on_everything(plan: Recorder, role: str) -> None:
    secret = plan.one("secretsmanager/secret:Secret").name
    document = written(plan, role)
    assert secret not in json.dumps(document)
    for statement in document["Statement"]:
        actions = statement["Action"]
        for action in [actions] if isinstance(actions, str) else actions:
            service, _, name = action.partition(":")
            assert service in SERVICES
            assert "*" not in name
            if statement["Resource"] == "*":
                assert name.startswith("Describe"), action


def test_policies_name_what_the_stack_makes(stack: str, plan: Recorder) -> None:
    """The parameter by its name; gateways, their interfaces and groups by their tags."""
    statements = {s["Sid"]: s for s in written(plan, "gateway-admin")["Statement"]}
    parameter = plan.one("ssm/parameter:Parameter").inputs["name"]
    assert statements["FindEnvironment"]["Resource"].endswith(f":parameter{parameter}")
    template = plan.one("launchTemplate:LaunchTemplate").inputs["tagSpecifications"]
    tags = {spec["resourceType"]: spec["tags"] for spec in template}
    wanted = statements["MoveGateway"]["Condition"]["StringEquals"]
    for kind in ("instance", "network-interface"):
        assert {f"aws:ResourceTag/{k}": v for k, v in tags[kind].items()}.items() >= wanted.items()
    fence = statements["UseFence"]["Condition"]["StringEquals"]["aws:ResourceTag/Name"]
    for group in plan.of("securityGroup:SecurityGroup"):
        assert group.inputs["tags"]["stack"] == stack
        assert group.inputs["tags"]["Name"] != fence, "the fence's rules may be taken away"


def test_arns_are_written_for_the_partition_of_the_region() -> None:
    for statement in written(plans.built("adopting"), "gateway-admin")["Statement"]:
        resources = statement["Resource"]
        for arn in [resources] if isinstance(resources, str) else resources:
            assert arn == "*" or arn.startswith(("arn:aws-us-gov:", "arn:aws:mock:"))
