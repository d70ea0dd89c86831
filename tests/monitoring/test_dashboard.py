"""The Grafana dashboard: it can be imported anywhere, and shows what gateways say."""

from __future__ import annotations

import re
from copy import deepcopy
from functools import reduce
from itertools import combinations
from typing import TYPE_CHECKING, Any

import grafana
import jsonschema
import pytest
import yaml
from exposition import TARGET, document, labels_of, unmet
from promql import read
from promtool import promtool

if TYPE_CHECKING:
    from pathlib import Path

    from exposition import Series

BOARD = document("dashboard.json")
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24
GRAFANA_VARIABLES = {"$__rate_interval": "5m", "$stack": "prod", "$instance": "a"}


def filled(expression: str) -> str:
    """As Grafana would send it."""
    for name, value in GRAFANA_VARIABLES.items():
        expression = expression.replace(name, value)
    assert "$" not in expression, "a variable that nobody fills in"
    return expression


def queries() -> list[tuple[str, str]]:
    """Panel title and PromQL, and those of the annotations."""
    found = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
    return found + [
        (note["name"], note["expr"]) for note in BOARD["annotations"]["list"] if "expr" in note
    ]


def test_it_is_one_that_grafana_imports_under_the_same_address_again() -> None:
    assert (BOARD["uid"], BOARD["title"]) == ("gatepair", "gatepair")
    assert BOARD["schemaVersion"] >= 38
    assert "id" not in BOARD, "Grafana's own number for it, another one everywhere"
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])


def judged(panel: dict[str, Any]) -> None:
    """Raises `jsonschema.ValidationError`."""
    jsonschema.validate(panel, grafana.PANELS[panel["type"]])


def test_grafana_knows_each_of_its_fields() -> None:
    jsonschema.validate(BOARD, grafana.DASHBOARD)


@pytest.mark.parametrize("panel", BOARD["panels"], ids=lambda panel: f"{panel['id']}")
def test_grafana_knows_each_field_of_a_panel(panel: dict[str, Any]) -> None:
    judged(panel)


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("fieldConfig.defaults.custom.drawStyle", "lines"),
        ("fieldConfig.defaults.custom.colour", "red"),
        ("fieldConfig.defaults.thresholds.steps", []),
        ("fieldConfig.defaults.min", "0"),
        ("options.legend.placement", "top"),
        ("options.legends", {}),
        ("gridPos.w", 25),
        ("targets", []),
        ("type", "stat"),
        ("type", "graph"),
    ],
)
def test_what_grafana_would_ignore_or_refuse_is_an_error(path: str, wrong: Any) -> None:
    panel = deepcopy(next(one for one in PANELS if one["type"] == "timeseries"))
    judged(panel)
    *parents, last = path.split(".")
    reduce(lambda place, name: place[name], parents, panel)[last] = wrong
    with pytest.raises((jsonschema.ValidationError, KeyError)):
        judged(panel)


def test_a_field_that_grafana_no_longer_has_is_an_error() -> None:
    with pytest.raises(jsonschema.ValidationError, match="'style' was unexpected"):
        jsonschema.validate({**BOARD, "style": "dark"}, grafana.DASHBOARD)


def test_the_data_source_is_chosen_by_whoever_imports_it() -> None:
    first = BOARD["templating"]["list"][0]
    assert (first["name"], first["type"], first["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    asked = [BOARD["templating"]["list"][1:], PANELS, *(panel["targets"] for panel in PANELS)]
    assert [
        one["datasource"] for some in asked for one in some if one["datasource"] != SOURCE
    ] == []


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    records = [
        {"record": f"panel:number_{number}", "expr": filled(expression)}
        for number, (_title, expression) in enumerate(queries())
    ]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}))
    answer = promtool("check", "rules", path)
    assert answer.good, answer.text
    assert f"{len(queries())} rules found" in answer.text


@pytest.mark.parametrize(("title", "expression"), queries())
def test_every_query_reads_what_gateways_say(title: str, expression: str, emitted: Series) -> None:
    reading = read(filled(expression))
    assert reading.metrics, title
    assert unmet(reading, emitted, {}) == []
    for metric in reading.metrics:
        limits = [one.label for one in reading.matchers if one.metric == metric]
        assert "stack" in limits, f"{metric} of all stacks"


def test_every_legend_names_labels_that_its_series_have(emitted: Series) -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            reading = read(filled(target["expr"]))
            summed = re.search(r"\b(sum|max|min|count)\b", target["expr"])
            there = (
                reading.grouping
                if summed
                else frozenset.union(*(labels_of(name, emitted, {}) for name in reading.metrics))
            )
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert named <= there, panel["title"]


def test_its_variables_ask_for_metrics_that_are_there(emitted: Series) -> None:
    asked = [one["query"]["query"] for one in BOARD["templating"]["list"][1:]]
    assert [one["name"] for one in BOARD["templating"]["list"]] == [
        "datasource",
        "stack",
        "instance",
    ]
    for query in asked:
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", query)
        assert found
        assert unmet(read(filled(found[1])), emitted, {}) == []
        assert found[2] in TARGET


@pytest.mark.parametrize(
    "metric",
    [
        "gatepair_interface_received_bytes_total",
        "gatepair_interface_sent_bytes_total",
        "wireguard_received_bytes_total",
        "gatepair_online_peers",
        "gatepair_takeovers_total",
        "gatepair_registry_lag",
        "gatepair_key_generation",
        "gatepair_key_age_seconds",
        "gatepair_control_plane_age_seconds",
        "gatepair_clock_offset_seconds",
        "gatepair_slot_healthy",
        "gatepair_faults",
        "gatepair_connection_log_working",
        "gatepair_connections_left_out_total",
        "gatepair_connections_queue_bytes",
        "gatepair_forward_loop_drops_total",
        "gatepair_routes_held",
    ],
)
def test_what_matters_has_a_panel(metric: str) -> None:
    assert any(metric in read(filled(expression)).metrics for _title, expression in queries())


def test_panels_say_what_they_show_and_do_not_cover_each_other() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"].get("unit") or panel["type"] == "state-timeline"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for one, other in combinations(BOARD["panels"], 2):
        assert not cover(one["gridPos"], other["gridPos"]), (one["title"], other["title"])
    assert all(0 <= at["x"] <= COLUMNS - at["w"] for at in (p["gridPos"] for p in BOARD["panels"]))


def cover(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two places overlap."""
    return (
        one["x"] < other["x"] + other["w"]
        and other["x"] < one["x"] + one["w"]
        and one["y"] < other["y"] + other["h"]
        and other["y"] < one["y"] + one["h"]
    )
