"""The bucket for Pulumi's states, of all stacks in an account and region."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from components.statements import only_encrypted
from effects import Refusal
from pipeline.ground import GONE, TAGS, Ground, Step, code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

KEPT_DAYS = 90
"""How long older versions of a state are kept; Pulumi writes one for each resource it changes."""

_EASIEST_REGION = "us-east-1"
"""Where S3 takes no location."""

_NONE_SET = {
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchTagSet",
    "ServerSideEncryptionConfigurationNotFoundError",
}


def steps(ground: Ground) -> Iterator[Step]:
    """To a bucket that is private, encrypted and versioned. Raises `Refusal` if it is another's."""
    s3, name = ground.client("s3"), ground.target.bucket
    whose = {"Bucket": name, "ExpectedBucketOwner": ground.target.account}
    there = _bucket_is_ours(s3, whose)
    if not there:
        yield Step(f"make bucket {name}", partial(_make_bucket, ground))
    for what, is_so, do in _bucket_settings(s3, whose, ground.target.partition):
        if not there or not is_so():
            yield Step(f"bucket {name}: {what}", do)


def _bucket_is_ours(s3: Any, whose: Mapping[str, str]) -> bool:
    """Whether it is there. Raises `Refusal` if it is somebody else's: S3's names are global."""
    try:
        s3.head_bucket(**whose)
    except ClientError as err:
        if code(err) in GONE:
            return False
        if code(err) in {"403", "AccessDenied"}:
            why = "belongs to another account, or these credentials may not see it"
            raise Refusal(f"bucket {whose['Bucket']}", why, "ask for the rights to it") from err
        raise
    return True


def _make_bucket(ground: Ground) -> None:
    location = {"LocationConstraint": ground.target.region}
    placed = ground.target.region != _EASIEST_REGION
    ground.client("s3").create_bucket(
        Bucket=ground.target.bucket,
        ObjectOwnership="BucketOwnerEnforced",
        **({"CreateBucketConfiguration": location} if placed else {}),
    )


def _bucket_settings(
    s3: Any, whose: Mapping[str, str], partition: str
) -> Iterator[tuple[str, Callable[[], bool], Callable[[], object]]]:
    """What it should be: in words, whether it is, how to make it so."""
    arn = f"arn:{partition}:s3:::{whose['Bucket']}"
    private = dict.fromkeys(
        ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True
    )
    rules = [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
    only_tls = json.dumps({"Version": "2012-10-17", "Statement": [only_encrypted(arn)]})
    old = {
        "ID": "older-versions",
        "Status": "Enabled",
        "Filter": {"Prefix": ""},
        "NoncurrentVersionExpiration": {"NoncurrentDays": KEPT_DAYS},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
    }
    tags = [{"Key": name, "Value": value} for name, value in TAGS.items()]

    def has(key: str, wanted: object, ask: Callable[..., Any]) -> Callable[[], bool]:
        return lambda: _asked(ask, whose).get(key) == wanted

    def encrypted() -> bool:
        found = _asked(s3.get_bucket_encryption, whose).get("ServerSideEncryptionConfiguration", {})
        return [
            one.get("ApplyServerSideEncryptionByDefault", {}).get("SSEAlgorithm")
            for one in found.get("Rules", [])
        ] == ["AES256"]

    def guarded() -> bool:
        found = _asked(s3.get_bucket_policy, whose).get("Policy", "{}")
        return json.loads(found) == json.loads(only_tls)

    def labelled() -> bool:
        found = _asked(s3.get_bucket_tagging, whose).get("TagSet", [])
        return {tag["Key"]: tag["Value"] for tag in found}.items() >= TAGS.items()

    def ages() -> bool:
        found = _asked(s3.get_bucket_lifecycle_configuration, whose).get("Rules", [])
        return [
            (one.get("Status"), one.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays"))
            for one in found
        ] == [("Enabled", KEPT_DAYS)]

    yield (
        "no public access",
        has("PublicAccessBlockConfiguration", private, s3.get_public_access_block),
        partial(s3.put_public_access_block, **whose, PublicAccessBlockConfiguration=private),
    )
    yield (
        "keep older versions",
        has("Status", "Enabled", s3.get_bucket_versioning),
        partial(s3.put_bucket_versioning, **whose, VersioningConfiguration={"Status": "Enabled"}),
    )
    yield (
        "encrypted",
        encrypted,
        partial(
            s3.put_bucket_encryption, **whose, ServerSideEncryptionConfiguration={"Rules": rules}
        ),
    )
    yield (
        f"older versions end after {KEPT_DAYS} days",
        ages,
        partial(
            s3.put_bucket_lifecycle_configuration,
            **whose,
            LifecycleConfiguration={"Rules": [old]},
        ),
    )
    yield (
        "encrypted connections only",
        guarded,
        partial(s3.put_bucket_policy, **whose, Policy=only_tls),
    )
    yield "tags", labelled, partial(s3.put_bucket_tagging, **whose, Tagging={"TagSet": tags})


def _asked(ask: Callable[..., Any], whose: Mapping[str, str]) -> dict[str, Any]:
    """A bucket's setting; nothing where there is none."""
    try:
        return ask(**whose)
    except ClientError as err:
        if code(err) in _NONE_SET:
            return {}
        raise
