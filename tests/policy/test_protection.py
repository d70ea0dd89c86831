"""What production keeps."""

from __future__ import annotations

from typing import Any

import pytest

from judging import resource, violations
from policy.protection import KEPT, is_production, judge

GOOD: dict[str, dict[str, Any]] = {
    "dynamodb/table:Table": {
        "deletionProtectionEnabled": True,
        "pointInTimeRecovery": {"enabled": True},
    },
    "kms/key:Key": {"deletionWindowInDays": 30},
    "lb/loadBalancer:LoadBalancer": {"enableDeletionProtection": True},
    "s3/bucket:Bucket": {"forceDestroy": False, "objectLockEnabled": True},
    "secretsmanager/secret:Secret": {"recoveryWindowInDays": 30},
    "ec2/eip:Eip": {},
    "ec2/vpc:Vpc": {},
}
BAD = [
    ("dynamodb/table:Table", "deletionProtectionEnabled", False),
    ("dynamodb/table:Table", "pointInTimeRecovery", {"enabled": False}),
    ("dynamodb/table:Table", "pointInTimeRecovery", None),
    ("kms/key:Key", "deletionWindowInDays", 7),
    ("lb/loadBalancer:LoadBalancer", "enableDeletionProtection", None),
    ("s3/bucket:Bucket", "forceDestroy", True),
    ("secretsmanager/secret:Secret", "recoveryWindowInDays", 0),
]


def test_no_stack_breaks_it(stack: str) -> None:
    assert violations(stack, "protection") == []


@pytest.mark.parametrize("typ", GOOD)
def test_what_is_protected_passes(typ: str) -> None:
    assert list(judge([resource(typ, stack="prod", protect=True, props=GOOD[typ])])) == []


@pytest.mark.parametrize("typ", GOOD)
def test_what_nobody_can_make_again_is_protected_in_production(typ: str) -> None:
    (wrong,) = judge([resource(typ, stack="prod", props=GOOD[typ])])
    assert (wrong.what, wrong.value) == ("it protect", "false")
    assert wrong.cure.startswith("set gatepair:protect to true")


def test_a_bucket_that_can_be_filled_again_needs_no_protection() -> None:
    code = resource("s3/bucket:Bucket", stack="prod", props={"forceDestroy": False})
    assert list(judge([code])) == []


@pytest.mark.parametrize(("typ", "name", "value"), BAD)
def test_awss_own_protections_are_on_in_production(typ: str, name: str, value: Any) -> None:
    props = {**GOOD[typ], name: value}
    (wrong,) = judge([resource(typ, stack="prod", protect=True, props=props)])
    assert wrong.what.startswith(f"it {name}")


@pytest.mark.parametrize(("typ", "name", "value"), BAD)
def test_elsewhere_everything_may_be_deleted(typ: str, name: str, value: Any) -> None:
    assert list(judge([resource(typ, props={name: value})])) == []


@pytest.mark.parametrize("stack", ["prod", "production", "eu-prod", "Prod2", "prod.eu"])
def test_a_stack_is_production_by_its_name(stack: str) -> None:
    assert is_production([resource("ec2/eip:Eip", stack=stack)])


@pytest.mark.parametrize("stack", ["dev", "lab", "product", "reproduce", "preprod"])
def test_other_names_are_not_productions(stack: str) -> None:
    assert not is_production([resource("ec2/eip:Eip", stack=stack)])


def test_a_stack_that_protects_anything_protects_everything() -> None:
    half = [resource("ec2/eip:Eip", protect=True), resource("ec2/vpc:Vpc", "network")]
    (wrong,) = judge(half)
    assert wrong.what == "network protect"


def test_every_type_that_is_kept_has_a_case_here() -> None:
    tested = {f"aws:{typ}" for typ in GOOD}
    assert set(KEPT) - tested == {"random:index/randomUuid:RandomUuid"}
    seed = resource("random:index/randomUuid:RandomUuid", stack="prod")
    assert len(list(judge([seed]))) == 1
