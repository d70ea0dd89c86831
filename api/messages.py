"""HTTP as a function URL hands it over: payload format 2.0 in, a response out. Pure.

The event's form is AWS's: Lambda developer guide, "Invoking Lambda function URLs", "Request payload
format".
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from api.problems import Fault, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_BODY = 64 * 1024
"""Bytes. A peer with as many rules as it may have takes 4 kB."""

JSON = "application/json"


@dataclass(frozen=True)
class Request:
    """One call, by a caller whom AWS has authenticated."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    """By name in lower case."""
    content: bytes
    caller: str
    """ARN of the identity that signed the request."""

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> Request:
        """Parse an event. Raises `Problem`; an event without a caller is never served."""
        context = event["requestContext"]
        return cls(
            method=context["http"]["method"],
            path=event["rawPath"],
            query=tuple(parse_qsl(event.get("rawQueryString") or "", keep_blank_values=True)),
            headers={name.lower(): text for name, text in (event.get("headers") or {}).items()},
            content=_content(event),
            caller=_caller(context),
        )

    def document(self) -> Mapping[str, Any]:
        """The body: a JSON object in which no name stands twice. Raises `Problem`."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise Problem(
                415, f"a body of type {kind or 'unknown'}", cure=f"send Content-Type: {JSON}"
            )
        try:
            value = json.loads(self.content, object_pairs_hook=_object, parse_constant=_no_number)
        except (ValueError, RecursionError) as err:
            why = str(err) if isinstance(err, (_TwiceError, json.JSONDecodeError)) else "not JSON"
            raise _bad_body(why) from err
        if not isinstance(value, dict):
            raise _bad_body("not a JSON object")
        return value


@dataclass(frozen=True)
class Response:
    """What is answered: a JSON value and a status."""

    status: int
    value: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = JSON

    def to_answer(self) -> dict[str, Any]:
        """As Lambda takes it."""
        return {
            "statusCode": self.status,
            "headers": {"content-type": self.kind, "cache-control": "no-store", **self.headers},
            "body": json.dumps(self.value, ensure_ascii=False, indent=2) + "\n",
            "isBase64Encoded": False,
        }


class _TwiceError(ValueError):
    """A name stands twice in an object: which of the two is meant, nobody knows."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise _TwiceError(f"{', '.join(twice)} stands twice")
    return dict(pairs)


def _no_number(text: str) -> float:
    raise ValueError(text)


def _bad_body(why: str) -> Problem:
    cure = "send one JSON object in UTF-8"
    return Problem(400, "the body was refused", faults=[Fault("body", None, why, cure)])


def _content(event: Mapping[str, Any]) -> bytes:
    text = event.get("body") or ""
    try:
        content = base64.b64decode(text, validate=True) if event.get("isBase64Encoded") else None
    except (binascii.Error, ValueError) as err:
        raise _bad_body("not base64, though the event says so") from err
    # a lone surrogate cannot be encoded, and is not JSON either
    content = text.encode(errors="replace") if content is None else content
    if len(content) > LARGEST_BODY:
        raise Problem(413, f"a body of {len(content)} bytes", cure=f"send at most {LARGEST_BODY}")
    return content


def _caller(context: Mapping[str, Any]) -> str:
    identity = (context.get("authorizer") or {}).get("iam") or {}
    caller = identity.get("userArn")
    if not isinstance(caller, str) or not caller:
        raise Problem(
            403, "the caller is not known", cure="sign the request with AWS Signature Version 4"
        )
    return caller
