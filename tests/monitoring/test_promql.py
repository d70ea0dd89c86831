"""The reading of PromQL that the other tests of this folder stand on."""

from __future__ import annotations

import pytest
from exposition import unmet
from promql import Matcher, read


def test_metrics_labels_and_matchers_are_found() -> None:
    reading = read(
        """
        max by (stack) (a_total{part="x, {y}", stack=~"p.*"} offset 1m)
        # b_total is only a remark
        - on (stack, zone) group_right () c:d:sum > 0.5 * rate(e_total[5m:1m])
        """
    )
    assert reading.metrics == {"a_total", "c:d:sum", "e_total"}
    assert reading.grouping == {"stack", "zone"}
    assert reading.matchers == (
        Matcher("a_total", "part", "=", "x, {y}"),
        Matcher("a_total", "stack", "=~", "p.*"),
    )


def test_a_word_that_is_not_known_counts_as_a_metric() -> None:
    assert read("histogram_quantile(0.9, a)").metrics == {"histogram_quantile", "a"}


@pytest.mark.parametrize("expression", ['{part="x"}', "a{part=x}", 'a{part="x" part}'])
def test_what_is_not_understood_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match="not understood"):
        read(expression)


@pytest.mark.parametrize(
    ("expression", "missing"),
    [
        ('sum by (part) (a{part="x"}) + up', []),
        ('a{part=~"z.*"}', []),
        ("b + a", ["no metric b"]),
        ("sum by (zone) (a)", ["no label zone"]),
        ('a{zone="x"}', ["a has no label zone"]),
        ('a{part="z"}', ["a is never of part z"]),
        ("r{part=~'x'}".replace("'", '"'), ["r has no label part"]),
    ],
)
def test_what_nobody_emits_is_named(expression: str, missing: list[str]) -> None:
    emitted = {"a": [{"part": "x"}, {"part": "y"}]}
    assert unmet(read(expression), emitted, {"r": frozenset({"stack"})}) == missing
