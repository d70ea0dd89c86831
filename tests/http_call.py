"""One call of the HTTP API's handler, with an event as a function URL makes it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from api import handler

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.calls import Place

CALLER = "arn:aws:sts::123456789012:assumed-role/peer-admin/alice@example.com"


def event(
    method: str,
    target: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    caller: str | None = CALLER,
) -> dict[str, Any]:
    """What Lambda hands over; `body` is a JSON value, or text that is sent as it is."""
    path, _, query = target.partition("?")
    identity = {} if caller is None else {"authorizer": {"iam": {"userArn": caller}}}
    made: dict[str, Any] = {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {**({} if body is None else {"content-type": "application/json"})},
        "requestContext": {
            "http": {"method": method, "path": path},
            "requestId": "request-1",
            **identity,
        },
        "isBase64Encoded": False,
    }
    made["headers"] |= dict(headers or {})
    if body is not None:
        made["body"] = body if isinstance(body, str) else json.dumps(body)
    return made


@dataclass(frozen=True)
class Answered:
    """What came back."""

    status: int
    json: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def faults(self) -> dict[str, Any]:
        """Of a refusal, by field."""
        return {each["field"]: each for each in self.json["errors"]}


def call(place: Place, *words: Any, **more: Any) -> Answered:
    """Serve `event(*words, **more)`."""
    answer = handler.serve(event(*words, **more), place, time.monotonic()).to_answer()
    kind = answer["headers"]["content-type"]
    problem = answer["statusCode"] >= 400
    assert kind == ("application/problem+json" if problem else "application/json")
    assert answer["headers"]["cache-control"] == "no-store"
    return Answered(answer["statusCode"], json.loads(answer["body"]), answer["headers"])
