"""What the agent tells others: health page, metrics, clock and settings as they are read."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from unit.gateway.samples import ALICE, control

from gateway import chrony, metrics, sysctl, web
from gateway.chrony import Clock
from gateway.connections.counts import Counts
from gateway.health import Verdict
from gateway.kernel_counts import KernelCounts
from gateway.messages import KeyFault
from gateway.paths import UNITS
from gateway.peers import Admitted
from gateway.routes.view import RoutesView
from gateway.state import State
from gateway.status import STALLED_AFTER, Board, Status
from gateway.takeover.hub import SessionsView
from gateway.wireguard import Device, DevicePeer
from registry.items import ROUTED

NOTHING = KernelCounts(Path("/nonexistent"), Path("/nonexistent"), list_counters=str)

STATUS = Status(
    state=State(
        served=(7, 8),
        keys={7: "K7"},
        key_faults={8: KeyFault(8, "lost", refused=True)},
        key_dates={7: 400},
        head_generation=12,
        trouble={"gossip with others": "nothing is heard from 10.20.0.9"},
    ),
    devices={
        "wg0": Device(
            "wg0",
            "K7",
            51820,
            {
                "PUB": DevicePeer("PUB", ("100.96.0.5/32",), "", 1000, 10, 20),
                "OLD": DevicePeer("OLD", ("100.96.0.6/32",), "", 100, 0, 0),
            },
        )
    },
    admitted=Admitted({"PUB": ALICE}, {"PUB": "alice"}),
    applied=10,
    verdicts={0: Verdict(), 1: Verdict(("no key",))},
    clock=Clock(synchronised=True, offset=-0.002),
    sessions=SessionsView(
        working=True,
        holding=frozenset({("wg0", "PUB")}),
        unsettled=2,
        own=3,
        remote=4,
        counts={"takeovers": 5, "relinquished": 6, "started": 7, "unmatched": 8},
    ),
    at=100.0,
)


def test_a_healthy_slot_answers_200_and_a_broken_one_503_with_reasons() -> None:
    code, _kind, body = web.health_page("/healthz/0", STATUS, now=101.0)
    assert (code, json.loads(body)["reasons"]) == (200, [])
    code, _kind, body = web.health_page("/healthz/1", STATUS, now=101.0)
    assert (code, json.loads(body)["reasons"]) == (503, ["no key"])


@pytest.mark.parametrize("path", ["/", "/healthz", "/healthz/2", "/healthz/0/"])
def test_other_paths_are_not_found(path: str) -> None:
    assert web.health_page(path, STATUS, now=101.0)[0] == 404


def test_an_agent_that_is_stuck_is_not_healthy() -> None:
    code, _kind, body = web.health_page("/healthz/0", STATUS, now=100.0 + STALLED_AFTER + 1)
    assert code == 503
    assert b"stuck" in body


def test_an_agent_that_has_just_started_says_so() -> None:
    code, _kind, body = web.health_page("/healthz/0", Board().status, now=1e6)
    assert (code, json.loads(body)["reasons"]) == (503, ["starting"])


def rendered(
    status: Status, *, monotonic: float = 101.0, counts: KernelCounts = NOTHING, peers: bool = True
) -> str:
    """The page a second after `STATUS` was published."""
    collector = metrics.StatusCollector(
        lambda: status,
        lambda: {"heard": 9, "unsent: No route to host": 1},
        now=lambda: 1000.0,
        monotonic=lambda: monotonic,
        counts=counts,
        peers=peers,
    )
    return metrics.page(collector)().decode()


def test_peers_have_the_names_of_the_common_exporter() -> None:
    labels = '{allowed_ips="100.96.0.5/32",friendly_name="alice",interface="wg0",public_key="PUB"}'
    text = rendered(STATUS)
    assert f"wireguard_sent_bytes_total{labels} 20.0" in text
    assert f"wireguard_received_bytes_total{labels} 10.0" in text
    assert f"wireguard_latest_handshake_seconds{labels} 1000.0" in text


def test_what_a_peer_had_before_it_changed_hands_is_counted() -> None:
    text = rendered(replace(STATUS, carried={("wg0", "PUB"): (100, 1000), ("wg1", "PUB"): (9, 9)}))
    labels = '{allowed_ips="100.96.0.5/32",friendly_name="alice",interface="wg0",public_key="PUB"}'
    assert f"wireguard_received_bytes_total{labels} 110.0" in text
    assert f"wireguard_sent_bytes_total{labels} 1020.0" in text


@pytest.mark.parametrize(
    "line",
    [
        "gatepair_peers 1.0",
        "gatepair_registry_generation 12.0",
        "gatepair_applied_generation 10.0",
        "gatepair_registry_lag 2.0",
        "gatepair_control_plane_age_seconds +Inf",
        "gatepair_clock_offset_seconds -0.002",
        "gatepair_clock_synchronised 1.0",
        'gatepair_slot_healthy{slot="0"} 1.0',
        'gatepair_slot_healthy{slot="1"} 0.0',
        'gatepair_key_generation{generation="7",slot="0"} 1.0',
        'gatepair_key_generation{generation="8",slot="1"} 0.0',
        'gatepair_key_refused{generation="7"} 0.0',
        'gatepair_key_refused{generation="8"} 1.0',
        'gatepair_key_age_seconds{generation="7"} 600.0',
        'gatepair_trouble{part="gossip with others"} 1.0',
        "gatepair_unreadable_items_total 0.0",
        "gatepair_takeover_wanted 1.0",
        "gatepair_takeover_working 1.0",
        "gatepair_held_peers 1.0",
        "gatepair_unsettled_peers 2.0",
        "gatepair_own_sessions 3.0",
        "gatepair_remote_sessions 4.0",
        "gatepair_takeovers_total 5.0",
        "gatepair_relinquished_total 6.0",
        'gatepair_takeover_reports_total{outcome="started"} 7.0',
        'gatepair_takeover_reports_total{outcome="unmatched"} 8.0',
        'gatepair_takeover_reports_total{outcome="stale"} 0.0',
        'gatepair_gossip_datagrams_total{outcome="heard"} 9.0',
        'gatepair_gossip_datagrams_total{outcome="sent"} 0.0',
        'gatepair_gossip_datagrams_total{outcome="forged"} 0.0',
        'gatepair_gossip_datagrams_total{outcome="unsent: No route to host"} 1.0',
    ],
)
def test_our_own_metrics_are_there(line: str) -> None:
    assert line in rendered(STATUS).splitlines()


def test_a_slot_of_a_stuck_agent_is_not_healthy_in_the_metrics_either() -> None:
    text = rendered(STATUS, monotonic=100.0 + STALLED_AFTER + 1)
    assert 'gatepair_slot_healthy{slot="0"} 0.0' in text


def test_a_key_without_a_date_has_no_age_and_one_of_a_slow_clock_is_new() -> None:
    assert 'gatepair_key_age_seconds{generation="8"}' not in rendered(STATUS)
    ahead = replace(STATUS, state=replace(STATUS.state, key_dates={7: 1001}))
    assert 'gatepair_key_age_seconds{generation="7"} 0.0' in rendered(ahead)


@pytest.mark.parametrize("on", [True, False])
def test_takeovers_are_wanted_unless_the_control_item_has_them_off(*, on: bool) -> None:
    state = replace(STATUS.state, control=replace(control(7, 8), takeover=on))
    assert f"gatepair_takeover_wanted {int(on)}.0" in rendered(replace(STATUS, state=state))


def test_flows_are_counted_where_the_kernel_keeps_track_of_them(tmp_path: Path) -> None:
    counts = KernelCounts(tmp_path, tmp_path)
    (tmp_path / "nf_conntrack_count").write_text("17\n")
    assert "conntrack" not in rendered(STATUS, counts=counts)
    (tmp_path / "nf_conntrack_max").write_text("65536\n")
    text = rendered(STATUS, counts=counts)
    assert "gatepair_conntrack_entries 17.0" in text
    assert "gatepair_conntrack_limit 65536.0" in text


def test_each_interface_that_is_there_has_its_own_counters(tmp_path: Path) -> None:
    (tmp_path / "wg1" / "statistics").mkdir(parents=True)
    (tmp_path / "wg1" / "statistics" / "rx_bytes").write_text("5\n")
    (tmp_path / "wg1" / "statistics" / "tx_bytes").write_text("7\n")
    text = rendered(STATUS, counts=KernelCounts(tmp_path, tmp_path))
    assert 'gatepair_interface_received_bytes_total{interface="wg1"} 5.0' in text
    assert 'gatepair_interface_sent_bytes_total{interface="wg1"} 7.0' in text
    assert 'interface="wg0"}' not in text


def logged(written: Counts | None) -> str:
    """The page at 101 s of a clock that goes on with each look, with such counts."""
    ticks = count(101)
    collector = metrics.StatusCollector(
        lambda: STATUS,
        monotonic=lambda: float(next(ticks)),
        counts=NOTHING,
        recorded=lambda: written and replace(written, at=written.at or float(next(ticks))),
    )
    return metrics.page(collector)().decode()


def test_counts_that_are_written_while_the_page_is_made_are_of_a_process_that_works() -> None:
    assert "gatepair_connection_log_working 1.0" in logged(Counts(at=0.0))


def test_a_process_that_has_been_silent_or_never_there_does_not_work() -> None:
    for gone in (Counts(at=50.0, recorded=9), None):
        assert "gatepair_connection_log_working 0.0" in logged(gone)


def test_what_the_connection_log_has_counted_is_told() -> None:
    text = logged(Counts(at=90.0, recorded=9, shipped=7, left_out={"queue": 3}, queue_bytes=640))
    assert "gatepair_connections_recorded_total 9.0" in text
    assert "gatepair_connections_shipped_total 7.0" in text
    assert 'gatepair_connections_left_out_total{why="queue"} 3.0' in text
    assert 'gatepair_connections_left_out_total{why="limit"} 0.0' in text
    assert "gatepair_connections_queue_bytes 640.0" in text


def test_without_the_peers_series_the_rest_is_the_same() -> None:
    every, few = (set(rendered(STATUS, peers=peers).splitlines()) for peers in (True, False))
    assert few < every
    assert all("wireguard_" in line for line in every - few)
    assert "PUB" not in rendered(STATUS, peers=False)


def test_the_second_page_is_the_one_without_the_peers_series() -> None:
    pages = metrics.pages(lambda: STATUS, lambda: {"heard": 9})
    assert b"wireguard_" in pages["/metrics"]()
    assert b"wireguard_" not in pages["/metrics/totals"]()
    for page in pages.values():
        assert b'outcome="heard"} 9.0' in page()


def test_a_key_that_cannot_be_had_at_the_moment_is_no_alarm() -> None:
    fault = KeyFault(8, "no answer", refused=False)
    status = replace(STATUS, state=replace(STATUS.state, key_faults={8: fault}))
    assert 'gatepair_key_refused{generation="8"} 0.0' in rendered(status)


def test_a_peer_is_online_for_three_minutes_after_its_handshake() -> None:
    assert metrics.online_peers(STATUS, now=1000 + 179) == 1
    assert metrics.online_peers(STATUS, now=1000 + 181) == 0


# ------------------------------------------------------------------ clock, settings

TRACKING = "A9FEA97B,169.254.169.123,4,1700000000.1,{},0.0,0.0,-1.2,0.0,0.1,0.001,0.002,16.2,{}\n"


@pytest.mark.parametrize(("offset", "so"), [("0.9", True), ("-1.1", False), ("59.8", False)])
def test_a_clock_that_has_jumped_is_not_synchronised_while_chrony_slews_it(
    offset: str, so: bool
) -> None:
    clock = chrony.parse_tracking(TRACKING.format(offset, "Normal"))
    assert clock.synchronised is so
    assert clock.offset == float(offset)
    assert clock.why == ("" if so else f"it is off by {abs(float(offset)):.1f} s")


def test_a_clock_that_follows_a_source_is_synchronised() -> None:
    clock = chrony.parse_tracking(TRACKING.format("-0.000012", "Normal"))
    assert clock == Clock(synchronised=True, offset=-0.000012)


@pytest.mark.parametrize(
    "text",
    [
        TRACKING.format("0.0", "Not synchronised"),
        TRACKING.replace(",4,", ",0,").format("0.0", "Normal"),
        TRACKING.format("much", "Normal"),
        "506 Cannot talk to daemon\n",
        "",
    ],
)
def test_any_other_answer_is_a_clock_that_is_not(text: str) -> None:
    clock = chrony.parse_tracking(text)
    assert not clock.synchronised
    assert clock.why


def test_settings_are_read_without_comments_and_without_those_nobody_insists_on() -> None:
    text = "# a = 1\n; b = 2\n-c.d = 3\n net.ipv4.ip_forward = 1\n\nnonsense\n"
    assert sysctl.parse(text) == {"net/ipv4/ip_forward": "1"}


def test_a_setting_that_the_kernel_does_not_have_is_not_observed(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "here").write_text("1\n")
    assert sysctl.observe({"net/here": "1", "net/gone": "1"}, tmp_path) == {"net/here": "1"}


def test_the_settings_we_ship_turn_forwarding_on_and_loosen_the_reverse_path() -> None:
    wanted = sysctl.parse((UNITS / "gatepair.sysctl.conf").read_text())
    assert wanted[sysctl.FORWARDING] == "1"
    assert wanted["net/ipv4/conf/all/rp_filter"] == "2"
    # NLB and EC2 remember a UDP flow for 120 s and more
    assert int(wanted["net/netfilter/nf_conntrack_udp_timeout_stream"]) >= 120


def test_the_clock_is_taken_from_the_instance_itself() -> None:
    assert "server 169.254.169.123 " in (UNITS / "gatepair.sources").read_text()


COUNTERS = """{"nftables": [{"metainfo": {}},
    {"counter": {"name": "forwarded", "packets": 7, "bytes": 9}},
    {"counter": {"name": "forward_loops", "packets": 1, "bytes": 9}},
    {"counter": {"name": "another", "packets": 3, "bytes": 9}}]}"""


def test_packets_to_other_gateways_are_counted_in_routed_mode() -> None:
    counts = KernelCounts(Path("/nonexistent"), Path("/nonexistent"), lambda: COUNTERS)
    routed = replace(
        STATUS,
        state=replace(STATUS.state, control=replace(control(7, 8), egress=ROUTED)),
        sessions=replace(STATUS.sessions, elsewhere={"KEY-alice": "i-2"}),
    )
    text = rendered(routed, counts=counts)
    assert "gatepair_forwarded_packets_total 7.0" in text
    assert "gatepair_forward_loop_drops_total 1.0" in text
    assert "gatepair_peers_elsewhere 1.0" in text
    assert "forward" not in rendered(STATUS, counts=counts)


def test_counters_that_cannot_be_read_are_none() -> None:
    for text in ("", "no such table"):
        assert KernelCounts(list_counters=lambda said=text: said).forwarded() == {}


def test_the_routes_of_a_routed_stack_are_told_and_of_another_there_are_none() -> None:
    view = RoutesView(held=("rtb-1", "rtb-2"), pointing=("rtb-1",), changes=3, faults=("no",))
    routed = replace(control(7), egress="routed", route_tables=("rtb-1", "rtb-2", "rtb-3"))
    state = replace(STATUS.state, control=routed, routes=view)
    text = rendered(replace(STATUS, state=state))
    for line in (
        "gatepair_route_tables 3.0",
        "gatepair_routes_held 2.0",
        "gatepair_route_faults 1.0",
        "gatepair_route_changes_total 3.0",
    ):
        assert line in text.splitlines()
    assert "gatepair_route_tables 0.0" in rendered(STATUS).splitlines()
