"""Topics, their policies, subscriptions. Nothing is sent: the lab has no mail."""

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
    retag,
    tag_list,
)

_GONE = "NotFound"


def _sns(context: Context) -> Any:
    return context.client("sns")


def _create_topic(context: Context, inputs: Properties) -> Made:
    made = _sns(context).create_topic(
        Name=inputs["name"],
        Attributes=given(inputs, DisplayName="displayName", KmsMasterKeyId="kmsMasterKeyId"),
        Tags=tag_list(inputs.get("tagsAll")),
    )
    return made["TopicArn"], {"arn": made["TopicArn"], "owner": context.account}


def _update_topic(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    for api, name in (("DisplayName", "displayName"), ("KmsMasterKeyId", "kmsMasterKeyId")):
        if changed(old, new, name):
            _sns(context).set_topic_attributes(
                TopicArn=id_, AttributeName=api, AttributeValue=new.get(name, "")
            )
    client = _sns(context)
    retag(old, new, client.tag_resource, client.untag_resource, ResourceArn=id_)
    return {}


def _delete_topic(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        _sns(context).delete_topic(TopicArn=id_)


def _topics(context: Context, inputs: Properties) -> list[str]:
    pages = _sns(context).get_paginator("list_topics").paginate()
    arns = [one["TopicArn"] for page in pages for one in page["Topics"]]
    return [arn for arn in arns if arn.rpartition(":")[2] == inputs["name"]]


def _put_policy(context: Context, inputs: Properties) -> Made:
    _sns(context).set_topic_attributes(
        TopicArn=inputs["arn"], AttributeName="Policy", AttributeValue=inputs["policy"]
    )
    return inputs["arn"], {"owner": context.account}


def _update_policy(context: Context, _: str, __: Properties, new: Properties) -> Properties:
    return _put_policy(context, new)[1]


def _leave_policy(_: Context, __: str, ___: Properties) -> None:
    """It goes with its topic; AWS's own default cannot be asked for again."""


def _create_subscription(context: Context, inputs: Properties) -> Made:
    made = _sns(context).subscribe(
        TopicArn=inputs["topic"],
        Protocol=inputs["protocol"],
        Endpoint=inputs["endpoint"],
        ReturnSubscriptionArn=True,
    )
    arn = made["SubscriptionArn"]
    return arn, {"arn": arn, "ownerId": context.account}


def _delete_subscription(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        _sns(context).unsubscribe(SubscriptionArn=id_)


def _subscriptions(context: Context, inputs: Properties) -> list[str]:
    pages = _sns(context).get_paginator("list_subscriptions_by_topic")
    found = [
        one
        for page in pages.paginate(TopicArn=inputs["topic"])
        for one in page["Subscriptions"]
        if (one["Protocol"], one["Endpoint"]) == (inputs["protocol"], inputs["endpoint"])
    ]
    return [one["SubscriptionArn"] for one in found]


_SUBSCRIPTION = frozenset({"topic", "protocol", "endpoint"})

HANDLERS = {
    "aws:sns/topic:Topic": Handler(
        create=_create_topic,
        update=_update_topic,
        delete=_delete_topic,
        properties=frozenset({"displayName", "kmsMasterKeyId"}),
        replaces=frozenset({"name"}),
        name=Name(limit=256),
        tagged=True,
        leftovers=_topics,
    ),
    "aws:sns/topicPolicy:TopicPolicy": Handler(
        create=_put_policy,
        update=_update_policy,
        delete=_leave_policy,
        properties=frozenset({"arn", "policy"}),
        replaces=frozenset({"arn"}),
    ),
    "aws:sns/topicSubscription:TopicSubscription": Handler(
        create=_create_subscription,
        delete=_delete_subscription,
        properties=_SUBSCRIPTION,
        replaces=_SUBSCRIPTION,
        leftovers=_subscriptions,
    ),
}
