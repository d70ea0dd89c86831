"""JSON schemas of what is answered, by name: what `client/describe.py` makes. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
SECONDS: Schema = {"type": "number", "minimum": 0}


def _maybe(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _object(**properties: Schema) -> Schema:
    """An object with all of these and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TUNNEL: Mapping[str, Schema] = {
    "server_public_key": TEXT,
    "key_generation": NUMBER,
    "endpoint": {**TEXT, "description": "HOST:PORT that the client dials"},
    "allowed_ips": _list(TEXT),
    "mtu": NUMBER,
    "dns": _list(TEXT),
    "config": {
        **TEXT,
        "description": "the file for wg-quick, a placeholder for the private key; a pre-shared key "
        "is in it where one has just been made, elsewhere a placeholder",
    },
}
_CONFIRMATION: Mapping[str, Schema] = {
    "seconds": {**SECONDS, "description": "since the request came"},
    "confirmed": {**FLAG, "description": "by every gateway"},
    "gateways": _list(_ref("Confirmation")),
    "missing": {**_list(TEXT), "description": "instance ids that have not confirmed"},
    "trouble": {**TEXT, "description": "what AWS answered last, where that was an error"},
}
_UNREADABLE: Mapping[str, Schema] = {
    "unreadable": _list(_object(key=TEXT, why=TEXT)),
}

SCHEMAS: Mapping[str, Schema] = {
    "Peer": _object(
        name=TEXT,
        address=TEXT,
        public_key=TEXT,
        preshared_key={**FLAG, "description": "whether it has one"},
        owner=TEXT,
        created=TEXT,
        expires={**_maybe(TEXT), "description": "ISO 8601 in UTC; null is never"},
        expired=FLAG,
        allow=_list(TEXT),
        generation=NUMBER,
    ),
    "Confirmation": _object(
        id=TEXT,
        zone=TEXT,
        lifecycle=TEXT,
        confirmed=FLAG,
        seconds=_maybe(SECONDS),
        relayed_by=_maybe(TEXT),
    ),
    "Gateway": _object(
        id=TEXT,
        zone=TEXT,
        lifecycle=TEXT,
        health=_list(TEXT),
        healthy=FLAG,
        confirmed=FLAG,
        routes={**_list(TEXT), "description": "route tables whose route to the clients it holds"},
        relayed_by=_maybe(TEXT),
        address=_maybe(TEXT),
        applied=_maybe(NUMBER),
        keys={"type": "object", "additionalProperties": TEXT},
        version=_maybe(TEXT),
        state=_maybe(TEXT),
        faults=_list(TEXT),
        updated=_maybe(TEXT),
    ),
    "Peers": _object(stack=TEXT, peers=_list(_ref("Peer")), **_UNREADABLE),
    "OnePeer": _object(stack=TEXT, peer=_ref("Peer")),
    "PeerWithTunnel": _object(stack=TEXT, peer=_ref("Peer"), **_TUNNEL),
    "Rotation": _object(stack=TEXT, peer=_ref("Peer"), **_TUNNEL, **_CONFIRMATION),
    "Revocation": _object(
        stack=TEXT,
        name=TEXT,
        address=TEXT,
        generation=NUMBER,
        revoked_before=FLAG,
        **_CONFIRMATION,
    ),
    "AuditTrail": _object(
        stack=TEXT,
        audit=_list(
            _object(
                at=TEXT,
                generation=NUMBER,
                action=TEXT,
                name=TEXT,
                caller=TEXT,
                details={"type": "object"},
            )
        ),
        **_UNREADABLE,
    ),
    "Gateways": _object(
        stack=TEXT,
        generation=NUMBER,
        desired=NUMBER,
        routes={
            "type": "object",
            "additionalProperties": _maybe(TEXT),
            "description": "route table: who holds its route to the clients; null is nobody",
        },
        well=FLAG,
        gateways=_list(_ref("Gateway")),
    ),
    "Problem": {
        "type": "object",
        "description": "RFC 9457; every fault of the input is in errors",
        "properties": {
            "title": TEXT,
            "status": NUMBER,
            "detail": TEXT,
            "errors": _list(
                {
                    "type": "object",
                    "properties": {"field": TEXT, "value": {}, "why": TEXT, "cure": TEXT},
                    "required": ["field", "why", "cure"],
                    "additionalProperties": False,
                }
            ),
        },
        "required": ["title", "status", "detail"],
        "additionalProperties": False,
    },
}
