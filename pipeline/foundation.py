"""What pipelines stand on in an account: what is there, and the steps to what should be.

Looking changes nothing. Each step says what it does, can be done again, and leaves the rest to the
next look: whoever is interrupted looks again and goes on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from effects import Refusal
from pipeline import policies
from pipeline.targets import KEY_ALIAS, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pipeline.policies import Trust
    from pipeline.targets import Target

    Client = Callable[[str], Any]
    """A service's name in boto3 -> its client."""

TAGS = {"project": policies.PROJECT, "component": "state"}
"""Of the bucket and the key: no stack's tag, so that no deploying role may change them."""

KEPT_DAYS = 90
"""How long older versions of a state are kept; Pulumi writes one for each resource it changes."""

_EASIEST_REGION = "us-east-1"
"""Where S3 takes no location."""

_VERSIONS = 5
"""Of a managed policy, at most (IAM user guide, "IAM and STS quotas")."""

_GONE = {"404", "NoSuchBucket", "NoSuchEntity", "NotFoundException"}
_NONE_SET = {
    "NoSuchBucketPolicy",
    "NoSuchLifecycleConfiguration",
    "NoSuchPublicAccessBlockConfiguration",
    "NoSuchTagSet",
    "ServerSideEncryptionConfigurationNotFoundError",
}


@dataclass(frozen=True)
class Step:
    """One thing that is not as it should be, and how to make it so."""

    what: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Ground:
    """Where to look, and for whom."""

    client: Client
    target: Target
    trust: Trust
    vpc_id: str | None = None


def steps(ground: Ground) -> list[Step]:
    """All that is to be done. Raises `Refusal` where it must not be, `ClientError` as AWS does."""
    check_account(ground)
    return [*_key(ground), *_bucket(ground), *_provider(ground), *_roles(ground)]


def check_account(ground: Ground) -> None:
    """Raises `Refusal` unless the credentials are of the stack's account."""
    account = ground.client("sts").get_caller_identity()["Account"]
    if account != ground.target.account:
        raise Refusal(
            f"stack {ground.target.stack}",
            f"its account is {ground.target.account}, these credentials are of {account}",
            "choose the account with AWS_PROFILE",
        )


# ------------------------------------------------------------------ the key for stack secrets


def _key(ground: Ground) -> Iterator[Step]:
    kms = ground.client("kms")
    key = _found_key(kms)
    if key is None:
        yield Step(f"make a KMS key, {KEY_ALIAS}", partial(_make_key, kms))
        return
    if key["KeyState"] != "Enabled":
        why = f"its key {key['KeyId']} is {key['KeyState']}: states cannot be opened with it"
        raise Refusal(KEY_ALIAS, why, "restore that key, or ask whoever disabled it")
    if not key["named"]:
        yield Step(f"name KMS key {key['KeyId']} {KEY_ALIAS}", partial(_name, kms, key["KeyId"]))
    if not kms.get_key_rotation_status(KeyId=key["KeyId"])["KeyRotationEnabled"]:
        what = f"rotate KMS key {KEY_ALIAS} every year"
        yield Step(what, partial(kms.enable_key_rotation, KeyId=key["KeyId"]))


def _found_key(kms: Any) -> dict[str, Any] | None:
    """The key of that alias, or one that was made for it when something came between."""
    aliases = [
        one
        for page in kms.get_paginator("list_aliases").paginate()
        for one in page["Aliases"]
        if "TargetKeyId" in one
    ]
    for one in aliases:
        if one["AliasName"] == KEY_ALIAS:
            described = kms.describe_key(KeyId=one["TargetKeyId"])["KeyMetadata"]
            return {**described, "named": True}
    taken = {one["TargetKeyId"] for one in aliases}
    for page in kms.get_paginator("list_keys").paginate():
        for one in page["Keys"]:
            if one["KeyId"] in taken:
                continue
            described = kms.describe_key(KeyId=one["KeyId"])["KeyMetadata"]
            ours = described["KeyManager"] == "CUSTOMER" and described["KeyState"] == "Enabled"
            if ours and _key_tags(kms, one["KeyId"]).items() >= TAGS.items():
                return {**described, "named": False}
    return None


def _key_tags(kms: Any, key_id: str) -> dict[str, str]:
    try:
        found = kms.list_resource_tags(KeyId=key_id)["Tags"]
    except ClientError as err:
        if _code(err) in {"AccessDeniedException", "AccessDenied"}:
            return {}  # somebody else's, who keeps it to himself
        raise
    return {tag["TagKey"]: tag["TagValue"] for tag in found}


def _make_key(kms: Any) -> None:
    tags = [{"TagKey": name, "TagValue": value} for name, value in TAGS.items()]
    said = "Encrypts the secrets in gatepair's Pulumi states"
    made = kms.create_key(Description=said, Tags=tags)["KeyMetadata"]["KeyId"]
    _name(kms, made)
    kms.enable_key_rotation(KeyId=made)


def _name(kms: Any, key_id: str) -> None:
    kms.create_alias(AliasName=KEY_ALIAS, TargetKeyId=key_id)


# ------------------------------------------------------------------ the bucket for states


def _bucket(ground: Ground) -> Iterator[Step]:
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
        if _code(err) in _GONE:
            return False
        if _code(err) in {"403", "AccessDenied"}:
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
    only_tls = json.dumps(_only_encrypted(arn))
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


def _only_encrypted(arn: str) -> dict[str, Any]:
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "OnlyEncrypted",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }


def _asked(ask: Callable[..., Any], whose: Mapping[str, str]) -> dict[str, Any]:
    """A bucket's setting; nothing where there is none."""
    try:
        return ask(**whose)
    except ClientError as err:
        if _code(err) in _NONE_SET:
            return {}
        raise


# ------------------------------------------------------------------ identities


def _provider(ground: Ground) -> Iterator[Step]:
    """GitHub's tokens are taken by the account; whoever else uses them is left in peace."""
    iam, target = ground.client("iam"), ground.target
    arn = f"arn:{target.partition}:iam::{target.account}:oidc-provider/{policies.ISSUER}"
    try:
        found = iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    except ClientError as err:
        if _code(err) not in _GONE:
            raise
        yield Step(
            f"make OIDC provider {policies.ISSUER}",
            partial(
                iam.create_open_id_connect_provider,
                Url=f"https://{policies.ISSUER}",
                ClientIDList=[policies.AUDIENCE],
                Tags=[{"Key": "project", "Value": policies.PROJECT}],
            ),
        )
        return
    if policies.AUDIENCE not in found["ClientIDList"]:
        yield Step(
            f"OIDC provider {policies.ISSUER}: for {policies.AUDIENCE} too",
            partial(
                iam.add_client_id_to_open_id_connect_provider,
                OpenIDConnectProviderArn=arn,
                ClientID=policies.AUDIENCE,
            ),
        )


def _roles(ground: Ground) -> Iterator[Step]:
    for role in Role:
        documents = policies.role_policies(ground.target, role, vpc_id=ground.vpc_id)
        name = ground.target.role_name(role)
        wanted = {_policy_arn(ground.target, f"{name}-{word}") for word in documents}
        for word, document in documents.items():
            yield from _policy(ground, f"{name}-{word}", document)
        yield from _role(ground, role)
        yield from _attachments(ground.client("iam"), name, wanted)


def _policy_arn(target: Target, name: str) -> str:
    return f"arn:{target.partition}:iam::{target.account}:policy{policies.PATH}{name}"


def _policy(ground: Ground, name: str, document: Mapping[str, Any]) -> Iterator[Step]:
    iam, arn, text = ground.client("iam"), _policy_arn(ground.target, name), json.dumps(document)
    try:
        version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    except ClientError as err:
        if _code(err) not in _GONE:
            raise
        tags = [{"Key": "project", "Value": policies.PROJECT}]
        yield Step(
            f"make policy {name}",
            partial(
                iam.create_policy,
                PolicyName=name,
                Path=policies.PATH,
                PolicyDocument=text,
                Tags=tags,
            ),
        )
        return
    found = iam.get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
    if found != document:
        yield Step(f"change policy {name}", partial(_new_version, iam, arn, text))


def _new_version(iam: Any, arn: str, text: str) -> None:
    """In the place of the oldest one, where there is no room for more."""
    versions = iam.list_policy_versions(PolicyArn=arn)["Versions"]
    old = sorted(
        (one for one in versions if not one["IsDefaultVersion"]), key=lambda one: one["CreateDate"]
    )
    if len(versions) >= _VERSIONS:
        iam.delete_policy_version(PolicyArn=arn, VersionId=old[0]["VersionId"])
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)


def _role(ground: Ground, role: Role) -> Iterator[Step]:
    iam, name = ground.client("iam"), ground.target.role_name(role)
    trust = policies.trust_policy(ground.target, ground.trust, role)
    text = json.dumps(trust)
    try:
        found = iam.get_role(RoleName=name)["Role"]
    except ClientError as err:
        if _code(err) not in _GONE:
            raise
        tags = [{"Key": "project", "Value": policies.PROJECT}]
        yield Step(
            f"make role {name}",
            partial(
                iam.create_role,
                RoleName=name,
                AssumeRolePolicyDocument=text,
                Description=f"gatepair's workflows: {role} of stack {ground.target.stack}",
                Tags=tags,
            ),
        )
        return
    if found["AssumeRolePolicyDocument"] != trust:
        yield Step(
            f"role {name}: whom it trusts",
            partial(iam.update_assume_role_policy, RoleName=name, PolicyDocument=text),
        )


def _attachments(iam: Any, name: str, wanted: set[str]) -> Iterator[Step]:
    """Exactly these policies, and none written into the role."""
    try:
        attached = {
            one["PolicyArn"]
            for page in iam.get_paginator("list_attached_role_policies").paginate(RoleName=name)
            for one in page["AttachedPolicies"]
        }
        inline = iam.list_role_policies(RoleName=name)["PolicyNames"]
    except ClientError as err:
        if _code(err) not in _GONE:
            raise
        attached, inline = set(), []
    # what is denied first: nothing is allowed without it, however early this is interrupted
    for arn in sorted(wanted - attached, key=lambda one: (not one.endswith("-never"), one)):
        do = partial(iam.attach_role_policy, RoleName=name, PolicyArn=arn)
        yield Step(f"role {name}: give it {arn.rpartition('/')[2]}", do)
    for arn in sorted(attached - wanted):
        do = partial(iam.detach_role_policy, RoleName=name, PolicyArn=arn)
        yield Step(f"role {name}: take {arn} from it", do)
    for policy in inline:
        do = partial(iam.delete_role_policy, RoleName=name, PolicyName=policy)
        yield Step(f"role {name}: take its own policy {policy} from it", do)


def _code(err: ClientError) -> str:
    return str(err.response.get("Error", {}).get("Code"))
