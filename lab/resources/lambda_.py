"""Lambda: functions from code in a bucket, and their URLs. What runs them is `lab.functions`."""

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
)

_GONE = "ResourceNotFoundException"

_CODE = {"S3Bucket": "s3Bucket", "S3Key": "s3Key"}


def _lambda(context: Context) -> Any:
    return context.client("lambda")


# Function


def _settings(inputs: Properties) -> dict[str, Any]:
    """What CreateFunction and UpdateFunctionConfiguration have in common."""
    found = given(
        inputs,
        Description="description",
        Runtime="runtime",
        Handler="handler",
        MemorySize="memorySize",
        Timeout="timeout",
        Role="role",
    )
    log = inputs.get("loggingConfig", {})
    return {
        **found,
        "Environment": {"Variables": inputs.get("environment", {}).get("variables", {})},
        "LoggingConfig": given(log, LogFormat="logFormat", LogGroup="logGroup"),
    }


def _create_function(context: Context, inputs: Properties) -> Made:
    made = _lambda(context).create_function(
        FunctionName=inputs["name"],
        Code=given(inputs, **_CODE),
        Architectures=inputs.get("architectures", ["x86_64"]),
        Tags=inputs.get("tagsAll", {}),
        **_settings(inputs),
    )
    return inputs["name"], {"arn": made["FunctionArn"], "codeSha256": made["CodeSha256"]}


def _update_function(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    client = _lambda(context)
    outputs = {}
    if changed(old, new, *_CODE.values(), "architectures"):
        more = given(new, Architectures="architectures", **_CODE)
        outputs["codeSha256"] = client.update_function_code(FunctionName=id_, **more)["CodeSha256"]
    if _settings(old) != _settings(new):
        client.update_function_configuration(FunctionName=id_, **_settings(new))
    arn = context.arn("lambda", f"function:{id_}")
    retag(old, new, client.tag_resource, client.untag_resource, form=dict, Resource=arn)
    return outputs


def _delete_function(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        _lambda(context).delete_function(FunctionName=id_)


def _functions(context: Context, inputs: Properties) -> list[str]:
    with gone_is_fine(_GONE):
        _lambda(context).get_function(FunctionName=inputs["name"])
        return [inputs["name"]]
    return []


# Function URL


def _url_settings(inputs: Properties) -> dict[str, Any]:
    return given(inputs, AuthType="authorizationType", InvokeMode="invokeMode")


def _create_url(context: Context, inputs: Properties) -> Made:
    name = inputs["functionName"]
    made = _lambda(context).create_function_url_config(FunctionName=name, **_url_settings(inputs))
    # AWS's has the slash, moto's has not
    return name, {
        "functionArn": made["FunctionArn"],
        "functionUrl": made["FunctionUrl"].rstrip("/") + "/",
    }


def _update_url(context: Context, id_: str, _: Properties, new: Properties) -> Properties:
    _lambda(context).update_function_url_config(FunctionName=id_, **_url_settings(new))
    return {}


def _delete_url(context: Context, id_: str, _: Properties) -> None:
    with gone_is_fine(_GONE):
        _lambda(context).delete_function_url_config(FunctionName=id_)


HANDLERS = {
    "aws:lambda/function:Function": Handler(
        create=_create_function,
        update=_update_function,
        delete=_delete_function,
        properties=frozenset(
            {
                "description",
                "runtime",
                "architectures",
                "handler",
                *_CODE.values(),
                "memorySize",
                "timeout",
                "environment",
                "loggingConfig",
                "role",
            }
        ),
        replaces=frozenset({"name"}),
        name=Name(limit=64),
        tagged=True,
        leftovers=_functions,
        unknown_after_update=frozenset({"codeSha256"}),
    ),
    "aws:lambda/functionUrl:FunctionUrl": Handler(
        create=_create_url,
        update=_update_url,
        delete=_delete_url,
        properties=frozenset({"functionName", "authorizationType", "invokeMode"}),
        replaces=frozenset({"functionName"}),
    ),
}
