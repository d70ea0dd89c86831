"""A real Prometheus reads gateways' pages, evaluates every rule and answers every panel."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from exposition import ROOT, document, kernel, recorded_at, rules, status
from lab_driver import eventually
from prometheus_server import Prometheus, prometheus

from gateway import metrics, web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from gateway.status import Status

EVERY, RATE = "2s", "30s"
"""Between two scrapes, and as Grafana's `$__rate_interval`."""

LIMIT = 60.0
"""Seconds that a busy machine may take for a few scrapes."""

PANELS = [panel for panel in document("dashboard.json")["panels"] if panel["type"] != "row"]


def just_now() -> Status:
    """A gateway's status that never gets old."""
    return replace(status(), at=time.monotonic())


def pages(directory: Path) -> dict[str, Callable[[], bytes]]:
    """What one gateway answers."""
    counts = kernel(directory)
    return {
        path: metrics.page(
            metrics.StatusCollector(
                just_now,
                counts=counts,
                recorded=lambda: recorded_at(time.monotonic()),
                peers=peers,
            )
        )
        for path, peers in (("/metrics", True), ("/metrics/totals", False))
    }


@pytest.fixture(scope="module")
def scraping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped two gateways a few times, one of them without its peers."""
    place = tmp_path_factory.mktemp("prometheus")
    gateways = [web.metrics_server(0, pages(place)).start() for _ in range(2)]
    paths = ("/metrics", "/metrics/totals")
    targets = [
        {
            "targets": [f"127.0.0.1:{gateway.server_port}"],
            "labels": {"stack": "prod", "__metrics_path__": path},
        }
        for gateway, path in zip(gateways, paths, strict=True)
    ]
    configuration = {
        "global": {"scrape_interval": EVERY, "scrape_timeout": EVERY, "evaluation_interval": EVERY},
        "rule_files": [str(ROOT / "monitoring" / "alerts.yml")],
        "scrape_configs": [{"job_name": "gatepair", "static_configs": targets}],
    }
    try:
        with prometheus(configuration, place) as server:
            eventually("all was scraped and evaluated twice", lambda: seen(server), within=LIMIT)
            yield server
    finally:
        for gateway in gateways:
            gateway.stop()


def evaluated(server: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in server.ask("rules")["groups"] for rule in group["rules"]]


def seen(server: Prometheus) -> bool:
    twice = server.ask("query", query="count_over_time(gatepair_peers[1m]) >= 3")["result"]
    return len(twice) == 2 and all(rule["health"] != "unknown" for rule in evaluated(server))


def test_both_pages_are_scraped_without_an_error(scraping: Prometheus) -> None:
    def scraped() -> list[dict[str, Any]]:
        found = scraping.ask("targets")["activeTargets"]
        well = [(one["health"], one["lastError"]) for one in found] == [("up", "")] * 2
        return found if well else []

    targets = eventually("both are up", scraped, within=20)
    many, few = (
        {
            one["metric"]["__name__"]
            for one in scraping.ask(
                "query", query=f'{{instance="{target["labels"]["instance"]}"}}'
            )["result"]
        }
        for target in sorted(targets, key=lambda one: len(one["scrapeUrl"]))
    )
    assert {name for name in many - few if not name.startswith("ALERTS")} == {
        "wireguard_sent_bytes_total",
        "wireguard_received_bytes_total",
        "wireguard_latest_handshake_seconds",
    }


def test_every_rule_is_evaluated_without_an_error(scraping: Prometheus) -> None:
    found = evaluated(scraping)
    assert len(found) == len(rules())
    assert [(rule["name"], rule.get("lastError")) for rule in found if rule["health"] != "ok"] == []


def test_what_is_wrong_with_these_gateways_and_nothing_else_is_on_its_way(
    scraping: Prometheus,
) -> None:
    """The second key is refused, the other gateways are silent, the registry has never answered."""
    expected = {
        "GatepairControlPlaneSilent",
        "GatepairFaults",
        "GatepairGossipSilent",
        "GatepairKeyOld",
        "GatepairKeyRefused",
        "GatepairRegistryStale",
        "GatepairSlotLost",
        "GatepairSlotUnhealthy",
    }

    def so() -> bool:
        found = evaluated(scraping)
        return {rule["name"] for rule in found if rule.get("state", "inactive") != "inactive"} == (
            expected
        )

    # awaited: a busy machine may miss a scrape, which is an alert on its way of its own
    eventually(f"{sorted(expected)}, and no other", so, within=20)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_panel_has_something_to_show(scraping: Prometheus, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        query = (
            target["expr"]
            .replace("$__rate_interval", RATE)
            .replace("$stack", "prod")
            .replace("$instance", ".*")
        )
        assert scraping.ask("query", query=query)["result"], query
