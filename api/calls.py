"""One call as an operation has it: the stack, the values that were read, who asks, since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from api.problems import Problem
from effects import Refusal
from registry import environment as environments
from registry.stack import opened

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.environment import Cloud
    from registry.requests import Once
    from registry.stack import Stack


@dataclass(frozen=True)
class Place:
    """Where an API's stack is found."""

    cloud: Cloud
    stack: str
    """Its name."""


@dataclass(frozen=True)
class Call:
    """All that an operation may use."""

    place: Place
    caller: str
    """ARN of the identity that signed the request, for the audit."""
    began: float
    """Monotonic seconds."""
    now: datetime
    values: Mapping[str, Any]
    """Of path, query and body, by the fields' names."""
    once: Once | None = None
    """The request's own name, if it has one."""

    @cached_property
    def stack(self) -> Stack:
        """The stack, found anew for each call: what it says may have changed."""
        cloud = self.place.cloud
        try:
            found = environments.find(self.place.stack, cloud)
        except Refusal as err:
            raise Problem(503, str(err)) from err
        return opened(cloud, found, self.once)


def moment() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)
