"""Buckets: encrypted, and closed to the public."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from judging import resource, violations
from policy.buckets import judge_encryption, judge_public
from policy.model import Gap

if TYPE_CHECKING:
    from policy.model import Resource

BUCKET = resource("s3/bucket:Bucket", "bucket")
OTHER = resource("s3/bucket:Bucket", "other")
SWITCHES = {
    "blockPublicAcls": True,
    "blockPublicPolicy": True,
    "ignorePublicAcls": True,
    "restrictPublicBuckets": True,
}


def block(props: dict[str, Any], bucket: Resource = BUCKET) -> Resource:
    return resource(
        "s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        props=props,
        references={"bucket": frozenset({bucket.urn})},
    )


def encrypting(algorithm: Any, bucket: Resource = BUCKET) -> Resource:
    rule = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": algorithm}}
    return resource(
        "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        props={"rules": [rule]},
        references={"bucket": frozenset({bucket.urn})},
    )


@pytest.mark.parametrize("kind", ["public-buckets", "bucket-encryption"])
def test_no_stack_breaks_it(stack: str, kind: str) -> None:
    assert violations(stack, kind) == []


def test_a_bucket_with_all_four_switches_on_is_closed() -> None:
    assert list(judge_public([BUCKET, block(SWITCHES)])) == []


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("value", [False, None])
def test_each_switch_counts(switch: str, value: bool | None) -> None:
    (wrong,) = judge_public([BUCKET, block({**SWITCHES, switch: value})])
    assert wrong.what == f"it {switch}"
    assert wrong.cure == "set it to true"


def test_a_bucket_without_a_block_of_its_own_is_open() -> None:
    (wrong,) = judge_public([BUCKET, OTHER, block(SWITCHES, OTHER)])
    assert wrong.urn == BUCKET.urn


@pytest.mark.parametrize("algorithm", ["AES256", "aws:kms", "aws:kms:dsse", Gap.UNKNOWN])
def test_a_bucket_that_says_how_it_encrypts_passes(algorithm: Any) -> None:
    assert list(judge_encryption([BUCKET, encrypting(algorithm)])) == []


@pytest.mark.parametrize("algorithm", ["none", None])
def test_a_configuration_that_encrypts_nothing_is_refused(algorithm: Any) -> None:
    (wrong,) = judge_encryption([BUCKET, encrypting(algorithm)])
    assert wrong.what == "it rules"


def test_every_bucket_needs_its_own_configuration() -> None:
    (wrong,) = judge_encryption([BUCKET, OTHER, encrypting("AES256", OTHER)])
    assert wrong.urn == BUCKET.urn
