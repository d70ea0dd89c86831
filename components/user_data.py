"""What cloud-init does on a new gateway: text, from the files under gateway/cloud-init/."""

from __future__ import annotations

import base64
import json
from string import Template
from typing import TYPE_CHECKING, Any

from settings import METRICS_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from components.artifact_store import ArtifactStore
    from components.connection_log import ConnectionLog
    from components.gateway_key import GatewayKey
    from components.peer_registry import PeerRegistry
    from settings import Settings

HOOKS = {"launch": "launch", "terminate": "terminate"}
"""Names of the Auto Scaling group's lifecycle hooks, by what they hold back."""
LIMIT = 16 * 1024
"""Bytes of user data that EC2 takes, before base64."""


def environment(
    settings: Settings,
    *,
    stack: str,
    registry: PeerRegistry,
    key: GatewayKey,
    store: ArtifactStore,
    log: ConnectionLog,
) -> dict[str, Any]:
    """What a gateway must know to start: /etc/gatepair/environment.json.

    Nothing secret, and nothing that a key rotation or a peer changes. What resources give are
    outputs.
    """
    return {
        "stack": stack,
        "region": settings.region,
        "table": registry.table_name,
        "secret_arn": key.secret_arn,
        "key_seed": key.seed,
        "port": settings.port,
        "health_port": settings.health_port,
        "metrics_port": METRICS_PORT,
        "gossip_port": settings.gossip_port,
        "mtu": settings.mtu,
        "client_pool": str(settings.client_pool),
        "vpc_cidrs": [str(cidr) for cidr in settings.vpc.cidrs],
        "routed_cidrs": [str(cidr) for cidr in settings.routed_cidrs],
        "peer_to_peer": settings.peer_to_peer,
        "connection_log": log.group,
        "lifecycle_hooks": HOOKS,
        "artifact": {"bucket": store.bucket, "key": store.key, "sha256": store.sha256},
    }


def render(environment: Mapping[str, Any], *, bootstrap: str, template: str) -> str:
    """The user data of a gateway in `environment`. Raises `ValueError` when EC2 would refuse it.

    `template` has the places `$environment_json_b64` and `$bootstrap_b64`.
    """
    text = Template(template).substitute(
        environment_json_b64=_base64(json.dumps(environment, indent=1, sort_keys=True) + "\n"),
        bootstrap_b64=_base64(bootstrap),
    )
    size = len(text.encode())
    if size > LIMIT:
        raise ValueError(f"user data: {size} bytes: EC2 takes {LIMIT}; shorten the bootstrap")
    return text


def from_files(environment: Mapping[str, Any], root: Path) -> str:
    """`render` with the templates of the repository at `root`."""
    folder = root / "gateway" / "cloud-init"
    return render(
        environment,
        bootstrap=(folder / "bootstrap.py").read_text(),
        template=(folder / "user-data.yaml").read_text(),
    )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
