"""Workflows: what runs with an identity in the cloud is pinned, and may no more than it must.

Every line that they run is a command of this checkout that takes these very arguments.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from commands import gateways, keys, peers
from pipeline import command as pipeline
from pipeline import rotate
from pipeline.targets import Role

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
ACTIONS = sorted((ROOT / ".github/actions").glob("*/action.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")
OURS = re.compile(r"\./\.github/(actions/[a-z-]+|workflows/[a-z-]+\.yml)")
LINE = re.compile(r"uses: \S+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", re.MULTILINE)

ASSIGNED = re.compile(r"^[A-Za-z_]+=\S*\s+(?=\S)")
SCRIPTS = {
    "scripts/gateways": gateways.parse,
    "scripts/keys": keys.parse,
    "scripts/peers": peers.parse,
    "scripts/pipeline": pipeline.parse,
    "scripts/rotate": rotate.parse,
}
VALUES = {"NUMBER": "7", "ROLE": "watch", "STACK": "prod"}
"""What a variable may hold, where any text would not do."""
PROGRAMS = {"gh pr", "make", "pulumi up", "scripts/install", "sudo env"}
"""What else is run: `make` and `scripts/install` are looked into, the rest is the runner's."""
MAY = {
    "check": {"check": set(), "lab": set()},
    "preview": {"preview": {"id-token", "pull-requests"}},
    "deploy": {"deploy": {"id-token"}},
    "deploy-stack": {"look": {"id-token"}, "up": {"id-token"}},
    "drift": {"drift": {"id-token", "issues"}},
    "rotate": {
        "begin": {"contents", "pull-requests"},
        "end": {"contents", "id-token", "pull-requests"},
    },
    "peers": {"plan": {"id-token", "pull-requests"}, "apply": {"id-token"}},
}
"""What each job may write. All of them may read the repository."""


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - all values are text


def named(name: str) -> Any:
    return load(ROOT / ".github/workflows" / f"{name}.yml")


def steps_of(document: Any) -> list[Any]:
    if "runs" in document:
        return document["runs"]["steps"]
    return [step for job in document["jobs"].values() for step in job.get("steps", [])]


def commands_of(text: str) -> Iterator[list[str]]:
    """The commands of a step, as words, with a value for each variable."""
    for line in text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s*(?:\|\||&&|;(?!;)|>>?|2>&1)\s*", ASSIGNED.sub("", line.strip())):
            filled = re.sub(
                r"\$\{?([A-Z_a-z]+)(?:\[@\])?\}?", lambda found: VALUES.get(found[1], "x"), part
            )
            if part.startswith(("scripts/", "make", "pulumi ", "gh ", "sudo ", ".ci/")):
                yield shlex.split(filled)


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.name)
def path(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(params=[*WORKFLOWS, *ACTIONS], ids=lambda path: path.parent.name + path.stem)
def document(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def workflow(path: Path) -> Any:
    return load(path)


def test_every_action_is_pinned_by_commit_and_says_its_version(document: Path) -> None:
    content = load(document)
    used = [step["uses"] for step in steps_of(content) if "uses" in step]
    used += [job["uses"] for job in content.get("jobs", {}).values() if "uses" in job]
    assert used
    others = [action for action in used if not OURS.fullmatch(action)]
    assert all(PINNED.fullmatch(action) for action in others)
    assert len(LINE.findall(document.read_text())) == len(others)
    for own in set(used) - set(others):
        assert (ROOT / own).is_file() or (ROOT / own / "action.yml").is_file()


def test_an_action_has_one_version_in_all_of_them() -> None:
    found: dict[str, set[str]] = {}
    for document in (*WORKFLOWS, *ACTIONS):
        for step in steps_of(load(document)):
            name, _, version = step.get("uses", "").partition("@")
            if version:
                found.setdefault(name, set()).add(version)
    assert found
    assert {name: versions for name, versions in found.items() if len(versions) > 1} == {}


def test_every_step_that_runs_something_runs_what_is_here(document: Path) -> None:
    """Each script takes its arguments; each target of make is there; the rest is known."""
    for step in steps_of(load(document)):
        found = list(commands_of(step.get("run", "")))
        if "run" in step and "exit " not in step["run"]:
            assert found, f"nothing is recognized in {step['run']!r}"
        for words in found:
            if parse := SCRIPTS.get(words[0]):
                assert (ROOT / words[0]).stat().st_mode & 0o111
                assert parse(words[1:]).function
            else:
                assert words[0] in PROGRAMS or " ".join(words[:2]) in PROGRAMS, words
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
            for word in words:
                if word.startswith((".ci/", "scripts/")):
                    assert (ROOT / word).stat().st_mode & 0o111


def test_a_line_with_a_wrong_argument_would_be_noticed() -> None:
    (words,) = commands_of('scripts/pipeline preview --stack "$STACK" --repot x >>"$Y"')
    with pytest.raises(SystemExit):
        SCRIPTS[words[0]](words[1:])


def test_no_job_has_more_than_it_names_nor_runs_without_end(path: Path, workflow: Any) -> None:
    assert workflow["permissions"] == {}
    written = {
        name: {what for what, how in job["permissions"].items() if how == "write"}
        for name, job in workflow["jobs"].items()
    }
    assert written == MAY[path.stem]
    for job in workflow["jobs"].values():
        assert "contents" in job["permissions"]
        assert "uses" in job or "timeout-minutes" in job


def test_no_value_is_put_into_a_script_and_no_token_stays_on_disk(document: Path) -> None:
    for step in steps_of(load(document)):
        assert "${{" not in step.get("run", ""), "a value in a script is code"
        if "checkout" in step.get("uses", ""):
            assert step["with"]["persist-credentials"] == "false"


def test_no_workflow_runs_a_strangers_code_with_our_rights(path: Path, workflow: Any) -> None:
    events = workflow["on"]
    assert "pull_request_target" not in events
    assert "workflow_run" not in events
    assert "secrets." not in path.read_text(), "there is no secret to have"
    for job in workflow["jobs"].values():
        identity = "id-token" in job["permissions"] or "write" in job["permissions"].values()
        if "pull_request" in events and identity and "refs/heads/main" not in job["if"]:
            assert "head.repo.full_name == github.repository" in job["if"]


def test_jobs_of_one_kind_do_not_run_side_by_side(workflow: Any) -> None:
    for job in workflow["jobs"].values():
        if "pulumi up" in str(job) or "write" in str(job["permissions"].get("contents")):
            assert job["concurrency"]["cancel-in-progress"] == "false"


def test_what_changes_aws_runs_on_main_alone() -> None:
    for name in ("deploy", "drift", "rotate"):
        for job in named(name)["jobs"].values():
            assert "github.ref == 'refs/heads/main'" in job["if"]


def test_no_workflow_is_on_before_the_repository_names_its_stacks() -> None:
    for name in ("preview", "deploy", "drift", "rotate"):
        for job in named(name)["jobs"].values():
            assert "vars.GATEPAIR_STACKS != ''" in job["if"]


def test_each_job_takes_the_role_that_is_meant_for_it() -> None:
    roles = {
        (path.stem, name): step["with"]["role"]
        for path in WORKFLOWS
        for name, job in load(path)["jobs"].items()
        for step in job.get("steps", [])
        if step.get("uses") == "./.github/actions/stack"
    }
    assert roles == {
        ("preview", "preview"): Role.PREVIEW,
        ("drift", "drift"): Role.WATCH,
        ("rotate", "end"): Role.WATCH,
        ("deploy-stack", "look"): Role.WATCH,
        ("deploy-stack", "up"): Role.DEPLOY,
    }


def test_a_deployment_looks_then_asks_then_does_what_was_approved_then_waits() -> None:
    assert named("deploy")["jobs"]["deploy"]["uses"] == "./.github/workflows/deploy-stack.yml"
    jobs = named("deploy-stack")["jobs"]
    assert "environment" not in jobs["look"]
    up = jobs["up"]
    assert up["needs"] == "look"
    assert up["if"] == "needs.look.outputs.changes == 'true'"
    assert up["environment"] == "${{ inputs.stack }}"
    runs = [step["run"] for step in up["steps"] if "run" in step]
    assert [run.split()[0:2] for run in runs] == [
        ["scripts/pipeline", "preview"],
        ["pulumi", "up"],
        ["scripts/gateways", "--stack"],
    ]
    assert '--expect "$DIGEST"' in runs[0]
    assert "--policy-pack policy" in runs[1]
    assert " wait " in runs[2]


def test_a_quarters_rotation_begins_four_times_a_year_and_ends_weeks_later() -> None:
    text = (ROOT / ".github/workflows/rotate.yml").read_text()
    jobs = named("rotate")["jobs"]
    for when, job in zip(named("rotate")["on"]["schedule"], ("begin", "end"), strict=True):
        assert f"github.event.schedule == '{when['cron']}'" in jobs[job]["if"]
    assert text.count("2,5,8,11") == 4


def test_peers_are_planned_by_pull_requests_of_our_own_and_applied_from_main_alone() -> None:
    jobs = named("peers")["jobs"]
    assert "head.repo.full_name == github.repository" in jobs["plan"]["if"]
    assert "refs/heads/main" in jobs["apply"]["if"]
    assert jobs["apply"]["environment"] == "peers"
    assert jobs["apply"]["concurrency"]["cancel-in-progress"] == "false"
    assert "pull-requests" not in jobs["apply"]["permissions"]
