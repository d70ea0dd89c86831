"""Buckets, their settings (a resource each), objects."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from lab.resources.base import (
    Context,
    Handler,
    Made,
    Name,
    Properties,
    changed,
    given,
    gone_is_fine,
    tag_list,
)
from lab.resources.ec2 import pascal
from lab.values import asset_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_GONE = ("NoSuchBucket", "NoSuchKey", "404")


def _s3(context: Context) -> Any:
    return context.client("s3")


# Bucket


def _create_bucket(context: Context, inputs: Properties) -> Made:
    name = inputs["bucket"]
    where = {"LocationConstraint": context.region}
    # us-east-1 is the one region that must not be named
    more = {} if context.region == "us-east-1" else {"CreateBucketConfiguration": where}
    locked = given(inputs, ObjectLockEnabledForBucket="objectLockEnabled")
    _s3(context).create_bucket(Bucket=name, **more, **locked)
    _tag_bucket(context, name, inputs)
    domain = f"{name}.s3.amazonaws.com"
    return name, {
        "arn": f"arn:aws:s3:::{name}",
        "bucketDomainName": domain,
        "bucketRegionalDomainName": f"{name}.s3.{context.region}.amazonaws.com",
        "region": context.region,
    }


def _update_bucket(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    if changed(old, new, "tagsAll"):
        _tag_bucket(context, id_, new)
    return {}


def _tag_bucket(context: Context, id_: str, inputs: Properties) -> None:
    tags = tag_list(inputs.get("tagsAll"))
    if tags:
        _s3(context).put_bucket_tagging(Bucket=id_, Tagging={"TagSet": tags})
    else:
        _s3(context).delete_bucket_tagging(Bucket=id_)


def _delete_bucket(context: Context, id_: str, properties: Properties) -> None:
    with gone_is_fine(*_GONE):
        if properties.get("forceDestroy"):
            _empty(context, id_)
        _s3(context).delete_bucket(Bucket=id_)


def _empty(context: Context, bucket: str) -> None:
    if _s3(context).get_bucket_versioning(Bucket=bucket).get("Status") == "Suspended":
        # moto fails at the delete markers of a bucket whose versioning is suspended
        enabled = {"Status": "Enabled"}
        _s3(context).put_bucket_versioning(Bucket=bucket, VersioningConfiguration=enabled)
    for page in _s3(context).get_paginator("list_object_versions").paginate(Bucket=bucket):
        for entry in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            _s3(context).delete_object(
                Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"]
            )


def _buckets(context: Context, inputs: Properties) -> list[str]:
    found = _s3(context).list_buckets()["Buckets"]
    return [bucket["Name"] for bucket in found if bucket["Name"] == inputs["bucket"]]


# Settings of a bucket: put, put again, delete


def _setting(
    names: frozenset[str],
    put: Callable[[Any, Properties], Any],
    delete: Callable[[Any, str], Any],
) -> Handler:
    def create(context: Context, inputs: Properties) -> Made:
        put(_s3(context), inputs)
        return inputs["bucket"], {}

    def update(context: Context, _: str, __: Properties, new: Properties) -> Properties:
        put(_s3(context), new)
        return {}

    def remove(context: Context, _: str, properties: Properties) -> None:
        with gone_is_fine(*_GONE):
            delete(_s3(context), properties["bucket"])

    return Handler(
        create=create,
        update=update,
        delete=remove,
        properties=names | {"bucket"},
        replaces=frozenset({"bucket"}),
    )


_BLOCKS = {
    "BlockPublicAcls": "blockPublicAcls",
    "BlockPublicPolicy": "blockPublicPolicy",
    "IgnorePublicAcls": "ignorePublicAcls",
    "RestrictPublicBuckets": "restrictPublicBuckets",
}


def _put_block(client: Any, inputs: Properties) -> None:
    client.put_public_access_block(
        Bucket=inputs["bucket"], PublicAccessBlockConfiguration=given(inputs, **_BLOCKS)
    )


def _put_versioning(client: Any, inputs: Properties) -> None:
    status = inputs["versioningConfiguration"]["status"]
    client.put_bucket_versioning(
        Bucket=inputs["bucket"], VersioningConfiguration={"Status": status}
    )


def _suspend_versioning(client: Any, bucket: str) -> None:
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})


def _put_encryption(client: Any, inputs: Properties) -> None:
    rules = []
    for rule in inputs["rules"]:
        default = rule["applyServerSideEncryptionByDefault"]
        how = given(default, SSEAlgorithm="sseAlgorithm", KMSMasterKeyID="kmsMasterKeyId")
        bucket_key = given(rule, BucketKeyEnabled="bucketKeyEnabled")
        rules.append({"ApplyServerSideEncryptionByDefault": how, **bucket_key})
    client.put_bucket_encryption(
        Bucket=inputs["bucket"], ServerSideEncryptionConfiguration={"Rules": rules}
    )


def _put_ownership(client: Any, inputs: Properties) -> None:
    rules = [{"ObjectOwnership": inputs["rule"]["objectOwnership"]}]
    client.put_bucket_ownership_controls(
        Bucket=inputs["bucket"], OwnershipControls={"Rules": rules}
    )


def _put_bucket_policy(client: Any, inputs: Properties) -> None:
    policy = inputs["policy"]
    text = policy if isinstance(policy, str) else json.dumps(policy)
    client.put_bucket_policy(Bucket=inputs["bucket"], Policy=text)


def _put_lock(client: Any, inputs: Properties) -> None:
    """What `rule` says of objects that come without a retention of their own."""
    default = given(inputs["rule"]["defaultRetention"], Mode="mode", Days="days", Years="years")
    client.put_object_lock_configuration(
        Bucket=inputs["bucket"],
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled",
            "Rule": {"DefaultRetention": default},
        },
    )


def _remove_lock(client: Any, bucket: str) -> None:
    client.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
    )


def _put_lifecycle(client: Any, inputs: Properties) -> None:
    rules = []
    for rule in inputs["rules"]:
        converted = pascal(rule)
        converted["ID"] = converted.pop("Id")
        converted.setdefault("Filter", {"Prefix": ""})
        rules.append(converted)
    client.put_bucket_lifecycle_configuration(
        Bucket=inputs["bucket"], LifecycleConfiguration={"Rules": rules}
    )


# Object


def _put_object(context: Context, inputs: Properties) -> Made:
    if "source" in inputs:
        body = asset_bytes(inputs["source"])
    elif "contentBase64" in inputs:
        body = base64.b64decode(inputs["contentBase64"])
    else:
        body = str(inputs.get("content", "")).encode()
    tags = "&".join(f"{key}={value}" for key, value in inputs.get("tagsAll", {}).items())
    made = _s3(context).put_object(
        Bucket=inputs["bucket"],
        Key=inputs["key"],
        Body=body,
        **given(inputs, ContentType="contentType", ServerSideEncryption="serverSideEncryption"),
        **({"Tagging": tags} if tags else {}),
    )
    return f"{inputs['bucket']}/{inputs['key']}", {
        "arn": f"arn:aws:s3:::{inputs['bucket']}/{inputs['key']}",
        "etag": made["ETag"].strip('"'),
        "versionId": made.get("VersionId", ""),
    }


def _update_object(context: Context, _: str, __: Properties, new: Properties) -> Properties:
    return _put_object(context, new)[1]


def _delete_object(context: Context, _: str, properties: Properties) -> None:
    with gone_is_fine(*_GONE):
        _s3(context).delete_object(Bucket=properties["bucket"], Key=properties["key"])


_BUCKET = Handler(
    create=_create_bucket,
    update=_update_bucket,
    delete=_delete_bucket,
    properties=frozenset({"forceDestroy", "objectLockEnabled"}),
    replaces=frozenset({"bucket", "objectLockEnabled"}),
    name=Name("bucket", limit=63),
    tagged=True,
    leftovers=_buckets,
)
_OBJECT = Handler(
    create=_put_object,
    update=_update_object,
    delete=_delete_object,
    properties=frozenset(
        {
            "bucket",
            "key",
            "source",
            "sourceHash",
            "content",
            "contentBase64",
            "contentType",
            "serverSideEncryption",
            "forceDestroy",
        }
    ),
    replaces=frozenset({"bucket", "key"}),
    tagged=True,
    unknown_after_update=frozenset({"etag", "versionId"}),
)
_VERSIONING = _setting(frozenset({"versioningConfiguration"}), _put_versioning, _suspend_versioning)
_ENCRYPTION = _setting(
    frozenset({"rules"}),
    _put_encryption,
    lambda client, bucket: client.delete_bucket_encryption(Bucket=bucket),
)
_OWNERSHIP = _setting(
    frozenset({"rule"}),
    _put_ownership,
    lambda client, bucket: client.delete_bucket_ownership_controls(Bucket=bucket),
)
_LIFECYCLE = _setting(
    frozenset({"rules"}),
    _put_lifecycle,
    lambda client, bucket: client.delete_bucket_lifecycle(Bucket=bucket),
)

HANDLERS = {
    "aws:s3/bucket:Bucket": _BUCKET,
    "aws:s3/bucketObjectv2:BucketObjectv2": _OBJECT,
    "aws:s3/bucketVersioning:BucketVersioning": _VERSIONING,
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        _ENCRYPTION
    ),
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": _OWNERSHIP,
    "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration": _setting(
        frozenset({"rule"}), _put_lock, _remove_lock
    ),
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": _LIFECYCLE,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": _setting(
        frozenset(_BLOCKS.values()),
        _put_block,
        lambda client, bucket: client.delete_public_access_block(Bucket=bucket),
    ),
    "aws:s3/bucketPolicy:BucketPolicy": _setting(
        frozenset({"policy"}),
        _put_bucket_policy,
        lambda client, bucket: client.delete_bucket_policy(Bucket=bucket),
    ),
}
