"""The docs' links lead somewhere, their sums are right, and the runbooks are all in their list."""

from __future__ import annotations

import re
from math import prod
from typing import TYPE_CHECKING

import pytest
from documented import FENCED, PAGES, ROOT

from components import alarms, flow_logs
from components.load_balancer import SLOTS
from gateway.connections import shipper

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
    sum_, _, divisor = sum_.partition(" / ")
    for words, by in (("a million", "1,000,000"), ("a thousand", "1,000")):
        if words in sum_:
            sum_, divisor = sum_.replace(words, ""), by
    found = []
    for one in re.split(r"\s+x\s+", re.sub(r"\b(h|GB)\b", "", sum_)):
        parts = re.findall(r"(- )?(\$?[\d,]+(?:\.\d+)?)", one)
        if not parts or re.search(r"[a-z]", one):
            return None
        found.append(sum(-number(part) if minus else number(part) for minus, part in parts))
    return prod(found) / number(divisor or "1")


ROWS = re.findall(r"^\| ([^|]+) \| ([^|]*) \| \$([\d.,]+) \|$", COSTS, re.MULTILINE)
"""Of the arithmetic: what, the sum, a month."""


def test_each_sum_comes_to_what_stands_behind_it() -> None:
    sums = {what: (worked_out(text), number(said)) for what, text, said in ROWS}
    worked = {what: pair for what, pair in sums.items() if pair[0] is not None}
    assert len(worked) == 21, sums
    for what, (value, said) in worked.items():
        assert value == pytest.approx(said, abs=0.005001), what


def test_each_sum_in_the_text_comes_to_what_stands_behind_it() -> None:
    found = re.findall(r"(\d[\d,.]* (?:GB )?x [^=|\n]+) = \$(\d+\.\d\d)", COSTS)
    assert len(found) == 1
    for text, said in found:
        assert worked_out(text) == pytest.approx(float(said), abs=0.005001), text


def table(head: str) -> list[float]:
    """The sums of the table with that head; the last one is all of it."""
    rest = COSTS[COSTS.index(f"| {head}") :]
    rows = rest[: rest.index("\n\n")]
    return [number(one) for one in re.findall(r"\| \**\$([\d.]+)\** \|$", rows, re.MULTILINE)]


@pytest.mark.parametrize("head", ["gatepair, the defaults", "by use, 20 people"])
def test_what_it_costs_is_its_parts_together(head: str) -> None:
    *parts, total = table(head)
    assert sum(parts) == pytest.approx(total, abs=0.011)


def test_the_comparison_has_what_the_arithmetic_comes_to() -> None:
    assert f"| fixed | ${table('gatepair, the defaults')[-1]:.2f} |" in COSTS


def test_cloudwatch_is_paid_for_what_the_stack_has() -> None:
    watched = alarms.alarms(gateways=2, slots=SLOTS)
    told = {
        series.metric
        for alarm in watched
        for series in alarm.series.values()
        if series.slot is None
    }
    looked_at = sum(len(alarm.series) for alarm in watched)
    assert f"| CloudWatch, what gateways tell | {len(told)} x $0.30 |" in COSTS
    assert f"what its {len(watched)} alarms look at" in COSTS
    assert f"| {looked_at} x $0.10 |" in COSTS
    free = 0.30 * (len(told) - 10) + 0.10 * (looked_at - 10)
    rows = sum(number(said) for what, _, said in ROWS if what.startswith("CloudWatch, "))
    assert f"come to ${free:.2f} and not to ${rows:.2f}" in COSTS


def test_one_gateway_more_is_its_share_of_the_arithmetic() -> None:
    sums = {what: worked_out(text) or 0.0 for what, text, _ in ROWS}
    of_each = ("2 gateways", "their disks", "public IPv4", "DynamoDB, ", "CloudWatch, telling")
    both = [value for what, value in sums.items() if what.startswith(of_each)]
    assert len(both) == 6
    assert f"three gateways in three zones ${sum(both) / 2:.2f} more" in COSTS


def test_a_flow_logs_record_is_as_long_as_the_arithmetic_has_it() -> None:
    record = (
        "5 123456789012 eni-0123456789abcdef0 10.40.128.123 10.40.131.210 51820 443 6 312 204800"
        " 1800000000 1800000060 ACCEPT OK 10.40.128.123 10.40.131.210 3 ingress"
    )
    assert len(record.split()) == len(flow_logs.FORMAT.split())
    assert len(record) + shipper.OVERHEAD == pytest.approx(180, abs=8)
    assert f"{320 + shipper.OVERHEAD} bytes a record taken in" in COSTS
    taken_in = sum(number(said) for what, _, said in ROWS if " log" in what) / 0.50
    assert f"| 12 x {taken_in:.2f} GB x" in COSTS
    assert "has some 320 bytes" in (ROOT / "docs/audit.md").read_text()


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
