"""Rules that are tables: which properties must have which value, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from policy.model import Gap, find, same, violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from policy.model import Resource, Violation


@dataclass(frozen=True)
class AtLeast:
    """A demand for a number that is not smaller."""

    number: int

    def __str__(self) -> str:
        return f"{self.number} or more"


@dataclass(frozen=True)
class Demand:
    """The property at `path` must be `wanted`, set by the program and not by a default."""

    path: str
    wanted: str | int | bool | AtLeast
    why: str

    @property
    def cure(self) -> str:
        wanted = self.wanted
        return f"set it to {str(wanted).lower() if isinstance(wanted, bool) else wanted}"

    def met(self, value: Any) -> bool:
        """Whether it is met, or nobody can say yet: the engine asks again at the update."""
        if value is Gap.UNKNOWN:
            return True
        if isinstance(self.wanted, AtLeast):
            return isinstance(value, int | float) and value >= self.wanted.number
        return same(value, self.wanted)


def unmet(resource: Resource, demands: Iterable[Demand]) -> Iterator[Violation]:
    """One violation for each demand that the resource does not meet."""
    for demand in demands:
        if not demand.met(find(resource.props, demand.path)):
            yield violation(resource, demand.path, demand.why, demand.cure)


def unmet_by_type(resource: Resource, table: Mapping[str, Iterable[Demand]]) -> Iterator[Violation]:
    """`unmet` with the demands on resources of its type, if there are any."""
    yield from unmet(resource, table.get(resource.type, ()))
