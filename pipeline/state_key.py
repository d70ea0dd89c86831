"""The KMS key for stacks' secrets, of all stacks in an account and region."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from effects import Refusal
from pipeline.ground import TAGS, Ground, Step, code
from pipeline.targets import KEY_ALIAS

if TYPE_CHECKING:
    from collections.abc import Iterator


def steps(ground: Ground) -> Iterator[Step]:
    """To a key that is enabled, named and rotated. Raises `Refusal` where it cannot be used."""
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
        if code(err) in {"AccessDeniedException", "AccessDenied"}:
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
