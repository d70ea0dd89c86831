"""Every bucket is encrypted and closed to the public, by resources of its own. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from policy.demands import Demand, unmet
from policy.model import Gap, find, items, violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy.model import Resource, Violation

BUCKET = "aws:s3/bucket:Bucket"
PUBLIC_ACCESS = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"
ENCRYPTION = (
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
)
ALGORITHMS = ("AES256", "aws:kms", "aws:kms:dsse")
"""S3's own names for what encrypts at rest."""

_CLOSED = tuple(
    Demand(name, True, "what is in a bucket is for this stack's roles, never for the public")
    for name in (
        "blockPublicAcls",
        "blockPublicPolicy",
        "ignorePublicAcls",
        "restrictPublicBuckets",
    )
)


def judge_public(resources: Sequence[Resource]) -> Iterator[Violation]:
    """Every bucket has a public access block with all four switches on."""
    for bucket, blocks in _with(resources, PUBLIC_ACCESS):
        if not blocks:
            why = "no BucketPublicAccessBlock is made for it"
            yield violation(bucket, "", why, "make one with all four switches on", value="bucket")
        for block in blocks:
            yield from unmet(block, _CLOSED)


def judge_encryption(resources: Sequence[Resource]) -> Iterator[Violation]:
    """Every bucket says how its objects are encrypted."""
    for bucket, configurations in _with(resources, ENCRYPTION):
        if not configurations:
            why = "no BucketServerSideEncryptionConfiguration is made for it"
            yield violation(bucket, "", why, "make one, with AES256 or aws:kms", value="bucket")
        for made in configurations:
            if not any(_encrypts(rule) for rule in items(made.props, "rules")):
                why = f"none of its rules encrypts by default with {', '.join(ALGORITHMS)}"
                yield violation(made, "rules", why, "name one of these as sseAlgorithm")


def _with(
    resources: Sequence[Resource], kind: str
) -> Iterator[tuple[Resource, Sequence[Resource]]]:
    """Each bucket with the resources of a kind that are made for it."""
    for bucket in resources:
        if bucket.type == BUCKET:
            yield (
                bucket,
                [r for r in resources if r.type == kind and bucket.urn in r.made_from("bucket")],
            )


def _encrypts(rule: Any) -> bool:
    algorithm = find(rule, "applyServerSideEncryptionByDefault.sseAlgorithm")
    return algorithm is Gap.UNKNOWN or algorithm in ALGORITHMS
