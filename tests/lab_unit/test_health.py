"""The states of a target, with a clock that the tests turn."""

from __future__ import annotations

import pytest

from lab import health
from lab.health import Check, Outcome, State

CHECK = Check(
    protocol="HTTP",
    port=9585,
    path="/healthz/0",
    matcher="200",
    interval=5,
    timeout=2,
    healthy=2,
    unhealthy=3,
)
GOOD = Outcome()
BAD = Outcome(health.TIMEOUT, "Request timed out")


def run(outcomes: str, start: health.Health | None = None) -> health.Health:
    """Checks a second apart: `+` passes, `-` times out."""
    one = start or health.first(0.0)
    for second, sign in enumerate(outcomes, 1):
        one = health.after(one, GOOD if sign == "+" else BAD, CHECK, float(second))
    return one


@pytest.mark.parametrize(
    ("outcomes", "state", "since"),
    [
        ("", State.INITIAL, 0.0),
        ("+", State.INITIAL, 0.0),
        ("++", State.HEALTHY, 2.0),
        ("+-+", State.INITIAL, 0.0),
        ("+-++", State.HEALTHY, 4.0),
        ("--", State.INITIAL, 0.0),
        ("---", State.UNHEALTHY, 3.0),
        ("++--", State.HEALTHY, 2.0),
        ("++---", State.UNHEALTHY, 5.0),
        ("++--+--", State.HEALTHY, 2.0),
        ("---+", State.UNHEALTHY, 3.0),
        ("---++", State.HEALTHY, 5.0),
        ("---+-+", State.UNHEALTHY, 3.0),
    ],
)
def test_a_state_changes_after_so_many_outcomes_in_a_row(
    outcomes: str, state: State, since: float
) -> None:
    """From initial too."""
    one = run(outcomes)
    assert (one.state, one.since) == (state, since)


def test_a_healthy_target_has_no_reason_and_an_unhealthy_one_the_latest() -> None:
    """A reason that has passed would mislead."""
    one = run("---")
    assert (one.reason, one.detail) == ("Target.Timeout", "Request timed out")
    refused = health.after(one, health.judge_status("200", 503), CHECK, 9.0)
    assert refused.reason == "Target.ResponseCodeMismatch"
    assert "503" in refused.detail
    assert refused.since == 3.0
    assert run("++", one).reason == ""


def test_checks_do_not_bring_a_draining_or_unused_target_back() -> None:
    """One may still be under way when a target is deregistered."""
    assert run("+++", health.draining(0.0)).state is State.DRAINING
    assert run("+++", health.unused(0.0, health.NOT_IN_USE)).state is State.UNUSED


@pytest.mark.parametrize(
    ("matcher", "code", "matched"),
    [
        ("200", 200, True),
        ("200", 204, False),
        ("200,204", 204, True),
        ("200-299", 299, True),
        ("200-299", 300, False),
        ("200, 301-302", 302, True),
        ("200-399", 503, False),
    ],
)
def test_a_matcher_is_codes_and_ranges(matcher: str, code: int, *, matched: bool) -> None:
    """As elbv2 writes it."""
    assert health.matches(matcher, code) is matched
