"""What the registry's tests share: a stack that is not there, and a hand on its table."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from registry.items import Control
from registry.operators import NewPeer, OperatorRegistry

if TYPE_CHECKING:
    from registry.archive import Archive
    from registry.items import Peer

POOL = IPv4Network("100.96.0.0/16")
STACK = "dev"
TABLE = "registry"
BUCKET = "archive"
CONNECTION_LOG = "connections"
CALLER = "arn:aws:iam::123456789012:user/operator"

CONTROL = Control(
    key_generations=(1,),
    port=51820,
    vpc_cidrs=(IPv4Network("10.20.0.0/16"),),
    routed_cidrs=(IPv4Network("10.99.0.0/24"),),
    client_pool=POOL,
)

PARAMETER = {
    "stack": STACK,
    "region": "eu-west-1",
    "table": TABLE,
    "archive": BUCKET,
    "connection_log": CONNECTION_LOG,
    "secret_arn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:gateway-key",
    "auto_scaling_group": "gateways",
    "load_balancer_arn": "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/net/x/1",
    "target_group_arns": ["arn:slot-0", "arn:slot-1"],
    "endpoint": "vpn.example.com",
    "addresses": ["203.0.113.10", "203.0.113.11"],
    "port": 51820,
    "mtu": 1420,
    "client_pool": str(POOL),
    "vpc_cidrs": ["10.20.0.0/16"],
    "routed_cidrs": ["10.99.0.0/24"],
    "dns": {"servers": ["10.20.0.2"], "search_domains": ["corp.example"]},
}


def key_of(number: int) -> str:
    """A well-formed public key, another for each number."""
    return base64.b64encode(number.to_bytes(4, "big").rjust(32, b"k")[::-1]).decode()


SERVER_KEY = key_of(1_000_000)


@dataclass(frozen=True)
class Fake:
    """The fake cloud, with an empty registry in it."""

    client: Any
    registry: OperatorRegistry
    s3: Any

    @property
    def archive(self) -> Archive:
        """The copy of the audit items."""
        return self.registry.archive

    def with_client(self, client: Any) -> OperatorRegistry:
        """The registry, by another client."""
        return OperatorRegistry(client, TABLE, self.archive)

    def items(self, pk: str | None = None) -> list[dict[str, Any]]:
        """Everything in the table, or in one partition of it."""
        found: list[dict[str, Any]] = []
        for page in self.client.get_paginator("scan").paginate(TableName=TABLE):
            found += page["Items"]
        return [item for item in found if pk in (None, item["pk"]["S"])]

    def add(self, name: str, number: int, pool: IPv4Network = POOL) -> Peer:
        """Let a peer in, by the key of that number."""
        return self.registry.add_peer(NewPeer(name, key_of(number)), pool=pool, caller=CALLER)
