"""Tables and the items that the program itself writes."""

from __future__ import annotations

import json
from typing import Any

from lab.resources.base import (
    Context,
    Handler,
    Made,
    Name,
    Properties,
    changed,
    given,
    gone_is_fine,
    retag,
    tag_list,
)

_GONE = "ResourceNotFoundException"


def _dynamodb(context: Context) -> Any:
    return context.client("dynamodb")


def _create_table(context: Context, inputs: Properties) -> Made:
    name = inputs["name"]
    keys = [{"AttributeName": inputs["hashKey"], "KeyType": "HASH"}]
    if "rangeKey" in inputs:
        keys.append({"AttributeName": inputs["rangeKey"], "KeyType": "RANGE"})
    attributes = [
        {"AttributeName": attribute["name"], "AttributeType": attribute["type"]}
        for attribute in inputs["attributes"]
    ]
    made = _dynamodb(context).create_table(
        TableName=name,
        KeySchema=keys,
        AttributeDefinitions=attributes,
        Tags=tag_list(inputs.get("tagsAll")),
        BillingMode=inputs.get("billingMode", "PAY_PER_REQUEST"),
        DeletionProtectionEnabled=bool(inputs.get("deletionProtectionEnabled")),
        **_encryption(inputs),
    )["TableDescription"]
    _dynamodb(context).get_waiter("table_exists").wait(TableName=name)
    _set_recovery(context, name, inputs)
    return name, {"arn": made["TableArn"]}


def _encryption(inputs: Properties) -> dict[str, Any]:
    if "serverSideEncryption" not in inputs:
        return {}
    wanted = given(inputs["serverSideEncryption"], Enabled="enabled", KMSMasterKeyId="kmsKeyArn")
    return {"SSESpecification": wanted}


def _set_recovery(context: Context, name: str, inputs: Properties) -> None:
    enabled = bool(inputs.get("pointInTimeRecovery", {}).get("enabled"))
    _dynamodb(context).update_continuous_backups(
        TableName=name,
        PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": enabled},
    )


def _set_expiry(context: Context, name: str, inputs: Properties) -> None:
    ttl = inputs.get("ttl")
    if ttl:
        wanted = given(ttl, AttributeName="attributeName", Enabled="enabled")
        _dynamodb(context).update_time_to_live(TableName=name, TimeToLiveSpecification=wanted)


def _create_table_with_expiry(context: Context, inputs: Properties) -> Made:
    made = _create_table(context, inputs)
    _set_expiry(context, inputs["name"], inputs)
    return made


def _update_table(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    client = _dynamodb(context)
    if changed(old, new, "pointInTimeRecovery"):
        _set_recovery(context, id_, new)
    if changed(old, new, "ttl"):
        _set_expiry(context, id_, new)
    if changed(old, new, "deletionProtectionEnabled", "billingMode", "serverSideEncryption"):
        client.update_table(
            TableName=id_,
            DeletionProtectionEnabled=bool(new.get("deletionProtectionEnabled")),
            BillingMode=new.get("billingMode", "PAY_PER_REQUEST"),
            **_encryption(new),
        )
    retag(old, new, client.tag_resource, client.untag_resource, ResourceArn=old["arn"])
    return {}


def _delete_table(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        _dynamodb(context).delete_table(TableName=id_)


def _tables(context: Context, inputs: Properties) -> list[str]:
    found = _dynamodb(context).list_tables()["TableNames"]
    return [name for name in found if name == inputs["name"]]


def _put_item(context: Context, inputs: Properties) -> Made:
    item = json.loads(inputs["item"])
    _dynamodb(context).put_item(TableName=inputs["tableName"], Item=item)
    keys = [item[inputs["hashKey"]], *([item[inputs["rangeKey"]]] if "rangeKey" in inputs else [])]
    parts = [str(next(iter(key.values()))) for key in keys]
    # The provider joins table, key names and values with bars
    return "|".join([inputs["tableName"], inputs["hashKey"], *parts]), {}


def _update_item(context: Context, _: str, old: Properties, new: Properties) -> Properties:
    id_, outputs = _put_item(context, new)
    if _key(old) != _key(new):
        _delete_item(context, "", old)
    return {"id": id_, **outputs}


def _key(inputs: Properties) -> dict[str, Any]:
    item = json.loads(inputs["item"])
    names = [inputs["hashKey"], *([inputs["rangeKey"]] if "rangeKey" in inputs else [])]
    return {name: item[name] for name in names}


def _delete_item(context: Context, _: str, properties: Properties) -> None:
    with gone_is_fine(_GONE):
        _dynamodb(context).delete_item(TableName=properties["tableName"], Key=_key(properties))


HANDLERS = {
    "aws:dynamodb/table:Table": Handler(
        create=_create_table_with_expiry,
        update=_update_table,
        delete=_delete_table,
        properties=frozenset(
            {
                "attributes",
                "billingMode",
                "deletionProtectionEnabled",
                "hashKey",
                "pointInTimeRecovery",
                "rangeKey",
                "serverSideEncryption",
                "ttl",
            }
        ),
        replaces=frozenset({"name", "hashKey", "rangeKey", "attributes"}),
        name=Name(),
        tagged=True,
        leftovers=_tables,
    ),
    "aws:dynamodb/tableItem:TableItem": Handler(
        create=_put_item,
        update=_update_item,
        delete=_delete_item,
        properties=frozenset({"tableName", "hashKey", "rangeKey", "item"}),
        replaces=frozenset({"tableName", "hashKey", "rangeKey"}),
    ),
}
