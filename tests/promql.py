"""What a PromQL expression reads: metrics, label names, matchers. Pure.

No parser, but a reading that errs on the safe side: whatever word is neither part of the language
nor a label counts as a metric, which somebody has to emit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FUNCTIONS = frozenset(
    [
        "abs",
        "absent_over_time",
        "clamp_min",
        "increase",
        "max_over_time",
        "min_over_time",
        "quantile_over_time",
        "rate",
        "vector",
    ]
)
AGGREGATIONS = frozenset(["avg", "count", "group", "max", "min", "sum", "topk"])
WORDS = frozenset(
    [
        "and",
        "bool",
        "offset",
        "or",
        "unless",
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
    ]
)

_TEXT = r'"(?:[^"\\]|\\.)*"'
_MATCHERS = re.compile(rf"([a-zA-Z_:][\w:]*)?\s*\{{((?:[^{{}}\"]|{_TEXT})*)\}}")
_MATCHER = re.compile(rf"\s*(\w+)\s*(=~|!~|!=|=)\s*({_TEXT})\s*,?")
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^()]*)\)")
_RANGE = re.compile(r"\[[^\]]*\]")
_DURATION = re.compile(r"\b\d+(?:ms|[smhdwy])\b")
_NAME = re.compile(r"[a-zA-Z_:][\w:]*")


@dataclass(frozen=True)
class Matcher:
    """One condition on a label of a metric."""

    metric: str
    label: str
    operator: str
    value: str


@dataclass(frozen=True)
class Reading:
    """What an expression needs to be there."""

    metrics: frozenset[str]
    grouping: frozenset[str]
    """Labels that it groups or joins by."""
    matchers: tuple[Matcher, ...]


def read(expression: str) -> Reading:
    """Of one expression. Raises `ValueError` for a selector without a metric's name."""
    matchers: list[Matcher] = []

    def noted(found: re.Match[str]) -> str:
        name, inside = found[1], found[2]
        if not name or _MATCHER.sub("", inside).strip():
            raise ValueError(f"{found[0]}: not understood")
        matchers.extend(
            Matcher(name, one[1], one[2], one[3][1:-1]) for one in _MATCHER.finditer(inside)
        )
        return name

    rest = re.sub(r"#.*", "", expression)
    rest = _MATCHERS.sub(noted, rest)
    grouping = {
        label.strip()
        for found in _GROUPING.finditer(rest)
        for label in found[1].split(",")
        if label.strip()
    }
    rest = _DURATION.sub("", _RANGE.sub("", _GROUPING.sub(" ", rest)))
    names = set(_NAME.findall(rest)) - FUNCTIONS - AGGREGATIONS - WORDS
    return Reading(frozenset(names), frozenset(grouping), tuple(matchers))
