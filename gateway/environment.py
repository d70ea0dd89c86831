"""What the launch template tells a gateway: /etc/gatepair/environment.json. No secret is in it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

from effects import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CURE = "this file is written by the user data: replace the instance"


@dataclass(frozen=True)
class LifecycleHooks:
    """Names of the Auto Scaling group's hooks that the agent completes; empty: there is none."""

    launch: str = ""
    terminate: str = ""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where this gateway belongs, and the widest thing its clients may ever reach."""

    stack: str
    region: str
    table: str
    secret_arn: str
    key_seed: UUID
    port: int
    """UDP, of slot 0; slot 1 has the next one."""
    health_port: int
    metrics_port: int
    gossip_port: int
    """UDP, between gateways."""
    mtu: int
    client_pool: IPv4Network
    vpc_cidrs: tuple[IPv4Network, ...]
    routed_cidrs: tuple[IPv4Network, ...]
    peer_to_peer: bool
    version: str
    """SHA-256 of the artifact that runs."""
    lifecycle_hooks: LifecycleHooks = LifecycleHooks()
    connection_log: str = ""
    """CloudWatch's log group for records of connections; empty: they are not recorded."""

    @property
    def own_address(self) -> IPv4Address:
        """The tunnel address that every gateway has, on both interfaces."""
        return self.client_pool[1]

    def key_version(self, generation: int) -> str:
        """VersionId of this generation's private key in the secret, and the token that makes it."""
        return str(uuid5(self.key_seed, str(generation)))

    @property
    def gossip_version(self) -> str:
        """VersionId of the key that gateways sign their messages to each other with."""
        return str(uuid5(self.key_seed, "gossip"))


def _networks(values: list[str]) -> tuple[IPv4Network, ...]:
    return tuple(IPv4Network(value) for value in values)


def _port(value: int) -> int:
    if not 0 < value < 65535:  # noqa: PLR2004 - the range of ports, with room for the second slot
        raise ValueError("a port is 1 to 65534")
    return value


_DEFAULTS: dict[str, Any] = {"gossip_port": 9588}

_FIELDS = {
    "stack": str,
    "region": str,
    "table": str,
    "secret_arn": str,
    "key_seed": UUID,
    "port": _port,
    "health_port": _port,
    "metrics_port": _port,
    "gossip_port": _port,
    "mtu": int,
    "client_pool": IPv4Network,
    "vpc_cidrs": _networks,
    "routed_cidrs": _networks,
    "peer_to_peer": bool,
}


def parse(document: Mapping[str, Any], *, where: str = "environment") -> Environment:
    """The environment in a parsed JSON document. Raises `Refusal`, naming the key."""
    values: dict[str, Any] = {}
    document = {**_DEFAULTS, **document}
    for name, convert in _FIELDS.items():
        if name not in document:
            raise Refusal(f"{where}: {name}", "is missing", CURE)
        try:
            values[name] = convert(document[name])
        except (ValueError, TypeError, AttributeError) as err:
            raise Refusal(f"{where}: {name}: {document[name]!r}", str(err), CURE) from err
    hooks = document.get("lifecycle_hooks") or {}
    return Environment(
        **values,
        version=str((document.get("artifact") or {}).get("sha256", "")),
        lifecycle_hooks=LifecycleHooks(
            launch=hooks.get("launch") or "", terminate=hooks.get("terminate") or ""
        ),
        connection_log=str(document.get("connection_log") or ""),
    )


def read(path: Path) -> Environment:
    """The environment in the file at `path`. Raises `Refusal`."""
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as err:
        raise Refusal(str(path), str(err), CURE) from err
    if not isinstance(document, dict):
        raise Refusal(str(path), "is not a JSON object", CURE)
    return parse(document, where=str(path))
