"""The copy of the registry's audit items that outlives the registry."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import s3

from components.statements import only_encrypted

if TYPE_CHECKING:
    from collections.abc import Mapping

RETENTION_DAYS = 365
"""How long a record cannot be deleted where stacks are protected. A restore needs 35 days of them,
as far as point-in-time recovery reaches back; a year is what audits ask for."""

_DENIED = (
    "s3:BypassGovernanceRetention",
    "s3:DeleteObject",
    "s3:DeleteObjectVersion",
    "s3:PutLifecycleConfiguration",
    "s3:PutObjectLegalHold",
    "s3:PutObjectRetention",
)


@dataclass(frozen=True, kw_only=True)
class AuditArchiveArgs:
    """Inputs of `AuditArchive`."""

    protect: bool = False
    """Refuse to delete the bucket, and lock each record for a year."""
    tags: Mapping[str, str] = field(default_factory=dict)


def policy(bucket_arn: str) -> dict[str, Any]:
    """What nobody may do, whatever their own policies say: overwrite, delete, or pave the way.

    `s3:if-none-match` is the header of a conditional write. The second condition leaves out the
    requests of a multipart upload that cannot carry it; the one that completes the upload can.
    Source: Amazon S3 user guide, "Enforce conditional writes on Amazon S3 buckets".
    """
    everybody = {"Effect": "Deny", "Principal": "*"}
    objects = f"{bucket_arn}/*"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "NeverOverwritten",
                **everybody,
                "Action": "s3:PutObject",
                "Resource": objects,
                "Condition": {
                    "Null": {"s3:if-none-match": "true"},
                    "Bool": {"s3:ObjectCreationOperation": "true"},
                },
            },
            {
                "Sid": "NeverDeleted",
                **everybody,
                "Action": list(_DENIED),
                "Resource": [bucket_arn, objects],
            },
            only_encrypted(bucket_arn),
        ],
    }


class AuditArchive(pulumi.ComponentResource):
    """A private, encrypted, versioned bucket to which records can be added, and nothing else.

    Creates the bucket with Object Lock, its public access block, encryption, policy and, with
    `protect`, a default retention.

    The policy binds everybody, administrators too; whoever wants to delete a record has to change
    it first, which CloudTrail shows. Object Lock stands behind the policy: governance mode, because
    compliance mode cannot be undone by anybody, and the records name people. Locked versions
    survive a stolen administrator's session unless it changes the policy *and* bypasses the lock.
    Stacks without `protect` have no retention, so that `pulumi destroy` works; Object Lock itself
    is on in all of them, since turning it on later would replace the bucket.
    """

    bucket: pulumi.Output[str]
    """Its name; known once nothing in it can be overwritten."""
    bucket_arn: pulumi.Output[str]
    records_arn: pulumi.Output[str]
    """Of all its objects."""

    def __init__(
        self, name: str, args: AuditArchiveArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:audit_archive:AuditArchive", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)

        bucket = s3.Bucket(
            f"{name}-bucket",
            force_destroy=not args.protect,
            object_lock_enabled=True,  # versioning comes with it, and cannot be suspended
            tags={**args.tags, "Name": f"{name}-bucket"},
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=args.protect)),
        )
        s3.BucketPublicAccessBlock(
            f"{name}-private",
            bucket=bucket.id,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        s3.BucketServerSideEncryptionConfiguration(
            f"{name}-encryption",
            bucket=bucket.id,
            rules=[{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
            opts=child,
        )
        s3.BucketVersioning(
            f"{name}-versioning",
            bucket=bucket.id,
            versioning_configuration={"status": "Enabled"},
            opts=child,
        )
        if args.protect:
            s3.BucketObjectLockConfiguration(
                f"{name}-lock",
                bucket=bucket.id,
                rule={"default_retention": {"mode": "GOVERNANCE", "days": RETENTION_DAYS}},
                opts=child,
            )
        guarded = s3.BucketPolicy(
            f"{name}-policy",
            bucket=bucket.id,
            policy=pulumi.Output.json_dumps(bucket.arn.apply(policy)),
            opts=child,
        )

        self.bucket = guarded.bucket
        self.bucket_arn = bucket.arn
        self.records_arn = bucket.arn.apply("{}/*".format)
        self.register_outputs({"bucket": self.bucket, "bucket_arn": self.bucket_arn})
