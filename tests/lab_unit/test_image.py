"""The machines' base tree: where it comes from and what decides that it is made anew."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from effects import Failed
from lab import disk, image, nspawn, paths

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = """\
Packages bookworm main http://archive.example/debian/
Packages bookworm-updates main http://archive.example/debian/
Packages bookworm-security main http://security.example/debian/
Packages bookworm contrib http://archive.example/debian/
DEP-11 bookworm main http://archive.example/debian/
Packages nodistro main https://vendor.example/
"""


@pytest.fixture(autouse=True)
def lab_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path / "lab"))
    return tmp_path


def test_the_hosts_archives_are_taken_for_the_machines_release() -> None:
    assert image.sources(TARGETS, "bookworm") == [
        "deb http://archive.example/debian/ trixie main",
        "deb http://security.example/debian/ trixie-security main",
        "deb http://archive.example/debian/ trixie-updates main",
    ]


@pytest.mark.parametrize(
    "targets",
    [
        "",
        "Packages bookworm-security main http://security.example/debian/",
        "Packages bookworm main cdrom://disc/",
        "Packages noble main http://archive.example/ubuntu/",
    ],
)
def test_without_a_usable_archive_of_the_release_itself_nothing_is_taken(targets: str) -> None:
    assert image.sources(targets, "bookworm") == []


def test_only_debian_has_a_release_to_go_by() -> None:
    assert image.codename('ID=debian\nVERSION_CODENAME=bookworm\nX="a=b"') == "bookworm"
    assert image.codename('ID="ubuntu"\nVERSION_CODENAME=noble') is None
    assert image.codename("ID=debian\n") is None


RECIPE = image.Recipe(packages=("one", "two"), masked=("some.timer",), layers=())


@pytest.mark.parametrize(
    "change",
    [
        {"packages": ("one", "two", "tcpdump")},
        {"masked": ()},
        {"enabled": ("systemd-networkd.service",)},
        {"prefix": "other-"},
    ],
)
def test_another_recipe_is_another_tree(change: dict[str, Any]) -> None:
    assert replace(RECIPE).location() == RECIPE.location()
    assert replace(RECIPE, **change).location() != RECIPE.location()


def test_a_changed_file_or_mode_is_another_tree(tmp_path: Path) -> None:
    recipe = replace(RECIPE, layers=(tmp_path / "common", tmp_path / "rootfs"))
    file = tmp_path / "rootfs/etc/file"
    file.parent.mkdir(parents=True)
    file.write_text("one")
    file.chmod(0o644)
    found = [recipe.location()]
    file.write_text("two")
    found.append(recipe.location())
    file.chmod(0o755)
    found.append(recipe.location())
    assert len(set(found)) == 3


def test_machines_have_wireguard_from_their_kernel_or_from_user_space_and_never_both() -> None:
    assert "wireguard-go" in nspawn.RECIPE.packages
    assert not any(name.startswith("linux-image") for name in nspawn.RECIPE.packages)
    assert "wireguard-go" not in disk.RECIPE.packages
    assert "linux-image-cloud-amd64" in disk.RECIPE.packages


def test_every_file_of_the_lab_goes_into_some_tree() -> None:
    layers = {*nspawn.RECIPE.layers, *disk.RECIPE.layers}
    assert {entry.name for entry in image.ROOTFS.iterdir()} == {layer.name for layer in layers}
    assert all(layer.is_dir() for layer in layers)


def test_a_build_that_fails_leaves_nothing_that_counts_as_a_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(command: list[str], **_: object) -> None:
        (paths.base() / command[-1]).mkdir(parents=True)
        raise Failed(command, 25, "E: no such archive")

    monkeypatch.setattr(image, "_host_archives", list)
    monkeypatch.setattr(image, "_host_options", list)
    monkeypatch.setattr(image, "_NEEDED_BYTES", 0)
    monkeypatch.setattr(image, "run", broken)
    with pytest.raises(Failed, match="no such archive"):
        image.ensure(RECIPE, lambda _: None)
    assert not RECIPE.location().exists()


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for mmdebstrap that makes the least of a tree."""

    def build(command: list[str], **_: object) -> None:
        tree = next(paths.base() / word for word in command if "/.building-" in word)
        for name in ("etc/systemd/system", "var/lib/dbus", "var/log", "usr/sbin"):
            (tree / name).mkdir(parents=True)
        (tree / "etc/hostname").write_text("builder")
        (tree / "etc/machine-id").write_text("0123")
        (tree / "etc/resolv.conf").symlink_to("/run/elsewhere")

    monkeypatch.setattr(image, "_host_archives", list)
    monkeypatch.setattr(image, "_host_options", list)
    monkeypatch.setattr(image, "_NEEDED_BYTES", 0)
    monkeypatch.setattr(image, "run", build)


@pytest.mark.usefixtures("builds")
def test_a_finished_tree_has_our_files_no_identity_and_replaces_older_ones() -> None:
    others = f"kernel-{'0' * 16}"
    for old in ("0" * 16, ".building-1", ".building-2.packed", others):
        (paths.base() / old).mkdir(parents=True)
    said: list[str] = []
    tree = image.ensure(nspawn.RECIPE, said.append)
    assert said
    there = {p.name for p in paths.base().iterdir() if p.is_dir()}
    assert there == {tree.name, others}, "trees of the other kind stay"
    assert (tree / "etc/machine-id").read_text() == ""
    assert not (tree / "etc/hostname").exists()
    assert "169.254.169.253" in (tree / "etc/resolv.conf").read_text()
    assert not (tree / "etc/resolv.conf").is_symlink()
    masked = tree / "etc/systemd/system/apt-daily.timer"
    assert str(masked.readlink()) == "/dev/null"
    said.clear()
    assert image.ensure(nspawn.RECIPE, said.append) == tree
    assert said == []


@pytest.mark.usefixtures("builds")
def test_a_tree_that_is_to_be_packed_is_there_only_when_it_is() -> None:
    def broken(tree: Path) -> None:
        assert (tree / "etc/machine-id").exists()
        raise Failed(["mkfs.ext4"], 1, "no space left")

    def pack(tree: Path) -> None:
        (tree / "packed").touch()

    with pytest.raises(Failed, match="no space left"):
        image.ensure(replace(RECIPE, pack=broken), lambda _: None)
    assert not RECIPE.location().exists()
    assert (image.ensure(replace(RECIPE, pack=pack), lambda _: None) / "packed").exists()
