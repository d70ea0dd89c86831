"""The metrics pages as Prometheus reads them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from exposition import ROOT, exposition, series
from promtool import promtool

if TYPE_CHECKING:
    from pathlib import Path

    from exposition import Series

THEIRS = (
    "wireguard_sent_bytes_total",
    "wireguard_received_bytes_total",
    "wireguard_latest_handshake_seconds",
)
"""https://github.com/MindFlavor/prometheus_wireguard_exporter: dashboards for it work here."""


@pytest.mark.parametrize("peers", [True, False])
def test_prometheus_has_nothing_to_say_against_a_page(tmp_path: Path, *, peers: bool) -> None:
    answer = promtool("check", "metrics", stdin=exposition(tmp_path, peers=peers))
    assert (answer.good, answer.text) == (True, "")


def test_promtool_does_say_something_against_a_metric_without_help() -> None:
    answer = promtool("check", "metrics", stdin="# TYPE things counter\nthings 1\n")
    assert not answer.good
    assert "help" in answer.text


def test_peers_have_the_names_and_labels_of_the_common_exporter(emitted: Series) -> None:
    for name in THEIRS:
        assert [set(labels) for labels in emitted[name]] == [
            {"interface", "public_key", "allowed_ips", "friendly_name"}
        ] * 2


def test_only_those_series_grow_with_the_number_of_peers(tmp_path: Path) -> None:
    everything, totals = (series(exposition(tmp_path, peers=peers)) for peers in (True, False))
    assert everything.keys() - totals.keys() == set(THEIRS)
    assert all(everything[name] == labels for name, labels in totals.items())


def test_each_metric_is_explained_in_the_docs(emitted: Series) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert [name for name in emitted if f"`{name}" not in page] == []
