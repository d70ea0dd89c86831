"""`scripts/pipeline` as a workflow runs it; Pulumi, gh and git stand aside for a double."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from command import Run

import effects
import plan
from effects import Failed, Ran
from pipeline import command, github, previewing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EVENTS = Path(__file__).parent / "events"


class Programs:
    """Stands for the programs that are started, and remembers their arguments and input."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[str], str | None]] = []
        self.env: dict[str, str] = {}
        self.answers: dict[str, str] = {}
        """Beginning of a command -> what it prints."""
        self.events, self.status, self.stderr = "rotation", 0, ""

    def __call__(self, words: Sequence[str], **given: Any) -> Ran:
        self.calls.append((list(words), given.get("stdin")))
        if words[0] == "pulumi":
            self.env = given["env"]
            (log,) = [word.partition("=")[2] for word in words if word.startswith("--event-log=")]
            if self.events:
                shutil.copy(EVENTS / f"{self.events}.jsonl", log)
            return Ran(self.status, "the diff\n", self.stderr)
        line = " ".join(words)
        found = [said for start, said in self.answers.items() if line.startswith(start)]
        return Ran(0, found[0] if found else "", "")

    def told(self, start: str) -> list[str]:
        """The commands that begin so, as one line each."""
        lines = [" ".join(words) for words, _ in self.calls]
        return [line for line in lines if line.startswith(start)]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Programs:
    made = Programs()
    monkeypatch.setattr(effects, "run", made)
    monkeypatch.setattr(github, "run", made)
    for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)
    return made


@pytest.fixture
def pipeline(capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    return lambda *argv: Run(command.main, capfd, argv)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "report.md"
    path.write_text("### it is so\n")
    return path


# ------------------------------------------------------------------ preview


def test_a_preview_with_changes_ends_with_3_and_says_them(
    programs: Programs, pipeline: Callable[..., Run]
) -> None:
    run = pipeline("preview", "--stack", "prod")
    assert run.status == 3
    assert "the diff" in run.stdout
    assert "stack prod: 1 to update, 71 unchanged" in run.stdout
    assert "update peer-registry-control" in run.stdout
    (call,) = programs.told("pulumi")
    assert "preview --stack=prod" in call
    assert "--policy-pack=policy" in call
    assert "--refresh" not in call
    assert programs.env["PULUMI_DEBUG_COMMANDS"] == "true"
    assert "PATH" in programs.env


def test_a_refresh_is_asked_for_where_drift_is_looked_for(
    programs: Programs, pipeline: Callable[..., Run]
) -> None:
    pipeline("preview", "--stack", "prod", "--refresh")
    assert "--refresh" in programs.told("pulumi")[0]


def test_a_preview_says_the_same_as_json(programs: Programs, pipeline: Callable[..., Run]) -> None:
    programs.events = "losses"
    run = pipeline("preview", "--stack", "prod", "--json")
    assert run.status == 3
    assert [one["name"] for one in run.json["losses"]] == [
        "gateway-key-secret",
        "peer-registry-table",
    ]
    assert run.json["counts"] == {"create": 1, "delete": 1, "replace": 1, "update": 10}


@pytest.mark.parametrize(
    ("events", "says"), [("violations", "the policy forbids it"), ("refused", "it failed")]
)
def test_what_may_not_be_deployed_ends_with_1_and_is_reported(
    programs: Programs, pipeline: Callable[..., Run], tmp_path: Path, events: str, says: str
) -> None:
    programs.events, programs.status = events, 1
    report = tmp_path / "report.md"
    run = pipeline("preview", "--stack", "prod", "--report", report, "--step")
    assert run.status == 1
    assert says in run.stderr
    assert says in report.read_text()


@pytest.mark.parametrize("events", ["", "rotation"])
def test_an_engine_that_fails_on_its_own_is_a_failure_with_its_words(
    programs: Programs, pipeline: Callable[..., Run], events: str
) -> None:
    programs.events, programs.status, programs.stderr = events, 255, "no stack named 'prod'"
    run = pipeline("preview", "--stack", "prod")
    assert run.status == 1
    assert "exit status 255: no stack named 'prod'" in run.stderr


def test_what_is_not_what_was_approved_fails(
    programs: Programs, pipeline: Callable[..., Run]
) -> None:
    digest = pipeline("preview", "--stack", "prod", "--json").json["digest"]
    assert pipeline("preview", "--stack", "prod", "--expect", digest).status == 3
    programs.events = "losses"
    run = pipeline("preview", "--stack", "prod", "--expect", digest, "--step")
    assert run.status == 1
    assert "has changed since it was approved" in run.stderr
    assert digest in run.stderr


def test_a_step_tells_the_next_ones_and_ends_with_0(
    programs: Programs,
    pipeline: Callable[..., Run],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs.events = "losses"
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary"))
    run = pipeline("preview", "--stack", "prod", "--step")
    assert run.status == 0
    said = dict(line.split("=") for line in (tmp_path / "outputs").read_text().splitlines())
    assert said["changes"] == "true"
    assert len(said["digest"]) == 16
    assert "> [!CAUTION]" in (tmp_path / "summary").read_text()
    warnings = [line for line in run.stdout.splitlines() if line.startswith("::warning ")]
    assert len(warnings) == 2
    assert "delete gateway-key-secret" in warnings[0]


def test_no_changes_are_told_too(
    programs: Programs, pipeline: Callable[..., Run], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(
        previewing.changes,
        "read",
        lambda _: previewing.changes.Preview((), 72, (), (), (), complete=True),
    )
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    assert pipeline("preview", "--stack", "prod").status == 0
    run = pipeline("preview", "--stack", "prod", "--step")
    assert run.status == 0
    assert "changes=false" in (tmp_path / "outputs").read_text()
    assert programs.told("pulumi")


@pytest.mark.parametrize("stack", ["nope", "lab", "../x"])
def test_a_stack_that_is_not_deployed_is_refused_before_pulumi_is_asked(
    programs: Programs, pipeline: Callable[..., Run], stack: str
) -> None:
    assert pipeline("preview", "--stack", stack).status == 2
    assert not programs.calls


def test_the_target_is_lines_for_the_next_steps(pipeline: Callable[..., Run]) -> None:
    run = pipeline("target", "--stack", "dev", "--role", "deploy")
    assert run.status == 0
    assert "role=arn:aws:iam::111122223333:role/gatepair-dev-deploy\n" in run.stdout
    as_json = pipeline("target", "--stack", "dev", "--role", "deploy", "--json").json
    lines = dict(line.split("=", 1) for line in run.stdout.splitlines())
    assert as_json == {"stack": "dev", **lines}


# ------------------------------------------------------------------ comment


def known(*comments: tuple[int, str, str]) -> str:
    lines = [{"id": id_, "login": login, "body": body} for id_, login, body in comments]
    return "\n".join(json.dumps(line) for line in lines)


def test_a_first_comment_is_made(
    programs: Programs, pipeline: Callable[..., Run], text: Path
) -> None:
    run = pipeline("comment", "--pull-request", 12, "--name", "preview-prod", text)
    assert run.status == 0
    words, stdin = programs.calls[-1]
    assert words[:4] == ["gh", "api", "--method", "POST"]
    assert words[4] == "repos/{owner}/{repo}/issues/12/comments"
    assert json.loads(stdin or "") == {"body": "<!-- gatepair: preview-prod -->\n### it is so\n"}


def test_a_later_comment_takes_the_place_of_the_bots_own_of_that_name(
    programs: Programs, pipeline: Callable[..., Run], text: Path
) -> None:
    mark = "<!-- gatepair: preview-prod -->"
    programs.answers["gh api --paginate"] = known(
        (1, "mallory", f"{mark}\nmine"),
        (2, github.BOT, "<!-- gatepair: preview-dev -->\nother stack"),
        (3, github.BOT, f"about {mark}"),
        (4, github.BOT, f"{mark}\nold"),
    )
    pipeline("comment", "--pull-request", 12, "--name", "preview-prod", text)
    (sent,) = programs.told("gh api --method")
    assert sent.startswith("gh api --method PATCH repos/{owner}/{repo}/issues/comments/4 ")


@pytest.mark.parametrize("content", [None, " \n"])
def test_a_comment_without_a_text_is_refused(
    programs: Programs, pipeline: Callable[..., Run], tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "none.md"
    if content is not None:
        path.write_text(content)
    assert pipeline("comment", "--pull-request", 1, "--name", "x", path).status == 2
    assert not programs.calls


def test_a_pull_request_has_a_number(pipeline: Callable[..., Run], text: Path) -> None:
    for wrong in ("0", "-1", "x", ""):
        assert pipeline("comment", f"--pull-request={wrong}", "--name", "x", text).status == 2


# ------------------------------------------------------------------ issue


@pytest.mark.parametrize(
    ("there", "does"),
    [
        ([], "gh issue create --title Drift in stack prod --body-file -"),
        (
            [{"number": 7, "title": "Drift in stack prod"}],
            "gh api --method PATCH repos/{owner}/{repo}/issues/7 --input -",
        ),
        (
            [{"number": 8, "title": "Drift in stack prod, again"}],
            "gh issue create --title Drift in stack prod --body-file -",
        ),
    ],
)
def test_an_issue_is_opened_once_and_brought_up_to_date(
    programs: Programs, pipeline: Callable[..., Run], text: Path, there: list[Any], does: str
) -> None:
    programs.answers["gh issue list"] = json.dumps(there)
    assert pipeline("issue", "--title", "Drift in stack prod", text).status == 0
    words, stdin = programs.calls[-1]
    assert " ".join(words) == does
    assert stdin == "### it is so\n" or json.loads(stdin or "") == {"body": "### it is so\n"}


@pytest.mark.parametrize(
    ("there", "closed"), [([], 0), ([{"number": 7, "title": "Drift in stack prod"}], 1)]
)
def test_an_issue_is_closed_when_it_is_open(
    programs: Programs, pipeline: Callable[..., Run], there: list[Any], closed: int
) -> None:
    programs.answers["gh issue list"] = json.dumps(there)
    assert pipeline("issue", "--title", "Drift in stack prod", "--close").status == 0
    assert len(programs.told("gh issue close 7")) == closed
    assert len(programs.calls) == 1 + closed


def test_an_issue_has_a_text_or_is_closed(pipeline: Callable[..., Run], text: Path) -> None:
    assert pipeline("issue", "--title", "x").status == 2
    assert pipeline("issue", "--title", "x", "--close", text).status == 2


# ------------------------------------------------------------------ propose


def propose(pipeline: Callable[..., Run], text: Path, *more: str) -> Run:
    return pipeline("propose", "--branch", "b", "--title", "do it", "--body", text, *more, "stacks")


def test_nothing_changed_is_no_pull_request(
    programs: Programs, pipeline: Callable[..., Run], tmp_path: Path
) -> None:
    run = propose(pipeline, tmp_path / "not written")
    assert run.status == 0
    assert programs.told("git") == ["git status --porcelain -- stacks"]
    assert not programs.told("gh")


@pytest.mark.parametrize(
    ("there", "does"),
    [
        ([], "gh pr create --head b --base main --title do it --body-file -"),
        ([{"number": 5}], "gh api --method PATCH repos/{owner}/{repo}/pulls/5 --input -"),
    ],
)
def test_what_has_changed_becomes_one_pull_request(
    programs: Programs, pipeline: Callable[..., Run], text: Path, there: list[Any], does: str
) -> None:
    programs.answers["git status"] = " M stacks/Pulumi.prod.yaml\n"
    programs.answers["gh pr list"] = json.dumps(there)
    assert propose(pipeline, text).status == 0
    assert programs.told("git switch") == ["git switch --quiet --force-create b"]
    assert programs.told("git add") == ["git add -- stacks"]
    words, stdin = programs.calls[-1]
    assert " ".join(words) == does
    sent = {"title": "do it", "body": "### it is so\n"}
    assert stdin == "### it is so\n" or json.loads(stdin or "") == sent


def test_a_plan_of_a_pull_request_changes_nothing(
    programs: Programs, pipeline: Callable[..., Run], text: Path
) -> None:
    programs.answers["git status"] = " M stacks/Pulumi.prod.yaml\n"
    run = propose(pipeline, text, "--plan")
    assert run.status == 3
    assert "stacks/Pulumi.prod.yaml" in run.stdout
    assert len(programs.calls) == 1


def test_no_token_is_in_an_argument(
    programs: Programs, pipeline: Callable[..., Run], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GH_TOKEN", "not-for-eyes")
    programs.answers["git status"] = " M x\n"
    programs.answers["gh pr list"] = "[]"
    propose(pipeline, text)
    assert programs.told("git -c credential.helper= -c credential.helper=!gh")
    assert not [words for words, _ in programs.calls if "not-for-eyes" in " ".join(words)]


def test_a_program_that_fails_is_told_in_one_line(
    pipeline: Callable[..., Run],
    text: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(words: Sequence[str], **_: Any) -> Ran:
        raise Failed(words, 4, "gh: log in first")

    monkeypatch.setattr(github, "run", fail)
    run = pipeline("issue", "--title", "x", text)
    assert run.status == 1
    assert run.stderr.count("\n") == 1
    assert "gh: log in first" in run.stderr


def test_help_says_what_exit_statuses_mean(pipeline: Callable[..., Run]) -> None:
    for argv in ([], ["preview"], ["comment"], ["issue"], ["propose"], ["target"]):
        run = pipeline(*argv, "--help")
        assert run.status == 0
        assert "exit status" in run.stdout


def test_the_scripts_are_there_and_may_be_run() -> None:
    for name in ("pipeline", "rotate"):
        assert (plan.ROOT / "scripts" / name).stat().st_mode & 0o111
