"""`scripts/pipeline propose` with git itself, something to push to, and a double of gh."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
from command import Run

from effects import run
from pipeline import command

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GH = """\
#!/bin/sh
printf '%s\\n' "$*" >>"$GH_LOG"
case "$1 $2" in "pr list") cat "$GH_PULLS" ;; "pr create") cat >>"$GH_LOG" ;; esac
"""


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with one stack file, which has been edited."""
    for name, value in {
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_SYSTEM": "/dev/null",
        "GH_LOG": str(tmp_path / "gh.log"),
        "GH_PULLS": str(tmp_path / "pulls.json"),
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "gh").write_text(GH)
    (tmp_path / "bin" / "gh").chmod(0o755)
    (tmp_path / "pulls.json").write_text("[]")
    origin, here = tmp_path / "origin.git", tmp_path / "clone"
    run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(origin)])
    run(["git", "clone", "--quiet", str(origin), str(here)])
    (here / "stacks").mkdir()
    (here / "stacks" / "Pulumi.prod.yaml").write_text("config: {}\n")
    run(["git", "switch", "--quiet", "--force-create", "main"], cwd=here)
    run(["git", "add", "stacks"], cwd=here)
    author = ("-c", "user.name=x", "-c", "user.email=x@example.com")
    run(["git", *author, "commit", "--quiet", "--message", "first"], cwd=here)
    run(["git", "push", "--quiet", "origin", "main"], cwd=here)
    (here / "stacks" / "Pulumi.prod.yaml").write_text("config: {changed: 1}\n")
    (here / "report.md").write_text("what to do\n")
    monkeypatch.setattr(command, "ROOT", here)
    return here


@pytest.fixture
def propose(clone: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    words = ("propose", "--branch", "rotate-begin", "--title", "Rotate: it's time")
    return lambda *more: Run(
        command.main, capfd, (*words, "--body", clone / "report.md", *more, "stacks")
    )


def on_origin(clone: Path, *words: str) -> str:
    return run(["git", *words], cwd=clone.parent / "origin.git").stdout.strip()


def test_the_branch_has_one_commit_with_the_change_and_nothing_else(
    clone: Path, propose: Callable[..., Run]
) -> None:
    assert propose().status == 0
    assert on_origin(clone, "rev-list", "--count", "main..rotate-begin") == "1"
    changed = on_origin(clone, "diff", "--name-only", "main", "rotate-begin")
    assert changed == "stacks/Pulumi.prod.yaml"
    said = on_origin(clone, "log", "-1", "--format=%s|%an", "rotate-begin")
    assert said == "Rotate: it's time|github-actions[bot]"
    told = (clone.parent / "gh.log").read_text()
    assert "pr create --head rotate-begin --base main --title Rotate: it's time" in told
    assert told.endswith("what to do\n")
    assert on_origin(clone, "log", "-1", "--format=%s", "main") == "first"


def test_a_later_run_puts_the_branch_in_another_place_and_keeps_its_pull_request(
    clone: Path, propose: Callable[..., Run]
) -> None:
    propose()
    (clone.parent / "pulls.json").write_text(json.dumps([{"number": 3}]))
    run(["git", "switch", "--quiet", "main"], cwd=clone)
    (clone / "stacks" / "Pulumi.prod.yaml").write_text("config: {changed: 2}\n")
    assert propose().status == 0
    assert on_origin(clone, "rev-list", "--count", "main..rotate-begin") == "1"
    assert "changed: 2" in on_origin(clone, "show", "rotate-begin:stacks/Pulumi.prod.yaml")
    assert (
        "api --method PATCH repos/{owner}/{repo}/pulls/3" in (clone.parent / "gh.log").read_text()
    )


def test_a_plan_pushes_nothing(clone: Path, propose: Callable[..., Run]) -> None:
    assert propose("--plan").status == 3
    assert on_origin(clone, "branch", "--list", "rotate-begin") == ""
    assert not (clone.parent / "gh.log").exists()


def test_a_push_that_is_refused_opens_no_pull_request(
    clone: Path, propose: Callable[..., Run]
) -> None:
    hook = clone.parent / "origin.git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\necho not here >&2\nexit 1\n")
    hook.chmod(0o755)
    failed = propose()
    assert failed.status == 1
    assert "not here" in failed.stderr
    assert not (clone.parent / "gh.log").exists()
