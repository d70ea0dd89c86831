"""What policies allow, and to whom."""

from __future__ import annotations

import json
from typing import Any

import pytest

from judging import resource, violations
from policy.iam_wildcards import OF_IDENTITIES, OF_RESOURCES, judge
from policy.model import Gap

TABLE = "arn:aws:dynamodb:eu-west-1:111122223333:table/peers"
WHERE = {"StringEquals": {"aws:ResourceTag/stack": "dev"}}
ROOT = {"AWS": "arn:aws:iam::111122223333:root"}


def statement(**said: Any) -> dict[str, Any]:
    return {"Sid": "This", "Effect": "Allow", **said}


def of_identity(typ: str = "iam/rolePolicy:RolePolicy", **said: Any) -> list[str]:
    """What is wrong with a policy of one statement."""
    document = {"Version": "2012-10-17", "Statement": [statement(**said)]}
    return [w.value for w in judge(resource(typ, props={"policy": json.dumps(document)}))]


def of_key(**said: Any) -> list[str]:
    document = {"Statement": [statement(Resource="*", **said)]}
    found = judge(resource("kms/key:Key", props={"policy": json.dumps(document)}))
    return [w.value for w in found]


def test_no_stack_breaks_it(stack: str) -> None:
    assert violations(stack, "iam-wildcards") == []


@pytest.mark.parametrize(
    "said",
    [
        {"Action": "dynamodb:PutItem", "Resource": TABLE},
        {"Action": ["dynamodb:*"], "Resource": [TABLE]},
        {"Action": "s3:GetObject", "Resource": "arn:aws:s3:::code/gateway-*.tar"},
        {"Action": "s3:PutObject", "Resource": "arn:aws:s3:::code/*"},
        {"Action": "logs:PutLogEvents", "Resource": "arn:aws:logs:eu-west-1:1:log-group:api:*"},
        {"Action": ["ec2:DescribeInstances", "s3:ListAllMyBuckets"], "Resource": "*"},
        {"Action": "ec2:TerminateInstances", "Resource": "*", "Condition": WHERE},
        {"Effect": "Deny", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "NotAction": "iam:*", "Resource": "*"},
    ],
)
def test_what_names_its_actions_or_its_resources_passes(said: dict[str, Any]) -> None:
    assert of_identity(**said) == []


@pytest.mark.parametrize(
    "resources",
    [
        "*",
        "arn:aws:s3:::*",
        "arn:aws:secretsmanager:*:*:secret:*",
        "arn:aws:ec2:eu-west-1:*:instance/*",
        "arn:*:*:*:*:*",
    ],
)
@pytest.mark.parametrize("action", ["*", "s3:*", "ec2:Describe*", "secretsmanager:Get*"])
def test_a_wildcard_on_a_wildcard_is_refused_whatever_the_condition(
    action: str, resources: str
) -> None:
    found = of_identity(Action=action, Resource=resources, Condition=WHERE)
    assert found == [f"{action} on {resources}"]


@pytest.mark.parametrize("action", ["secretsmanager:GetSecretValue", "iam:PassRole"])
def test_an_action_that_does_more_than_look_needs_a_resource_or_a_condition(action: str) -> None:
    assert of_identity(Action=["ec2:DescribeInstances", action], Resource="*") == [f"{action} on *"]
    assert of_identity(Action=action, Resource=[TABLE, "arn:aws:iam::*:role/*"]) == [
        f"{action} on arn:aws:iam::*:role/*"
    ]


@pytest.mark.parametrize(
    "said",
    [
        {"NotAction": "iam:*", "Resource": TABLE},
        {"Action": "dynamodb:Query", "NotResource": TABLE},
    ],
)
def test_everything_but_something_is_a_wildcard(said: dict[str, Any]) -> None:
    assert len(of_identity(**said)) == 1


@pytest.mark.parametrize("typ", OF_IDENTITIES)
def test_each_kind_of_identity_policy_is_read(typ: str) -> None:
    assert of_identity(typ, Action="*", Resource="*") == ["* on *"]


def test_a_policy_that_is_no_text_and_a_single_statement_are_read_too() -> None:
    policy = {"Statement": statement(Action="*", Resource="*")}
    role = resource("iam/role:Role", props={"inlinePolicies": [{"policy": policy}]})
    (wrong,) = judge(role)
    assert wrong.what == "it inlinePolicies.0.policy This"


@pytest.mark.parametrize("policy", [Gap.UNKNOWN, None, "", "no JSON", "[]"])
def test_what_is_not_known_or_no_policy_is_not_judged(policy: Any) -> None:
    assert list(judge(resource("iam/policy:Policy", props={"policy": policy}))) == []


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("AdministratorAccess", True),
        ("PowerUserAccess", True),
        ("AmazonS3FullAccess", True),
        ("service-role/AmazonECSInfrastructureRolePolicyFullAccess", True),
        ("AmazonSSMManagedInstanceCore", False),
        ("CloudWatchAgentServerPolicy", False),
    ],
)
def test_awss_policies_for_administrators_are_not_attached(name: str, *, refused: bool) -> None:
    arn = f"arn:aws:iam::aws:policy/{name}"
    attached = resource("iam/rolePolicyAttachment:RolePolicyAttachment", props={"policyArn": arn})
    role = resource("iam/role:Role", props={"managedPolicyArns": [arn]})
    for carrier in (attached, role):
        assert [wrong.value for wrong in judge(carrier)] == [arn] * refused


@pytest.mark.parametrize(
    "said",
    [
        {"Principal": ROOT, "Action": ["kms:DescribeKey", "kms:PutKeyPolicy"]},
        {"Principal": {"AWS": "*"}, "Action": "kms:Decrypt", "Condition": WHERE},
        {"Principal": "*", "Action": "kms:*", "Effect": "Deny"},
        {"Principal": {"Service": "logs.amazonaws.com"}, "Action": "kms:Decrypt"},
    ],
)
def test_a_resources_policy_may_say_what_it_allows_to_whom(said: dict[str, Any]) -> None:
    assert of_key(**said) == []


@pytest.mark.parametrize("principal", ["*", {"AWS": "*"}, {"AWS": [ROOT["AWS"], "*"]}])
def test_a_resource_is_not_for_everybody(principal: Any) -> None:
    assert len(of_key(Principal=principal, Action="kms:Decrypt")) == 1


@pytest.mark.parametrize("action", ["kms:*", "*", ["kms:Decrypt", "kms:Re*"]])
def test_a_resources_policy_names_its_actions(action: Any) -> None:
    assert len(of_key(Principal=ROOT, Action=action)) == 1


@pytest.mark.parametrize("typ", OF_RESOURCES)
def test_each_kind_of_resource_policy_is_read(typ: str) -> None:
    document = {"Statement": [statement(Principal="*", Action="sts:AssumeRole")]}
    props = {OF_RESOURCES[typ]: json.dumps(document)}
    assert len(list(judge(resource(typ, props=props)))) == 1
