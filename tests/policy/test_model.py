"""How rules read a resource, and how a violation reads."""

from __future__ import annotations

from typing import Any

import pytest

from judging import resource
from policy.demands import AtLeast, Demand, unmet
from policy.model import Gap, find, items, same, shown, violation

PROPS = {"a": {"b": 5, "none": None}, "later": Gap.UNKNOWN, "listed": [1], "text": "ab"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b", 5),
        ("a.c", Gap.MISSING),
        ("a.none", Gap.MISSING),
        ("a.b.c", Gap.MISSING),
        ("x.y", Gap.MISSING),
        ("later", Gap.UNKNOWN),
        ("later.still", Gap.UNKNOWN),
    ],
)
def test_a_property_is_found_or_missing_or_not_known_yet(path: str, value: Any) -> None:
    assert find(PROPS, path) == value


@pytest.mark.parametrize(
    ("path", "value"), [("listed", [1]), ("later", ()), ("text", ()), ("x", ())]
)
def test_a_list_that_is_not_there_is_empty(path: str, value: Any) -> None:
    assert items(PROPS, path) == value


@pytest.mark.parametrize(("one", "other"), [(True, "true"), (5, "5"), (5.0, 5), (0, "0")])
def test_the_same_value_may_be_written_in_two_ways(one: Any, other: Any) -> None:
    assert same(one, other)


@pytest.mark.parametrize(("one", "other"), [(True, False), (1, True), ("", False), (5.5, 5)])
def test_other_values_are_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other)


def test_a_violation_says_what_the_value_why_and_the_cure() -> None:
    wrong = violation(resource("ec2/eip:Eip", "x", props=PROPS), "a.b", "is odd", "use 4")
    assert str(wrong) == "x a.b: 5: is odd; use 4"
    assert shown(Gap.MISSING) == "not set"
    assert shown("") == '""'
    assert len(shown("x" * 200)) < 110


@pytest.mark.parametrize(
    ("wanted", "given", "met"),
    [
        (5, 5, True),
        (5, 6, False),
        (5, Gap.MISSING, False),
        (5, Gap.UNKNOWN, True),
        (AtLeast(7), 7, True),
        (AtLeast(7), 30.0, True),
        (AtLeast(7), 6, False),
        (AtLeast(7), "30", False),
        (AtLeast(7), Gap.MISSING, False),
    ],
)
def test_a_demand_is_met_by_its_value_alone(wanted: Any, given: Any, *, met: bool) -> None:
    found = list(unmet(resource("ec2/eip:Eip", props={"x": given}), [Demand("x", wanted, "why")]))
    assert found == [] if met else [w.why for w in found] == ["why"]


@pytest.mark.parametrize(
    ("wanted", "cure"),
    [(True, "set it to true"), ("EC2", "set it to EC2"), (AtLeast(7), "7 or more")],
)
def test_a_demand_names_its_cure(wanted: Any, cure: str) -> None:
    assert cure in Demand("x", wanted, "why").cure
