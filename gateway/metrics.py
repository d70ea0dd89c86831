"""Prometheus metrics: the names of MindFlavor's prometheus_wireguard_exporter, and our own.

https://github.com/MindFlavor/prometheus_wireguard_exporter
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from gateway.connections import counts as connections
from gateway.connections.limits import REASONS
from gateway.gossip import FORGED, GARBLED, REPLAYED, STALE
from gateway.kernel_counts import KernelCounts
from gateway.paths import Paths
from gateway.routed import FORWARDED, LOOPS
from gateway.takeover.desk import OUTCOMES, RELINQUISHED, TAKEOVERS
from registry.key_slots import slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric

    from gateway.connections.counts import Counts
    from gateway.status import Status

ONLINE_WITHIN = 180
"""Seconds since the last handshake, after which WireGuard itself discards the session's keys."""

GOSSIP = ("sent", "heard", FORGED, STALE, REPLAYED, GARBLED)
"""What becomes of datagrams between gateways; what could not be sent has its reason besides."""

_PEER_LABELS = ("interface", "public_key", "allowed_ips", "friendly_name")


class StatusCollector(Collector):
    """Turns the published status into metrics when they are asked for.

    `peers`: with series for each peer.
    """

    def __init__(
        self,
        status: Callable[[], Status],
        gossip: Callable[[], Mapping[str, int]] = dict,
        now: Callable[[], float] = time.time,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        counts: KernelCounts | None = None,
        recorded: Callable[[], Counts | None] | None = None,
        peers: bool = True,
    ) -> None:
        self._status, self._gossip, self._now = status, gossip, now
        self._monotonic, self._peers = monotonic, peers
        self._counts = counts or KernelCounts()
        self._recorded = recorded or partial(connections.read, Paths().connection_counts)

    def collect(self) -> Iterator[Metric]:
        """All metrics of one status."""
        status, now, monotonic = self._status(), self._now(), self._monotonic()
        if self._peers:
            yield from _wireguard(status)
        yield from _numbers(status, now, monotonic)
        yield from _by_label(status, monotonic)
        yield from _keys(status, now)
        yield from _sessions(status)
        yield from _routes(status)
        yield _gossip(dict(self._gossip()))
        yield from _kernel(self._counts)
        if status.state.control is not None and status.state.control.routed:
            yield from _forwarding(self._counts, status)
        # the clock after the counts: they may have been written while this page was made
        yield from _connections(self._recorded(), self._monotonic())


def _wireguard(status: Status) -> Iterator[Metric]:
    sent = CounterMetricFamily(
        "wireguard_sent_bytes_total", "Bytes sent to the peer", labels=_PEER_LABELS
    )
    received = CounterMetricFamily(
        "wireguard_received_bytes_total", "Bytes received from the peer", labels=_PEER_LABELS
    )
    handshake = GaugeMetricFamily(
        "wireguard_latest_handshake_seconds",
        "UNIX time of the last handshake, 0 if there was none",
        labels=_PEER_LABELS,
    )
    for device in status.devices.values():
        for peer in device.peers.values():
            labels = (
                device.name,
                peer.public_key,
                ",".join(peer.allowed_ips),
                status.admitted.names.get(peer.public_key, ""),
            )
            # a peer that has changed hands was made anew, and its counters with it
            before = status.carried.get((device.name, peer.public_key), (0, 0))
            received.add_metric(labels, before[0] + peer.received)
            sent.add_metric(labels, before[1] + peer.sent)
            handshake.add_metric(labels, peer.latest_handshake)
    return iter((sent, received, handshake))


def online_peers(status: Status, now: float) -> int:
    """Peers whose last handshake, on any interface, is recent enough for a live session."""
    return len(
        {
            peer.public_key
            for device in status.devices.values()
            for peer in device.peers.values()
            if now - peer.latest_handshake < ONLINE_WITHIN
        }
    )


def _numbers(status: Status, now: float, monotonic: float) -> Iterator[Metric]:
    state = status.state
    age = float("inf") if state.contact is None else max(0.0, monotonic - state.contact)
    for name, text, value in (
        ("gatepair_peers", "Peers admitted now", len(status.admitted.addresses)),
        ("gatepair_online_peers", "Peers with a live session here", online_peers(status, now)),
        (
            "gatepair_registry_generation",
            "Last change seen in the registry",
            state.head_generation,
        ),
        ("gatepair_applied_generation", "Last contiguous change in force", status.applied),
        (
            "gatepair_registry_lag",
            "Changes seen and not yet in force",
            max(0, state.head_generation - status.applied),
        ),
        (
            "gatepair_control_plane_age_seconds",
            "Since the registry last answered as it can be gone by, restarts included",
            age,
        ),
        (
            "gatepair_clock_offset_seconds",
            "Offset of the clock from its source",
            status.clock.offset,
        ),
        (
            "gatepair_clock_synchronised",
            "1 if the clock follows a source",
            int(status.clock.synchronised),
        ),
        (
            "gatepair_unusable_peers",
            "Peers left out: unreadable, or an address that is not theirs alone",
            len(status.admitted.unusable) + (state.known.unreadable if state.known else 0),
        ),
        (
            "gatepair_sealed_peers",
            "Peers left out until their pre-shared key is decrypted",
            len(status.admitted.sealed),
        ),
        ("gatepair_draining", "1 while its clients go to others", int(status.drain.begun)),
        (
            "gatepair_draining_peers",
            "Peers with a live session here that a drain still waits for",
            len(status.drain.clients.active),
        ),
        (
            "gatepair_drain_held_up",
            "1 if it is told to drain and is the last one that serves: alarm on it",
            int(status.drain.held_up),
        ),
        ("gatepair_faults", "Things that are not as they should be", len(status.faults)),
    ):
        yield GaugeMetricFamily(name, text, value=value)
    for name, text, value in (
        ("gatepair_unreadable_items_total", "Registry items that did not parse", status.unreadable),
        ("gatepair_failed_actions_total", "Changes to the machine that failed", status.failures),
    ):
        yield CounterMetricFamily(name, text, value=value)


def _by_label(status: Status, monotonic: float) -> Iterator[Metric]:
    healthy = GaugeMetricFamily(
        "gatepair_slot_healthy", "1 if /healthz/SLOT answers 200", labels=("slot",)
    )
    for slot, verdict in status.verdicts.items():
        well = verdict.healthy and not status.stuck(monotonic)
        healthy.add_metric((str(slot),), int(well))
    trouble = GaugeMetricFamily(
        "gatepair_trouble",
        "1 for each part of the outside that does not answer, by the agent's name for it",
        labels=("part",),
    )
    for part in sorted(status.state.trouble):
        trouble.add_metric((part,), 1)
    return iter((healthy, trouble))


def _keys(status: Status, now: float) -> Iterator[Metric]:
    state = status.state
    served = GaugeMetricFamily(
        "gatepair_key_generation",
        "1 for each key generation that has its key here",
        labels=("generation", "slot"),
    )
    refused = GaugeMetricFamily(
        "gatepair_key_refused",
        "1 if a generation is not served because its key is lost or another one",
        labels=("generation",),
    )
    age = GaugeMetricFamily(
        "gatepair_key_age_seconds",
        "Since the public key of a served generation was published, once that is known",
        labels=("generation",),
    )
    for generation in state.served:
        slot = str(slot_of(generation))
        served.add_metric((str(generation), slot), int(generation in state.keys))
        fault = state.key_faults.get(generation)
        refused.add_metric((str(generation),), int(fault is not None and fault.refused))
        if generation in state.key_dates:
            age.add_metric((str(generation),), max(0.0, now - state.key_dates[generation]))
    return iter((served, refused, age))


def _sessions(status: Status) -> Iterator[Metric]:
    view, control = status.sessions, status.state.control
    wanted = control is None or control.takeover
    for name, text, value in (
        ("gatepair_takeover_wanted", "1 unless the stack has takeovers off", int(wanted)),
        ("gatepair_takeover_working", "1 if sessions can be taken over", int(view.working)),
        ("gatepair_held_peers", "Peers whose session this gateway holds", len(view.holding)),
        ("gatepair_unsettled_peers", "Peers with a handshake under way here", view.unsettled),
        ("gatepair_own_sessions", "Handshakes of this gateway, not yet too old", view.own),
        ("gatepair_remote_sessions", "The same of other gateways", view.remote),
    ):
        yield GaugeMetricFamily(name, text, value=value)
    for name, text in (
        (TAKEOVERS, "Sessions of other gateways that went on here"),
        (RELINQUISHED, "Peers given up because another gateway has them, or a takeover failed"),
    ):
        count = view.counts.get(name, 0)
        yield CounterMetricFamily(f"gatepair_{name}_total", text, value=count)
    reports = CounterMetricFamily(
        "gatepair_takeover_reports_total",
        "Packets of other gateways' sessions that the kernel reported, by what became of them",
        labels=("outcome",),
    )
    for outcome in (*OUTCOMES, "unmatched", "garbled", "overrun"):
        reports.add_metric((outcome,), view.counts.get(outcome, 0))
    yield reports


def _routes(status: Status) -> Iterator[Metric]:
    view, control = status.state.routes, status.state.control
    wanted = len(control.route_tables) if control is not None and control.routed else 0
    for name, text, value in (
        ("gatepair_route_tables", "Route tables whose route one of the gateways holds", wanted),
        ("gatepair_routes_held", "Routes of the VPC to the clients held here", len(view.held)),
        ("gatepair_route_faults", "Routes and calls for them that fail", len(view.faults)),
    ):
        yield GaugeMetricFamily(name, text, value=value)
    yield CounterMetricFamily(
        "gatepair_route_changes_total", "Routes created, replaced or deleted", value=view.changes
    )


def _gossip(counts: Mapping[str, int]) -> Metric:
    found = CounterMetricFamily(
        "gatepair_gossip_datagrams_total",
        "Between gateways: sent, heard, or why they were refused",
        labels=("outcome",),
    )
    # from the start, so that the first one is an increase, and silence is seen as such
    for outcome, number in sorted({**dict.fromkeys(GOSSIP, 0), **counts}.items()):
        found.add_metric((outcome,), number)
    return found


def _kernel(counts: KernelCounts) -> Iterator[Metric]:
    received = CounterMetricFamily(
        "gatepair_interface_received_bytes_total", "From all its peers", labels=("interface",)
    )
    sent = CounterMetricFamily(
        "gatepair_interface_sent_bytes_total", "To all its peers", labels=("interface",)
    )
    for name, traffic in counts.traffic().items():
        received.add_metric((name,), traffic.received)
        sent.add_metric((name,), traffic.sent)
    yield from (received, sent)
    flows = counts.flows()
    if flows is not None:
        for name, text, value in (
            ("gatepair_conntrack_entries", "Flows kept track of", flows.entries),
            ("gatepair_conntrack_limit", "Flows that can be kept track of", flows.limit),
        ):
            yield GaugeMetricFamily(name, text, value=value)
    refused = counts.refused_by_ec2()
    if refused is not None:
        yield CounterMetricFamily(
            "gatepair_conntrack_allowance_exceeded_total",
            "Packets that EC2 dropped for want of tracked connections",
            value=refused,
        )


def _forwarding(counts: KernelCounts, status: Status) -> Iterator[Metric]:
    elsewhere = len(status.sessions.elsewhere)
    yield GaugeMetricFamily(
        "gatepair_peers_elsewhere", "Peers whose session another gateway holds", value=elsewhere
    )
    packets = counts.forwarded()
    for name, text, counter in (
        ("gatepair_forwarded_packets_total", "To clients, handed to other gateways", FORWARDED),
        (
            "gatepair_forward_loop_drops_total",
            "From other gateways, not for a client with its session here; dropped",
            LOOPS,
        ),
    ):
        yield CounterMetricFamily(name, text, value=packets.get(counter, 0))


def _connections(found: Counts | None, monotonic: float) -> Iterator[Metric]:
    working = found is not None and found.working(monotonic)
    yield GaugeMetricFamily(
        "gatepair_connection_log_working", "1 if connections are recorded", value=int(working)
    )
    found = found or connections.Counts(at=0.0)
    for name, text, value in (
        ("gatepair_connections_recorded", "Records of clients' connections", found.recorded),
        ("gatepair_connections_shipped", "Records that CloudWatch Logs has", found.shipped),
    ):
        yield CounterMetricFamily(f"{name}_total", text, value=value)
    left_out = CounterMetricFamily(
        "gatepair_connections_left_out_total",
        "Connections without a record, by why",
        labels=("why",),
    )
    for why in REASONS:
        left_out.add_metric((why,), found.left_out.get(why, 0))
    yield left_out
    yield GaugeMetricFamily(
        "gatepair_connections_queue_bytes",
        "Records that wait on disk to be shipped",
        value=found.queue_bytes,
    )


def page(collector: StatusCollector) -> Callable[[], bytes]:
    """A function that renders a page of metrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    return lambda: generate_latest(registry)


def pages(
    status: Callable[[], Status], gossip: Callable[[], Mapping[str, int]] = dict
) -> dict[str, Callable[[], bytes]]:
    """By path: everything; and without any peer's own series, which are many."""
    return {
        "/metrics": page(StatusCollector(status, gossip)),
        "/metrics/totals": page(StatusCollector(status, gossip, peers=False)),
    }
