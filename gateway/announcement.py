"""What a gateway tells its clients through the tunnel: the server's public keys. Pure.

A client's helper reads it to move to the next key before the old one goes. It comes under the key
that the client trusts already, from an address that only a gateway can answer on in the tunnel.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from gateway.generations import interface_of
from registry.key_slots import port_of, slot_of

if TYPE_CHECKING:
    from gateway.environment import Environment
    from gateway.status import Status

PORT = 9587
"""TCP, on the gateway's own tunnel address. The program refuses settings that collide with it."""

PATH = "/v1/server"

VERSION = 1
"""Of the document. A reader passes over keys it does not know; this changes with their meaning."""


def document(status: Status, environment: Environment) -> dict[str, Any]:
    """The announcement: only keys that clients can shake hands with here, the newest last."""
    state = status.state
    generations = [
        {"generation": number, "public_key": key, "port": port_of(number, environment.port)}
        for number in state.served
        if (key := state.keys.get(number)) is not None and _on_duty(number, key, status)
    ]
    control = state.control
    return {
        "version": VERSION,
        "stack": environment.stack,
        "generations": generations,
        "newest": generations[-1]["generation"] if generations else None,
        "endpoint": control.endpoint if control else "",
        "addresses": [str(address) for address in control.addresses] if control else [],
        "mtu": environment.mtu,
    }


def _on_duty(generation: int, public_key: str, status: Status) -> bool:
    device = status.devices.get(interface_of(slot_of(generation)))
    return device is not None and device.public_key == public_key


def answer(method: str, path: str, status: Status, environment: Environment) -> tuple[int, bytes]:
    """HTTP status and JSON body for a request."""
    if path.partition("?")[0] != PATH:
        return HTTPStatus.NOT_FOUND, _json({"error": f"the path is {PATH}"})
    if method != "GET":
        return HTTPStatus.METHOD_NOT_ALLOWED, _json({"error": "this is read only: GET"})
    says = document(status, environment)
    if not says["generations"]:
        return HTTPStatus.SERVICE_UNAVAILABLE, _json({"error": "no key is served here"})
    return HTTPStatus.OK, _json(says)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode() + b"\n"
