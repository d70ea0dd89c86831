"""Log groups."""

from __future__ import annotations

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
    tags_changed,
)

_GONE = "ResourceNotFoundException"


def _logs(context: Context) -> Any:
    return context.client("logs")


def _create_group(context: Context, inputs: Properties) -> Made:
    name = inputs["name"]
    _logs(context).create_log_group(
        logGroupName=name, tags=inputs.get("tagsAll", {}), **given(inputs, kmsKeyId="kmsKeyId")
    )
    _keep(context, name, inputs)
    # as the provider has it: without the :* that the API puts behind it
    return name, {"arn": context.arn("logs", f"log-group:{name}")}


def _keep(context: Context, name: str, inputs: Properties) -> None:
    days = inputs.get("retentionInDays", 0)
    if days:
        _logs(context).put_retention_policy(logGroupName=name, retentionInDays=days)
    else:  # for ever
        _logs(context).delete_retention_policy(logGroupName=name)


def _update_group(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    if changed(old, new, "retentionInDays"):
        _keep(context, id_, new)
    put, dropped = tags_changed(old, new)
    arn = context.arn("logs", f"log-group:{id_}")
    if put:
        _logs(context).tag_resource(resourceArn=arn, tags=put)
    if dropped:
        _logs(context).untag_resource(resourceArn=arn, tagKeys=dropped)
    return {}


def _delete_group(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        _logs(context).delete_log_group(logGroupName=id_)


def _groups(context: Context, inputs: Properties) -> list[str]:
    found = _logs(context).describe_log_groups(logGroupNamePrefix=inputs["name"])["logGroups"]
    return [one["logGroupName"] for one in found if one["logGroupName"] == inputs["name"]]


HANDLERS = {
    "aws:cloudwatch/logGroup:LogGroup": Handler(
        create=_create_group,
        update=_update_group,
        delete=_delete_group,
        properties=frozenset({"retentionInDays", "kmsKeyId"}),
        replaces=frozenset({"name", "kmsKeyId"}),
        name=Name(limit=512),
        tagged=True,
        leftovers=_groups,
    ),
}
