"""What the main thread does to WireGuard when sessions change hands, and what it never does."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from unit.gateway.samples import ALICE, BOB, desired

from effects import Failed
from gateway import flows, wireguard
from gateway.flows import Outside
from gateway.takeover.hub import Forgotten, Hub
from gateway.takeover.mover import CALM_AFTER, Mover
from gateway.takeover.moves import LetGo, PointAt
from gateway.wireguard import Device, DevicePeer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.decide import Action

ALICE_KEY, BOB_KEY = "KEY-alice", "KEY-bob"
ADMITTED = {ALICE_KEY: ALICE, BOB_KEY: BOB}
HERE = replace(desired(1), peers=ADMITTED)
AT = "198.51.100.7:40001"


def line(key: str, endpoint: str, shaken: int, received: int, sent: int) -> str:
    return f"{key}\t(none)\t{endpoint}\t100.96.0.5/32\t{shaken}\t{received}\t{sent}\t25\n"


class Scene:
    """A mover with everything around it replaced."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.cut: list[Outside] = []
        self.now = 1000.0
        self.dump = line(ALICE_KEY, AT, 1_799_999_900, 70, 30) + line(BOB_KEY, "(none)", 0, 0, 0)
        self.broken = self.blind = False
        self.hub = Hub()
        self.mover = Mover(
            self.hub,
            self.carry_out,
            wall=lambda: 1_800_000_000.5,
            monotonic=lambda: self.now,
            read=self.read,
            forget=self.cut.extend,
        )

    def read(self, command: tuple[str, ...]) -> str:
        assert command == ("wg", "show", "wg0", "dump")
        if self.blind:
            raise Failed(command, 1, "")
        return "PRIVATE\tPUBLIC\t51820\toff\n" + self.dump

    def carry_out(self, actions: Iterable[Action]) -> dict[str, str]:
        self.said += [" ".join(getattr(action, "argv", ())) for action in actions]
        return {"wg0": "broken"} if self.broken else {}

    def move(self, *moves: PointAt | LetGo, admitted: dict[str, IPv4Address] = ADMITTED) -> dict:
        return self.mover.move(moves, HERE, admitted)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_takeover_is_one_request_for_all_that_wait(scene: Scene) -> None:
    scene.blind = True  # nothing is lost, so nothing need be read
    reset = scene.move(
        PointAt("wg0", ALICE_KEY, AT, again=False),
        PointAt("wg0", BOB_KEY, "198.51.100.8:5", again=False),
    )
    assert scene.said == [
        f"wg set wg0 peer {ALICE_KEY} allowed-ips {ALICE}/32 endpoint {AT} persistent-keepalive 25 "
        f"peer {BOB_KEY} allowed-ips {BOB}/32 endpoint 198.51.100.8:5 persistent-keepalive 25"
    ]
    assert reset == {}
    assert scene.hub.take() == []


def test_a_peer_with_keys_is_removed_and_put_back_in_the_same_request(scene: Scene) -> None:
    reset = scene.move(PointAt("wg0", ALICE_KEY, AT, again=True))
    assert scene.said == [
        f"wg set wg0 peer {ALICE_KEY} remove peer {ALICE_KEY} allowed-ips {ALICE}/32 "
        f"endpoint {AT} persistent-keepalive 25"
    ]
    assert reset == {"wg0": frozenset({ALICE_KEY})}
    assert scene.hub.take() == [Forgotten("wg0", (ALICE_KEY,), 1_800_000_000_500)]
    assert scene.cut == []


def test_letting_go_leaves_neither_keys_nor_an_endpoint_nor_the_flow(scene: Scene) -> None:
    scene.move(LetGo("wg0", ALICE_KEY))
    assert scene.said == [
        f"wg set wg0 peer {ALICE_KEY} remove peer {ALICE_KEY} allowed-ips {ALICE}/32"
    ]
    assert scene.cut == [Outside(IPv4Address("198.51.100.7"), 40001, 51820)]


def test_counters_survive_however_often_a_peer_is_made_anew(scene: Scene) -> None:
    scene.move(PointAt("wg0", ALICE_KEY, AT, again=True))
    scene.dump = line(ALICE_KEY, AT, 1_800_000_001, 5, 7)
    scene.move(LetGo("wg0", ALICE_KEY))
    assert scene.mover.carried == {("wg0", ALICE_KEY): (75, 37)}


@pytest.mark.parametrize(
    "admitted", [{BOB_KEY: BOB}, {ALICE_KEY: IPv4Address("100.96.0.99"), BOB_KEY: BOB}]
)
def test_who_is_not_admitted_as_the_device_has_it_is_not_touched(
    scene: Scene, admitted: dict[str, IPv4Address]
) -> None:
    for move in (PointAt("wg0", ALICE_KEY, AT, again=True), LetGo("wg0", ALICE_KEY)):
        assert scene.move(move, admitted=admitted) == {}
    assert scene.said == []


def test_who_is_admitted_but_not_in_force_yet_is_not_put_there_by_a_takeover(scene: Scene) -> None:
    carol = {**ADMITTED, "KEY-carol": IPv4Address("100.96.0.7")}
    assert scene.move(PointAt("wg0", "KEY-carol", AT, again=False), admitted=carol) == {}
    assert scene.said == []


def test_an_interface_that_is_not_served_is_not_touched(scene: Scene) -> None:
    assert scene.move(PointAt("wg1", ALICE_KEY, AT, again=True)) == {}
    assert scene.said == []


def test_the_last_word_on_a_peer_counts(scene: Scene) -> None:
    scene.move(LetGo("wg0", ALICE_KEY), PointAt("wg0", ALICE_KEY, AT, again=False))
    assert len(scene.said) == 1
    assert scene.said[0].endswith("persistent-keepalive 25")


@pytest.mark.parametrize(("since", "gone"), [(1_799_999_900, False), (1_799_999_901, True)])
def test_a_takeover_that_has_succeeded_after_all_is_not_undone(
    scene: Scene, since: int, gone: bool
) -> None:
    scene.move(LetGo("wg0", ALICE_KEY, unless_since=since))
    assert bool(scene.said) == gone


def test_what_could_not_be_done_is_not_noted_as_done(scene: Scene) -> None:
    scene.broken = True
    assert scene.move(PointAt("wg0", ALICE_KEY, AT, again=True)) == {}
    assert (scene.mover.carried, scene.mover.next_due) == ({}, None)
    assert scene.hub.take() == []
    scene.blind, scene.broken, scene.said = True, False, []
    assert scene.move(LetGo("wg0", ALICE_KEY)) == {}
    assert scene.said == [], "without its counters nothing is removed"


def test_a_keepalive_is_turned_off_again_after_a_moment(scene: Scene) -> None:
    scene.move(PointAt("wg0", ALICE_KEY, AT, again=False), PointAt("wg0", BOB_KEY, AT, again=False))
    assert scene.mover.next_due == scene.now + CALM_AFTER
    scene.said = []
    scene.now += CALM_AFTER - 0.01
    scene.mover.calm(HERE, ADMITTED)
    assert scene.said == []
    scene.now += 0.01
    # bob has been revoked meanwhile: `wg set` would make him anew
    scene.mover.calm(HERE, {ALICE_KEY: ALICE})
    assert scene.said == [f"wg set wg0 peer {ALICE_KEY} persistent-keepalive 0"]
    assert scene.mover.next_due is None


def test_a_flow_that_cannot_be_cut_holds_nothing_up(scene: Scene) -> None:
    def fail(_: Iterable[Outside]) -> None:
        raise Failed(("conntrack",), 1, "")

    scene.mover._forget = fail
    assert scene.move(LetGo("wg0", ALICE_KEY)) == {"wg0": frozenset({ALICE_KEY})}


def test_only_the_clients_own_flow_is_cut() -> None:
    assert flows.bulk([Outside(IPv4Address("198.51.100.7"), 40001, 51821)]) == (
        "-D -f ipv4 -p udp -s 198.51.100.7 --sport 40001 --dport 51821\n"
    )


def test_a_device_that_has_forgotten_a_peer_is_known_without_looking() -> None:
    peers = {key: DevicePeer(key, ("100.96.0.5/32",), AT, 9, 8, 7) for key in ADMITTED}
    device = Device("wg0", "K", 51820, peers, holds=ADMITTED)
    after = wireguard.forgotten(device, {ALICE_KEY, "KEY-nobody"})
    assert after.peers == {
        ALICE_KEY: DevicePeer(ALICE_KEY, ("100.96.0.5/32",)),
        BOB_KEY: peers[BOB_KEY],
    }
    assert after.holds is ADMITTED


def test_completed_handshakes_are_read() -> None:
    assert wireguard.parse_handshakes("wg0\tK1\t5\nwg1\tK1\t0\n") == {
        ("wg0", "K1"): 5,
        ("wg1", "K1"): 0,
    }
    with pytest.raises(ValueError, match="unpack"):
        wireguard.parse_handshakes("wg0\tK1\n")
