"""A bucket's policy with its conditions.

moto: a bucket policy's conditions are not looked at; a statement that denies something under a
condition always denies it.
AWS: a statement counts if all of its conditions hold for the request (IAM user guide, "IAM JSON
policy elements: Condition").
Here: so for the operators and keys below; any other is an error. The lab's plain HTTP counts as
secure transport.
"""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from moto.iam.access_control import IAMPolicy, PermissionResult
from moto.s3.models import FakeBucket
from moto.s3.responses import S3Response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_answer = S3Response._key_response  # noqa: SLF001 - where a request for an object comes in

_headers: ContextVar[Mapping[str, str] | None] = ContextVar("headers", default=None)
"""Of the request that is being answered; None outside of one for an object."""


def install(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Replace moto's look at a policy; `replace` is for tests that put it back."""
    replace(S3Response, "_key_response", _with_headers)
    replace(FakeBucket, "get_permission", _permission)


def _with_headers(self: Any, request: Any, *rest: Any) -> Any:
    before = _headers.set(request.headers)
    try:
        return _answer(self, request, *rest)
    finally:
        _headers.reset(before)


def _permission(bucket: Any, action: str, resource: str) -> PermissionResult:
    if bucket.policy is None:
        return PermissionResult.NEUTRAL
    document = json.loads(bucket.policy)
    counting = [
        {name: part for name, part in statement.items() if name != "Condition"}
        for statement in document["Statement"]
        if all(
            _holds(operator, key, wanted)
            for operator, keys in statement.get("Condition", {}).items()
            for key, wanted in keys.items()
        )
    ]
    if not counting:
        return PermissionResult.NEUTRAL
    policy = IAMPolicy(json.dumps({**document, "Statement": counting}))
    return policy.is_action_permitted(action, resource)


def _holds(operator: str, key: str, wanted: str) -> bool:
    value = _value(key)
    match operator:
        case "Null":
            return (value is None) is (wanted == "true")
        case "Bool":
            return value == wanted
    raise NotImplementedError(f"condition {operator} of a bucket policy")


def _value(key: str) -> str | None:
    """What a condition key is for the request; None where it is not there."""
    headers = {name.lower(): value for name, value in (_headers.get() or {}).items()}
    match key:
        case "s3:if-none-match":
            return headers.get("if-none-match")
        case "s3:ObjectCreationOperation" | "aws:SecureTransport":
            return "true"
    raise NotImplementedError(f"condition key {key} of a bucket policy")
