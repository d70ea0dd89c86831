"""Where gateways fetch their code from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pulumi
from pulumi_aws import s3

from components import artifact

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class ArtifactStoreArgs:
    """Inputs of `ArtifactStore`."""

    root: Path
    """The repository, whose code is shipped."""
    protect: bool = False
    """Keep the bucket when it holds anything."""
    tags: Mapping[str, str] = field(default_factory=dict)


class ArtifactStore(pulumi.ComponentResource):
    """A private, encrypted, versioned bucket with the gateways' code, named by its hash.

    An older artifact stays in the bucket when a newer one comes, so that an older launch template
    still boots.
    """

    bucket_arn: pulumi.Output[str]
    bucket: pulumi.Output[str]
    """Known once the artifact is there: what refers to it waits for that."""
    key: pulumi.Output[str]
    sha256: str

    def __init__(
        self, name: str, args: ArtifactStoreArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:artifact_store:ArtifactStore", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)

        bucket = s3.Bucket(
            f"{name}-bucket",
            force_destroy=not args.protect,
            tags={**args.tags, "Name": f"{name}-bucket"},
            opts=child,
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
        made = artifact.build(args.root)
        stored = s3.BucketObjectv2(
            f"{name}-code",
            bucket=bucket.id,
            key=made.key,
            source=pulumi.FileAsset(str(artifact.write(made, args.root))),
            tags=args.tags,
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(retain_on_delete=True)),
        )

        self.bucket_arn = bucket.arn
        self.bucket = stored.bucket
        self.key = stored.key
        self.sha256 = made.sha256
        self.register_outputs({"bucket": self.bucket, "key": self.key})
