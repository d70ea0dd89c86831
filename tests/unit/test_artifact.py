"""The gateways' code as one file: the same bytes from the same sources."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from typing import TYPE_CHECKING

import pytest

import plan
from components import artifact

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for name in ("effects.py", "gateway/agent.py", "gateway/units/a.service", "registry/items.py"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
        path.chmod(0o644)
    return root


def members(made: artifact.Artifact) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(made.data), mode="r:") as archive:
        return archive.getmembers()


def test_it_holds_what_a_gateway_runs_in_order_and_nothing_of_its_maker(repository: Path) -> None:
    found = members(artifact.build(repository))
    assert [member.name for member in found] == [
        "effects.py",
        "gateway/agent.py",
        "gateway/units/a.service",
        "registry/items.py",
    ]
    for member in found:
        assert (member.mtime, member.uid, member.gid, member.uname) == (0, 0, 0, "")
        assert member.mode == 0o644


def test_time_umask_and_leftovers_do_not_change_it(repository: Path) -> None:
    before = artifact.build(repository)
    os.utime(repository / "effects.py", (1, 1))
    (repository / "registry/items.py").chmod(0o600)
    for leftover in ("gateway/__pycache__/agent.pyc", "registry/.items.py.swp", "lab/x.py"):
        path = repository / leftover
        path.parent.mkdir(exist_ok=True)
        path.write_text("leftover")
    assert artifact.build(repository) == before


def test_other_code_has_another_name(repository: Path) -> None:
    before = artifact.build(repository)
    (repository / "gateway/agent.py").write_text("# other\n")
    after = artifact.build(repository)
    assert before.key != after.key
    assert after.sha256 == hashlib.sha256(after.data).hexdigest()


def test_a_program_stays_one(repository: Path) -> None:
    (repository / "gateway/agent.py").chmod(0o755)
    modes = {member.name: member.mode for member in members(artifact.build(repository))}
    assert modes["gateway/agent.py"] == 0o755


def test_it_is_written_once_by_its_hash(repository: Path) -> None:
    made = artifact.build(repository)
    path = artifact.write(made, repository)
    assert path == repository / ".build" / f"gateway-{made.sha256}.tar"
    assert path.read_bytes() == made.data
    before = path.stat()
    assert artifact.write(made, repository).stat().st_mtime_ns == before.st_mtime_ns


def test_the_committed_code_is_in_it_and_pulumi_is_not() -> None:
    made = artifact.build(plan.ROOT)
    names = [member.name for member in members(made)]
    assert {"effects.py", "registry/items.py", "gateway/__main__.py"} <= set(names)
    assert not [name for name in names if name.startswith(("components", "lab", "settings"))]
    assert len(made.data) < 1_000_000
