"""The stack that a command works on, found with the operator's own AWS settings."""

from __future__ import annotations

from registry import environment as environments
from registry.stack import Stack, opened


def connect(name: str) -> Stack:
    """Find the stack. Raises `Refusal` when it is not there."""
    cloud = environments.session(name)
    return opened(cloud, environments.find(name, cloud))
