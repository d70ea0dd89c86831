"""Pre-shared keys on a gateway: decrypted beside the main thread, kept in files of root's."""

from __future__ import annotations

import base64
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from unit.gateway.samples import desired

from gateway import preshared_watch, wireguard
from gateway.decide import peer_delta
from gateway.messages import PresharedSeen
from gateway.peers import KnownPeers, admitted
from gateway.preshared import Preshared, PresharedFiles, fingerprint, seal
from gateway.preshared_watch import AGAIN, Opener, PresharedWatch, Unavailable
from gateway.state import State, receive
from gateway.status import Board, Status
from gateway.wireguard import Device, DevicePeer, PeerChanges, changed, differences, put_peers
from registry.items import Peer
from registry.preshared import context

if TYPE_CHECKING:
    from gateway.messages import Message

PLACE = Path("/keys/seal")
POOL = IPv4Network("100.96.0.0/24")
KEY = bytes(range(32))
TEXT = base64.b64encode(KEY).decode()


def sealed(name: str, ciphertext: str = "Y2lwaGVy") -> Peer:
    return Peer(name, f"KEY-{name}", POOL[5 + len(name)], generation=1, preshared=ciphertext)


def known(*peers: Peer, epoch: str = "e") -> KnownPeers:
    return KnownPeers(epoch, 1, {peer.name: peer for peer in peers})


# ------------------------------------------------------------------ seals and files


def test_a_seal_is_one_peers_and_one_ciphertexts() -> None:
    alice = sealed("alice")
    assert seal(alice) == seal(replace(alice, owner="x", generation=9))
    assert len({seal(alice), seal(sealed("bob")), seal(sealed("alice", "b3RoZXI="))}) == 3


def test_a_fingerprint_tells_keys_apart_and_shows_none() -> None:
    assert fingerprint(TEXT) == fingerprint(TEXT + "\n")
    assert fingerprint(TEXT) != fingerprint(base64.b64encode(bytes(32)).decode())
    assert TEXT[:8] not in fingerprint(TEXT)


@pytest.fixture
def files(tmp_path: Path) -> PresharedFiles:
    return PresharedFiles(tmp_path / "preshared")


def test_a_key_is_in_a_file_that_root_alone_reads(files: PresharedFiles, tmp_path: Path) -> None:
    made = files.keep("seal", KEY)
    assert made == Preshared(tmp_path / "preshared" / "seal", fingerprint(TEXT))
    assert made.file.read_text() == TEXT + "\n"
    assert made.file.stat().st_mode & 0o777 == 0o600
    assert made.file.parent.stat().st_mode & 0o777 == 0o700
    assert files.recall() == {"seal": made}


@pytest.mark.parametrize("wrong", [b"", bytes(31), bytes(33)])
def test_what_is_no_key_gets_no_file(files: PresharedFiles, wrong: bytes) -> None:
    """To `wg` an empty file is a peer without a pre-shared key."""
    with pytest.raises(ValueError, match="32 bytes"):
        files.keep("seal", wrong)
    assert files.names() == set()


@pytest.mark.parametrize("text", ["", "\n", "nonsense", TEXT[:20]])
def test_a_damaged_file_is_not_recalled(files: PresharedFiles, text: str) -> None:
    files.keep("good", KEY)
    files.keep("bad", KEY).file.write_text(text)
    assert files.recall().keys() == {"good"}
    assert files.names() == {"good", "bad"}


def test_without_a_directory_nothing_is_recalled(files: PresharedFiles) -> None:
    assert files.recall() == {}
    files.forget(["never there"])


# ------------------------------------------------------------------ who is admitted


def test_a_peer_is_admitted_with_its_key_only() -> None:
    alice, bob = sealed("alice"), replace(sealed("bob"), preshared="")
    without = admitted(known(alice, bob), POOL, 0)
    assert (without.addresses.keys(), without.preshared) == ({"KEY-bob"}, {})
    assert without.sealed == {"alice": seal(alice)}
    assert alice.address not in without.reaches
    key = Preshared(PLACE, "f")
    found = admitted(known(alice, bob), POOL, 0, {seal(alice): key})
    assert found.addresses.keys() == {"KEY-alice", "KEY-bob"}
    assert found.preshared == {"KEY-alice": key}
    assert found.sealed == {}


def test_a_key_of_another_ciphertext_does_not_count() -> None:
    key = Preshared(PLACE, "f")
    found = admitted(known(sealed("alice")), POOL, 0, {seal(sealed("alice", "b3RoZXI=")): key})
    assert found.addresses == {}


def test_nobody_gets_the_address_of_a_peer_that_waits() -> None:
    late = replace(sealed("zoe"), address=sealed("alice").address, generation=2, preshared="")
    found = admitted(known(sealed("alice"), late), POOL, 0)
    assert found.addresses == {}
    assert found.unusable == ("zoe",)


# ------------------------------------------------------------------ the device

A5 = IPv4Address("100.96.0.5")


def keyed(mark: str) -> Preshared:
    return Preshared(PLACE.with_name(mark), mark)


def device(preshared: str, allowed: str = "100.96.0.5/32") -> Device:
    peer = DevicePeer("ALICE", (allowed,), received=7, preshared=preshared)
    return Device("wg0", "PUB", 51820, {"ALICE": peer})


def test_a_dump_tells_which_preshared_key_a_peer_has_and_not_the_key() -> None:
    dump = f"wg0\tPRIV\tPUB\t51820\toff\nwg0\tALICE\t{TEXT}\t(none)\t(none)\t0\t0\t0\toff\n"
    found = wireguard.parse_dump(dump)["wg0"].peers["ALICE"]
    assert found.preshared == fingerprint(TEXT)
    assert TEXT not in repr(found)


@pytest.mark.parametrize("there", ["", "another"])
def test_a_peer_with_another_key_is_made_anew(there: str) -> None:
    changes = differences({"ALICE": A5}, device(there), {"ALICE": keyed("right")})
    assert changes == PeerChanges(("ALICE",), (("ALICE", A5),), {"ALICE": keyed("right")})
    assert changed(device(there), changes).peers["ALICE"] == DevicePeer(
        "ALICE", ("100.96.0.5/32",), preshared="right"
    )


def test_a_peer_that_should_have_none_is_made_anew_without() -> None:
    changes = differences({"ALICE": A5}, device("stale"))
    assert changes == PeerChanges(("ALICE",), (("ALICE", A5),))
    assert changed(device("stale"), changes).peers["ALICE"].preshared == ""


def test_a_peer_with_the_right_key_is_in_no_command() -> None:
    assert not differences({"ALICE": A5}, device("right"), {"ALICE": keyed("right")})


def test_another_address_is_given_without_ending_the_session() -> None:
    keys = {"ALICE": keyed("right")}
    changes = differences({"ALICE": A5}, device("right", "100.96.0.9/32"), keys)
    assert changes == PeerChanges((), (("ALICE", A5),), keys)
    assert changed(device("right"), changes).peers["ALICE"].received == 7


def test_a_peer_that_was_put_back_is_known_to_have_its_key_without_a_look() -> None:
    after = wireguard.forgotten(device("right"), ["ALICE"])
    assert after.peers["ALICE"].received == 0
    assert not differences({"ALICE": A5}, after, {"ALICE": keyed("right")})


def test_the_key_goes_by_file_and_only_to_its_peer() -> None:
    wanted = {"ALICE": A5, "BOB": A5 + 1}
    changes = differences(wanted, None, {"ALICE": keyed("right")})
    (command,) = put_peers("wg0", changes)
    assert " ".join(command) == (
        "wg set wg0 peer ALICE preshared-key /keys/right allowed-ips 100.96.0.5/32 "
        "peer BOB allowed-ips 100.96.0.6/32"
    )


def test_many_keys_go_in_batches_that_fit_a_command_line() -> None:
    wanted = {f"{number:044}": A5 + number for number in range(1000)}
    place = PLACE.parent / "var/lib/gatepair/preshared" / ("f" * 64)
    keys = {key: Preshared(place, "f") for key in wanted}
    commands = list(put_peers("wg0", differences(wanted, None, keys)))
    assert max(len(" ".join(command)) for command in commands) < 100_000


def test_a_step_makes_anew_whose_key_is_another_and_touches_nobody_else() -> None:
    peers = {"A": A5, "B": A5 + 1, "C": A5 + 2, "D": A5 + 3}
    before = replace(
        desired(7), peers=peers, preshared={"A": keyed("1"), "B": keyed("2"), "C": keyed("3")}
    )
    after = replace(
        desired(7),
        peers=dict(peers),
        preshared={"A": keyed("1"), "B": keyed("9"), "D": keyed("4")},
    )
    changes = peer_delta(before, after)
    assert set(changes.remove) == {"B", "C", "D"}
    assert dict(changes.put) == {name: peers[name] for name in "BCD"}
    assert changes.preshared == {"B": keyed("9"), "D": keyed("4")}


# ------------------------------------------------------------------ what the main thread keeps


def test_keys_are_added_and_go_when_nobody_needs_them() -> None:
    alice = sealed("alice")
    state = receive(State(known=known(alice)), PresharedSeen({seal(alice): keyed("1")}, {}))
    assert state.preshared == {seal(alice): keyed("1")}
    gone = frozenset({seal(alice)})
    assert receive(state, PresharedSeen({}, {}, gone)).preshared == state.preshared, (
        "she has come back meanwhile"
    )
    left = replace(state, known=known())
    assert receive(left, PresharedSeen({}, {"x": "why"}, gone)).preshared == {}


def test_faults_alone_change_no_keys() -> None:
    state = State(preshared={"s": keyed("1")})
    after = receive(state, PresharedSeen({}, {"x": "why"}))
    assert after.preshared is state.preshared, "or everybody would be gone through again"
    assert after.preshared_faults == {"x": "why"}


# ------------------------------------------------------------------ decrypting


class Kms:
    """Gives everybody the same key, unless it was told otherwise."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.answers: dict[bytes, bytes | Exception] = {}
        self.away = False

    def decrypt(self, **words: Any) -> dict[str, bytes]:
        self.asked.append(words)
        if self.away:
            raise EndpointConnectionError(endpoint_url="https://kms")
        answer = self.answers.get(words["CiphertextBlob"], KEY)
        if isinstance(answer, Exception):
            raise answer
        return {"Plaintext": answer}


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "Decrypt")


class Bench:
    """A watch, with a board that does with messages what the main thread does."""

    def __init__(self, files: PresharedFiles) -> None:
        self.kms, self.files, self.board = Kms(), files, Board()
        self.posted: list[Message] = []
        self.made = 0
        self.now = 1000.0
        self.watch = PresharedWatch(
            Opener(self.connect, "test"), files, self.board, self.post, lambda: self.now
        )

    def connect(self) -> Kms:
        self.made += 1
        return self.kms

    def post(self, message: Message) -> None:
        self.posted.append(message)
        self.publish(receive(self.state, message))

    @property
    def state(self) -> State:
        return self.board.status.state

    def publish(self, state: State) -> None:
        self.board.publish(Status(state=state))

    def know(self, *peers: Peer) -> None:
        self.publish(replace(self.state, known=known(*peers)))


@pytest.fixture
def bench(files: PresharedFiles, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(preshared_watch, "INTERVAL", 0.01)
    return Bench(files)


def test_a_new_ciphertext_is_decrypted_once_under_its_context(bench: Bench) -> None:
    alice = sealed("alice")
    bench.know(alice, replace(sealed("bob"), preshared=""))
    bench.watch.step()
    assert bench.kms.asked == [
        {"CiphertextBlob": b"cipher", "EncryptionContext": context("test", "KEY-alice")}
    ]
    assert bench.state.preshared == bench.files.recall()
    assert bench.state.preshared.keys() == {seal(alice)}
    bench.watch.step()
    bench.know(alice)
    bench.watch.step()
    assert len(bench.kms.asked) == 1


def test_a_gateway_without_such_peers_makes_no_client(bench: Bench) -> None:
    bench.watch.step()
    bench.know(replace(sealed("bob"), preshared=""))
    bench.watch.step()
    assert (bench.made, bench.posted) == (0, [])


@pytest.mark.parametrize(
    "answer",
    [
        refusal("InvalidCiphertextException"),
        refusal("AccessDeniedException"),
        refusal("KMSInvalidStateException"),
        b"too short",
    ],
)
def test_one_that_is_refused_is_named_and_tried_again_later(
    bench: Bench, answer: bytes | Exception
) -> None:
    alice, bob = sealed("alice"), sealed("bob", "Ym9i")
    bench.kms.answers[b"bob"] = answer
    bench.know(alice, bob)
    bench.watch.step()
    assert bench.state.preshared.keys() == {seal(alice)}
    assert bench.state.preshared_faults.keys() == {seal(bob)}
    bench.watch.step()
    assert len(bench.kms.asked) == 2, "not at once"
    bench.now += AGAIN
    del bench.kms.answers[b"bob"]
    bench.watch.step()
    assert bench.state.preshared.keys() == {seal(alice), seal(bob)}
    assert bench.state.preshared_faults == {}


def test_while_kms_is_away_nobody_loses_a_key_and_who_lacks_one_is_named(bench: Bench) -> None:
    alice, bob = sealed("alice"), sealed("bob")
    bench.know(alice)
    bench.watch.step()
    bench.kms.away = True
    bench.know(alice, bob)
    with pytest.raises(Unavailable, match="EndpointConnectionError"):
        bench.watch.step()
    assert bench.state.preshared.keys() == {seal(alice)}
    assert "EndpointConnectionError" in bench.state.preshared_faults[seal(bob)]
    bench.kms.away = False
    bench.watch.step()
    assert bench.state.preshared.keys() == {seal(alice), seal(bob)}
    assert bench.state.preshared_faults == {}


def test_when_kms_is_away_not_each_of_many_waits_for_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preshared_watch, "AT_ONCE", 1)
    bench.kms.away = True
    bench.know(*(sealed(f"p{'x' * number}") for number in range(20)))
    with pytest.raises(Unavailable):
        bench.watch.step()
    assert len(bench.kms.asked) == 1
    assert len(bench.state.preshared_faults) == 20


@pytest.mark.parametrize("code", sorted(preshared_watch.BUSY))
def test_a_busy_kms_says_nothing_of_the_ciphertext(bench: Bench, code: str) -> None:
    bench.kms.answers[b"cipher"] = refusal(code)
    bench.know(sealed("alice"))
    with pytest.raises(Unavailable):
        bench.watch.step()
    bench.kms.answers.clear()
    bench.watch.step()
    assert bench.state.preshared


def test_many_are_told_batch_by_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preshared_watch, "BATCH", 8)
    peers = [sealed(f"p{'x' * number}") for number in range(20)]
    bench.know(*peers)
    bench.watch.step()
    assert [len(m.opened) for m in bench.posted if isinstance(m, PresharedSeen)] == [8, 8, 4]
    assert bench.files.names() == {seal(peer) for peer in peers}


def test_the_key_of_a_peer_that_is_gone_is_deleted_once_the_machine_does_without_it(
    bench: Bench,
) -> None:
    alice = sealed("alice")
    bench.know(alice)
    bench.watch.step()
    bench.know()
    bench.watch.step()
    assert bench.files.names() == {seal(alice)}, "a command that is under way may read it"
    assert bench.state.preshared == {}
    bench.watch.step()
    assert bench.files.names() == set()


def test_nothing_is_deleted_before_the_peers_are_known(bench: Bench, files: PresharedFiles) -> None:
    files.keep("kept", KEY)
    bench.watch.step()
    assert files.names() == {"kept"}


def test_a_file_that_somebody_deleted_is_made_anew(bench: Bench) -> None:
    alice = sealed("alice")
    bench.know(alice)
    bench.watch.step()
    bench.files.forget([seal(alice)])
    bench.watch.step()
    assert bench.files.names() == {seal(alice)}
    assert len(bench.kms.asked) == 2


def test_no_error_and_no_log_shows_a_key(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.kms.answers[b"bob"] = KEY + b"too long"
    bench.know(sealed("alice"), sealed("bob", "Ym9i"))
    with caplog.at_level("DEBUG"):
        bench.watch.step()
    said = caplog.text + repr(bench.posted) + repr(bench.board.status)
    assert "peer bob is left out" in said
    assert TEXT[:20] not in said
    assert repr(KEY)[2:20] not in said
