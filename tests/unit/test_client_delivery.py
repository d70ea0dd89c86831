"""A file with a key in it: whole or not there, nobody else's to read, never over another one."""

from __future__ import annotations

import os
import signal
import stat
from typing import TYPE_CHECKING

import pytest

from client import delivery
from client.delivery import StagedFile, Unplaced
from client.interrupts import held
from effects import Refusal

if TYPE_CHECKING:
    from pathlib import Path


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_kept_file_has_its_name_its_content_and_mode_0600(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = StagedFile(tmp_path / "a.conf")
        file.write(b"first")
        (staged,) = tmp_path.iterdir()
        assert stat.S_IMODE(staged.stat().st_mode) == 0o600
        file.write(b"second")
        file.keep()
    finally:
        os.umask(before)
    assert names(tmp_path) == ["a.conf"]
    assert (tmp_path / "a.conf").read_bytes() == b"second"
    assert stat.S_IMODE((tmp_path / "a.conf").stat().st_mode) == 0o600


def test_what_was_staged_stays_when_staging_anew_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device", descriptor)

    file = StagedFile(tmp_path / "a.conf")
    file.write(b"first")
    monkeypatch.setattr(delivery.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        file.write(b"second")
    file.keep()
    assert names(tmp_path) == ["a.conf"]
    assert (tmp_path / "a.conf").read_bytes() == b"first"


def test_nothing_is_left_of_a_discarded_file(tmp_path: Path) -> None:
    file = StagedFile(tmp_path / "a.conf")
    file.write(b"secret")
    file.discard()
    file.discard()
    file.keep()
    assert names(tmp_path) == []


def test_a_discard_after_the_file_is_kept_does_not_remove_it(tmp_path: Path) -> None:
    file = StagedFile(tmp_path / "a.conf")
    file.write(b"secret")
    file.keep()
    file.discard()
    assert names(tmp_path) == ["a.conf"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appeared_meanwhile_is_left_alone_and_ours_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    def no_links(*paths: object) -> None:
        raise OSError(1, "no hard links here", *paths)

    if not links:
        monkeypatch.setattr(delivery.os, "link", no_links)
    file = StagedFile(tmp_path / "a.conf")
    file.write(b"ours")
    (tmp_path / "a.conf").write_bytes(b"theirs")
    with pytest.raises(Unplaced) as unplaced:
        file.keep()
    assert (tmp_path / "a.conf").read_bytes() == b"theirs"
    assert unplaced.value.where.read_bytes() == b"ours"
    assert str(unplaced.value.where) in str(unplaced.value)


def test_a_file_system_without_hard_links_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*paths: object) -> None:
        raise PermissionError(1, "no hard links here", *paths)

    monkeypatch.setattr(delivery.os, "link", no_links)
    file = StagedFile(tmp_path / "a.conf")
    file.write(b"ours")
    file.keep()
    assert names(tmp_path) == ["a.conf"]


def test_paths_that_cannot_be_used_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("x")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for name, why in (
        ("there", "exists"),
        ("dangling", "exists"),
        (".", "is a directory"),
        ("no/such/a.conf", "no directory"),
    ):
        with pytest.raises(Refusal, match=why):
            StagedFile(tmp_path / name)


def test_a_directory_that_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery.os, "access", lambda *_: False)
    with pytest.raises(Refusal, match="not writable"):
        StagedFile(tmp_path / "a.conf")


def test_an_interrupt_waits_until_stopping_is_safe_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with held() as hold:
        hold.stop_here()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            hold.stop_here()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_second_interrupt_does_not_wait() -> None:
    with held():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
