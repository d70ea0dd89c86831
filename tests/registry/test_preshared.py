"""Pre-shared keys: made and encrypted where a peer is let in, printed once, clear nowhere."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ClientError
from command import Run
from fake_registry import BUCKET, CALLER, POOL, STACK, TABLE, key_of

from client import keys
from client.config import PRESHARED_PLACEHOLDER
from commands.peers import main
from effects import Refusal
from registry.items import ItemError, Peer
from registry.operators import NewPeer
from registry.preshared import KEY_BYTES, LARGEST, ciphertext, context
from registry.recovery import _today

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fake_registry import Fake

    from registry.environment import Cloud
    from registry.records import Record

ZERO = base64.b64encode(bytes(KEY_BYTES)).decode()
SEALED = base64.b64encode(b"ciphertext").decode()
OTHER = base64.b64encode(b"another ciphertext").decode()


@pytest.fixture
def peers(fake: Fake, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del fake
    return lambda *argv: Run(main, capfd, ("--stack", STACK, *argv))


def preshared_in(text: str) -> str:
    (found,) = re.findall(r"^PresharedKey = (\S+)$", text, re.MULTILINE)
    return found


def registered(fake: Fake, name: str = "alice") -> Peer:
    peer = fake.registry.peer(name)
    assert peer is not None
    return peer


def opened(cloud: Cloud, peer: Peer) -> str:
    """What a gateway makes of a peer's ciphertext."""
    answer = cloud.client("kms").decrypt(
        CiphertextBlob=base64.b64decode(peer.preshared),
        EncryptionContext=context(STACK, peer.public_key),
    )
    return base64.b64encode(answer["Plaintext"]).decode()


def everything(fake: Fake) -> str:
    """The table and the archive."""
    text = json.dumps(fake.items())
    for page in fake.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for one in page.get("Contents", ()):
            text += fake.s3.get_object(Bucket=BUCKET, Key=one["Key"])["Body"].read().decode()
    return text


# ------------------------------------------------------------------ making one


def test_the_config_has_the_key_that_gateways_decrypt_and_nothing_else_has_it(
    peers: Callable[..., Run], fake: Fake, cloud: Cloud, sealing_key: str, tmp_path: Path
) -> None:
    path = tmp_path / "alice.conf"
    run = peers("add", "alice", "--preshared-key", "--out", path)
    assert run.status == 0, run.stderr
    clear = preshared_in(path.read_text())
    assert opened(cloud, registered(fake)) == clear
    assert len(base64.b64decode(clear)) == KEY_BYTES
    assert path.stat().st_mode & 0o777 == 0o600
    assert clear not in run.stdout + run.stderr
    assert "the private key and the pre-shared key, the only copy" in run.stderr
    raw = base64.b64decode(clear)
    for form in (clear, clear.rstrip("="), raw.hex()):
        assert form not in everything(fake)
    assert sealing_key.rpartition("/")[2] not in clear


def test_each_peer_has_a_key_of_its_own(
    peers: Callable[..., Run], cloud: Cloud, fake: Fake, sealing_key: str
) -> None:
    del sealing_key
    found = {preshared_in(peers("add", name, "--preshared-key").stdout) for name in ("a", "b")}
    assert found == {opened(cloud, registered(fake, name)) for name in ("a", "b")}
    assert len(found) == 2


def test_a_ciphertext_is_worth_nothing_to_another_peer_or_stack(
    peers: Callable[..., Run], cloud: Cloud, fake: Fake, sealing_key: str
) -> None:
    """moto checks the encryption context, as KMS documents."""
    del sealing_key
    peers("add", "alice", "--preshared-key")
    alice = registered(fake)
    kms, blob = cloud.client("kms"), base64.b64decode(alice.preshared)
    for wrong in (
        context(STACK, key_of(9)),
        context("prod", alice.public_key),
        {},
    ):
        with pytest.raises(ClientError, match="InvalidCiphertext"):
            kms.decrypt(CiphertextBlob=blob, EncryptionContext=wrong)


def test_the_owner_of_a_key_gets_the_config_with_the_preshared_key_and_a_placeholder(
    peers: Callable[..., Run], cloud: Cloud, fake: Fake, sealing_key: str
) -> None:
    del sealing_key
    text = peers("add", "alice", "--public-key", key_of(1), "--preshared-key").stdout
    assert "PrivateKey = PUT_YOUR_PRIVATE_KEY_HERE" in text
    assert preshared_in(text) == opened(cloud, registered(fake))


def test_a_code_has_it_too(
    peers: Callable[..., Run],
    cloud: Cloud,
    fake: Fake,
    sealing_key: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del sealing_key
    coded: list[str] = []
    monkeypatch.setattr("client.qr.terminal", lambda text, **_: coded.append(text) or "code\n")
    assert peers("add", "alice", "--preshared-key", "--qr").status == 0
    assert preshared_in(coded[0]) == opened(cloud, registered(fake))


def test_nothing_is_registered_where_the_stack_has_no_kms_key(
    peers: Callable[..., Run], fake: Fake
) -> None:
    run = peers("add", "alice", "--preshared-key")
    assert run.status == 2
    assert "has no KMS key" in run.stderr
    assert "set gatepair:presharedKeys to true" in run.stderr
    assert fake.items("peer") == []


def test_a_key_that_would_be_printed_nowhere_is_not_made(
    peers: Callable[..., Run], fake: Fake, sealing_key: str, tmp_path: Path
) -> None:
    del sealing_key
    words = ("--public-key", key_of(1), "--preshared-key", "--json")
    run = peers("add", "alice", *words)
    assert run.status == 2
    assert "prints no pre-shared key, which would be lost; add --out FILE" in run.stderr
    assert fake.items("peer") == []
    path = tmp_path / "alice.conf"
    run = peers("add", "alice", *words, "--out", path)
    assert run.status == 0
    assert preshared_in(run.json["config"]) == PRESHARED_PLACEHOLDER
    clear = preshared_in(path.read_text())
    assert clear not in run.stdout
    before = fake.items()
    lost = peers("rotate", "alice", "--public-key", key_of(2), "--json", "--no-wait")
    assert lost.status == 2
    assert "pre-shared key" in lost.stderr
    assert fake.items() == before


def test_what_kms_refuses_is_not_registered(
    peers: Callable[..., Run], fake: Fake, cloud: Cloud, sealing_key: str
) -> None:
    ssm, name = cloud.client("ssm"), f"/gatepair/{STACK}"
    value = ssm.get_parameter(Name=name)["Parameter"]["Value"].replace(sealing_key, "arn:gone")
    ssm.put_parameter(Name=name, Type="String", Value=value, Overwrite=True)
    run = peers("add", "alice", "--preshared-key")
    assert run.status == 1
    assert "NotFoundException" in run.stderr
    assert fake.items("peer") == []


def test_a_key_that_gets_nowhere_is_said_to_be_lost(
    peers: Callable[..., Run], fake: Fake, sealing_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    del sealing_key

    def full(_text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("commands.access.print_utf8", full)
    monkeypatch.setattr("commands.access.silence", lambda: None)
    run = peers("add", "alice", "--public-key", key_of(1), "--preshared-key")
    assert run.status == 1
    assert "the pre-shared key of alice is lost" in run.stderr
    assert fake.items("peer")


# ------------------------------------------------------------------ looking


def test_it_is_only_said_that_there_is_one(
    peers: Callable[..., Run], fake: Fake, sealing_key: str
) -> None:
    del sealing_key
    peers("add", "alice", "--preshared-key")
    fake.add("bob", 2)
    sealed = registered(fake).preshared
    _, alice, bob = peers("list").stdout.splitlines()
    assert (alice.split()[3], bob.split()[3]) == ("yes", "-")
    listed = peers("list", "--json").json["peers"]
    assert [peer["preshared_key"] for peer in listed] == [True, False]
    assert re.search(r"^pre-shared: +yes$", peers("show", "alice").stdout, re.MULTILINE)
    assert re.search(r"^pre-shared: +no$", peers("show", "bob").stdout, re.MULTILINE)
    peers("rotate", "alice", "--no-preshared-key", "--no-wait")
    for words in (("list", "--json"), ("show", "alice"), ("audit",), ("audit", "--json")):
        assert sealed not in peers(*words).stdout
    details = peers("audit", "alice", "--json").json["audit"][-1]["details"]
    assert details["preshared_key"] == "none"
    assert details["before"]["preshared_key"] == "encrypted"


def test_the_config_is_shown_again_without_it(
    peers: Callable[..., Run], fake: Fake, sealing_key: str, tmp_path: Path
) -> None:
    del sealing_key, fake
    old = tmp_path / "alice.conf"
    peers("add", "alice", "--preshared-key", "--out", old)
    shown = peers("config", "alice").stdout
    assert preshared_in(shown) == PRESHARED_PLACEHOLDER
    again = peers("config", "alice", "--private-key", old).stdout
    assert again == old.read_text()


def test_a_private_key_alone_makes_no_complete_config(
    peers: Callable[..., Run], fake: Fake, sealing_key: str, tmp_path: Path
) -> None:
    del sealing_key, fake
    path, old = tmp_path / "alice.key", tmp_path / "alice.conf"
    peers("add", "alice", "--preshared-key", "--out", old)
    text = old.read_text()
    private = re.findall(r"^PrivateKey = (\S+)$", text, re.MULTILINE)[0]
    path.write_text(private + "\n")
    run = peers("config", "alice", "--private-key", path)
    assert run.status == 2
    assert "has no PresharedKey, which alice needs" in run.stderr
    assert private not in run.stderr
    path.write_text(text.replace(preshared_in(text), PRESHARED_PLACEHOLDER))
    assert peers("config", "alice", "--private-key", path).status == 2


# ------------------------------------------------------------------ changing


def test_a_new_key_pair_comes_with_a_new_preshared_key(
    peers: Callable[..., Run], fake: Fake, cloud: Cloud, sealing_key: str
) -> None:
    del sealing_key
    first = preshared_in(peers("add", "alice", "--preshared-key").stdout)
    run = peers("rotate", "alice", "--no-wait")
    second = preshared_in(run.stdout)
    assert second != first
    assert opened(cloud, registered(fake)) == second


def test_a_peer_gets_one_or_loses_it_with_a_new_key_pair(
    peers: Callable[..., Run], fake: Fake, cloud: Cloud, sealing_key: str
) -> None:
    del sealing_key
    peers("add", "alice")
    assert "Preshared" not in peers("rotate", "alice", "--no-wait").stdout
    text = peers("rotate", "alice", "--preshared-key", "--no-wait").stdout
    assert opened(cloud, registered(fake)) == preshared_in(text)
    text = peers("rotate", "alice", "--no-preshared-key", "--no-wait").stdout
    assert "Preshared" not in text
    assert registered(fake).preshared == ""


def test_no_change_keeps_a_preshared_key_over_a_new_key_pair(fake: Fake) -> None:
    """No gateway could decrypt it."""
    new = NewPeer("alice", key_of(1), preshared=SEALED)
    fake.registry.add_peer(new, pool=POOL, caller=CALLER)

    def alter(sealed: str) -> None:
        fake.registry.alter_peer(
            "alice",
            lambda peer: replace(peer, public_key=key_of(2), preshared=sealed),
            action="rotate",
            caller=CALLER,
        )

    with pytest.raises(Refusal, match="belongs to its former public key"):
        alter(SEALED)
    assert registered(fake).public_key == key_of(1)
    alter(OTHER)
    assert registered(fake).preshared == OTHER


def test_everything_else_changes_without_it(fake: Fake) -> None:
    new = NewPeer("alice", key_of(1), preshared=SEALED)
    fake.registry.add_peer(new, pool=POOL, caller=CALLER)
    fake.registry.alter_peer(
        "alice", lambda peer: replace(peer, owner="x"), action="change", caller=CALLER
    )
    assert registered(fake).preshared == SEALED
    assert "preshared_key" not in fake.registry.audit("alice")[0][-1].details


# ------------------------------------------------------------------ items


@pytest.mark.parametrize("bad", ["%%%", "", base64.b64encode(bytes(LARGEST + 1)).decode()])
def test_what_is_no_ciphertext_is_refused(bad: str, fake: Fake) -> None:
    with pytest.raises(Refusal, match="in base64"):
        ciphertext(bad)
    if bad:
        with pytest.raises(Refusal):
            NewPeer("alice", key_of(1), preshared=bad)
        fake.add("alice", 1)
        with pytest.raises(Refusal):
            fake.registry.alter_peer(
                "alice", lambda peer: replace(peer, preshared=bad), action="x", caller=CALLER
            )


def test_a_peer_whose_ciphertext_does_not_parse_is_unreadable(fake: Fake) -> None:
    """It must not enter without it."""
    fake.add("alice", 1)
    (item,) = fake.items("peer")
    for bad in ({"S": ""}, {"S": "%"}, {"BOOL": True}):
        with pytest.raises(ItemError, match="preshared_key"):
            Peer.from_item({**item, "preshared_key": bad})
    peer = Peer.from_item({**item, "preshared_key": {"S": SEALED}})
    assert peer.preshared == SEALED
    assert peer.to_item()["preshared_key"] == {"S": SEALED}
    fake.client.put_item(TableName=TABLE, Item={**item, "preshared_key": {"S": "%"}})
    found, unreadable = fake.registry.peers()
    assert found == []
    assert len(unreadable) == 1


# ------------------------------------------------------------------ restoring


def records(fake: Fake, after: int) -> list[Record]:
    return [one for one in fake.registry.archive.records(after) if one.generation > after]


def alter(fake: Fake, **change: str) -> None:
    fake.registry.alter_peer(
        "alice", lambda peer: replace(peer, **change), action="change", caller=CALLER
    )


@pytest.fixture
def then(fake: Fake) -> Peer:
    """Alice, with a pre-shared key, at the moment that is restored."""
    new = NewPeer("alice", key_of(1), preshared=SEALED)
    return fake.registry.add_peer(new, pool=POOL, caller=CALLER)


def test_a_new_preshared_key_given_since_is_the_one_that_holds(fake: Fake, then: Peer) -> None:
    alter(fake, preshared=OTHER)
    assert _today(then, records(fake, 1)).preshared == OTHER


def test_one_that_was_taken_away_since_is_there_again(fake: Fake, then: Peer) -> None:
    """Without it more is allowed than then."""
    alter(fake, preshared="")
    assert _today(then, records(fake, 1)).preshared == SEALED


@pytest.mark.parametrize("given", ["", OTHER])
def test_a_new_key_pair_given_since_brings_its_own(fake: Fake, then: Peer, given: str) -> None:
    alter(fake, public_key=key_of(2), preshared=given)
    today = _today(then, records(fake, 1))
    assert (today.public_key, today.preshared) == (key_of(2), given)


# ------------------------------------------------------------------ peers as code

FILE = """\
peers:
  alice: {{public_key: {alice}, preshared_key: true}}
  bob: {{public_key: {bob}}}
"""


@pytest.fixture
def apply(peers: Callable[..., Run], tmp_path: Path) -> Callable[..., Run]:
    def run(text: str, *argv: object, alice: int = 1) -> Run:
        path = tmp_path / "peers.yaml"
        path.write_text(text.format(alice=key_of(alice), bob=key_of(2)))
        return peers("apply", path, "--no-wait", *argv)

    return run


def test_a_file_asks_for_one_and_its_config_is_written(
    apply: Callable[..., Run], fake: Fake, cloud: Cloud, sealing_key: str, tmp_path: Path
) -> None:
    del sealing_key
    planned = apply(FILE, "--plan")
    assert planned.status == 3
    assert "    preshared_key, a new one" in planned.stdout.splitlines()
    refused = apply(FILE)
    assert refused.status == 2
    assert "alice, which is handed out once; add --out DIRECTORY" in refused.stderr
    assert fake.items("peer") == []
    run = apply(FILE, "--out", tmp_path)
    assert run.status == 0, run.stderr
    path = tmp_path / "alice.conf"
    assert path.stat().st_mode & 0o777 == 0o600
    assert preshared_in(path.read_text()) == opened(cloud, registered(fake))
    assert preshared_in(path.read_text()) not in run.stdout + run.stderr
    assert not (tmp_path / "bob.conf").exists()
    assert registered(fake, "bob").preshared == ""
    before = fake.items()
    assert apply(FILE, "--plan").status == 0
    assert apply(FILE).status == 0
    assert fake.items() == before


def test_a_file_gives_a_new_one_with_a_new_key_and_takes_it_away(
    apply: Callable[..., Run], fake: Fake, cloud: Cloud, sealing_key: str, tmp_path: Path
) -> None:
    del sealing_key
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    assert apply(FILE, "--out", tmp_path / "one").status == 0
    first = registered(fake).preshared
    planned = apply(FILE, "--plan", alice=3).stdout.splitlines()
    assert "    preshared_key one -> a new one" in planned
    again = apply(FILE, "--out", tmp_path / "two", alice=3)
    assert again.status == 0, again.stderr
    assert registered(fake).preshared not in ("", first)
    text = (tmp_path / "two" / "alice.conf").read_text()
    assert preshared_in(text) == opened(cloud, registered(fake))
    without = FILE.replace(", preshared_key: true", "")
    assert "    preshared_key one -> none" in apply(without, "--plan", alice=3).stdout.splitlines()
    assert apply(without, alice=3).status == 0
    assert registered(fake).preshared == ""


def test_an_owner_changes_without_a_new_preshared_key(
    apply: Callable[..., Run], fake: Fake, sealing_key: str, tmp_path: Path
) -> None:
    del sealing_key
    apply(FILE, "--out", tmp_path)
    sealed = registered(fake).preshared
    changed = FILE.replace("preshared_key: true", "preshared_key: true, owner: ops")
    run = apply(changed)
    assert run.status == 0, run.stderr
    assert (registered(fake).owner, registered(fake).preshared) == ("ops", sealed)


@pytest.mark.parametrize(
    ("text", "argv", "said"),
    [
        (FILE.replace("true", ZERO), (), "neither true nor false; write true or false"),
        (FILE.replace("true", "[a]"), (), "preshared_key is not one value"),
        (FILE, ("--out", "/nonexistent"), "is no directory"),
    ],
)
@pytest.mark.usefixtures("sealing_key")
def test_what_is_wrong_with_it_is_refused(
    apply: Callable[..., Run], fake: Fake, text: str, argv: tuple[str, ...], said: str
) -> None:
    run = apply(text, *argv)
    assert run.status == 2
    assert said in run.stderr
    assert ZERO not in run.stderr, "it may be somebody's key"
    assert fake.items("peer") == []


def test_a_file_for_a_stack_without_a_kms_key_is_refused_as_a_plan_too(
    apply: Callable[..., Run], fake: Fake, tmp_path: Path
) -> None:
    for words in (("--plan",), ("--out", tmp_path)):
        run = apply(FILE, *words)
        assert run.status == 2
        assert "set gatepair:presharedKeys to true" in run.stderr
    assert fake.items("peer") == []


def test_a_config_that_is_there_stops_a_file_before_anything_is_changed(
    apply: Callable[..., Run], fake: Fake, sealing_key: str, tmp_path: Path
) -> None:
    del sealing_key
    (tmp_path / "zoe.conf").write_text("mine")
    run = apply(
        FILE + f"  zoe: {{{{public_key: {key_of(5)}, preshared_key: true}}}}\n", "--out", tmp_path
    )
    assert run.status == 2
    assert "no key is overwritten" in run.stderr
    assert fake.items("peer") == []


def test_a_repr_shows_no_key() -> None:
    from client.config import Secrets  # noqa: PLC0415
    from registry.preshared import Preshared  # noqa: PLC0415

    made = keys.generate()
    assert "clear" not in repr(Preshared("clear", SEALED))
    assert made.private not in repr(Secrets(made.private, made.private))
