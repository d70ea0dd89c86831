"""The docs' links lead somewhere, their sums are right, and the runbooks are all in their list."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

import pytest
from documented import FENCED, PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
COSTS = (ROOT / "docs/costs.md").read_text()
RUNBOOKS = ROOT / "docs/runbooks"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(FENCED.sub("", page.read_text()))
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors(there), f"{target}#{anchor}"


def test_every_runbook_is_in_their_list() -> None:
    listed = set(re.findall(r"\]\(([a-z-]+\.md)\)", (RUNBOOKS / "README.md").read_text()))
    assert listed == {page.name for page in RUNBOOKS.glob("*.md")} - {"README.md"}


# ------------------------------------------------------------------ costs


def number(text: str) -> float:
    return float(text.replace("$", "").replace(",", ""))


def worked_out(sum_: str) -> float | None:
    """What `2 x 730 h x ($0.0168 + $0.005)` comes to; None if it is no such sum. Pure."""
    millionth = 1e-6 if "a million" in sum_ else 1.0
    factors = re.split(r"\s+x\s+", re.sub(r"\b(h|GB)\b|a million", "", sum_))
    found = []
    for one in factors:
        parts = re.findall(r"\$?[\d,]+(?:\.\d+)?", one)
        if not parts or re.search(r"[a-z]", one):
            return None
        found.append(sum(number(part) for part in parts))
    return prod(found) * millionth if found else None


ROWS = re.findall(r"^\| ([^|]+) \| ([^|]*) \| \$([\d.,]+) \|$", COSTS, re.MULTILINE)
"""Of the arithmetic: what, the sum, a month."""


def test_each_sum_comes_to_what_stands_behind_it() -> None:
    sums = {what: (worked_out(text), number(said)) for what, text, said in ROWS}
    worked = {what: pair for what, pair in sums.items() if pair[0] is not None}
    assert len(worked) == 10, sums
    for what, (value, said) in worked.items():
        assert value == pytest.approx(said, abs=0.005001), what


def test_what_gatepair_costs_is_its_parts_together() -> None:
    arithmetic = COSTS[COSTS.index("| gatepair, the defaults") :]
    table = arithmetic[: arithmetic.index("\n\n")]
    *parts, total = map(number, re.findall(r"\| \**\$([\d.]+)\** \|$", table, re.MULTILINE))
    assert sum(parts) == pytest.approx(total, abs=0.011)
    assert f"| fixed | ${total:.2f} |" in COSTS


@pytest.mark.parametrize("people", [5, 20, 100])
def test_the_comparison_is_the_fixed_part_and_so_much_a_person(people: int) -> None:
    comparison = COSTS[: COSTS.index("## The arithmetic")]

    def row(name: str) -> list[float]:
        (line,) = re.findall(rf"^\| \**{name}\** \|(.+)\|$", comparison, re.MULTILINE)
        return [number(cell.strip(" *")) for cell in line.split("|")]

    for fixed, each, said in zip(
        row("fixed"), row("a person"), row(f"{people} people"), strict=True
    ):
        assert said == pytest.approx(fixed + people * each, abs=0.005)
