"""Workflows: what runs with an identity in the cloud is pinned, and may no more than it must."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOWS = sorted((Path(__file__).parents[2] / ".github/workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
LINE = re.compile(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", re.MULTILINE)


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def workflow(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - all values are text


def test_every_action_is_pinned_by_commit_and_says_its_version(path: Path, workflow: Any) -> None:
    used = [
        step["uses"] for job in workflow["jobs"].values() for step in job["steps"] if "uses" in step
    ]
    assert used
    assert all(PINNED.fullmatch(action) for action in used)
    assert len(LINE.findall(path.read_text())) == len(used)


def test_no_job_has_more_than_it_names_nor_runs_without_end(workflow: Any) -> None:
    assert workflow["permissions"] == {} or workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job
        for step in job["steps"]:
            assert "${{" not in step.get("run", ""), "a value in a script is code"
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] == "false"


def test_peers_are_planned_by_pull_requests_of_our_own_and_applied_from_main_alone() -> None:
    (path,) = [path for path in WORKFLOWS if path.name == "peers.yml"]
    jobs = yaml.safe_load(path.read_text())["jobs"]
    assert "head.repo.full_name == github.repository" in jobs["plan"]["if"]
    assert "refs/heads/main" in jobs["apply"]["if"]
    assert jobs["apply"]["environment"] == "peers"
    assert jobs["apply"]["concurrency"]["cancel-in-progress"] is False
    assert "pull-requests" not in jobs["apply"]["permissions"]
