"""The stack that a command works on, found with the operator's own AWS settings."""

from __future__ import annotations

from registry import environment as environments
from registry.operators import OperatorRegistry
from registry.stack import Stack


def connect(name: str) -> Stack:
    """Find the stack. Raises `Refusal` when it is not there."""
    cloud = environments.session(name)
    found = environments.find(name, cloud)
    return Stack(cloud, found, OperatorRegistry(cloud.client("dynamodb"), found.table))
