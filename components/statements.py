"""What IAM policies are put together from. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pulumi


def partition(region: str) -> str:
    """The part of AWS that a region is in, as ARNs name it."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def writes(
    what: str,
    actions: Sequence[str],
    table: pulumi.Input[str],
    keys: Sequence[str],
    *,
    within: str = "",
) -> dict[str, Any]:
    """A statement that allows writes of items with these partition keys only.

    `within` is the operation that the write must be a part of (`TransactWriteItems`); DynamoDB asks
    for the permission of each part (developer guide, "Using IAM with DynamoDB transactions").
    """
    condition: dict[str, Any] = {
        "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": list(keys)},
        # "for all values" is also true of no value at all
        "Null": {"dynamodb:LeadingKeys": "false"},
    }
    if within:
        condition["ForAnyValue:StringEquals"] = {"dynamodb:EnclosingOperation": [within]}
    return {
        "Sid": what,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": table,
        "Condition": condition,
    }


def tagged(tags: Mapping[str, str], where: str = "ResourceTag") -> dict[str, dict[str, str]]:
    """The condition that a resource carries these tags, or that a request gives it them."""
    return {"StringEquals": {f"aws:{where}/{key}": tags[key] for key in sorted(tags)}}


def acting_for(account: str, source: str) -> dict[str, dict[str, str]]:
    """The condition that an AWS service acts for this account's resource of that ARN (a pattern).

    Not for one of somebody else's, who may have named ours to it (IAM user guide, "The confused
    deputy problem").
    """
    return {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnLike": {"aws:SourceArn": source},
    }


def only_encrypted(bucket_arn: str) -> dict[str, Any]:
    """A bucket's statement that nobody may speak to it without TLS."""
    return {
        "Sid": "OnlyEncrypted",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [bucket_arn, f"{bucket_arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def archiving(
    bucket_arn: pulumi.Input[str], records_arn: pulumi.Input[str]
) -> list[dict[str, Any]]:
    """To add records to the copy of the audit (registry/archive.py), and to see whether it has any.

    Nobody may delete one: components/audit_archive.py.
    """
    return [
        {
            "Sid": "ArchiveAhead",
            "Effect": "Allow",
            "Action": "s3:PutObject",
            "Resource": records_arn,
        },
        {
            "Sid": "SeeArchive",
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": bucket_arn,
        },
    ]


def sealing(what: str, action: str, key_arn: pulumi.Input[str], stack: str) -> dict[str, Any]:
    """A statement that allows one use of the pre-shared keys' KMS key, for this stack's peers."""
    return {
        "Sid": what,
        "Effect": "Allow",
        "Action": action,
        "Resource": key_arn,
        # with registry/preshared.py: what a ciphertext is bound to
        "Condition": {"StringEquals": {"kms:EncryptionContext:stack": stack}},
    }
