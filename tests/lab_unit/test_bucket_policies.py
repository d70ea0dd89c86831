"""The lab's buckets heed the conditions of their policies, the archive's among them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from components.audit_archive import policy
from lab.overrides import bucket_policies

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSION = boto3.Session("testing", "testing", region_name="eu-west-1")
BUCKET = "archive"


@pytest.fixture
def s3() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        bucket_policies.install(patch.setattr)
        client = SESSION.client("s3")
        client.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
        yield client


def guard(s3: Any, document: dict[str, Any]) -> None:
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(document))


def refusal(call: Any, **request: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(Bucket=BUCKET, **request)
    return caught.value.response["Error"]["Code"]


def test_the_archive_takes_a_new_record_and_nothing_else(s3: Any) -> None:
    guard(s3, policy(f"arn:aws:s3:::{BUCKET}"))
    s3.put_object(Bucket=BUCKET, Key="audit/1", Body=b"first", IfNoneMatch="*")
    assert refusal(s3.put_object, Key="audit/1", Body=b"second") == "403"
    assert refusal(s3.put_object, Key="audit/2", Body=b"blind") == "403"
    again = refusal(s3.put_object, Key="audit/1", Body=b"second", IfNoneMatch="*")
    assert again == "PreconditionFailed"
    assert refusal(s3.delete_object, Key="audit/1") == "403"
    deleted = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "audit/1"}]})
    assert [error["Code"] for error in deleted["Errors"]] == ["AccessDenied"]
    assert s3.get_object(Bucket=BUCKET, Key="audit/1")["Body"].read() == b"first"


def test_a_condition_that_is_not_known_is_an_error(s3: Any) -> None:
    for condition in ({"Bool": {"aws:ViaAWSService": "true"}}, {"IpAddress": {"x": "y"}}):
        guard(
            s3,
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Deny",
                        "Principal": "*",
                        "Action": "s3:*",
                        "Resource": "*",
                        "Condition": condition,
                    }
                ],
            },
        )
        with pytest.raises(NotImplementedError):
            s3.put_object(Bucket=BUCKET, Key="x", Body=b"")


def test_a_bucket_without_a_policy_takes_everything(s3: Any) -> None:
    s3.put_object(Bucket=BUCKET, Key="x", Body=b"1")
    s3.put_object(Bucket=BUCKET, Key="x", Body=b"2")
    s3.delete_object(Bucket=BUCKET, Key="x")
