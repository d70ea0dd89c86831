"""scripts/peers as an operator types it, against the fake cloud."""

from __future__ import annotations

import base64
import json
import os
import signal
import stat
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ReadTimeoutError
from command import Run
from fake_registry import CONTROL, PARAMETER, SERVER_KEY, TABLE, Fake, key_of

from client import config, keys
from commands.peers import main
from registry import transactions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def peers(fake: Fake, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del fake
    return lambda *argv: Run(main, capfd, ("--stack", "dev", *argv))


def private_in(text: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith("PrivateKey")]
    return line.removeprefix("PrivateKey = ")


def spellings(private: str) -> set[bytes]:
    """A private key as it might be hidden in an item."""
    raw = base64.b64decode(private)
    twice = base64.b64encode(private.encode())
    return {private.encode(), private.rstrip("=").encode(), raw, raw.hex().encode(), twice}


def found_in(table: list[dict[str, Any]], private: str) -> bool:
    text = repr(table).encode()
    return any(spelling in text for spelling in spellings(private))


# ------------------------------------------------------------------ adding


def test_add_prints_a_config_whose_key_is_the_registered_one(
    peers: Callable[..., Run], fake: Fake
) -> None:
    run = peers("add", "alice", "--owner", "a@example.com", "--expires", "30d")
    assert run.status == 0
    peer = fake.registry.peer("alice")
    assert peer is not None
    assert keys.pair_of(private_in(run.stdout)).public == peer.public_key
    assert f"Address = {peer.address}/32" in run.stdout
    assert f"PublicKey = {SERVER_KEY}" in run.stdout
    assert run.stderr == f"peers: alice may enter as {peer.address}\n"
    assert peer.owner == "a@example.com"
    assert peer.expires is not None
    end = datetime.now(UTC) + timedelta(days=30)
    assert abs(peer.expires - end.timestamp()) < 60
    (audit,) = fake.items("audit")
    assert audit["caller"]["S"].startswith("arn:aws:sts::")


def test_add_out_writes_the_one_copy_with_mode_0600(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path
) -> None:
    out = tmp_path / "alice.conf"
    run = peers("add", "alice", "--out", out)
    assert (run.status, run.stdout) == (0, "")
    assert list(tmp_path.iterdir()) == [out]
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    private = private_in(out.read_text())
    assert keys.pair_of(private).public == fake.items("peer")[0]["public_key"]["S"]
    assert private not in run.stderr
    assert "only copy" in run.stderr


def test_no_item_of_the_table_holds_a_private_key(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path
) -> None:
    out = tmp_path / "alice.conf"
    assert peers("add", "alice", "--out", out).status == 0
    private = private_in(out.read_text())
    assert not found_in(fake.items(), private)
    for hidden in spellings(private) - {base64.b64decode(private)}:
        planted = {**fake.items("peer")[0], "sk": {"S": "planted"}, "owner": {"S": hidden.decode()}}
        assert found_in([planted], private)


def test_with_a_public_key_no_private_key_is_made(
    peers: Callable[..., Run], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "generate", lambda: pytest.fail("made a key"))
    run = peers("add", "alice", "--public-key", key_of(1))
    assert run.status == 0
    assert private_in(run.stdout) == config.PLACEHOLDER
    peer = fake.registry.peer("alice")
    assert peer is not None
    assert peer.public_key == key_of(1)


def test_json_of_add_has_everything_but_the_private_key(
    peers: Callable[..., Run], tmp_path: Path
) -> None:
    out = tmp_path / "alice.conf"
    run = peers("add", "alice", "--json", "--out", out)
    assert run.status == 0
    assert run.json["peer"]["name"] == "alice"
    assert run.json["files"] == [str(out)]
    assert run.json["endpoint"] == "vpn.example.com:51820"
    assert private_in(run.json["config"]) == config.PLACEHOLDER
    assert private_in(out.read_text()) not in run.stdout + run.stderr


def test_qr_and_png_carry_the_config(
    peers: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from client import qr  # noqa: PLC0415

    texts: list[str] = []
    monkeypatch.setattr(qr, "_code", lambda text, make=qr._code: texts.append(text) or make(text))
    out, png = tmp_path / "alice.conf", tmp_path / "alice.png"
    run = peers("add", "alice", "--qr", "--out", out, "--png", png)
    assert run.status == 0
    assert "█" in run.stdout
    assert "\x1b" not in run.stdout
    assert len(set(texts)) == 1
    assert texts[0] in out.read_text()
    assert png.read_bytes().startswith(b"\x89PNG")
    assert stat.S_IMODE(png.stat().st_mode) == 0o600


def test_a_file_name_that_wg_quick_refuses_is_said(
    peers: Callable[..., Run], tmp_path: Path
) -> None:
    run = peers("add", "alice", "--out", tmp_path / "a-name-of-16-char.conf")
    assert run.status == 0
    assert "rename a-name-of-16-char.conf" in run.stderr


def test_the_port_follows_the_newest_key_generation(peers: Callable[..., Run], fake: Fake) -> None:
    control = {**CONTROL.to_item(), "key_generations": {"L": [{"N": "1"}, {"N": "2"}]}}
    fake.client.put_item(TableName=TABLE, Item=control)
    refused = peers("add", "alice")
    assert refused.status == 2
    assert "no gateway has published its key of generation 2 yet" in refused.stderr
    assert fake.items("peer") == []
    fake.registry.publish_server_key(2, key_of(77), "i-1")
    run = peers("add", "alice")
    assert "Endpoint = vpn.example.com:51821" in run.stdout
    assert f"PublicKey = {key_of(77)}" in run.stdout


# ------------------------------------------------------------------ refused

ZERO = base64.b64encode(bytes(32)).decode()

WRONG: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
    (("add",), ("NAME",)),
    (("add", "Alice"), ("'Alice'", "such as alice")),
    (("add", ""), ("empty", "use 1 to 63")),
    (("add", "a b"), ("'a b'", "such as a-b")),
    (("add", "../x"), ("'../x'", "such as x")),
    (("add", "x" * 64), ("use 1 to 63", "such as xxx")),
    (("add", "bob", "--public-key", ""), ("0 bytes", "wg pubkey")),
    (("add", "bob", "--public-key", "hello"), ("'hello'", "not base64", "wg pubkey")),
    (("add", "bob", "--public-key", ZERO), ("all zero", "wg pubkey")),
    (("add", "bob", "--public-key", key_of(1)), ("key of taken", "wg genkey")),
    (("add", "bob", "--public-key", SERVER_KEY), ("the gateways' own", "wg genkey")),
    (("add", "bob", "--public-key", key_of(2), "--qr"), ("--qr", "take --out")),
    (("add", "bob", "--public-key", key_of(2), "--png", "b.png"), ("--png", "take --out")),
    (("add", "taken"), ("peer taken: there is one of that name", "another name")),
    (("add", "bob", "--expires", "soon"), ("'soon'", "30d")),
    (("add", "bob", "--expires", ""), ("''", "30d")),
    (("add", "bob", "--expires", "2020-01-01"), ("not in the future", "30d")),
    (("add", "bob", "--expires", "99999d"), ("ten years", "leave --expires out")),
    (("add", "bob", "--owner", "a\tb"), ("owner", "leave it out")),
    (("add", "bob", "--out", "there.conf"), ("there.conf: exists", "remove it or name another")),
    (("add", "bob", "--out", "no/b.conf"), ("no directory no", "make it first")),
    (("add", "bob", "--out", "."), ("is a directory", "name a file")),
    (("add", "bob", "--out", "b", "--png", "b"), ("named twice", "name two files")),
    (("add", "bob", "--json"), ("prints no private key", "add --out FILE")),
    (("add", "bob", "--json", "--qr"), ("both print on stdout", "--png or --out")),
    (("add", "bob", "--stack", "nowhere"), ("stack nowhere", "build it first")),
    (("add", "bob", "--stack", "no/where"), ("'no/where'", "such as prod")),
    (("add", "bob", "--stack", "lab"), ("the lab is not up", "make up")),
    (("show", "nobody"), ("peer nobody: there is none", "peers list")),
    (("config", "nobody"), ("peer nobody: there is none", "peers list")),
    (("show", "No!"), ("'No!'", "such as no")),
    (("add", "bob", "--allow", "all"), ("'all'", "write CIDR")),
    (("add", "bob", "--allow", "10.20.3.5/24"), ("host bits", "10.20.3.0/24 or 10.20.3.5/32")),
    (("add", "bob", "--allow", "10.20.3.0/24:http"), ("no protocol 'http'", "CIDR:tcp/5432")),
    (("add", "bob", "--allow", "10.20.3.0/24:tcp/0"), ("no port '0'", "from 1 to 65535")),
    (("add", "bob", "--allow", "10.21.0.0/16"), ("not within", "stay within 10.20.0.0/16")),
    (("add", "bob", "--allow", "10.0.0.0/8:tcp/22"), ("not within", "10.99.0.0/24")),
    (("extend", "taken"), ("--expires",)),
    (("extend", "taken", "--expires", "2020-01-01"), ("not in the future", "30d")),
    (("extend", "nobody", "--expires", "30d"), ("peer nobody: there is none", "peers list")),
    (("rotate", "nobody"), ("peer nobody: there is none", "peers list")),
    (("rotate", "taken", "--public-key", key_of(1)), ("is the key that taken has", "wg genkey")),
    (("rotate", "taken", "--public-key", SERVER_KEY), ("the gateways' own", "wg genkey")),
    (("revoke", "nobody"), ("peer nobody: there is none", "peers list")),
    (("revoke", "taken", "--timeout", "0"), ("'0' is not a number of seconds",)),
    (("audit", "No!"), ("'No!'", "such as no")),
    (("apply", "none.yaml"), ("file none.yaml", "name the peers' file")),
    (("remove", "bob"), ("invalid choice", "add")),
]


@pytest.mark.parametrize(("argv", "said"), WRONG, ids=[" ".join(argv)[:40] for argv, _ in WRONG])
def test_wrong_input_is_refused_with_the_cure_and_nothing_is_written(  # noqa: PLR0917 - fixtures
    peers: Callable[..., Run],
    fake: Fake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: tuple[str, ...],
    said: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEPAIR_LAB", str(tmp_path / "no-lab"))
    (tmp_path / "there.conf").write_text("mine")
    fake.add("taken", 1)
    before = fake.items()
    run = peers(*argv)
    assert run.status == 2
    assert run.stdout == ""
    for words in said:
        assert words in run.stderr
    assert fake.items() == before
    assert [path.name for path in tmp_path.iterdir()] == ["there.conf"]
    assert (tmp_path / "there.conf").read_text() == "mine"


def test_all_that_is_wrong_is_said_at_once(peers: Callable[..., Run], tmp_path: Path) -> None:
    out = tmp_path / "no/x.conf"
    run = peers("add", "B!", "--public-key", "x", "--expires", "y", "--owner", "a\tb", "--out", out)
    assert run.status == 2
    said = run.stderr.splitlines()
    assert len(said) == 5
    assert all(line.startswith("peers: ") for line in said)


def test_a_missing_stack_is_a_usage_error(capfd: pytest.CaptureFixture[str]) -> None:
    run = Run(main, capfd, ("list",))
    assert run.status == 2
    assert "--stack is missing" in run.stderr
    assert Run(main, capfd, ("list", "--help")).status == 0


def test_a_full_pool_is_refused(peers: Callable[..., Run], fake: Fake, cloud: Any) -> None:
    cloud.client("ssm").put_parameter(
        Name="/gatepair/dev",
        Type="String",
        Value=json.dumps({**PARAMETER, "client_pool": "100.96.0.0/30"}),
        Overwrite=True,
    )
    assert peers("add", "one").status == 0
    run = peers("add", "two")
    assert run.status == 2
    assert "all 1 addresses are taken" in run.stderr
    assert fake.registry.head().generation == 1


# ------------------------------------------------------------------ faults on the way


def breaking(monkeypatch: pytest.MonkeyPatch, fake: Fake, act: Callable[[], None]) -> None:
    """Let something happen just before the transaction is sent."""
    send = fake.client.transact_write_items

    def sending(**request: Any) -> Any:
        act()
        return send(**request)

    monkeypatch.setattr(fake.client, "transact_write_items", sending, raising=False)


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_when_the_registry_fails_no_file_is_left(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    denied = {"Error": {"Code": "AccessDeniedException", "Message": "not you"}}
    breaking(monkeypatch, fake, raising(ClientError(denied, "TransactWriteItems")))
    run = peers("add", "alice", "--out", tmp_path / "a.conf", "--png", tmp_path / "a.png")
    assert run.status == 1
    assert "not you" in run.stderr
    assert "AWS_PROFILE" in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_when_the_file_cannot_be_written_the_registry_is_not(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, f"No space left on device {descriptor}")

    before = fake.items()
    monkeypatch.setattr("client.delivery.os.fsync", full)
    run = peers("add", "alice", "--out", tmp_path / "a.conf")
    assert run.status == 1
    assert "No space left" in run.stderr
    assert fake.items() == before
    assert list(tmp_path.iterdir()) == []


def test_the_key_is_on_disk_before_the_registry_knows_the_peer(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def look() -> None:
        seen.extend(private_in(path.read_text()) for path in tmp_path.iterdir())

    breaking(monkeypatch, fake, look)
    out = tmp_path / "a.conf"
    assert peers("add", "alice", "--out", out).status == 0
    assert seen == [private_in(out.read_text())]


def test_ctrl_c_before_the_registry_is_asked_leaves_nothing(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = fake.client.batch_get_item

    def interrupted(**request: Any) -> Any:
        if len(request["RequestItems"][TABLE]["Keys"]) > 2:
            signal.raise_signal(signal.SIGINT)
        return get(**request)

    monkeypatch.setattr(fake.client, "batch_get_item", interrupted, raising=False)
    before = fake.items()
    run = peers("add", "alice", "--out", tmp_path / "a.conf")
    assert run.status == 130
    assert fake.items() == before
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_the_change_is_written_waits_for_it(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch, fake, lambda: signal.raise_signal(signal.SIGINT))
    out = tmp_path / "a.conf"
    assert peers("add", "alice", "--out", out).status == 0
    assert list(tmp_path.iterdir()) == [out]
    assert fake.registry.peer("alice") is not None


@pytest.mark.parametrize("cause", ["connection", "second ctrl-c"])
def test_when_nobody_knows_the_outcome_the_file_is_kept_and_it_is_said(
    peers: Callable[..., Run],
    fake: Fake,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cause: str,
) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(transactions, "PATIENCE", 0.0)
    lost = raising(ReadTimeoutError(endpoint_url="https://dynamodb"))
    breaking(monkeypatch, fake, lost if cause == "connection" else twice)
    out = tmp_path / "a.conf"
    run = peers("add", "alice", "--out", out)
    assert run.status == 1
    assert "answer was lost" in run.stderr
    assert "peers show alice" in run.stderr
    assert f"{out} holds its private key" in run.stderr
    assert private_in(out.read_text())


def test_a_file_that_appears_meanwhile_is_left_alone_and_ours_is_named(
    peers: Callable[..., Run], fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.conf"

    def appear() -> None:
        out.write_text("theirs")

    breaking(monkeypatch, fake, appear)
    run = peers("add", "alice", "--out", out)
    assert run.status == 1
    assert out.read_text() == "theirs"
    (ours,) = [path for path in tmp_path.iterdir() if path != out]
    assert str(ours) in run.stderr
    assert "alice may enter" in run.stderr
    peer = fake.registry.peer("alice")
    assert peer is not None
    assert keys.pair_of(private_in(ours.read_text())).public == peer.public_key


def test_a_key_that_could_not_be_printed_is_said_to_be_lost(
    fake: Fake, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del fake
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        status = main(["--stack", "dev", "add", "alice"])
        monkeypatch.undo()
    assert status == 1
    assert "the private key of alice is lost" in capfd.readouterr().err


def test_ctrl_c_before_the_key_is_printed_waits_for_it(
    peers: Callable[..., Run], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch, fake, lambda: signal.raise_signal(signal.SIGINT))
    run = peers("add", "alice")
    assert run.status == 0
    peer = fake.registry.peer("alice")
    assert peer is not None
    assert keys.pair_of(private_in(run.stdout)).public == peer.public_key


def test_a_missing_package_is_named_with_the_cure(
    peers: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("segno", "client.qr", "client.enrolment"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it were not there
    run = peers("add", "alice", "--qr")
    assert run.status == 1
    assert "is not installed; run scripts/install" in run.stderr


# ------------------------------------------------------------------ reading


def test_list_shows_everybody_in_columns_and_in_json(peers: Callable[..., Run], fake: Fake) -> None:
    assert peers("list").stdout.split()[:2] == ["NAME", "ADDRESS"]
    ending = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    peers("add", "bob", "--public-key", key_of(2), "--expires", ending)
    peers("add", "alice", "--public-key", key_of(1), "--owner", "ops team")
    head, alice, bob = peers("list").stdout.splitlines()
    assert head.split() == ["NAME", "ADDRESS", "EXPIRES", "PSK", "OWNER", "PUBLIC", "KEY"]
    assert alice.split()[0] == "alice"
    assert "never" in alice
    assert "ops team" in alice
    assert bob.split()[0] == "bob"
    listed = peers("list", "--json").json
    assert [peer["name"] for peer in listed["peers"]] == ["alice", "bob"]
    assert listed["unreadable"] == []
    assert listed["peers"][0]["public_key"] == key_of(1)
    assert listed["peers"][1]["expires"].endswith("T00:00:00Z")
    assert len(fake.items("peer")) == 2


def test_an_unreadable_peer_is_reported_beside_the_others(
    peers: Callable[..., Run], fake: Fake
) -> None:
    fake.add("alice", 1)
    broken = {**fake.items("peer")[0], "sk": {"S": "bad"}}
    fake.client.put_item(TableName=TABLE, Item=broken)
    run = peers("list", "--json")
    assert run.status == 0
    assert [peer["name"] for peer in run.json["peers"]] == ["alice"]
    assert [fault["key"] for fault in run.json["unreadable"]] == ["peer/bad"]
    assert "peer/bad does not parse" in run.stderr
    assert peers("show", "bad").status == 1


def test_show_says_all_about_one(peers: Callable[..., Run], fake: Fake) -> None:
    peer = fake.add("alice", 1)
    text = peers("show", "alice").stdout
    for words in ("alice", str(peer.address), peer.public_key, "never", peer.created):
        assert words in text
    shown = peers("show", "alice", "--json").json["peer"]
    assert shown == {
        "name": "alice",
        "address": str(peer.address),
        "public_key": key_of(1),
        "preshared_key": False,
        "owner": "",
        "created": peer.created,
        "expires": None,
        "expired": False,
        "allow": [],
        "generation": 1,
    }


def test_config_prints_the_file_with_a_placeholder(peers: Callable[..., Run], fake: Fake) -> None:
    peer = fake.add("alice", 1)
    run = peers("config", "alice")
    assert run.status == 0
    assert run.stderr == ""
    assert private_in(run.stdout) == config.PLACEHOLDER
    assert f"Address = {peer.address}/32" in run.stdout
    assert peers("config", "alice", "--json").json["config"] == run.stdout


def test_the_stack_may_be_named_behind_the_command(
    fake: Fake, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.add("alice", 1)
    run = Run(main, capfd, ("list", "--stack", "dev", "--json"))
    assert [peer["name"] for peer in run.json["peers"]] == ["alice"]


def test_an_unreadable_control_item_is_a_failure_with_its_reason(
    peers: Callable[..., Run], fake: Fake
) -> None:
    fake.client.put_item(TableName=TABLE, Item={**CONTROL.to_item(), "port": {"S": "x"}})
    run = peers("add", "alice")
    assert run.status == 1
    assert "control/control: port" in run.stderr
    assert fake.items("peer") == []
