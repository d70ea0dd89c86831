"""Secrets (empty ones), parameters, random ids, and the provider itself."""

from __future__ import annotations

import json
import uuid
from typing import Any

from effects import Refusal
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
    tags_changed,
)

_GONE = "ResourceNotFoundException"


def _nothing(_: Context, __: str, ___: Properties) -> None:
    """Nothing exists outside the state."""


# Secrets Manager: the secret, never a value


def _secrets(context: Context) -> Any:
    return context.client("secretsmanager")


def _create_secret(context: Context, inputs: Properties) -> Made:
    made = _secrets(context).create_secret(
        Name=inputs["name"],
        Tags=tag_list(inputs.get("tagsAll")),
        **given(inputs, Description="description", KmsKeyId="kmsKeyId"),
    )
    arn = made["ARN"]
    if "policy" in inputs:
        _secrets(context).put_resource_policy(SecretId=arn, ResourcePolicy=inputs["policy"])
    return arn, {"arn": arn}


def _update_secret(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    client = _secrets(context)
    if changed(old, new, "description", "kmsKeyId"):
        more = given(new, Description="description", KmsKeyId="kmsKeyId")
        client.update_secret(SecretId=id_, **more)
    if changed(old, new, "policy"):
        if "policy" in new:
            client.put_resource_policy(SecretId=id_, ResourcePolicy=new["policy"])
        else:
            client.delete_resource_policy(SecretId=id_)
    retag(old, new, client.tag_resource, client.untag_resource, SecretId=id_)
    return {}


def _delete_secret(context: Context, id_: str, properties: Properties) -> None:
    days = properties.get("recoveryWindowInDays", 30)
    how = {"RecoveryWindowInDays": days} if days else {"ForceDeleteWithoutRecovery": True}
    with gone_is_fine(_GONE, "InvalidRequestException"):
        _secrets(context).delete_secret(SecretId=id_, **how)


def _secret_leftovers(context: Context, inputs: Properties) -> list[str]:
    found = _secrets(context).list_secrets()["SecretList"]
    arns = [secret["ARN"] for secret in found if secret["Name"] == inputs["name"]]
    for arn in arns:
        # Within its recovery window it would keep the name
        _secrets(context).delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    return []


# SSM parameter


def _refuse_secure(inputs: Properties) -> None:
    if inputs["type"] == "SecureString":
        raise Refusal("aws:ssm/parameter:Parameter", "a SecureString", "secrets have no place here")


def _put_parameter(context: Context, inputs: Properties) -> Made:
    client, name = context.client("ssm"), inputs["name"]
    made = client.put_parameter(
        Name=name,
        Value=inputs.get("insecureValue", inputs.get("value")),
        Type=inputs["type"],
        Overwrite=True,
        **given(
            inputs,
            Description="description",
            Tier="tier",
            AllowedPattern="allowedPattern",
            DataType="dataType",
        ),
    )
    # PutParameter takes tags and Overwrite only apart
    tags = tag_list(inputs.get("tagsAll"))
    if tags:
        client.add_tags_to_resource(ResourceType="Parameter", ResourceId=name, Tags=tags)
    arn = context.arn("ssm", f"parameter/{name.lstrip('/')}")
    return name, {"arn": arn, "version": made["Version"]}


def _update_parameter(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    outputs = _put_parameter(context, new)[1]
    _, dropped = tags_changed(old, new)
    if dropped:
        context.client("ssm").remove_tags_from_resource(
            ResourceType="Parameter", ResourceId=id_, TagKeys=dropped
        )
    return outputs


def _delete_parameter(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine("ParameterNotFound"):
        context.client("ssm").delete_parameter(Name=id_)


# Random and the provider


def _create_uuid(_: Context, __: Properties) -> Made:
    value = str(uuid.uuid4())
    return value, {"result": value}


def _create_provider(context: Context, inputs: Properties) -> Made:
    _check_account(context, inputs)
    return str(uuid.uuid4()), {}


def _update_provider(context: Context, _: str, __: Properties, new: Properties) -> Properties:
    _check_account(context, new)
    return {}


def _check_account(context: Context, inputs: Properties) -> None:
    # A provider's inputs are text: lists and objects as JSON
    allowed = json.loads(inputs.get("allowedAccountIds", "[]"))
    account = context.client("sts").get_caller_identity()["Account"]
    if allowed and account not in allowed:
        wanted = f"accountIds of this stack are {', '.join(allowed)}"
        raise Refusal(f"account {account}", wanted, "use this stack's credentials")


HANDLERS = {
    "aws:secretsmanager/secret:Secret": Handler(
        create=_create_secret,
        update=_update_secret,
        delete=_delete_secret,
        properties=frozenset(
            {
                "description",
                "kmsKeyId",
                "policy",
                "recoveryWindowInDays",
                "forceOverwriteReplicaSecret",
            }
        ),
        replaces=frozenset({"name"}),
        name=Name(limit=512),
        tagged=True,
        leftovers=_secret_leftovers,
    ),
    "aws:ssm/parameter:Parameter": Handler(
        create=_put_parameter,
        update=_update_parameter,
        delete=_delete_parameter,
        properties=frozenset(
            {
                "type",
                "value",
                "insecureValue",
                "description",
                "tier",
                "allowedPattern",
                "dataType",
                "overwrite",
            }
        ),
        replaces=frozenset({"name"}),
        name=Name(),
        tagged=True,
        # A plain parameter: everybody who may read parameters reads it. SecureString is refused
        marked=frozenset({"value"}),
        refuse=_refuse_secure,
        unknown_after_update=frozenset({"version"}),
    ),
    "random:index/randomUuid:RandomUuid": Handler(
        create=_create_uuid,
        delete=_nothing,
        properties=frozenset({"keepers"}),
    ),
    "pulumi:providers:aws": Handler(
        create=_create_provider,
        update=_update_provider,
        delete=_nothing,
        properties=frozenset(
            {
                "region",
                "allowedAccountIds",
                "defaultTags",
                "profile",
                "skipCredentialsValidation",
                "skipMetadataApiCheck",
                "skipRegionValidation",
                "skipRequestingAccountId",
            }
        ),
        # The provider finds its account and region by itself
    ),
    "pulumi:providers:random": Handler(
        create=lambda *_: (str(uuid.uuid4()), {}), delete=_nothing, properties=frozenset()
    ),
}
