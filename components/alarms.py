"""What CloudWatch calls somebody for: the alarms of a stack, as data. Pure.

The metrics of the namespace `gatepair` are what gateways tell (gateway/cloudwatch.py): one number a
gateway and minute, all gateways of a stack in the same metric. A test holds their names against
those here. Thresholds are those of monitoring/alerts.yml where both have the alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMESPACE, DIMENSION = "gatepair", "stack"
BALANCER = "AWS/NetworkELB"
"""The load balancer's own (its user guide, "CloudWatch metrics for your Network Load Balancer")."""

MINUTE, HOUR, DAY = 60, 3600, 86400
LONGEST_QUARTER = 92
CLIENTS_AT_LEAST = 10
"""Half an hour ago; of fewer the loss of half may be chance."""

ABOVE, BELOW = "GreaterThanThreshold", "LessThanThreshold"
SILENCE_IS_FINE, SILENCE_IS_BAD = "notBreaching", "breaching"


@dataclass(frozen=True)
class Series:
    """One metric, put together from all who tell it."""

    metric: str
    statistic: str
    slot: int | None = None
    """The key slot whose target group it is of, in the load balancer's namespace; None: ours."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """What is looked at, when it is bad, and where to read on."""

    name: str
    says: str
    """In one sentence, what is wrong then."""
    runbook: str
    """The name of a page in docs/runbooks."""
    series: Mapping[str, Series]
    """By the names that `expression` knows them by; just one without an expression."""
    expression: str = ""
    """CloudWatch's metric math; empty: the one series itself."""
    compare: str = ABOVE
    threshold: float
    times: int
    """So many periods one after the other."""
    period: int = MINUTE
    """Seconds."""
    missing: str = SILENCE_IS_FINE
    """What a period without a number means."""


def one(metric: str, statistic: str, slot: int | None = None) -> dict[str, Series]:
    """The series of an alarm without an expression."""
    return {"it": Series(metric, statistic, slot)}


def alarms(*, gateways: int, slots: tuple[int, ...]) -> tuple[Alarm, ...]:
    """All alarms of a stack that is to have so many gateways."""
    return (
        *(found for slot in slots for found in _of_slot(slot)),
        Alarm(
            name="silent",
            says=f"fewer than {gateways} gateways report",
            runbook="gateway-died",
            # any metric that each of them always tells
            series=one("Serving", "SampleCount"),
            compare=BELOW,
            threshold=gateways,
            times=5,
            missing=SILENCE_IS_BAD,
        ),
        Alarm(
            name="faults",
            says="a gateway has reported faults for a quarter of an hour",
            runbook="gateway-unhealthy",
            series=one("Faults", "Maximum"),
            threshold=0,
            times=15,
        ),
        Alarm(
            name="not-confirmed",
            says="a change that a gateway knew of a minute ago is not in force on another:"
            " a revoked peer may still get in",
            runbook="not-confirmed",
            series={
                "known": Series("ChangesKnownAMinuteAgo", "Maximum"),
                "done": Series("ChangesInForce", "Minimum"),
            },
            expression="known - done",
            threshold=0,
            times=2,
        ),
        Alarm(
            name="registry-stale",
            says="a gateway has not had the registry's answer for two minutes",
            runbook="registry-silent",
            series=one("RegistryAge", "Maximum"),
            threshold=120,
            times=2,
        ),
        Alarm(
            name="key-old",
            says=f"the server's key is older than {LONGEST_QUARTER} days: rotate it",
            runbook="rotate-the-key",
            series=one("KeyAge", "Minimum"),
            threshold=LONGEST_QUARTER * DAY,
            times=1,
            period=HOUR,
        ),
        Alarm(
            name="clients-drop",
            says="less than half of the clients of half an hour ago are online",
            runbook="clients-drop",
            series={
                "now": Series("OnlineClients", "Sum"),
                "before": Series("OnlineClientsHalfAnHourAgo", "Sum"),
            },
            expression=f"IF(before >= {CLIENTS_AT_LEAST}, now / before, 1)",
            compare=BELOW,
            threshold=0.5,
            times=3,
        ),
        Alarm(
            name="clock-off",
            says="a gateway's clock is off by more than 50 ms, or follows no source",
            runbook="clock",
            series=one("ClockOffset", "Maximum"),
            threshold=0.05,
            times=2,
        ),
        Alarm(
            name="flows-full",
            says="a gateway tracks more than 80 % of the flows that it can",
            runbook="too-many-flows",
            series=one("TrackedFlows", "Maximum"),
            threshold=80,
            times=5,
        ),
        Alarm(
            name="flows-refused",
            says="EC2 drops packets of a gateway: its type may track no more connections",
            runbook="too-many-flows",
            series=one("PacketsOverAllowance", "Maximum"),
            threshold=0,
            times=2,
        ),
        Alarm(
            name="connections-unrecorded",
            says="a gateway does not record clients' connections: who reaches what is not kept",
            runbook="connection-log",
            series=one("RecordsConnections", "Minimum"),
            compare=BELOW,
            threshold=1,
            times=5,
        ),
        Alarm(
            name="connections-left-out",
            says="connections have no record",
            runbook="connection-log",
            series=one("ConnectionsLeftOut", "Maximum"),
            threshold=0,
            times=1,
        ),
        Alarm(
            name="connections-queued",
            says="records of connections fill more than 80 % of a gateway's queue on disk",
            runbook="connection-log",
            series=one("ConnectionQueue", "Maximum"),
            threshold=80,
            times=1,
        ),
    )


def _of_slot(slot: int) -> tuple[Alarm, ...]:
    """What the load balancer's own checks say of one key slot; an idle slot is healthy."""
    return (
        Alarm(
            name=f"lost-{slot}",
            says=f"key slot {slot} is healthy on no gateway",
            runbook="gateway-unhealthy",
            series=one("HealthyHostCount", "Maximum", slot),
            compare=BELOW,
            threshold=1,
            times=2,
            # without a target it says nothing
            missing=SILENCE_IS_BAD,
        ),
        Alarm(
            name=f"unhealthy-{slot}",
            says=f"a gateway takes no clients of key slot {slot}",
            runbook="gateway-unhealthy",
            series=one("UnHealthyHostCount", "Maximum", slot),
            threshold=0,
            # one that drains is unhealthy on purpose, for 300 s at most
            times=6,
        ),
    )
