"""The HTTP API's code as one file: complete, the same bytes from the same sources."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from typing import TYPE_CHECKING

import pytest

from components import api_artifact

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    for name in (*api_artifact.PARTS, "client/keys.py", "commands/peers.py"):
        path = root / (name if name.endswith(".py") else f"{name}/code.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
        path.chmod(0o644)
    return root


def members(data: bytes) -> list[zipfile.ZipInfo]:
    return zipfile.ZipFile(io.BytesIO(data)).infolist()


def test_it_holds_what_the_function_runs_in_order_and_nothing_of_its_maker(
    repository: Path,
) -> None:
    found = members(api_artifact.build(repository).data)
    assert [member.filename for member in found] == [
        "api/code.py",
        "client/__init__.py",
        "client/config.py",
        "client/describe.py",
        "effects.py",
        "registry/code.py",
    ]
    for member in found:
        assert member.date_time == (1980, 1, 1, 0, 0, 0)
        assert member.external_attr >> 16 == 0o100644
        assert member.compress_type == zipfile.ZIP_STORED
        assert member.create_system == 3


def test_time_umask_and_leftovers_do_not_change_it(repository: Path) -> None:
    before = api_artifact.build(repository)
    os.utime(repository / "effects.py", (1, 1))
    (repository / "api/code.py").chmod(0o600)
    for leftover in ("api/__pycache__/code.pyc", "registry/.items.py.swp"):
        path = repository / leftover
        path.parent.mkdir(exist_ok=True)
        path.write_text("leftover")
    assert api_artifact.build(repository) == before


def test_other_code_has_another_name(repository: Path) -> None:
    before = api_artifact.build(repository)
    (repository / "registry/code.py").write_text("# other\n")
    after = api_artifact.build(repository)
    assert after.key == f"http-api-{hashlib.sha256(after.data).hexdigest()}.zip"
    assert after.key != before.key
