"""The lab's stack file with other values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from bench.ground import Ground
from bench.stack_file import STACK_FILE, StackFile, altered, touches, varied
from effects import Refusal
from lab import project, session

if TYPE_CHECKING:
    from pathlib import Path

CHANGES = {"created": ["a"], "updated": ["b"], "replaced": ["c"], "deleted": ["d"]}
NOTHING = {kind: [] for kind in CHANGES}


def test_only_the_named_values_change() -> None:
    text = STACK_FILE.read_text()
    before, after = yaml.safe_load(text), yaml.safe_load(altered(text, {"keyGenerations": [3, 4]}))
    assert after["config"].pop("gatepair:keyGenerations") == [3, 4]
    assert before["config"].pop("gatepair:keyGenerations") == [1]
    assert after == before


def test_a_value_that_the_file_does_not_have_is_added(tmp_path: Path) -> None:
    file = varied(tmp_path, {"takeover": False})
    loaded = project.load(STACK_FILE.parents[1], "lab", file)
    assert loaded.config["gatepair:takeover"] == "false"


def test_everything_that_a_deployment_does_touches() -> None:
    assert sorted(touches({**CHANGES, "unchanged": ["e"]})) == ["a", "b", "c", "d"]


class Lab:
    """Stands in for deploying: keeps what it was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, planned: dict[str, list[str]]) -> None:
        self.files: list[str] = []
        self.awaited = 0
        self._planned = planned
        monkeypatch.setattr(session, "deployed", self.deployed)
        monkeypatch.setattr(session, "await_healthy", self.await_healthy)
        monkeypatch.setattr("lab.rolling.await_replaced", lambda _: None)

    def deployed(self, file: Path, *, plan: bool = False) -> dict[str, list[str]]:
        self.files.append(yaml.safe_load(file.read_text())["config"]["gatepair:keyGenerations"])
        return self._planned if plan else CHANGES

    def await_healthy(self, *_: object) -> None:
        self.awaited += 1


class Standing(Ground):
    """A ground without a lab; `undone` is what is called at the end."""

    def __init__(self, directory: Path, *, ours: bool) -> None:
        self.directory, self.ours, self.say = directory, ours, lambda _: None
        self.undone = []

    def undo(self, call: object, *_: object) -> None:
        self.undone.append(call)


def test_the_way_back_is_what_the_lab_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lab, ground = Lab(monkeypatch, NOTHING), Standing(tmp_path, ours=False)
    file = StackFile(ground, {"keyGenerations": [7]})
    file.deploy({"keyGenerations": [7, 8]})
    (back,) = ground.undone
    back()
    assert lab.files == [[7], [7, 8], [7]]
    assert lab.awaited == 1


def test_without_a_deployment_there_is_no_way_back_to_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, ground = Lab(monkeypatch, NOTHING), Standing(tmp_path, ours=True)
    StackFile(ground, {"keyGenerations": [7]}).back()
    assert lab.files == []


def test_a_lab_that_was_deployed_from_another_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Lab(monkeypatch, {**NOTHING, "updated": ["urn:pulumi:lab::g::t::control"]})
    ground = Standing(tmp_path, ours=False)
    with pytest.raises(Refusal, match="control differ"):
        StackFile(ground, {"keyGenerations": [7]})
    assert ground.undone == [], "nothing was deployed"
