"""A real Prometheus beside the private host reads both gateways, once the stack lets it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from lab_driver import ROOT, UP_LIMIT, eventually
from prometheus_server import Prometheus, prometheus
from promtool import promtool

from bench.stack_file import varied
from lab import host, netns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from lab_driver import LabDriver

WITHIN = 30.0
"""Seconds for a few scrapes."""

OF_THE_KERNEL = ("gatepair_interface_received_bytes_total", "gatepair_conntrack_entries")
"""Read from places that a machine has and a test's process has not."""

pytestmark = pytest.mark.timeout(200)


@pytest.fixture
def let_in(lab: LabDriver, tmp_path: Path) -> Iterator[None]:
    """The gateways' metrics are open to the private host's subnet; at the end they are not."""
    file = varied(tmp_path, {"monitoringCidrs": ["10.20.32.0/24"]})
    lab.lab("up", "--stack-file", str(file), timeout=UP_LIMIT)
    yield
    lab.lab("up", timeout=UP_LIMIT)


def addresses(lab: LabDriver) -> list[str]:
    return [gateway["address"] for gateway in lab.status()["gateways"]]


def configuration(targets: list[str]) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(ROOT / "monitoring" / "alerts.yml")],
        "scrape_configs": [
            {
                "job_name": "gatepair",
                "static_configs": [{"targets": targets, "labels": {"stack": "lab"}}],
            }
        ],
    }


def values(server: Prometheus, query: str) -> list[float]:
    found = server.ask("query", query=query)["result"]
    return [float(one["value"][1]) for one in found]


def reached(server: Prometheus) -> list[str]:
    """Health of each target, once each was tried."""
    found = server.ask("targets", state="active")["activeTargets"]
    return [one["health"] for one in found if one["health"] != "unknown"]


@pytest.mark.parametrize("path", ["/metrics", "/metrics/totals"])
def test_what_a_gateway_serves_is_as_prometheus_wants_it(lab: LabDriver, path: str) -> None:
    for gateway in lab.both_healthy():
        page = lab.page(gateway, path)
        assert all(f"\n{name}" in page for name in OF_THE_KERNEL), page
        answer = promtool("check", "metrics", stdin=page)
        assert (answer.good, answer.text) == (True, "")


def test_a_prometheus_in_the_vpc_reads_nothing_that_the_stack_does_not_open(
    lab: LabDriver, tmp_path: Path
) -> None:
    targets = [f"{address}:9586" for address in addresses(lab)]
    with (
        netns.inside(host.NAMESPACE),
        prometheus(configuration(targets), tmp_path) as server,
    ):
        found = eventually("both were tried", lambda: reached(server)[1:], within=WITHIN)
        assert found == ["down"]


@pytest.mark.usefixtures("let_in")
def test_a_prometheus_in_the_vpc_reads_both_gateways_and_has_nothing_to_report(
    lab: LabDriver, tmp_path: Path
) -> None:
    lab.both_healthy()
    targets = [f"{address}:9586" for address in addresses(lab)]
    with (
        netns.inside(host.NAMESPACE),
        prometheus(configuration(targets), tmp_path) as server,
    ):
        eventually("both are read", lambda: values(server, "up") == [1, 1], within=WITHIN)
        for name in OF_THE_KERNEL:
            assert len(values(server, f"count by (instance) ({name})")) == 2, name
        eventually(
            "a peer's traffic is counted",
            lambda: any(values(server, "wireguard_received_bytes_total")),
            within=WITHIN,
        )
        firing = {
            one["labels"]["alertname"]
            for one in server.ask("alerts")["alerts"]
            if one["state"] == "firing"
        }
        assert firing == set(), "two gateways that serve"
