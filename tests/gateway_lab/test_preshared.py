"""Pre-shared keys with WireGuard for real: from a ciphertext in the registry to a handshake."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import GATEWAY, HOST_ADDRESS, POOL, Bed, await_true, keypair, standing

from effects import run
from gateway import wireguard
from gateway.preshared import PresharedFiles, fingerprint
from gateway.takeover import moves
from gateway.takeover.moves import LetGo, PointAt
from registry.preshared import Sealer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway.takeover.moves import Move

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """The bed with a healthy gateway; each test has peers of its own, the last one ends AWS."""
    with standing(tmp_path_factory.mktemp("bed")) as ready:
        ready.control(7)
        ready.start_agent()
        await_true("healthy", ready.healthy)
        yield ready


@dataclass(frozen=True)
class Sharing:
    """A peer with a pre-shared key."""

    public: str
    private: Path
    address: str
    preshared: Path


def kms_key(bed: Bed) -> str:
    with bed.aws("kms") as kms:
        return kms.create_key()["KeyMetadata"]["Arn"]


def share(bed: Bed, name: str, key_arn: str) -> Sharing:
    """Let a peer in as `peers add --preshared-key` does."""
    private, public = keypair(bed.directory, name)
    with bed.aws("kms") as kms:
        made = Sealer(lambda: kms, "test", key_arn).make(public)
    path = bed.directory / f"{name}.psk"
    path.write_text(made.clear)
    address = bed.add_peer(name, public, POOL, preshared=made.ciphertext)
    return Sharing(public, private, address, path)


def reaches(bed: Bed, peer: Sharing, preshared: Path, *, within: float) -> bool:
    """Whether a fresh tunnel with this pre-shared key gets an answer."""
    server = bed.wg("show", "wg0", "public-key")
    bed.connect(peer.address, server, peer.private, preshared=preshared)
    try:
        await_true("a ping", lambda: bed.ping(HOST_ADDRESS), within)
    except AssertionError:
        return False
    return True


def in_use(bed: Bed) -> dict[str, str]:
    """Public key -> pre-shared key."""
    return dict(line.split("\t") for line in bed.wg("show", "wg0", "preshared-keys").splitlines())


@pytest.fixture(scope="module")
def alice(bed: Bed) -> Sharing:
    """The one peer that has a tunnel."""
    made = share(bed, "alice", kms_key(bed))
    await_true("the peer", lambda: made.public in in_use(bed))
    return made


def test_a_client_enters_with_its_key_and_with_no_other(bed: Bed, alice: Sharing) -> None:
    assert reaches(bed, alice, alice.preshared, within=15)
    wrong, _public = keypair(bed.directory, "wrong")
    assert not reaches(bed, alice, wrong, within=6)
    none = bed.directory / "none"
    none.write_text("")
    assert not reaches(bed, alice, none, within=6)
    assert reaches(bed, alice, alice.preshared, within=15)
    log, clear = bed.agent_log(), alice.preshared.read_text().strip()
    assert alice.public in log
    for secret in (clear, clear[:30]):
        shown = secret in log  # no key in a message
        assert not shown
    (file,) = (bed.directory / "preshared").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_a_ciphertext_of_somebody_else_lets_nobody_in_and_holds_nobody_up(bed: Bed) -> None:
    arn = kms_key(bed)
    carol = share(bed, "carol", arn)
    _private, mallory = keypair(bed.directory, "mallory")
    stolen = next(
        one["preshared_key"]["S"]
        for one in bed.saved()
        if one["sk"]["S"] == "carol" and one["pk"]["S"] == "peer"
    )
    bed.add_peer("mallory", mallory, POOL, preshared=stolen)
    bob = share(bed, "bob", arn)
    await_true("bob", lambda: {carol.public, bob.public} <= in_use(bed).keys())
    await_true("named", lambda: "peer mallory is left out" in bed.agent_log())
    assert mallory not in in_use(bed)
    assert bed.metric("gatepair_sealed_peers") == 1
    assert bed.healthy()
    assert bed.metric("gatepair_registry_lag") == 0


@pytest.mark.parametrize("kind", ["taken over", "let go"])
def test_wireguard_takes_a_peer_back_with_its_key_in_one_request(bed: Bed, kind: str) -> None:
    dave = share(bed, f"dave-{kind.partition(' ')[0]}", kms_key(bed))
    await_true("the peer", lambda: dave.public in in_use(bed))
    before = in_use(bed)
    here = PresharedFiles(bed.directory / "preshared").recall().values()
    (key,) = [one for one in here if one.fingerprint == fingerprint(dave.preshared.read_text())]
    move: Move = LetGo("wg0", dave.public)
    if kind == "taken over":
        move = PointAt("wg0", dave.public, "198.51.100.2:5", again=True)
    words = moves.words(move, IPv4Address(dave.address), {dave.public: key})
    for command in wireguard.set_peers("wg0", [words]):
        run(["ip", "netns", "exec", GATEWAY, *command])
    same = in_use(bed) == before
    assert same
    assert before[dave.public] != "(none)"


def test_after_a_reboot_without_aws_the_key_is_in_use_again(bed: Bed, alice: Sharing) -> None:
    assert reaches(bed, alice, alice.preshared, within=15)
    bed.stop_moto()
    bed.stop_agent()
    run(["ip", "netns", "exec", GATEWAY, "ip", "link", "delete", "wg0"])
    await_true("wg0 is gone", lambda: "wg0" not in bed.interfaces())
    bed.start_agent()
    await_true("healthy without AWS", bed.healthy)
    same = in_use(bed)[alice.public] == alice.preshared.read_text().strip()
    assert same
    assert reaches(bed, alice, alice.preshared, within=20)
