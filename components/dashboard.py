"""The CloudWatch dashboard of a stack: its alarms, then what they are about. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.alarms import BALANCER, DIMENSION, NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT, ACROSS = 8, 6, 3
"""Of a graph, and how many stand side by side: a dashboard is 24 wide."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Whose dashboard it is; what is known only once resources are there."""

    stack: str
    region: str
    balancer: str
    """As CloudWatch names load balancers: `net/NAME/ID`."""
    target_groups: Sequence[str]
    """By slot: `targetgroup/NAME/ID`."""
    alarms: Sequence[str]
    """ARNs."""


@dataclass(frozen=True)
class Line:
    """One metric of ours and how it is put together."""

    metric: str
    statistic: str
    label: str


OURS: tuple[tuple[str, tuple[Line, ...]], ...] = (
    (
        "Clients online",
        (
            Line("OnlineClients", "Sum", "now"),
            Line("OnlineClientsHalfAnHourAgo", "Sum", "half an hour before"),
        ),
    ),
    (
        "Gateways",
        (
            Line("Serving", "SampleCount", "report"),
            Line("Serving", "Sum", "serve"),
            Line("Faults", "Sum", "faults"),
        ),
    ),
    (
        "Changes of the registry",
        (
            Line("ChangesKnownAMinuteAgo", "Maximum", "known for a minute"),
            Line("ChangesInForce", "Minimum", "in force everywhere"),
        ),
    ),
    ("Seconds since the registry answered", (Line("RegistryAge", "Maximum", "longest"),)),
    ("Age of the newest server key, seconds", (Line("KeyAge", "Minimum", "age"),)),
    ("Clock offset, seconds", (Line("ClockOffset", "Maximum", "largest"),)),
    (
        "Tracked flows",
        (
            Line("TrackedFlows", "Maximum", "percent of what the kernel tracks"),
            Line("PacketsOverAllowance", "Sum", "packets that EC2 dropped"),
        ),
    ),
    (
        "Connection log",
        (
            Line("RecordsConnections", "Sum", "gateways that record"),
            Line("ConnectionsLeftOut", "Sum", "connections without a record"),
            Line("ConnectionQueue", "Maximum", "percent of the queue on disk"),
        ),
    ),
)
"""Title and lines of each graph of what gateways tell."""

THEIRS = (
    ("Healthy gateways by key slot", "HealthyHostCount", "Minimum"),
    ("Unhealthy gateways by key slot", "UnHealthyHostCount", "Maximum"),
)
"""Title, metric and statistic of each graph of the target groups."""

TRAFFIC = (
    ("Bytes through the load balancer", "ProcessedBytes", "Sum"),
    ("New flows through the load balancer", "NewFlowCount", "Sum"),
)


def body(place: Place) -> dict[str, Any]:
    """The dashboard's body (CloudWatch API reference, "Dashboard body structure and syntax")."""
    graphs = [
        *((title, [_ours(place, line) for line in lines]) for title, lines in OURS),
        *(
            (
                title,
                [
                    _theirs(place, metric, statistic, f"slot {slot}", TargetGroup=group)
                    for slot, group in enumerate(place.target_groups)
                ],
            )
            for title, metric, statistic in THEIRS
        ),
        *(
            (title, [_theirs(place, metric, statistic, "all")])
            for title, metric, statistic in TRAFFIC
        ),
    ]
    alarms = {
        "type": "alarm",
        "x": 0,
        "y": 0,
        "width": WIDTH * ACROSS,
        "height": 3,
        "properties": {"title": f"gatepair {place.stack}", "alarms": list(place.alarms)},
    }
    return {"widgets": [alarms, *(_graph(place, n, *graph) for n, graph in enumerate(graphs))]}


def _graph(place: Place, number: int, title: str, metrics: list[list[Any]]) -> dict[str, Any]:
    return {
        "type": "metric",
        "x": number % ACROSS * WIDTH,
        "y": 3 + number // ACROSS * HEIGHT,
        "width": WIDTH,
        "height": HEIGHT,
        "properties": {
            "title": title,
            "region": place.region,
            "view": "timeSeries",
            "period": 60,
            "metrics": metrics,
            "yAxis": {"left": {"min": 0}},
        },
    }


def _ours(place: Place, line: Line) -> list[Any]:
    shown = {"stat": line.statistic, "label": line.label}
    return [NAMESPACE, line.metric, DIMENSION, place.stack, shown]


def _theirs(place: Place, metric: str, statistic: str, label: str, **more: str) -> list[Any]:
    """The load balancer's; `more` are dimensions beside its own."""
    dimensions = [part for pair in sorted(more.items()) for part in pair]
    shown = {"stat": statistic, "label": label}
    return [BALANCER, metric, *dimensions, "LoadBalancer", place.balancer, shown]
