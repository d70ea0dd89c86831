"""scripts/rotate as an operator or a workflow runs it: stack files change, or nothing does."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from command import Run
from fake_registry import SERVER_KEY, TABLE, key_of
from fake_rotation import people, tell, wanted
from iam_judge import permitted
from permissions import ACCOUNT, REGION, Recorder

import plan
from commands import gateways
from pipeline import generations, policies, rotate
from pipeline.targets import Role, Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fake_fleet import FakeFleet
    from fake_registry import Fake

    from registry.environment import Cloud

BOTH = {1: SERVER_KEY, 2: key_of(1_000_001)}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with the committed stack files."""
    shutil.copytree(plan.ROOT / "stacks", tmp_path / "stacks")
    monkeypatch.setattr(rotate, "ROOT", tmp_path)
    return tmp_path


@pytest.fixture
def run(root: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del root
    return lambda *argv: Run(rotate.main, capfd, argv)


@pytest.fixture
def overlap(fake: Fake, fleet: FakeFleet, root: Path) -> FakeFleet:
    """Generations 1 and 2, in the file and deployed, both served by both gateways."""
    wanted(fake, 1, 2)
    write(root, "[1, 2]")
    fake.registry.publish_server_key(2, BOTH[2], "i-1")
    for name in fleet.ids:
        fleet.says(name, keys=BOTH)
        tell(fleet, name)
    return fleet


def text(root: Path, stack: str = "dev") -> str:
    return (root / "stacks" / f"Pulumi.{stack}.yaml").read_text()


def served(root: Path, stack: str = "dev") -> tuple[int, ...]:
    return generations.served(text(root, stack), stack)


def write(root: Path, value: str) -> None:
    path = root / "stacks" / "Pulumi.dev.yaml"
    path.write_text(path.read_text().replace("keyGenerations: [1]", f"keyGenerations: {value}"))


@pytest.mark.parametrize("role", [Role.WATCH, Role.DEPLOY])
def test_what_workflows_ask_of_the_gateways_their_roles_may_ask(
    run: Callable[..., Run],
    overlap: FakeFleet,
    cloud: Cloud,
    role: Role,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """`rotate end` of the role that watches, and `gateways wait` of the one that deploys."""
    documents = policies.role_policies(Target("dev", ACCOUNT, REGION), role).values()
    with Recorder(cloud, ("dynamodb", "ssm", "sts", "autoscaling", "ec2", "elbv2")).listening() as (
        asked
    ):
        if role is Role.WATCH:
            assert run("end", "--plan", "dev").status == 3
        else:
            Run(gateways.main, capfd, ("--stack", "dev", "wait", "--timeout", "0.1"))
    assert {one.action for one in asked} >= {"ssm:GetParameter", "dynamodb:BatchGetItem"}
    for one in asked:
        # the table, as Pulumi names it
        resource = one.resource.replace(f"table/{TABLE}", "table/peer-registry-table-1a2b3c4")
        here = {**one.context, "aws:RequestedRegion": (REGION,)}
        assert permitted(documents, replace(one, resource=resource, context=here)), one
    del overlap


# ------------------------------------------------------------------ begin


def test_a_rotation_begins_in_each_stacks_file(run: Callable[..., Run], root: Path) -> None:
    checklist = root / "checklist.md"
    done = run("begin", "--checklist", checklist, "dev", "prod")
    assert done.status == 0
    assert served(root) == served(root, "prod") == (1, 2)
    assert served(root, "lab") == (1,)
    assert "Pulumi.prod.yaml: gatepair:keyGenerations is now [1, 2], was [1]" in done.stdout
    said = checklist.read_text()
    assert "| prod | `[1]` | `[1, 2]` |" in said
    assert "scripts/keys --stack dev status" in said
    assert "peer-registry-control" in said


def test_a_plan_writes_no_stack_file(run: Callable[..., Run], root: Path) -> None:
    before = text(root)
    done = run("begin", "--plan", "dev")
    assert done.status == 3
    assert "would become [1, 2]" in done.stdout
    assert text(root) == before
    assert run("begin", "--plan", "--json", "dev").json == {
        "written": False,
        "stacks": {"dev": {"before": [1], "after": [1, 2]}},
    }


def test_a_rotation_that_is_under_way_does_not_hold_up_the_others(
    run: Callable[..., Run], root: Path
) -> None:
    write(root, "[1, 2]")
    done = run("begin", "dev", "prod")
    assert done.status == 0
    assert "stack dev: a rotation is under way" in done.stderr
    assert served(root) == (1, 2)
    assert served(root, "prod") == (1, 2)
    assert run("begin", "--plan", "dev", "prod").status == 0


def test_one_wrong_stack_and_none_is_changed(run: Callable[..., Run], root: Path) -> None:
    done = run("begin", "dev", "nope", "lab", "../x")
    assert done.status == 2
    assert done.stderr.count("\n") == 3
    assert served(root) == (1,)


# ------------------------------------------------------------------ end


def test_an_overlap_ends_once_nobody_uses_the_old_key(
    run: Callable[..., Run], root: Path, overlap: FakeFleet
) -> None:
    people(overlap.fake, "alice", "bob")
    tell(overlap, overlap.ids[0], alice=(2, 60))
    done = run("end", "--checklist", root / "checklist.md", "dev")
    assert (done.status, done.stderr) == (0, "")
    assert served(root) == (2,)
    said = (root / "checklist.md").read_text()
    assert "1 peers used generation 2" in said
    assert "1 had not been seen" in said
    assert "| dev | `[1, 2]` | `[2]` |" in said


def test_who_still_uses_the_old_key_holds_it_up(
    run: Callable[..., Run], root: Path, overlap: FakeFleet
) -> None:
    people(overlap.fake, "alice")
    tell(overlap, overlap.ids[0], alice=(1, 3600))
    before = text(root)
    for more in ((), ("--plan",)):
        done = run("end", *more, "dev")
        assert done.status == 1
        assert "not yet: alice used server key 1" in done.stderr
        assert text(root) == before
    assert run("end", "--days", "0.01", "--plan", "dev").status == 3


def test_a_gateway_that_has_said_nothing_holds_it_up(
    run: Callable[..., Run], root: Path, overlap: FakeFleet
) -> None:
    tell(overlap, overlap.ids[1], age=3600)
    done = run("end", "dev")
    assert done.status == 1
    assert f"not yet: {overlap.ids[1]}" in done.stderr
    assert served(root) == (1, 2)


def test_a_file_that_is_not_deployed_is_refused(
    run: Callable[..., Run], root: Path, overlap: FakeFleet
) -> None:
    wanted(overlap.fake, 1)
    done = run("end", "dev")
    assert done.status == 2
    assert "its file says [1, 2], but [1] is deployed" in done.stderr
    assert served(root) == (1, 2)


def test_without_an_overlap_there_is_nothing_to_end_and_aws_is_not_asked(
    run: Callable[..., Run], root: Path
) -> None:
    done = run("end", "dev")
    assert done.status == 0
    assert "nothing is to be ended" in done.stderr
    assert served(root) == (1,)
