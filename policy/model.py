"""What rules are about: a resource as plain data, and what is wrong with it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_SHOWN = 100
"""Characters of a value in a message."""


class Gap(Enum):
    """Stands where a property has no value."""

    MISSING = "not set"
    UNKNOWN = "not known before the update"


@dataclass(frozen=True)
class File:
    """A property whose value is a file that is uploaded; `data` is None if it cannot be read."""

    path: str
    data: bytes | None = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource as a program declares it, or as it came to be."""

    urn: str
    type: str
    """Its token: `aws:ec2/eip:Eip`."""
    name: str
    props: Mapping[str, Any]
    """Plain values: str, bool, int, float, None, lists, mappings, `File`, `Gap.UNKNOWN`."""
    protect: bool = False
    references: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """URNs of the resources that each property is made from. Rules about one resource alone do
    without: the engine gives them for whole stacks only."""

    @property
    def stack(self) -> str:
        return self.urn.split(":")[2]

    @property
    def project(self) -> str:
        return self.urn.split("::")[1]

    def made_from(self, name: str) -> frozenset[str]:
        """The URNs that the property of this name is made from."""
        return self.references.get(name, frozenset())


@dataclass(frozen=True, kw_only=True)
class Violation:
    """What is wrong with one property: `what: value: why; cure`."""

    urn: str
    what: str
    """The resource's name, and which property of it."""
    value: str
    """As `shown` writes it; never a secret."""
    why: str
    cure: str

    def __str__(self) -> str:
        return f"{self.what}: {self.value}: {self.why}; {self.cure}"


def find(props: Mapping[str, Any], path: str) -> Any:
    """The value at `path`, names with dots between them, or a `Gap`. Null is not set."""
    value: Any = props
    for name in path.split("."):
        if not isinstance(value, Mapping):
            return value if value is Gap.UNKNOWN else Gap.MISSING
        value = value.get(name, Gap.MISSING)
    return Gap.MISSING if value is None else value


def items(props: Mapping[str, Any], path: str) -> Sequence[Any]:
    """The list at `path`, empty if there is none or nobody knows it yet."""
    value = find(props, path)
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()


def shown(value: Any) -> str:
    """A value as messages write it."""
    if isinstance(value, Gap):
        return value.value
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # the engine's numbers are all floats
    text = value if isinstance(value, str) and value else json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def same(value: Any, wanted: Any) -> bool:
    """Whether they mean the same to the provider, which takes "true" for true and "5" for 5."""
    return shown(value) == shown(wanted)


def violation(
    resource: Resource, path: str, why: str, cure: str, *, value: Any = None
) -> Violation:
    """What is wrong with the property at `path`; its own value unless another is given."""
    return Violation(
        urn=resource.urn,
        what=f"{resource.name} {path}".rstrip(),
        value=shown(find(resource.props, path) if value is None else value),
        why=why,
        cure=cure,
    )
