"""From samples to figures: the names of the design, and what each of them counts."""

from __future__ import annotations

from typing import Any

import pytest

from bench import revocation, scale
from bench.reads import Call, Sizes
from bench.tunnels import reply_source
from gateway.registry_watch import FULL_EVERY


def cut(seconds: float, *, peers: int = 10, command: float = 9.0, confirmed: bool = True) -> Any:
    return {
        "kind": "revocation",
        "peers": peers,
        "seconds": seconds,
        "command": command,
        "confirmed": confirmed,
    }


def expiry(seconds: float, *, cloud: bool) -> Any:
    return {"kind": "expiry", "peers": 10, "cloud": cloud, "seconds": seconds}


EXPIRIES = [expiry(0.1, cloud=True), expiry(0.4, cloud=False), expiry(0.3, cloud=False)]


def test_few_and_many_peers_are_kept_apart() -> None:
    samples = [*(cut(n / 100) for n in range(100)), *(cut(n, peers=500) for n in range(100))]
    figures = revocation.figures_of([*samples, *EXPIRIES], 500)
    assert (figures["p50_10"], figures["p99_10"], figures["max_10"]) == (0.49, 0.98, 0.99)
    assert (figures["p50_10000"], figures["p99_10000"]) == (49, 98)


def test_a_p99_of_fewer_than_a_hundred_samples_is_left_out() -> None:
    figures = revocation.figures_of([cut(1), cut(2, peers=500), *EXPIRIES], 500)
    assert "p99_10" not in figures
    assert figures["max_10"] == 1


def test_what_was_not_confirmed_and_what_passed_after_it_was_are_counted() -> None:
    few = [cut(1, command=2), cut(3, command=2), cut(3, command=2, confirmed=False)]
    figures = revocation.figures_of([*few, cut(1, peers=500), *EXPIRIES], 500)
    assert figures["unconfirmed_10"] == 1
    assert figures["passed_after_confirmation_10"] == 1
    assert figures["unconfirmed_10000"] == 0


def test_the_latest_expiry_is_of_both_with_and_without_the_cloud() -> None:
    figures = revocation.figures_of([cut(1), cut(1, peers=500), *EXPIRIES], 500)
    assert figures["expiry_late_max"] == 0.4
    assert figures["expiry_late_max_cloud_there"] == 0.1
    assert figures["expiry_late_max_cloud_stopped"] == 0.4


def test_the_slower_gateway_counts() -> None:
    found = revocation.Cut("p", "i-1", 0.5, "i-2", 0.7)
    assert found.seconds == 0.7
    assert found.as_json()["seconds"] == 0.7


def test_scale_says_the_worst_that_was_seen() -> None:
    idle = {"rss_peak_mb": 90, "kind": "idle"}
    samples = [
        {"kind": "boot", "seconds": 3},
        {"kind": "boot", "seconds": 4},
        *({"kind": "add", "seconds": n, "command": n / 2} for n in (1, 2, 3)),
        {**idle, "rss_mb": 70, "cpu_percent": 0.5, "read_units_per_second": 3},
        {**idle, "rss_mb": 80, "cpu_percent": 0.4, "read_units_per_second": 2},
        {**idle, "kind": "left", "rss_mb": 99, "cpu_percent": 1.5, "read_units_per_second": 9},
    ]
    figures = scale.figures_of(samples)
    wanted = {
        "boot_to_applied": 4,
        "add_to_usable": 3,
        "agent_rss_mb": 80,
        "agent_idle_cpu_percent": 0.5,
        "agent_clients_left_cpu_percent": 1.5,
        "idle_read_units_per_second": 3,
    }
    assert {name: figures[name] for name in wanted} == wanted


def query(partition: str) -> Call:
    values = {":pk": {"S": partition}}
    return Call("Query", {"ExpressionAttributeValues": values, "ConsistentRead": True})


def test_full_readings_are_spread_over_their_interval() -> None:
    rows = [{"pk": {"S": "peer"}, "sk": {"S": str(n)}, "x": {"S": "y" * 4080}} for n in range(60)]
    sizes = Sizes.of(rows)
    head = Call("GetItem", {"Key": {"pk": {"S": "g"}, "sk": {"S": "g"}}, "ConsistentRead": True})
    quiet = [head] * 20 + [query("peer")]
    found = scale.reading_of(quiet, [[query("peer")], [query("peer")] * 3], sizes, 10)
    (once, thrice) = found["full_reading_read_units"]
    assert thrice == 3 * once
    assert found["steady_read_units_per_second"] == 2, "a full reading is not counted twice"
    assert found["read_units_per_second"] == pytest.approx(2 + 2 * once / FULL_EVERY)
    assert found["calls"] == {"GetItem": 20}


STAT = "431 (python3 (x) y) S 1 431 431 0 -1 4194560 900 5 0 0 250 50 30 20 20 0 9 0 77 0 0\n"
STATUS = "Name:\tpython3\nVmHWM:\t  102400 kB\nVmRSS:\t   51200 kB\n"


def test_usage_is_read_whatever_the_process_is_called() -> None:
    found = scale.parse_usage(STAT + STATUS, 100)
    assert (found.own, found.children, found.cpu) == (3.0, 0.5, 3.5)
    assert (found.rss, found.rss_peak) == (50.0, 100.0)


def test_the_target_of_a_flow_is_the_source_of_its_replies() -> None:
    line = (
        "udp      17 29 src=198.51.100.10 dst=203.0.113.4 sport=20000 dport=51820 [UNREPLIED] "
        "src=10.20.0.141 dst=198.51.100.10 sport=51820 dport=20000 mark=0 use=1"
    )
    assert str(reply_source(line)) == "10.20.0.141"
    assert reply_source("") is None
