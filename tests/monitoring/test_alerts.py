"""The alert rules: each fires and clears, reads what gateways say, and leads to a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from exposition import ROOT, document, recorded, rules, unmet
from promql import read
from promtool import promtool

from gateway.connections import spool

if TYPE_CHECKING:
    from exposition import Series

FILES = ROOT / "monitoring"
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}

pytestmark = pytest.mark.timeout(60)


def minutes(text: str) -> int:
    assert text.endswith("m"), f"{text}: times in the tests of rules are minutes"
    return int(text[:-1])


def course(test: dict[str, Any], alert: str) -> list[bool]:
    """Whether the alert fires, at each moment that one test looks at it, in order of time."""
    looks = [look for look in test["alert_rule_test"] if look["alertname"] == alert]
    ordered = sorted(looks, key=lambda look: minutes(look["eval_time"]))
    return [bool(look.get("exp_alerts")) for look in ordered]


def test_prometheus_takes_the_rules() -> None:
    answer = promtool("check", "rules", "--lint=all", "--lint-fatal", FILES / "alerts.yml")
    assert answer.good, answer.text
    assert f"{len(rules())} rules found" in answer.text


def test_each_rule_behaves_as_its_test_says() -> None:
    answer = promtool("test", "rules", FILES / "alerts.test.yml")
    assert answer.good, answer.text


def test_no_two_alerts_have_one_name() -> None:
    assert len(ALERTS) == len([rule for rule in rules() if "alert" in rule]) >= 20


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_is_pending_then_fires_then_clears_in_a_test(alert: str) -> None:
    courses = [course(test, alert) for test in document("alerts.test.yml")["tests"]]
    assert [False, True, False] in courses


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_says_how_bad_it_is_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert alert.startswith("Gatepair")
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert minutes(rule["for"].replace("1h", "60m")) >= 1
    assert set(rule["annotations"]) == {"summary", "runbook"}
    page = ROOT / rule["annotations"]["runbook"]
    assert page.parent == ROOT / "docs" / "runbooks"
    assert f"`{alert}`" in page.read_text(), "a page says which alerts lead to it"


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_each_rule_reads_what_gateways_say(rule: dict[str, Any], emitted: Series) -> None:
    assert unmet(read(rule["expr"]), emitted, recorded()) == []


def test_each_series_of_the_rules_tests_is_one_that_a_gateway_has(emitted: Series) -> None:
    for test in document("alerts.test.yml")["tests"]:
        for one in test["input_series"]:
            reading = read(one["series"])
            assert unmet(reading, emitted, {}) in ([], outcomes(reading)), test["name"]


def outcomes(reading: Any) -> list[str]:
    """Values of labels that are numbers: a generation, a slot."""
    return [
        f"{one.metric} is never of {one.label} {one.value}"
        for one in reading.matchers
        if one.label in ("generation", "slot") and one.value.isdigit()
    ]


def test_runbooks_name_no_alert_that_is_gone() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        assert set(re.findall(r"`(Gatepair\w+)`", page.read_text())) <= set(ALERTS), page


def test_the_queue_is_nearly_full_by_its_own_bound() -> None:
    assert f"> 0.8 * {spool.LIMIT}" in ALERTS["GatepairConnectionsQueueFull"]["expr"]
