"""Bringing the code onto a fresh machine: never another hash, always again."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from gateway import install

SOURCE = Path(install.__file__).parent / "cloud-init" / "bootstrap.py"
SPEC = importlib.util.spec_from_file_location("gatepair_bootstrap", SOURCE)
assert SPEC is not None
assert SPEC.loader is not None
bootstrap: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bootstrap)


def archive(name: str = "gateway/x.py", text: bytes = b"x = 1\n") -> tuple[bytes, str]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    data = out.getvalue()
    return data, hashlib.sha256(data).hexdigest()


def test_an_artifact_is_unpacked_under_its_hash_and_made_current(tmp_path: Path) -> None:
    data, sha256 = archive()
    bootstrap.unpack(data, sha256, tmp_path)
    bootstrap.make_current(sha256, tmp_path)
    assert (tmp_path / "current" / "gateway" / "x.py").read_text() == "x = 1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([sha256, "current"])


def test_another_hash_is_never_unpacked(tmp_path: Path) -> None:
    data, sha256 = archive()
    with pytest.raises(ValueError, match="not run"):
        bootstrap.unpack(data + b"\0", sha256, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_crash_left_half_unpacked_is_not_in_the_way(tmp_path: Path) -> None:
    data, sha256 = archive()
    left = tmp_path / f".{sha256}.new" / "gateway"
    left.mkdir(parents=True)
    (left / "old.py").write_text("")
    bootstrap.unpack(data, sha256, tmp_path)
    assert not (tmp_path / sha256 / "gateway" / "old.py").exists()


def test_a_file_outside_of_its_directory_is_refused(tmp_path: Path) -> None:
    data, sha256 = archive("../outside")
    with pytest.raises(tarfile.TarError):
        bootstrap.unpack(data, sha256, tmp_path / "home")
    assert not (tmp_path / "outside").exists()
    assert not (tmp_path / "home" / sha256).exists()


def test_another_version_becomes_current_in_one_step(tmp_path: Path) -> None:
    for text in (b"1", b"2"):
        data, sha256 = archive(text=text)
        bootstrap.unpack(data, sha256, tmp_path)
        bootstrap.make_current(sha256, tmp_path)
        assert (tmp_path / "current").readlink() == Path(sha256)


def test_a_step_is_tried_until_it_works_slower_and_slower(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pauses: list[float] = []
    answers = [OSError("no route")] * 7 + [None]

    def step() -> str:
        error = answers.pop(0)
        if error:
            raise error
        return "done"

    assert bootstrap.retried("artifact", step, pauses.append) == "done"
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert "artifact: no route" in capsys.readouterr().err


def test_units_and_settings_are_put_in_place_once(tmp_path: Path) -> None:
    written = install.put_in_place(tmp_path)
    assert sorted(written) == sorted(place.source for place in install.PLACES)
    assert (tmp_path / "etc/systemd/system/gatepair-agent.service").is_file()
    assert (tmp_path / "etc/chrony/sources.d/gatepair.sources").is_file()
    assert install.put_in_place(tmp_path) == []


def test_every_file_of_units_has_a_place() -> None:
    shipped = {path.name for path in install.UNITS.iterdir()}
    assert shipped == {place.source for place in install.PLACES}


def test_a_fetch_that_fails_is_said_after_one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five tries of botocore's, of five seconds each, would be half a minute without a word."""
    given: dict[str, Any] = {}

    class Boto3:
        @staticmethod
        def client(_service: str, *, config: Any, **_: Any) -> Any:
            given["config"] = config
            raise ConnectionError("nobody answers")

    modules = {"boto3": Boto3}
    known = bootstrap.importlib.import_module
    monkeypatch.setattr(
        bootstrap.importlib, "import_module", lambda name: modules.get(name) or known(name)
    )
    with pytest.raises(ConnectionError):
        bootstrap.fetch("eu-west-1", "bucket", "key")
    assert given["config"].retries == {"total_max_attempts": 1}
    assert given["config"].connect_timeout == 5
