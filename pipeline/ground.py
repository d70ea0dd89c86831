"""What the looks at an account have in common: where they look, and what a step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.targets import PROJECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.exceptions import ClientError

    from pipeline.policies import Trust
    from pipeline.targets import Target

    Client = Callable[[str], Any]
    """A service's name in boto3 -> its client."""

TAGS = {"project": PROJECT, "component": "state"}
"""Of the bucket and the key: no stack's tag, so that no deploying role may change them."""

GONE = {"404", "NoSuchBucket", "NoSuchEntity", "NotFoundException"}
"""How services say that something is not there."""


@dataclass(frozen=True)
class Step:
    """One thing that is not as it should be, and how to make it so."""

    what: str
    do: Callable[[], object]


@dataclass(frozen=True)
class Ground:
    """Where to look, and for whom."""

    client: Client
    target: Target
    trust: Trust
    vpc_id: str | None = None


def code(err: ClientError) -> str:
    """How AWS calls an error."""
    return str(err.response.get("Error", {}).get("Code"))
