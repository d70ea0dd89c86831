"""Property values as the engine receives them (protobuf) and as the lab keeps them (plain JSON)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import google.protobuf.struct_pb2
from pulumi.runtime import rpc

from effects import Refusal

_pb: Any = google.protobuf.struct_pb2
"""The generated module; it has no types."""

UNKNOWN = rpc.UNKNOWN
"""Stands for a value that only a real run would know; in a plan only."""

_SIGNATURE = rpc._special_sig_key  # noqa: SLF001 - the wire format's names, public in every engine
_SECRET = rpc._special_secret_sig  # noqa: SLF001
_ASSET = rpc._special_asset_sig  # noqa: SLF001
_RESOURCE = rpc._special_resource_sig  # noqa: SLF001


def plain(value: Any, where: str) -> Any:
    """A protobuf value as JSON types; whole numbers as int, null properties left out.

    An asset becomes `{"asset": {"path" or "text", "sha256"}}`, so that a changed file is a changed
    input. Raises `Refusal` naming `where` for a secret: the lab's state file must not hold one.
    """
    if isinstance(value, _pb.Struct):
        signature = _signature(value)
        if signature is not None:
            return _special(value, signature, where)
        items = ((key, plain(item, f"{where}.{key}")) for key, item in value.items())
        return {key: item for key, item in items if item is not None}
    if isinstance(value, _pb.ListValue):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def properties(struct_: Any, where: str, marked: frozenset[str] = frozenset()) -> dict[str, Any]:
    """A resource's properties as `plain`; of those in `marked` a secret's mark is taken off."""
    result = {}
    for key, value in struct_.items():
        hidden = isinstance(value, _pb.Struct) and _signature(value) == _SECRET
        open_ = value["value"] if hidden and key in marked else value
        result[key] = plain(open_, f"{where}.{key}")
    return {key: value for key, value in result.items() if value is not None}


def struct(properties: dict[str, Any]) -> Any:
    """Properties as the wire format; unknown ones are left out, as a preview does."""
    result = _pb.Struct()
    result.update({key: value for key, value in properties.items() if not unknown(value)})
    return result


def unknown(value: Any) -> bool:
    """Whether any part of a plain value is unknown."""
    if isinstance(value, dict):
        return any(unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(unknown(item) for item in value)
    return value == UNKNOWN


def asset_bytes(value: dict[str, Any]) -> bytes:
    """The content of an asset as `plain` gave it."""
    asset = value["asset"]
    return Path(asset["path"]).read_bytes() if "path" in asset else str(asset["text"]).encode()


def secret_signature_in(text: str) -> bool:
    """Whether a serialised state holds the mark of a secret."""
    return _SECRET in text


def _signature(value: Any) -> str | None:
    return str(value[_SIGNATURE]) if _SIGNATURE in value.fields else None


def _special(value: Any, signature: str, where: str) -> Any:
    if signature == _SECRET:
        why = "it is a secret, and the lab keeps none in its state"
        raise Refusal(where, why, "keep secrets out of the program: gateways make their own keys")
    if signature == _RESOURCE:
        return str(value["id"]) if "id" in value else str(value["urn"])
    if signature == _ASSET and ("path" in value or "text" in value):
        key = "path" if "path" in value else "text"
        asset = {key: str(value[key])}
        digest = hashlib.sha256(asset_bytes({"asset": asset})).hexdigest()
        return {"asset": {**asset, "sha256": digest}}
    raise Refusal(where, "an archive or a remote asset, which the lab does not read", "use a file")
