"""What a bench prints: one JSON object, or the same as a table for people. Pure.

    {"bench": NAME, "figures": {...}, "conditions": {...}, "samples": [...]}

`figures` is flat and holds numbers only: seconds, unless the name says otherwise. `samples` are
what the figures were made from, one object each, so that anybody can make others of them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

DIGITS = 4
"""Behind the point: a tenth of a millisecond, less than anything here resolves."""

ENOUGH_FOR_P99 = 100
"""Samples that a p99 must have behind it; with fewer it would be the maximum by another name."""


class TooFew(ValueError):  # noqa: N818 - named as a sentence
    """A percentile was asked of fewer samples than it means anything for."""


def percentile(samples: Iterable[float], percent: float) -> float:
    """By nearest rank: the smallest sample that at least `percent` % of all do not exceed.

    Always a value that was measured, never one between two. Raises `TooFew` for no samples at all,
    and for a percentile beyond 95 of fewer than 100.
    """
    ranked = sorted(samples)
    if not ranked or (percent > 95 and len(ranked) < ENOUGH_FOR_P99):  # noqa: PLR2004
        message = f"p{percent:g} of {len(ranked)} samples"
        raise TooFew(message)
    return ranked[max(0, math.ceil(percent / 100 * len(ranked)) - 1)]


def median_low(samples: Iterable[float], doubt: float = 0.05) -> float:
    """The lower bound of the median by the sign test, with a certainty of `1 - doubt` or more.

    Each sample lies below the median with a probability of one half, whatever the distribution, so
    the k-th smallest exceeds it with that of fewer than k heads in n throws. Returns the sample of
    the highest k for which that is at most `doubt`; raises `TooFew` when not even the smallest is
    (below five samples for 5 %).
    """
    ranked = sorted(samples)
    throws, below, rank = len(ranked), 0.0, 0
    while rank < throws:
        below += math.comb(throws, rank) / 2**throws
        if below > doubt:
            break
        rank += 1
    if rank == 0:
        message = f"a lower bound from {throws} samples"
        raise TooFew(message)
    return ranked[rank - 1]


@dataclass(frozen=True)
class Report:
    """What a bench has measured, and under what conditions."""

    bench: str
    figures: Mapping[str, float]
    conditions: Mapping[str, Any]
    samples: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        """Refuse what would not be a figure."""
        for name, value in self.figures.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                message = f"figure {name}: {value!r} is not a number"
                raise ValueError(message)

    def as_json(self) -> str:
        """One JSON object."""
        return json.dumps(
            {
                "bench": self.bench,
                "figures": rounded(self.figures),
                "conditions": rounded(self.conditions),
                "samples": [rounded(sample) for sample in self.samples],
            },
            indent=1,
        )

    def table(self) -> list[str]:
        """Figures and conditions, one a line."""
        parts = {"": rounded(self.figures), "conditions": rounded(self.conditions)}
        wide = max((len(name) for part in parts.values() for name in part), default=0)
        lines = []
        for title, part in parts.items():
            lines += ["", title] if title else [self.bench]
            lines += [f"  {name:<{wide}}  {_text(value)}" for name, value in part.items()]
        return lines


def rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same with every fraction cut to what was measured."""
    return {
        name: round(value, DIGITS) if isinstance(value, float) else value
        for name, value in values.items()
    }


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
