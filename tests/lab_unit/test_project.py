"""Configuration as the engine hands it to a program, and what is refused before that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from effects import Refusal
from lab import project

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = """
name: small
runtime: python
stackConfigDir: stacks
config:
  port: {type: integer, default: 51820}
  cidrs: {type: array, items: {type: string}, default: [0.0.0.0/0]}
  peerToPeer: {type: boolean, default: false}
  vpc: {type: object}
  amiId: {type: string}
  aws:region: {value: eu-west-1}
"""
STACK = """
config:
  small:vpc: {cidr: 10.0.0.0/16}
  amiId: ami-1
"""


def load(path: Path, stack: str = STACK) -> project.Project:
    (path / "stacks").mkdir()
    (path / "Pulumi.yaml").write_text(PROJECT)
    (path / "stacks" / "Pulumi.lab.yaml").write_text(stack)
    return project.load(path, "lab")


def test_values_and_defaults_are_text_and_everything_but_strings_is_json(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.config == {
        "small:port": "51820",
        "small:cidrs": '["0.0.0.0/0"]',
        "small:peerToPeer": "false",
        "small:vpc": '{"cidr":"10.0.0.0/16"}',
        "small:amiId": "ami-1",
        "aws:region": "eu-west-1",
    }
    assert loaded.region == "eu-west-1"


def test_another_stack_file_takes_the_place_of_the_usual_one(tmp_path: Path) -> None:
    load(tmp_path)
    other = tmp_path / "other.yaml"
    other.write_text(STACK + "  small:port: 0\n")
    assert project.load(tmp_path, "lab", other).config["small:port"] == "0"


@pytest.mark.parametrize(
    ("stack", "message"),
    [
        ("config: {vpc: {}}", "small:amiId: no value and no default; set it in Pulumi.lab.yaml"),
        (STACK + "  port: '1'\n", 'small:port in Pulumi.lab.yaml: "1": not of type integer'),
        (STACK + "  port: true\n", "small:port in Pulumi.lab.yaml: true: not of type integer"),
        (STACK + "  cidrs: a\n", 'small:cidrs in Pulumi.lab.yaml: "a": not of type array'),
        (STACK + "  key: {secure: xyz}\n", "small:key in Pulumi.lab.yaml: encrypted"),
        ("config: [", "not YAML"),
        ("- a", "not a mapping"),
    ],
)
def test_a_wrong_stack_file_is_refused(tmp_path: Path, stack: str, message: str) -> None:
    with pytest.raises(Refusal) as refusal:
        load(tmp_path, stack)
    assert message in str(refusal.value)


def test_a_stack_without_a_file_is_refused(tmp_path: Path) -> None:
    load(tmp_path)
    with pytest.raises(Refusal, match=r"Pulumi\.mine\.yaml: no such file"):
        project.load(tmp_path, "mine")
