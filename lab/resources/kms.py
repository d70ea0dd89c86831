"""KMS keys and their aliases."""

from __future__ import annotations

from typing import Any

from lab.resources.base import (
    Context,
    Handler,
    Made,
    Properties,
    changed,
    gone_is_fine,
    retag,
)

_GONE = "NotFoundException"
_DEFAULT_WINDOW = 30


def _kms(context: Context) -> Any:
    return context.client("kms")


# Key


def _create_key(context: Context, inputs: Properties) -> Made:
    made = _kms(context).create_key(
        Description=inputs.get("description", ""),
        Policy=inputs["policy"],
        Tags=_tags(inputs.get("tagsAll", {})),
    )["KeyMetadata"]
    _rotate(context, made["KeyId"], inputs)
    return made["KeyId"], {"arn": made["Arn"], "keyId": made["KeyId"]}


def _rotate(context: Context, id_: str, inputs: Properties) -> None:
    if inputs.get("enableKeyRotation"):
        _kms(context).enable_key_rotation(KeyId=id_)
    else:
        _kms(context).disable_key_rotation(KeyId=id_)


def _update_key(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    client = _kms(context)
    if changed(old, new, "description"):
        client.update_key_description(KeyId=id_, Description=new.get("description", ""))
    if changed(old, new, "policy"):
        client.put_key_policy(KeyId=id_, PolicyName="default", Policy=new["policy"])
    if changed(old, new, "enableKeyRotation"):
        _rotate(context, id_, new)
    retag(old, new, client.tag_resource, client.untag_resource, form=_tags, KeyId=id_)
    return {}


def _delete_key(context: Context, id_: str, properties: Properties) -> None:
    days = properties.get("deletionWindowInDays", _DEFAULT_WINDOW)
    with gone_is_fine(_GONE, "KMSInvalidStateException"):
        _kms(context).schedule_key_deletion(KeyId=id_, PendingWindowInDays=int(days))


def _tags(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"TagKey": key, "TagValue": value} for key, value in tags.items()]


# Alias


def _create_alias(context: Context, inputs: Properties) -> Made:
    name = inputs["name"]
    _kms(context).create_alias(AliasName=name, TargetKeyId=inputs["targetKeyId"])
    return name, {"arn": context.arn("kms", name)}


def _update_alias(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    if changed(old, new, "targetKeyId"):
        _kms(context).update_alias(AliasName=id_, TargetKeyId=new["targetKeyId"])
    return {}


def _delete_alias(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        _kms(context).delete_alias(AliasName=id_)


def _aliases(context: Context, inputs: Properties) -> list[str]:
    found = _kms(context).list_aliases()["Aliases"]
    return [one["AliasName"] for one in found if one["AliasName"] == inputs["name"]]


HANDLERS = {
    "aws:kms/key:Key": Handler(
        create=_create_key,
        update=_update_key,
        delete=_delete_key,
        # a key that a create which was cut short has made costs nothing here, and has no name
        properties=frozenset(
            {"description", "enableKeyRotation", "deletionWindowInDays", "policy"}
        ),
        tagged=True,
    ),
    "aws:kms/alias:Alias": Handler(
        create=_create_alias,
        update=_update_alias,
        delete=_delete_alias,
        properties=frozenset({"name", "targetKeyId"}),
        replaces=frozenset({"name"}),
        leftovers=_aliases,
    ),
}
