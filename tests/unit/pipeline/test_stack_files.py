"""Stack files: one value changes, and nothing else in them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

import plan
from effects import Refusal
from pipeline import generations, stack_files, targets
from registry.refusals import RefusedInput

if TYPE_CHECKING:
    from pathlib import Path

KEY = generations.KEY


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_next_generation_is_one_line_of_a_committed_file(stack: str) -> None:
    text = (plan.ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text()
    edit = generations.begun(text, "file")
    assert (edit.before, edit.after) == ((1,), (1, 2))
    pairs = zip(text.splitlines(), edit.text.splitlines(), strict=True)
    changed = [(old, new) for old, new in pairs if old != new]
    assert changed == [(f"  {KEY}: [1]", f"  {KEY}: [1, 2]")]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[7, 8]", "[8]"),
        ("[7,8] # since August", "[8] # since August"),
        ("[8, 7]", "[7]"),
        ("[\n    7,\n    8,\n  ]", "[8]"),
        ("\n    - 7 # old\n    - 8", "[8]"),
        ("\n  - 7\n  - 8", "[8]"),
    ],
)
def test_an_overlap_ends_with_the_last_one_that_is_listed(before: str, after: str) -> None:
    around = "# top\nconfig:\n  aws:region: x # where\n  {}\n  # end\n  gatepair:protect: true\n"
    sep = "" if before.startswith("\n") else " "
    edit = generations.ended(around.format(f"{KEY}:{sep}{before}"), "file")
    assert edit.text == around.format(f"{KEY}: {after}")


def test_a_rotation_that_is_under_way_is_not_begun_again() -> None:
    text = f"config:\n  {KEY}: [7, 8]\n"
    edit = generations.begun(text, "file")
    assert not edit.changes
    assert edit.text == text


def test_there_is_nothing_to_end_where_one_generation_is_served() -> None:
    assert not generations.ended(f"config:\n  {KEY}: [8]\n", "file").changes


@pytest.mark.parametrize("value", ["[]", "[0]", "[true]", "[1, 3]", "[1, 2, 3]", "7", "", "['1']"])
def test_generations_that_no_stack_may_have_are_refused(value: str) -> None:
    with pytest.raises(Refusal, match=r"file: gatepair:keyGenerations: .* is not one positive"):
        generations.begun(f"config:\n  {KEY}: {value}\n", "file")


@pytest.mark.parametrize(
    "text",
    [
        f"config:\n  '{KEY}': [7]\n",
        "config: {'" + KEY + "': [7]}\n",
    ],
)
def test_what_cannot_be_edited_by_line_is_left_to_a_person(text: str) -> None:
    with pytest.raises(Refusal, match=r"write \[7, 8\] there by hand|no config: block"):
        generations.begun(text, "file")


@pytest.mark.parametrize(
    ("text", "why"), [("config: [", "is no YAML"), ("config: 3\n", "is no block of keys")]
)
def test_a_file_that_is_no_stack_file_is_refused(text: str, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        stack_files.config(text, "file")


# ------------------------------------------------------------------ where a stack is deployed to


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "stacks").mkdir()
    for name in ("dev", "prod", "lab"):
        shutil.copy(plan.ROOT / "stacks" / f"Pulumi.{name}.yaml", tmp_path / "stacks")
    shutil.copy(plan.ROOT / "requirements.lock", tmp_path)
    return tmp_path


def test_all_that_a_workflow_needs_follows_from_the_stack_file(root: Path) -> None:
    target = targets.of("prod", root)
    lines = dict(line.split("=", 1) for line in targets.settings(target, targets.Role.WATCH, root))
    assert lines.pop("pulumi").count(".") == 2
    assert lines == {
        "role": "arn:aws:iam::444455556666:role/gatepair-prod-watch",
        "region": "eu-west-1",
        "account": "444455556666",
        "backend": "s3://gatepair-state-444455556666-eu-west-1?region=eu-west-1",
    }
    assert target.secrets_provider == (
        "awskms://alias/gatepair-state?region=eu-west-1&context_stack=prod"
    )


def test_the_engine_is_of_the_locked_version(root: Path) -> None:
    (root / "requirements.lock").write_text("pulumi-aws==7.1.0 \\\npulumi==3.9.8 \\\n")
    assert targets.engine(root) == "3.9.8"


def test_a_stack_that_no_pipeline_can_deploy_is_refused_with_all_that_is_wrong(root: Path) -> None:
    path = root / "stacks" / "Pulumi.dev.yaml"
    path.write_text('config:\n  aws:region: europe\n  gatepair:accountIds: ["1", "2"]\n')
    with pytest.raises(RefusedInput) as refused:
        targets.of("dev", root)
    assert [fault.what for fault in refused.value.faults] == [
        "Pulumi.dev.yaml: gatepair:accountIds",
        "Pulumi.dev.yaml: aws:region",
    ]


def test_the_local_cloud_is_deployed_by_no_pipeline(root: Path) -> None:
    with pytest.raises(Refusal, match="it is the local cloud"):
        targets.of("lab", root)
