"""scripts/peers config: the config as it should be now, with and without the private key."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from command import Run
from fake_registry import CALLER, CONTROL, POOL, TABLE, Fake, key_of

from client import config, keys
from commands.peers import main
from registry.operators import NewPeer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NEW_KEY = key_of(1_000_001)


@pytest.fixture
def peers(fake: Fake, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del fake
    return lambda *argv: Run(main, capfd, ("--stack", "dev", *argv))


@pytest.fixture
def old(peers: Callable[..., Run], tmp_path: Path) -> Path:
    """Alice's config, from before the server got a newer key."""
    path = tmp_path / "alice.conf"
    assert peers("add", "alice", "--out", path).status == 0
    return path


def rotate_server(fake: Fake) -> None:
    control = replace(CONTROL, key_generations=(1, 2))
    fake.client.put_item(TableName=TABLE, Item=control.to_item())
    fake.registry.publish_server_key(2, NEW_KEY, "i-1")


def test_after_a_rotation_the_same_key_goes_into_a_config_with_the_newest_server_key(
    peers: Callable[..., Run], fake: Fake, old: Path, tmp_path: Path
) -> None:
    rotate_server(fake)
    new = tmp_path / "new.conf"
    run = peers("config", "alice", "--private-key", old, "--out", new)
    assert run.status == 0
    assert run.stdout == ""
    assert new.stat().st_mode & 0o777 == 0o600
    before, after = old.read_text().splitlines(), new.read_text().splitlines()
    changed = [one for one, other in zip(before, after, strict=True) if one != other]
    assert [line.partition(" ")[0] for line in changed] == ["#", "PublicKey", "Endpoint"]
    assert f"PublicKey = {NEW_KEY}" in after
    assert "Endpoint = vpn.example.com:51821" in after


def test_the_key_may_stand_alone_in_its_file(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path
) -> None:
    pair = keys.generate()
    path = tmp_path / "alice.key"
    path.write_text(f"{pair.private}\n")
    fake.registry.add_peer(NewPeer("alice", pair.public), pool=POOL, caller=CALLER)
    run = peers("config", "alice", "--private-key", path)
    assert f"PrivateKey = {pair.private}" in run.stdout
    code = peers("config", "alice", "--private-key", path, "--qr")
    assert code.status == 0
    assert pair.private not in code.stdout
    assert len(code.stdout.splitlines()) > 20
    shown = peers("config", "alice", "--private-key", path, "--json")
    assert pair.private not in shown.stdout


def test_a_code_can_be_written_as_a_picture(
    peers: Callable[..., Run], old: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "alice.png"
    assert peers("config", "alice", "--private-key", old, "--png", picture).status == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_mode & 0o777 == 0o600


def test_without_the_private_key_a_file_has_the_placeholder(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path
) -> None:
    fake.add("alice", 1)
    path = tmp_path / "x.conf"
    assert peers("config", "alice", "--out", path).status == 0
    assert f"PrivateKey = {config.PLACEHOLDER}" in path.read_text()


def test_another_peers_key_is_refused_and_never_shown(
    peers: Callable[..., Run], old: Path, tmp_path: Path
) -> None:
    mallory = tmp_path / "mallory.conf"
    assert peers("add", "mallory", "--out", mallory).status == 0
    wanted = tmp_path / "new.conf"
    run = peers("config", "alice", "--private-key", mallory, "--out", wanted)
    assert run.status == 2
    assert "is not the key that alice is registered with" in run.stderr
    assert not wanted.exists()
    private = mallory.read_text().split("PrivateKey = ")[1].split()[0]
    assert private not in run.stderr
    assert old.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"nonsense", "holds no WireGuard private key"),
        (b"", "holds no WireGuard private key"),
        (b"\xff\xfe", "is not text"),
        (b"[Interface]\nAddress = 100.96.0.2/32\n", "holds no WireGuard private key"),
        (f"PrivateKey = {config.PLACEHOLDER}\n".encode(), "holds no WireGuard private key"),
    ],
)
def test_a_file_without_a_private_key_is_refused_without_its_content(
    peers: Callable[..., Run], old: Path, tmp_path: Path, content: bytes, said: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    run = peers("config", "alice", "--private-key", path)
    assert run.status == 2
    assert said in run.stderr
    assert "nonsense" not in run.stderr
    assert old.exists()


def test_everything_that_is_wrong_is_said_at_once(
    peers: Callable[..., Run], old: Path, tmp_path: Path
) -> None:
    run = peers("config", "alice", "--qr", "--json", "--out", old)
    assert run.status == 2
    assert "a code without the private key is of no use" in run.stderr
    assert "`peers rotate alice --qr`" in run.stderr
    assert "exists" in run.stderr
    missing = peers("config", "alice", "--private-key", tmp_path / "none", "--qr", "--json")
    assert "no such file" in missing.stderr
    assert "both print on stdout" in missing.stderr


def test_a_disk_that_is_full_leaves_no_half_behind(
    peers: Callable[..., Run], old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: object, data: bytes) -> None:
        raise OSError(28, "No space left on device", str(len(data)))

    monkeypatch.setattr("client.delivery.StagedFile.write", full)
    run = peers("config", "alice", "--private-key", old, "--out", tmp_path / "new.conf")
    assert run.status == 1
    assert list(tmp_path.iterdir()) == [old]
