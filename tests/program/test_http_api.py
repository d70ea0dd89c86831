"""The HTTP API: nothing of it where the stack does not want it, exactly this where it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import plan as plans
from components import api_artifact

if TYPE_CHECKING:
    from recorder import Declared, Recorder

ON = {"gatepair:httpApi": "true"}
TABLE = "arn:aws:mock:::peer-registry-table"
ARCHIVE = "arn:aws:mock:::peer-registry-archive-bucket"


@pytest.fixture(scope="module")
def on() -> Recorder:
    """A stack that is not the lab's, with the API."""
    return plans.build("mine", preview=False, change=ON)


def own(plan: Recorder) -> set[str]:
    return {child.name for parent, child in plan.children() if parent.name == "http-api"}


def plain(declared: Declared) -> dict[str, Any]:
    """Its inputs, with files by their path."""
    return {key: getattr(value, "path", value) for key, value in declared.inputs.items()}


def parameter(plan: Recorder) -> dict[str, Any]:
    return json.loads(plan.named("environment-parameter").inputs["insecureValue"])


def test_a_stack_that_does_not_ask_for_it_has_nothing_of_it() -> None:
    for stack in ("dev", "prod", "mine", "adopting"):
        plan = plans.built(stack)
        assert not own(plan), stack
        assert not [d for d in plan.declared.values() if "lambda" in d.typ]
        assert "api_function" not in parameter(plan)


def test_it_adds_its_own_resources_and_touches_no_other(on: Recorder) -> None:
    off = plans.built("mine")
    added = {d.name for urn, d in on.declared.items() if urn not in off.declared}
    assert added == {"http-api", *own(on)}
    assert own(on) == {
        f"http-api-{part}" for part in ("code", "log", "role", "policy", "function", "url")
    }
    for urn, declared in off.declared.items():
        if declared.name != "environment-parameter":
            assert plain(on.declared[urn]) == plain(declared), urn


def test_the_lab_runs_it() -> None:
    assert own(plans.built("lab")) == own(plans.build("mine", preview=True, change=ON))


def test_operators_and_programs_are_told_where_it_is(on: Recorder) -> None:
    without = parameter(plans.built("mine"))
    assert parameter(on) == {**without, "api_function": "http-api-function-name"}


def test_only_signed_requests_pass_its_url_and_nobody_from_outside_the_account(
    on: Recorder,
) -> None:
    assert on.one("lambda/functionUrl:FunctionUrl").inputs == {
        "functionName": "http-api-function-name",
        "authorizationType": "AWS_IAM",
        "invokeMode": "BUFFERED",
    }
    assert not on.of("lambda/permission:Permission")


def test_the_function_is_exactly_this(on: Recorder) -> None:
    inputs = dict(on.one("lambda/function:Function").inputs)
    assert inputs.pop("tags")["Name"] == "http-api-function"
    assert inputs.pop("description")
    made = api_artifact.build(plans.ROOT)
    assert inputs == {
        "runtime": "python3.13",
        "architectures": ["arm64"],
        "handler": "api.handler.handle",
        "s3Bucket": "artifact-bucket-id",
        "s3Key": f"http-api-{made.sha256}.zip",
        "memorySize": 512,
        "timeout": 60,
        "environment": {"variables": {"GATEPAIR_STACK": "mine"}},
        "loggingConfig": {"logFormat": "Text", "logGroup": "http-api-log-name"},
        "role": "arn:aws:mock:::http-api-role",
    }


def test_the_code_is_uploaded_by_its_hash(on: Recorder) -> None:
    code = on.named("http-api-code").inputs
    made = api_artifact.build(plans.ROOT)
    assert (code["bucket"], code["key"]) == ("artifact-bucket-id", made.key)
    assert Path(code["source"].path).read_bytes() == made.data


def test_its_log_ends_after_a_while(on: Recorder) -> None:
    assert on.named("http-api-log").inputs["retentionInDays"] == 90


def write(actions: list[str], keys: list[str], *, alone: bool = False) -> dict[str, Any]:
    enclosing = {"dynamodb:EnclosingOperation": ["TransactWriteItems"]}
    return {
        "Effect": "Allow",
        "Action": actions,
        "Resource": TABLE,
        "Condition": {
            "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": keys},
            "Null": {"dynamodb:LeadingKeys": "false"},
            **({} if alone else {"ForAnyValue:StringEquals": enclosing}),
        },
    }


def test_it_may_do_exactly_this(on: Recorder) -> None:
    policy = on.named("http-api-policy").inputs
    assert policy["role"] == "http-api-role-id"
    document = json.loads(policy["policy"])
    allowed = [{k: v for k, v in s.items() if k != "Sid"} for s in document["Statement"]]
    assert allowed == [
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
        write(
            ["dynamodb:PutItem"],
            ["address", "audit", "change", "generation", "key", "peer", "request"],
        ),
        write(["dynamodb:UpdateItem"], ["generation"]),
        write(["dynamodb:DeleteItem"], ["peer"]),
        write(["dynamodb:DeleteItem"], ["address"], alone=True),
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": f"{ARCHIVE}/*"},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": ARCHIVE},
        {
            "Effect": "Allow",
            "Action": [
                "autoscaling:DescribeAutoScalingGroups",
                "ec2:DescribeInstances",
                "elasticloadbalancing:DescribeTargetHealth",
            ],
            "Resource": "*",
        },
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": "arn:aws:mock:::http-api-log:*",
        },
    ]


def test_only_lambda_may_take_its_role_which_has_no_other_policy(on: Recorder) -> None:
    role = on.named("http-api-role").inputs
    assert json.loads(role["assumeRolePolicy"])["Statement"] == [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": "lambda.amazonaws.com"},
        }
    ]
    assert not {"managedPolicyArns", "inlinePolicies"} & set(role)
    attached = [
        d.name for d in on.of("rolePolicy:RolePolicy") if d.inputs["role"] == "http-api-role-id"
    ]
    assert attached == ["http-api-policy"]
    assert not on.of("rolePolicyAttachment:RolePolicyAttachment")


def test_the_function_waits_for_its_permission(on: Recorder) -> None:
    function, policy = on.named("http-api-function"), on.named("http-api-policy")
    assert policy.urn in function.request.dependencies


def test_arns_are_written_for_the_partition_of_the_region() -> None:
    plan = plans.build("adopting", preview=False, change=ON)
    document = json.loads(plan.named("http-api-policy").inputs["policy"])
    (found,) = [s["Resource"] for s in document["Statement"] if s["Sid"] == "FindEnvironment"]
    assert found == "arn:aws-us-gov:ssm:us-gov-west-1:*:parameter/gatepair/adopting"
