"""docs/monitoring.md: its configuration works as it stands, and its table is that of the rules."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest
import yaml
from exposition import ROOT, rules
from promtool import promtool

from gateway.metrics import pages
from gateway.status import Status
from settings import METRICS_PORT

if TYPE_CHECKING:
    from pathlib import Path

DOCS = ROOT / "docs"
PAGE = (DOCS / "monitoring.md").read_text()
BLOCKS = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def scraping() -> str:
    (found,) = (block for block in BLOCKS if block.startswith("# prometheus.yml\n"))
    return found


def test_prometheus_takes_the_configuration_with_the_rules_beside_it(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(scraping())
    shutil.copy(ROOT / "monitoring" / "alerts.yml", tmp_path)
    answer = promtool("check", "config", tmp_path / "prometheus.yml")
    assert answer.good, answer.text
    assert f"{len(rules())} rules found" in answer.text


def test_it_gives_targets_the_names_that_the_rules_ask_for() -> None:
    (job,) = yaml.safe_load(scraping())["scrape_configs"]
    assert job["job_name"] == "gatepair"
    given = {one["target_label"] for one in job["relabel_configs"]}
    assert {"stack", "instance"} <= given
    assert [one["port"] for one in job["ec2_sd_configs"]] == [METRICS_PORT]


def test_the_page_names_the_paths_that_gateways_answer() -> None:
    named = set(re.findall(r"`(?:GET )?(/metrics[a-z/]*)`", PAGE))
    assert named == set(pages(Status))


def test_every_alert_is_in_the_table_with_its_severity() -> None:
    said = dict(re.findall(r"^\| `(Gatepair\w+)` \| (\w+) \|", PAGE, re.MULTILINE))
    there = {rule["alert"]: rule["labels"]["severity"] for rule in rules() if "alert" in rule}
    assert said == there


@pytest.mark.parametrize(
    "page", [DOCS / "monitoring.md", *(DOCS / "runbooks").glob("*.md")], ids=lambda page: page.stem
)
def test_every_link_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []
