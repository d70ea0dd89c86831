"""`scripts/ami`: one line of a stack file, and nothing else in it."""

from __future__ import annotations

import importlib.util
import shutil
from importlib.machinery import SourceFileLoader
from typing import TYPE_CHECKING, Any

import pytest

import plan

if TYPE_CHECKING:
    from pathlib import Path

AMI = "ami-0aaaabbbbccccdddd"


def script() -> Any:
    loader = SourceFileLoader("ami_script", str(plan.ROOT / "scripts" / "ami"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))  # ty: ignore[invalid-argument-type]
    loader.exec_module(module)
    return module


ami = script()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "stacks").mkdir()
    shutil.copy(plan.ROOT / "Pulumi.yaml", tmp_path)
    for name in plan.COMMITTED:
        shutil.copy(plan.ROOT / "stacks" / f"Pulumi.{name}.yaml", tmp_path / "stacks")
    return tmp_path


class Ask:
    """Stands for AWS, and remembers what it was asked."""

    def __init__(self, answer: str = AMI) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def __call__(self, region: str, machine: str) -> str:
        self.asked.append((region, machine))
        return self.answer


def lines(root: Path, stack: str) -> list[str]:
    return (root / "stacks" / f"Pulumi.{stack}.yaml").read_text().splitlines()


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_the_image_is_asked_for_once_and_only_its_line_changes(root: Path, stack: str) -> None:
    before, ask = lines(root, stack), Ask()
    assert ami.main([stack], root=root, ask=ask) == 0
    assert ask.asked == [("eu-west-1", "arm64")]
    after = lines(root, stack)
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [("  gatepair:amiId: ami-0123456789abcdef0", f"  gatepair:amiId: {AMI}")]


def test_the_image_is_of_the_instance_types_architecture(root: Path) -> None:
    path, ask = root / "stacks" / "Pulumi.dev.yaml", Ask()
    path.write_text(path.read_text() + "  gatepair:instanceType: c7i.large\n")
    assert ami.main(["dev"], root=root, ask=ask) == 0
    assert ask.asked == [("eu-west-1", "amd64")]


def test_a_dry_run_says_what_would_change_and_changes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = lines(root, "dev")
    assert ami.main(["dev", "--dry-run"], root=root, ask=Ask()) == 3
    assert lines(root, "dev") == before
    assert f"would pin Debian 13 arm64 in eu-west-1: {AMI}" in capsys.readouterr().out


def test_an_image_that_is_pinned_already_is_no_change(root: Path) -> None:
    assert ami.main(["dev"], root=root, ask=Ask()) == 0
    assert ami.main(["dev", "--dry-run"], root=root, ask=Ask()) == 0


@pytest.mark.parametrize(
    ("text", "pinned"),
    [
        ("config:\n  aws:region: x\n", "config:\n  gatepair:amiId: ami-1\n  aws:region: x\n"),
        ("config:\n  gatepair:amiId:\n  a:b: c\n", "config:\n  gatepair:amiId: ami-1\n  a:b: c\n"),
        ("config:\n  gatepair:amiId: ami-0 # why\n", "config:\n  gatepair:amiId: ami-1 # why\n"),
        ("config:\n  gatepair:amiId: 'ami-0' # why\n", "config:\n  gatepair:amiId: ami-1 # why\n"),
        ('config:\n  gatepair:amiId: "ami-0"\n', "config:\n  gatepair:amiId: ami-1\n"),
    ],
)
def test_comments_and_other_lines_stay(text: str, pinned: str) -> None:
    assert ami.pin(text, "ami-1") == pinned


@pytest.mark.parametrize(
    ("stack", "says"),
    [
        ("nope", "does not exist; the stacks are: dev, lab, prod"),
        ("lab", "it is the local cloud; name a stack that is deployed to AWS"),
    ],
)
def test_a_stack_without_an_image_to_pin_is_refused(
    root: Path, stack: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = Ask()
    assert ami.main([stack], root=root, ask=ask) == 2
    assert says in capsys.readouterr().err
    assert not ask.asked


def test_a_stack_without_a_region_is_refused(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "stacks" / "Pulumi.dev.yaml").write_text("config: {}\n")
    assert ami.main(["dev"], root=root, ask=Ask()) == 2
    assert "Pulumi.dev.yaml: aws:region: is missing" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["", "resolve:ssm", "ami-xyz"])
def test_an_answer_that_is_no_image_is_a_failure_and_changes_nothing(
    root: Path, answer: str
) -> None:
    before = lines(root, "dev")
    assert ami.main(["dev"], root=root, ask=Ask(answer)) == 1
    assert lines(root, "dev") == before


def test_wrong_usage_ends_with_2() -> None:
    with pytest.raises(SystemExit, match="2"):
        ami.main([])
