"""Clients of AWS's APIs, with short time limits: no call may hold a thread for long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

ERRORS = (BotoCoreError, ClientError)
"""What any call may raise when AWS is away or refuses."""

CONFIG = Config(
    connect_timeout=2,
    read_timeout=2,
    retries={"mode": "standard", "total_max_attempts": 2},
    tcp_keepalive=True,
)


@dataclass(frozen=True)
class Clients:
    """One of each service the agent talks to; boto3's clients may be shared by threads."""

    dynamodb: Any
    secretsmanager: Any
    autoscaling: Any
    cloudwatch: Any
    kms: Callable[[], Any]
    """Makes one when it is needed: most gateways have nothing to decrypt."""
    ec2: Callable[[], Any]
    """The same: for routes, which only the routed mode has. Its model takes much memory."""
    elbv2: Callable[[], Any]


def clients(region: str) -> Clients:
    """Clients with the instance's role."""
    session = boto3.session.Session(region_name=region)

    def client(service: str) -> Any:
        return session.client(service, config=CONFIG)

    return Clients(
        client("dynamodb"),
        client("secretsmanager"),
        client("autoscaling"),
        client("cloudwatch"),
        kms=lambda: client("kms"),
        ec2=lambda: client("ec2"),
        elbv2=lambda: client("elbv2"),
    )


def reason(err: Exception) -> str:
    """An AWS error in one line, without request ids: the same fault reads the same each time."""
    if isinstance(err, ClientError):
        error = err.response.get("Error", {})
        return f"{err.operation_name}: {error.get('Code', '?')}: {error.get('Message', '')}"[:300]
    return f"{type(err).__name__}: {err}".splitlines()[0][:300]
