"""Target health as Elastic Load Balancing judges it: pure, with the time handed in.

States and reason codes are those of elbv2's `TargetHealth` (its API reference). A target is healthy
after `healthy` successes in a row and unhealthy after `unhealthy` failures in a row, from `initial`
too ("consecutive health check successes required before considering a target healthy").
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace


class State(enum.StrEnum):
    """`TargetHealth.State`."""

    INITIAL = "initial"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DRAINING = "draining"
    UNUSED = "unused"


INITIAL_REASON = "Elb.InitialHealthChecking"
TIMEOUT = "Target.Timeout"
MISMATCH = "Target.ResponseCodeMismatch"
FAILED = "Target.FailedHealthChecks"
NOT_IN_USE = "Target.NotInUse"
INVALID_STATE = "Target.InvalidState"
DRAINING_REASON = "Target.DeregistrationInProgress"


@dataclass(frozen=True, kw_only=True)
class Check:
    """A target group's health check. `port` None is the target's own; times are seconds."""

    protocol: str
    port: int | None
    path: str
    matcher: str
    interval: float
    timeout: float
    healthy: int
    unhealthy: int


@dataclass(frozen=True)
class Outcome:
    """What one check found; `reason` and `detail` are empty if it passed."""

    reason: str = ""
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the target answered as it should."""
        return not self.reason


@dataclass(frozen=True)
class Health:
    """What is known of one target of one group. `since` is when the state began (seconds)."""

    state: State
    since: float
    reason: str = ""
    detail: str = ""
    successes: int = 0
    failures: int = 0


def first(now: float) -> Health:
    """A target that has just been registered."""
    return Health(State.INITIAL, now, INITIAL_REASON)


def unused(now: float, reason: str) -> Health:
    """A target that is registered and gets nothing: its group, zone or state forbids it."""
    return Health(State.UNUSED, now, reason)


def draining(now: float) -> Health:
    """A target that has just been deregistered."""
    return Health(State.DRAINING, now, DRAINING_REASON)


def after(health: Health, outcome: Outcome, check: Check, now: float) -> Health:
    """The health after one more check. A target that is draining or unused stays what it is."""
    if health.state in (State.DRAINING, State.UNUSED):
        return health
    if outcome.passed:
        counted = replace(health, successes=health.successes + 1, failures=0)
        if health.state is not State.HEALTHY and counted.successes >= check.healthy:
            return replace(counted, state=State.HEALTHY, since=now, reason="", detail="")
        return counted
    counted = replace(health, successes=0, failures=health.failures + 1)
    if health.state is State.UNHEALTHY:
        return replace(counted, reason=outcome.reason, detail=outcome.detail)
    if counted.failures >= check.unhealthy:
        return replace(
            counted,
            state=State.UNHEALTHY,
            since=now,
            reason=outcome.reason,
            detail=outcome.detail,
        )
    return counted


def matches(matcher: str, code: int) -> bool:
    """Whether an HTTP status is among `matcher`'s: `200`, `200,204`, `200-299`, or a mixture."""
    for part in matcher.split(","):
        low, _, high = part.strip().partition("-")
        if int(low) <= code <= int(high or low):
            return True
    return False


def judge_status(matcher: str, code: int) -> Outcome:
    """The outcome of a check that was answered with HTTP status `code`."""
    if matches(matcher, code):
        return Outcome()
    return Outcome(MISMATCH, f"Health checks failed with these codes: [{code}]")
