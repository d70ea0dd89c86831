"""The OpenAPI document (3.1), made from the table of operations.

`python -m api.openapi` prints it; docs/openapi.json is that, and a test compares the two.
"""

from __future__ import annotations

import json
import sys
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from api.messages import JSON
from api.operations import OPERATIONS
from api.problems import KIND
from api.schemas import SCHEMAS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.fields import Field
    from api.operations import Operation

VERSION = "1"
"""Of the API: another number when a caller would have to change."""

ALWAYS = (400, 403, 500, 502, 503)
"""Problems that any operation may answer with."""

_DESCRIPTION = """\
Who may enter a gatepair environment. Every request is signed with AWS Signature Version 4 for the
service `lambda`; the caller's identity goes into the audit. Values have the rules of
`scripts/peers`; what is wrong with a request is answered at once, all of it, and nothing is changed
then. No private key goes through this API.
"""


def document() -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for one in OPERATIONS:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": "gatepair", "version": VERSION, "description": _DESCRIPTION},
        "security": [{"sigv4": []}],
        "paths": {**paths, "/openapi.json": {"get": _itself()}},
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {
                "sigv4": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "AWS Signature Version 4, service lambda",
                }
            },
        },
    }


def text() -> str:
    """The document as a file has it."""
    return json.dumps(document(), indent=2) + "\n"


def _operation(one: Operation) -> dict[str, Any]:
    parameters = [
        *_parameters(one.named, "path"),
        *_parameters(one.query, "query"),
        *([_IDEMPOTENCY] if one.changes else []),
    ]
    unreadable = (413, 415) if one.body else ()
    problems = {*ALWAYS, *one.problems, *unreadable, *((422,) if one.changes else ())}
    answers = {status: _content(JSON, name) for status, name in one.answers.items()}
    answers |= {status: _content(KIND, "Problem") for status in problems}
    return {
        "operationId": one.id,
        "summary": one.summary,
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": _body(one.body)} if one.body else {}),
        "responses": {
            str(status): {"description": HTTPStatus(status).phrase, "content": answers[status]}
            for status in sorted(answers)
        },
    }


_IDEMPOTENCY: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "a name of the request's own, such as a UUID: sent again with the same one, "
    "it is not done again but answered again",
    "schema": {"type": "string", "minLength": 8, "maxLength": 100},
}


def _parameters(fields: Iterable[Field], place: str) -> list[dict[str, Any]]:
    return [
        {
            "name": one.name,
            "in": place,
            "required": one.required,
            "description": one.text,
            "schema": dict(one.schema),
        }
        for one in fields
    ]


def _body(fields: Iterable[Field]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {one.name: {**one.schema, "description": one.text} for one in fields},
        "required": [one.name for one in fields if one.required],
        "additionalProperties": False,
    }
    return {"required": True, "content": {JSON: {"schema": schema}}}


def _content(kind: str, name: str) -> dict[str, Any]:
    return {kind: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _itself() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document",
        "responses": {
            "200": {
                "description": HTTPStatus.OK.phrase,
                "content": {JSON: {"schema": {"type": "object"}}},
            }
        },
    }


if __name__ == "__main__":
    sys.stdout.write(text())
