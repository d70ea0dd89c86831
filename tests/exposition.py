"""What the agent's own code says on its metrics pages, and the files that have to fit it."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from prometheus_client.parser import text_string_to_metric_families
from promql import read
from unit.gateway.samples import ALICE, control

from gateway import circle, metrics, routed
from gateway.chrony import Clock
from gateway.connections.counts import Counts
from gateway.gossip_link import Link
from gateway.health import Verdict
from gateway.kernel_counts import REFUSED_BY_EC2, KernelCounts
from gateway.messages import KeyDated, KeyFault, KeyReady, Trouble
from gateway.peers import Admitted
from gateway.routes.view import RoutesView
from gateway.state import State, receive
from gateway.status import Status
from gateway.takeover.hub import SessionsView
from gateway.wireguard import Device, DevicePeer
from registry.items import ROUTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from promql import Reading

ROOT = Path(__file__).resolve().parent.parent

Series = dict[str, list[dict[str, str]]]
"""Metric -> the labels of each of its series."""

TABLES = ("rtb-1", "rtb-2")
"""Route tables of the sample's stack, which is a routed one: it has every metric."""

TARGET = frozenset({"job", "stack", "instance"})
"""Labels that Prometheus gives to what it scrapes, as docs/monitoring.md tells it to."""

BESIDE: dict[str, frozenset[str]] = {
    "up": frozenset(),
    "ALERTS": frozenset({"alertname", "alertstate"}),
}
"""What Prometheus makes itself, with labels other than the target's."""


def status() -> Status:
    """A gateway in the middle of a rotation, with a second generation that it may not serve."""
    told = replace(control(7, 8), egress=ROUTED, route_tables=TABLES)
    state = State(served=(7, 8), control=told, head_generation=12, known=None)
    state = replace(state, routes=RoutesView(held=TABLES, changes=2))
    for message in (
        KeyReady(7, "SERVER-7"),
        KeyDated(7, 1000),
        KeyFault(8, "the registry names another", refused=True),
        Trouble(circle.PART, "nothing is heard from 10.20.0.11"),
        Trouble("registry", "no answer"),
    ):
        state = receive(state, message)
    peers = {
        "KEY-alice": DevicePeer("KEY-alice", ("100.96.0.5/32",), "203.0.113.9:4711", 1900, 10, 20),
        "KEY-bob": DevicePeer("KEY-bob", ("100.96.0.6/32",), "", 0, 0, 0),
    }
    return Status(
        state=state,
        devices={"wg0": Device("wg0", "SERVER-7", 51820, peers)},
        admitted=Admitted(
            {"KEY-alice": ALICE, "KEY-bob": IPv4Address("100.96.0.6")},
            {"KEY-alice": "alice", "KEY-bob": "bob"},
        ),
        applied=10,
        verdicts={0: Verdict(), 1: Verdict(("key generation 8 is not available",))},
        clock=Clock(synchronised=True, offset=-0.000012),
        faults=("key generation 8: the registry names another",),
        sessions=SessionsView(
            working=True,
            holding=frozenset({("wg0", "KEY-alice")}),
            own=1,
            remote=3,
            elsewhere={"100.96.0.6": "10.20.0.11"},
            counts={"takeovers": 2, "relinquished": 1, "started": 2},
        ),
        at=100.0,
    )


def kernel(directory: Path) -> KernelCounts:
    """What its kernel counts, written to `directory`."""
    for path, number in (
        ("nf_conntrack_count", 17),
        ("nf_conntrack_max", 262144),
        ("wg0/statistics/rx_bytes", 10),
        ("wg0/statistics/tx_bytes", 20),
        ("ens5/device", 0),
    ):
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(f"{number}\n")
    counters = [
        {"counter": {"name": name, "packets": 40 - number}}
        for number, name in enumerate(routed.COUNTERS)
    ]
    return KernelCounts(
        directory,
        directory,
        list_counters=lambda: json.dumps({"nftables": counters}),
        statistics=lambda _device: {REFUSED_BY_EC2: 5},
    )


def recorded_at(now: float) -> Counts:
    """What its connection log has counted by `now`, in monotonic seconds: one a second."""
    return Counts(at=now, recorded=int(now) + 1, shipped=int(now), queue_bytes=320)


def exposition(directory: Path, *, peers: bool = True) -> str:
    """The page that this gateway answers with; `directory` is for what its kernel counts."""
    now = status()
    link = Link(9588, "boot", lambda: "i-1")
    collector = metrics.StatusCollector(
        lambda: now,
        lambda: link.counts,
        now=lambda: 2000.0,
        monotonic=lambda: 101.0,
        counts=kernel(directory),
        recorded=lambda: recorded_at(100.0),
        peers=peers,
    )
    return metrics.page(collector)().decode()


def series(text: str) -> Series:
    """All series of a page."""
    found: Series = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(dict(sample.labels))
    return found


def labels_of(
    metric: str, emitted: Series, recorded: Mapping[str, frozenset[str]]
) -> frozenset[str]:
    """The labels that the metric has in Prometheus. Raises `KeyError` when nobody emits it."""
    if metric in recorded:
        return recorded[metric]
    if metric in BESIDE:
        return BESIDE[metric] | TARGET
    return frozenset(label for labels in emitted[metric] for label in labels) | TARGET


def unmet(reading: Reading, emitted: Series, recorded: Mapping[str, frozenset[str]]) -> list[str]:
    """What an expression reads that no gateway says: metrics, labels, values of labels."""
    missing = [
        f"no metric {name}"
        for name in sorted(reading.metrics)
        if name not in emitted and name not in recorded and name not in BESIDE
    ]
    if missing:
        return missing
    here = {name: labels_of(name, emitted, recorded) for name in reading.metrics}
    missing += [
        f"no label {label}"
        for label in sorted(reading.grouping)
        if not any(label in labels for labels in here.values())
    ]
    for one in reading.matchers:
        if one.label not in here[one.metric]:
            missing.append(f"{one.metric} has no label {one.label}")
        elif one.label not in TARGET and one.metric in emitted and one.operator == "=":
            values = {labels.get(one.label) for labels in emitted[one.metric]}
            if one.value not in values:
                missing.append(f"{one.metric} is never of {one.label} {one.value}")
    return missing


def document(name: str) -> Any:
    """A file of monitoring/."""
    text = (ROOT / "monitoring" / name).read_text()
    return json.loads(text) if name.endswith("json") else yaml.safe_load(text)


def rules() -> list[dict[str, Any]]:
    """All rules of alerts.yml."""
    return [rule for group in document("alerts.yml")["groups"] for rule in group["rules"]]


def recorded() -> dict[str, frozenset[str]]:
    """What alerts.yml records, with its labels: those that it is summed up by."""
    return {rule["record"]: read(rule["expr"]).grouping for rule in rules() if "record" in rule}
