"""What Lambda calls: an event in, a request served, a response out, and a line in the log.

AWS has checked the signature and the caller's permission before; who it is stands in the event. The
log never has a body in it, nor what a caller sent otherwise but method and path.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from functools import cache
from typing import TYPE_CHECKING, Any

import botocore.session

from api import fields, openapi
from api.calls import Call, Place, moment
from api.messages import Request, Response
from api.operations import OPERATIONS
from api.problems import KIND, Fault, Problem, problem, refused
from registry.environment import Cloud, explained
from registry.requests import Once

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.operations import Operation

STACK = "GATEPAIR_STACK"
"""Environment variable with the stack's name."""

DOCUMENT = "/openapi.json"

IDEMPOTENCY = "idempotency-key"

_KEY = re.compile(r'"?([A-Za-z0-9_.:-]{8,100})"?')
_NAMED = "{name}"


class WarmCloud(Cloud):
    """The account the function runs in. A client, once made, serves the requests that follow."""

    def client(self, service: str) -> Any:
        """A client for a service, with time limits."""
        return _client(self, service)


@cache
def _client(cloud: WarmCloud, service: str) -> Any:
    return Cloud.client(cloud, service)


@cache
def place() -> Place:
    """Where the function's own environment says its stack is."""
    session = botocore.session.Session()
    session.set_config_variable("region", os.environ["AWS_REGION"])
    return Place(WarmCloud(session), os.environ[STACK])


def handle(event: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Lambda's entry."""
    del context
    began = time.monotonic()
    response = serve(event, place(), began)
    _log(event, response, began)
    return response.to_answer()


def serve(event: Mapping[str, Any], where: Place, began: float) -> Response:
    """Answer one event; whatever goes wrong is answered too."""
    try:
        with explained():
            return _serve(Request.from_event(event), where, began)
    except Exception as err:  # noqa: BLE001 - nobody else would answer
        found = problem(err)
        if found.status == 500:  # noqa: PLR2004 - unforeseen: the log is the only place that knows
            traceback.print_exc(file=sys.stdout)
        return Response(found.status, found.as_json(), found.headers, KIND)


def _serve(request: Request, where: Place, began: float) -> Response:
    if request.path == DOCUMENT:
        if request.method != "GET":
            raise _not_allowed(["GET"])
        return Response(200, openapi.document())
    operation, name = _route(request)
    now = moment()
    faults: list[Fault] = []
    values = {
        **fields.read(
            operation.query, fields.of_query(operation.query, request.query, faults), now, faults
        ),
        **fields.read(operation.named, {"name": name} if operation.named else {}, now, faults),
        **fields.read(operation.body, _body(operation, request), now, faults),
    }
    once = _once(operation, request, faults)
    if faults:
        raise refused(faults)
    return operation.run(Call(where, request.caller, began, now, values, once))


def _route(request: Request) -> tuple[Operation, str]:
    """The operation, and the name in its path."""
    there = {one.method: (one, name) for one, name in _matching(request.path)}
    if not there:
        raise Problem(404, f"no such path: {request.path}", cure=f"see {DOCUMENT}")
    if request.method not in there:
        raise _not_allowed(sorted(there))
    return there[request.method]


def _matching(path: str) -> Iterable[tuple[Operation, str]]:
    parts = path.split("/")
    for one in OPERATIONS:
        wanted = one.path.split("/")
        if len(wanted) == len(parts) and all(
            want in (got, _NAMED) for want, got in zip(wanted, parts, strict=True)
        ):
            yield one, next((g for w, g in zip(wanted, parts, strict=True) if w == _NAMED), "")


def _not_allowed(methods: list[str]) -> Problem:
    allowed = ", ".join(methods)
    return Problem(405, "not by this method", cure=f"use {allowed}", headers={"allow": allowed})


def _body(operation: Operation, request: Request) -> Mapping[str, Any]:
    if operation.body:
        return request.document()
    if request.content:
        raise refused([Fault("body", None, "is not taken here", "send none")])
    return {}


def _once(operation: Operation, request: Request, faults: list[Fault]) -> Once | None:
    given = request.headers.get(IDEMPOTENCY)
    if given is None or not operation.changes:
        return None
    form = _KEY.fullmatch(given)
    if form is None:
        cure = "send 8 to 100 of A-Z a-z 0-9 . _ : -, such as a UUID"
        faults.append(Fault("Idempotency-Key", given, "has another form", cure))
        return None
    asked = {
        "method": request.method,
        "path": request.path,
        "body": request.content.decode(errors="replace"),
    }
    return Once.of(request.caller, form[1], asked)


def _log(event: Mapping[str, Any], response: Response, began: float) -> None:
    context = event.get("requestContext") or {}
    identity = (context.get("authorizer") or {}).get("iam") or {}
    line = {
        "request": context.get("requestId"),
        "caller": identity.get("userArn"),
        "method": (context.get("http") or {}).get("method"),
        "path": event.get("rawPath"),
        "status": response.status,
        "seconds": round(time.monotonic() - began, 3),
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
