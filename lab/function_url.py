"""A function URL's events and answers, as AWS documents them. Pure.

Lambda developer guide, "Invoking Lambda function URLs": payload format 2.0. Whether AWS hands the
`authorization` header on is not documented; here it does not, so that nothing can come to need it.
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from lab.sigv4 import Incoming, Key

_TEXTS = ("text/", "application/json", "application/xml", "application/javascript")
"""Bodies that come as text; all others in base64."""


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes
    headers: Mapping[str, str]


def event(
    incoming: Incoming, key: Key, *, domain: str, account: str, source: str, now: datetime
) -> dict[str, Any]:
    """The event that the function gets for a request that `key` has signed."""
    headers: dict[str, str] = {}
    for name, text in incoming.headers:
        lower = name.lower()
        headers[lower] = f"{headers[lower]},{text}" if lower in headers else text
    del headers["authorization"]
    query: dict[str, str] = {}
    for name, text in parse_qsl(incoming.query, keep_blank_values=True):
        query[name] = f"{query[name]},{text}" if name in query else text
    identity = domain.partition(".")[0]
    made: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": incoming.path,
        "rawQueryString": incoming.query,
        "headers": headers,
        "requestContext": {
            "accountId": account,
            "apiId": identity,
            "authentication": None,
            "authorizer": {
                "iam": {
                    "accessKey": key.id,
                    "accountId": account,
                    "callerId": key.user_id,
                    "cognitoIdentity": None,
                    "principalOrgId": None,
                    "userArn": key.arn,
                    "userId": key.user_id,
                }
            },
            "domainName": domain,
            "domainPrefix": identity,
            "http": {
                "method": incoming.method,
                "path": incoming.path,
                "protocol": "HTTP/1.1",
                "sourceIp": source,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": str(uuid.uuid4()),
            "routeKey": "$default",
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if query:
        made["queryStringParameters"] = query
    if incoming.body:
        _put_body(made, incoming.body, headers.get("content-type", ""))
    return made


def _put_body(made: dict[str, Any], body: bytes, kind: str) -> None:
    try:
        made["body"] = body.decode() if kind.startswith(_TEXTS) else None
    except UnicodeDecodeError:
        made["body"] = None
    if made["body"] is None:
        made["body"], made["isBase64Encoded"] = base64.b64encode(body).decode(), True


def answer(said: Any) -> Answer:
    """What a caller gets for what the function returned."""
    if not isinstance(said, dict) or "statusCode" not in said:
        headers = {"content-type": "application/json"}
        return Answer(200, json.dumps(said).encode(), headers)
    text = said.get("body") or ""
    body = base64.b64decode(text) if said.get("isBase64Encoded") else text.encode()
    headers = {"content-type": "application/json", **(said.get("headers") or {})}
    return Answer(int(said["statusCode"]), body, headers)


def failed(status: int, message: str) -> Answer:
    """What AWS says itself, without asking the function."""
    body = json.dumps({"Message": message}).encode()
    return Answer(status, body, {"content-type": "application/json"})
