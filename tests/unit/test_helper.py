"""The client helper's decisions, on a tunnel made of data."""

from __future__ import annotations

import argparse
import ast
import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_registry import PARAMETER, key_of

import settings
from client import config
from client import gatepair_helper as helper
from client.gatepair_helper import (
    Announcement,
    Drop,
    Greet,
    Helper,
    Keep,
    Key,
    Look,
    Machine,
    Memory,
    Move,
    Pause,
    Peer,
    Redial,
    Refused,
    Say,
    Silent,
    Tunnel,
)

if TYPE_CHECKING:
    from collections.abc import Callable
from gateway import announcement
from registry.environment import Environment
from registry.items import Peer as Registered

OWN = key_of(99)
KEYS = {number: Key(number, key_of(number), 51820 + (number - 1) % 2) for number in (7, 8, 9)}
ONE, OTHER = "203.0.113.10", "203.0.113.11"
SERVICE = "100.96.0.1"
NETWORKS = ("10.20.0.0/16", "100.96.0.1/32")
PRIVATE = "cHJpdmF0ZSBrZXkgb2YgYWxpY2UsIDMyIGJ5dGVzIQA="

ENVIRONMENT = Environment.from_json(json.dumps(PARAMETER))
ALICE = Registered("alice", key_of(1), IPv4Address("100.96.0.5"))
TEXT = config.render(
    config.tunnel(ENVIRONMENT, ALICE, key_generation=7, server_public_key=KEYS[7].public_key),
    config.Secrets(PRIVATE),
)


def says(*generations: int, newest: int = 0) -> Announcement:
    keys = tuple(KEYS[number] for number in generations)
    return Announcement(keys, KEYS[newest or generations[-1]], (ONE, OTHER))


@dataclass
class World:
    """A tunnel, the gateways behind it, and time. Stands in for `Machine`."""

    served: tuple[int, ...] = (7,)
    main: int = 7
    peers: dict[str, Peer] = field(default_factory=dict)
    text: str = TEXT
    now: float = 1000.0
    done: list[Any] = field(default_factory=list)
    deaf: set[str] = field(default_factory=set)
    """Addresses of the load balancer that lead nowhere."""
    hollow: set[int] = field(default_factory=set)
    """Generations that shake hands and carry nothing."""
    answer: Announcement | Refused | None = None
    """In place of what the gateways would say."""
    name: str = "wg0"

    def __post_init__(self) -> None:
        key = KEYS[self.main]
        self.peers[key.public_key] = Peer(
            key.public_key, f"{ONE}:{key.port}", NETWORKS, 1, 1000, 1000, 25
        )

    @property
    def carrying(self) -> int:
        """The generation that the tunnel goes by."""
        (found,) = [n for n, key in KEYS.items() if self._peer(key).allowed_ips]
        return found

    def _peer(self, key: Key) -> Peer:
        return self.peers.get(key.public_key) or Peer(key.public_key, "", (), 0, 0, 0, 0)

    def _alive(self, generation: int) -> bool:
        host = helper.host_of(self._peer(KEYS[generation]).endpoint)
        return generation in self.served and host not in self.deaf

    def traffic(self, sent: int = 1000) -> None:
        """A user who sends, and is answered if the tunnel works."""
        number = self.carrying
        peer = self._peer(KEYS[number])
        back = sent if self._alive(number) and number not in self.hollow else 0
        self.peers[peer.public_key] = replace(
            peer, sent=peer.sent + sent, received=peer.received + back
        )

    # what Machine has

    def look(self) -> Look:
        for number, key in KEYS.items():
            peer = self.peers.get(key.public_key)
            if peer is not None and peer.keepalive and self._alive(number):
                self.peers[key.public_key] = replace(peer, handshake=int(self.now))
        tunnel = Tunnel(OWN, dict(self.peers))
        main = tunnel.peer_of(SERVICE)
        assert main is not None
        return Look(self.now, self.now, tunnel, main)

    def ask(self) -> Announcement:
        number = self.carrying
        if not self._alive(number) or number in self.hollow:
            self.now += helper.ASK_LIMIT
            raise Silent("timed out")
        if isinstance(self.answer, Refused):
            raise self.answer
        self.traffic(100)
        return self.answer or says(*self.served)

    def do(self, action: Any) -> None:
        self.done.append(action)
        if isinstance(action, Greet):
            key = action.key.public_key
            self.peers[key] = replace(
                self._peer(action.key), endpoint=action.endpoint, keepalive=25
            )
        elif isinstance(action, Move):
            old, new = self.peers[action.old], self.peers[action.new]
            self.peers[action.old] = replace(old, allowed_ips=(), keepalive=0)
            self.peers[action.new] = replace(new, allowed_ips=action.allowed_ips, keepalive=25)
        elif isinstance(action, Drop):
            assert not self.peers.pop(action.public_key).allowed_ips, "it carried the tunnel"
        elif isinstance(action, Redial):
            again = replace(self.peers[action.peer.public_key], endpoint=action.endpoint)
            if action.anew:
                again = replace(again, handshake=0, received=0, sent=0)
            self.peers[action.peer.public_key] = again
        elif isinstance(action, Keep):
            self.text = helper.rewrite(self.text, action.key, action.addresses)

    def stale(self, wanted: Keep) -> bool:
        return helper.rewrite(self.text, wanted.key, wanted.addresses) != self.text

    def kinds(self) -> list[str]:
        return [type(action).__name__ for action in self.done]


def options(**changes: Any) -> argparse.Namespace:
    return argparse.Namespace(**{**vars(helper.parse(["wg0"])), **changes})


class Driver:
    """A helper in a `World`."""

    def __init__(self, world: World, tmp_path: Path, **changes: Any) -> None:
        path = tmp_path / "wg0.conf"
        path.write_text(world.text)
        machine: Any = world
        machine.config = path
        self.world, self.said = world, list[Say]()
        self.helper = Helper(machine, options(**changes))
        self.helper.say = self.said.append  # ty: ignore[invalid-assignment]

    def run(self, seconds: float, *, busy: bool = True) -> None:
        """Let time pass, with a user who sends something all the time."""
        world, end = self.world, self.world.now + seconds
        while world.now < end:
            if busy:
                world.traffic()
            self.helper.step()
            world.now += self.helper.memory.pause

    def events(self) -> list[str]:
        return [said.event for said in self.said]


# ------------------------------------------------------------------ rotation


def test_a_rotation_is_followed_in_this_order_and_the_config_comes_last(tmp_path: Path) -> None:
    world = World()
    driver = Driver(world, tmp_path)
    driver.run(100)
    assert world.kinds() == ["Keep"], "only the addresses are noted while nothing is new"
    world.done.clear()
    world.served = (7, 8)
    driver.run(100)
    assert world.kinds() == ["Greet", "Move", "Keep", "Drop"]
    greet, move, keep, drop = world.done
    assert greet == Greet(KEYS[8], f"{ONE}:51821")
    assert move == Move(KEYS[8].public_key, KEYS[7].public_key, NETWORKS)
    assert keep == Keep(KEYS[8], (ONE, OTHER))
    assert drop == Drop(KEYS[7].public_key)
    assert driver.events() == ["kept", "announced", "moved", "proved", "kept"]
    world.served = (8,)
    driver.run(200)
    assert world.carrying == 8
    assert len(world.done) == 4, "the end of the old key is nothing to do"
    assert helper.read_config(world.text).public_key == KEYS[8].public_key


def test_two_rotations_in_a_row_and_the_way_back(tmp_path: Path) -> None:
    world = World()
    driver = Driver(world, tmp_path)
    for served in ((7, 8), (8,), (8, 9), (9, 8), (8,)):
        world.served = served
        driver.run(120)
        assert world.carrying == served[-1]
        assert list(world.peers) == [KEYS[served[-1]].public_key]
        assert helper.read_config(world.text).public_key == KEYS[served[-1]].public_key


def test_nothing_is_carried_by_a_key_that_has_not_shaken_hands(tmp_path: Path) -> None:
    world = World()
    world.answer = says(7, 8)  # the port of 8 is blocked on the way
    driver = Driver(world, tmp_path)
    driver.run(200)
    assert world.carrying == 7
    assert world.kinds() == ["Greet"]
    assert driver.events().count("waiting") == 1
    world.served = (7, 8)
    driver.run(60)
    assert world.carrying == 8


def test_a_handshake_of_long_ago_is_none(tmp_path: Path) -> None:
    world = World()
    world.answer = says(7, 8)
    left = Peer(KEYS[8].public_key, "", (), int(world.now) - helper.FRESH, 0, 0, 0)
    world.peers[left.public_key] = left
    Driver(world, tmp_path).run(60)
    assert world.kinds() == ["Greet"]


def test_a_key_that_carries_nothing_is_left_again_and_not_tried_at_once(tmp_path: Path) -> None:
    world = World(served=(7, 8), hollow={8})
    driver = Driver(world, tmp_path)
    driver.run(30)
    assert world.kinds() == ["Greet", "Move", "Move", "Drop"]
    assert world.done[2].back
    assert world.carrying == 7
    driver.run(300)
    assert len(world.done) == 4
    assert helper.read_config(world.text).public_key == KEYS[7].public_key, "it was not written"
    world.hollow.clear()
    driver.run(helper.AVOID)
    assert world.carrying == 8


def test_a_rotation_that_is_called_off_leaves_nothing_behind(tmp_path: Path) -> None:
    world = World()
    world.answer = says(7, 8)
    driver = Driver(world, tmp_path)
    driver.run(30)
    world.answer = None
    driver.run(120)
    assert list(world.peers) == [KEYS[7].public_key]
    assert world.carrying == 7


@pytest.mark.parametrize("after", range(1, 5))
def test_a_helper_that_is_killed_anywhere_is_gone_on_from(tmp_path: Path, after: int) -> None:
    world = World(served=(7, 8))
    real = world.do

    def do(action: Any) -> None:
        if len(world.done) == after:
            raise KeyboardInterrupt
        real(action)

    world.do = do
    try:
        Driver(world, tmp_path).run(60)
    except KeyboardInterrupt:
        world.do = real
    Driver(world, tmp_path).run(60)
    assert list(world.peers) == [KEYS[8].public_key]
    assert world.carrying == 8
    assert helper.read_config(world.text).public_key == KEYS[8].public_key


def test_no_follow_never_moves(tmp_path: Path) -> None:
    world = World(served=(7, 8))
    Driver(world, tmp_path, no_follow=True).run(200)
    assert world.carrying == 7
    assert set(world.kinds()) == {"Keep"}


def test_a_peer_that_somebody_else_put_there_is_left_alone(tmp_path: Path) -> None:
    world = World(served=(7, 8))
    foreign = Peer(key_of(55), "", (), 0, 0, 0, 0)
    world.peers[foreign.public_key] = foreign
    Driver(world, tmp_path).run(60)
    assert set(world.peers) == {KEYS[8].public_key, foreign.public_key}


# ------------------------------------------------------------------ trust


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (says(8, 9), "does not name the key that it came under"),
        (Announcement((KEYS[7], Key(8, OWN, 51821)), Key(8, OWN, 51821), ()), "client's own key"),
        (Refused("the gateway's answer is not readable: KeyError"), "not readable"),
    ],
)
def test_an_answer_that_does_not_count_moves_nothing_and_is_told_once(
    tmp_path: Path, answer: Announcement | Refused, said: str
) -> None:
    world = World(answer=answer)
    driver = Driver(world, tmp_path)
    driver.run(300)
    assert world.done == []
    (only,) = driver.said
    assert only.event == "refused"
    assert said in only.text


def test_a_generation_never_gets_another_key(tmp_path: Path) -> None:
    world = World(served=(7, 8), hollow={8})
    driver = Driver(world, tmp_path)
    driver.run(40)
    other = Key(8, key_of(666), 51821)
    world.answer = Announcement((KEYS[7], other), other, (ONE,))
    before = len(world.done)
    driver.run(800)
    assert len(world.done) == before
    assert "names another key for generation 8" in driver.said[-1].text


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"version": None},
        {"generations": []},
        {"generations": "x"},
        {"newest": 9},
        {"newest": None},
        {"generations": [7, 9]},
        {"generations": [7, 7]},
        {"generations": [7, 8, 9]},
        {"addresses": ["127.0.0.1"]},
        {"addresses": ["224.0.0.1"]},
        {"addresses": ["vpn.example.com"]},
        {"addresses": None},
        {"port": 0},
        {"port": 65536},
        {"port": True},
        {"port": "51820"},
        {"public_key": "AAAA"},
        {"public_key": "A" * 43 + "="},
        {"public_key": KEYS[7].public_key[:-2] + "B="},
        {"public_key": KEYS[8].public_key + "\n"},
        {"public_key": 7},
        {"generation": 0},
        {"generation": "7"},
    ],
)
def test_an_answer_of_another_form_is_refused(change: dict[str, Any]) -> None:
    document = {
        "version": 1,
        "generations": [vars(KEYS[7]), vars(KEYS[8])],
        "newest": 8,
        "endpoint": "vpn.example.com",
        "addresses": [ONE, OTHER],
        "mtu": 1420,
        "later": "versions may say more",
    }
    good = helper.parse_announcement(json.dumps(document).encode())
    assert good == says(7, 8)
    for name, value in change.items():
        if name == "generations" and value and isinstance(value, list):
            document[name] = [vars(KEYS[number]) for number in value]
        elif name in document:
            document[name] = value
        else:
            document["generations"] = [vars(KEYS[7]), {**vars(KEYS[8]), name: value}]
    with pytest.raises(Refused):
        helper.parse_announcement(json.dumps(document).encode())


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b"{", b'{"version": 1}'])
def test_an_answer_that_is_not_the_document_is_refused(body: bytes) -> None:
    with pytest.raises(Refused):
        helper.parse_announcement(body)


def test_the_answer_is_taken_whole_or_not_at_all() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    assert helper.parse_http(head + b"{}") == (200, b"{}")
    assert helper.parse_http(b"HTTP/1.1 503 No\r\n\r\n") == (503, b"")
    for cut in (b"", b"HTTP/1.1 200 OK\r\n", head, head + b"{"):
        with pytest.raises(Silent):
            helper.parse_http(cut)
    for other in (b"SSH-2.0\r\n\r\n", head + b"x" * helper.LARGEST_ANSWER):
        with pytest.raises((Refused, Silent)):
            helper.parse_http(other)


# ------------------------------------------------------------------ failing over


def test_a_silent_address_is_left_for_the_other_one_within_seconds(tmp_path: Path) -> None:
    world = World()
    driver = Driver(world, tmp_path)
    driver.run(60)
    world.deaf.add(ONE)
    began = world.now
    while not any(isinstance(action, Redial) for action in world.done):
        driver.run(1)
        assert world.now - began < 20
    assert world.now - began <= 2 * helper.LOOK + helper.DOUBT + 2 * helper.ASK_LIMIT + 2
    (redial,) = [action for action in world.done if isinstance(action, Redial)]
    assert redial.endpoint == f"{OTHER}:51820"
    assert redial.peer.allowed_ips == NETWORKS
    driver.run(120)
    assert world.kinds().count("Redial") == 1, "it works there: it stays there"


def silenced(tmp_path: Path) -> Driver:
    """A helper for whom all was well for a minute, and no address leads anywhere from now on."""
    driver = Driver(World(), tmp_path)
    driver.run(60)
    driver.world.deaf |= {ONE, OTHER}
    return driver


def test_the_session_is_kept_at_the_other_address_and_given_up_if_that_is_silent_too(
    tmp_path: Path,
) -> None:
    driver = silenced(tmp_path)
    world = driver.world
    dialled: list[float] = []
    for _ in range(100):
        before = len(world.done)
        driver.run(1)
        dialled += [world.now] * (len(world.done) - before)
    redials = [action for action in world.done if isinstance(action, Redial)]
    assert [one.anew for one in redials[:3]] == [False, True, True]
    assert dialled[1] - dialled[0] <= helper.KEPT + helper.ASK_LIMIT + 1
    assert dialled[2] - dialled[1] >= helper.PATIENCE
    world.deaf.clear()
    driver.run(60)
    world.done.clear()
    world.deaf |= {ONE, OTHER}
    driver.run(20)
    (again, *_) = [action for action in world.done if isinstance(action, Redial)]
    assert not again.anew, "it has been heard meanwhile"


def test_a_session_that_is_too_old_is_not_kept(tmp_path: Path) -> None:
    driver = silenced(tmp_path)
    world, key = driver.world, KEYS[7].public_key
    world.peers[key] = replace(world.peers[key], handshake=int(world.now) - helper.FRESH)
    driver.run(20)
    (first, *_) = [action for action in world.done if isinstance(action, Redial)]
    assert first.anew


def questions(driver: Driver, seconds: float, ask: Callable[[], Announcement]) -> list[float]:
    """When they were asked."""
    asked: list[float] = []

    def noted() -> Announcement:
        asked.append(driver.world.now)
        return ask()

    driver.world.ask = noted
    driver.run(seconds)
    return asked


def test_a_silent_tunnel_is_asked_without_a_pause_that_a_survivor_would_wait_for(
    tmp_path: Path,
) -> None:
    driver = silenced(tmp_path)
    world = driver.world
    began = world.now
    asked = questions(driver, 40, world.ask)
    assert asked[0] - began <= 2 * helper.LOOK + helper.DOUBT + helper.SOON
    gaps = [later - sooner for sooner, later in pairwise(asked)]
    assert max(gaps) <= helper.ASK_LIMIT + 2 * helper.AT_ONCE, "in each it speaks twice"


def test_without_a_network_it_does_not_ask_all_the_time(tmp_path: Path) -> None:
    driver = silenced(tmp_path)

    def ask() -> Announcement:
        raise Silent("network is unreachable")

    asked = questions(driver, 60, ask)
    assert 10 < len(asked) <= 60 / helper.SOON


def test_one_answer_that_was_lost_is_no_reason_to_dial_elsewhere(tmp_path: Path) -> None:
    world = World()
    driver = Driver(world, tmp_path)
    driver.run(60)
    real, asked = world.ask, [0]

    def ask() -> Announcement:
        asked[0] += 1
        if asked[0] % 2:
            raise Silent("timed out")
        return real()

    world.ask = ask
    driver.run(600, busy=False)
    assert asked[0] > 10
    assert "Redial" not in world.kinds()


def test_addresses_are_tried_in_turn_and_not_all_the_time(tmp_path: Path) -> None:
    driver = silenced(tmp_path)
    world = driver.world
    driver.run(100)
    tried = [action.endpoint for action in world.done if isinstance(action, Redial)]
    assert tried[:3] == [f"{OTHER}:51820", f"{ONE}:51820", f"{OTHER}:51820"]
    assert len(tried) <= 100 / helper.PATIENCE + 1
    world.deaf.clear()
    driver.run(30)
    before = len(world.done)
    driver.run(120)
    assert len(world.done) == before


def test_an_idle_tunnel_is_not_dialled_anew_and_is_asked_once_a_minute(tmp_path: Path) -> None:
    world = World()
    driver = Driver(world, tmp_path)
    asked = [0]
    real = world.ask

    def ask() -> Announcement:
        asked[0] += 1
        return real()

    world.ask = ask
    driver.run(1200, busy=False)
    assert world.kinds() == ["Keep"]
    assert 13 <= asked[0] <= 41, "once a minute, drawn between half and one and a half"


def test_failing_over_does_not_disturb_a_rotation(tmp_path: Path) -> None:
    world = World(served=(7,))
    driver = Driver(world, tmp_path)
    driver.run(60)
    world.deaf.add(ONE)
    world.served = (7, 8)
    driver.run(150)
    assert world.carrying == 8
    assert world.peers[KEYS[8].public_key].endpoint == f"{OTHER}:51821"


@pytest.mark.parametrize(
    ("present", "addresses", "following"),
    [
        (f"{ONE}:51821", (ONE, OTHER), f"{OTHER}:51821"),
        (f"{OTHER}:51821", (ONE, OTHER), f"{ONE}:51821"),
        (f"{ONE}:1", (ONE,), f"{ONE}:1"),
        (f"{ONE}:1", (), f"{ONE}:1"),
        ("198.51.100.9:1", (ONE, OTHER), f"{ONE}:1"),
        ("[2001:db8::1]:1", (), "[2001:db8::1]:1"),
        ("", (ONE,), ""),
    ],
)
def test_the_next_address(present: str, addresses: tuple[str, ...], following: str) -> None:
    assert helper.next_endpoint(present, addresses) == following


# ------------------------------------------------------------------ once


def test_once_ends_when_the_tunnel_is_on_the_newest_key(tmp_path: Path) -> None:
    world = World(served=(7, 8))
    driver = Driver(world, tmp_path, once=True)
    assert driver.helper.once(Hasty(world)) == 0
    assert world.carrying == 8
    assert driver.helper.once(Hasty(world)) == 0, "called again it has nothing to do"


def test_once_fails_when_time_is_up_and_says_why(tmp_path: Path) -> None:
    world = World()
    world.answer = says(7, 8)
    driver = Driver(world, tmp_path, once=True, timeout=0.05)
    assert driver.helper.once(Hasty(world)) == 1
    assert driver.said[-1] == Say("failed", "not done within 0 s")


def test_once_refuses_an_answer_that_does_not_count(tmp_path: Path) -> None:
    world = World(answer=says(8, 9))
    assert Driver(world, tmp_path, once=True).helper.once(Hasty(world)) == 2


def test_a_dry_run_changes_nothing_and_says_what_it_would_do(tmp_path: Path) -> None:
    world = World(served=(7, 8))
    driver = Driver(world, tmp_path, dry_run=True)
    assert driver.helper.once(Hasty(world)) == 0
    assert world.done == []
    assert any("would shake hands with server key 8" in said.text for said in driver.said)


class Hasty(threading.Event):
    """Time passes in the world when the helper waits."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def wait(self, timeout: float | None = None) -> bool:
        self.world.now += timeout or 0
        return False


# ------------------------------------------------------------------ the config file


def test_only_the_servers_key_its_port_and_comments_are_rewritten() -> None:
    after = helper.rewrite(TEXT, KEYS[8], (ONE, OTHER))
    wanted = config.render(
        config.tunnel(ENVIRONMENT, ALICE, key_generation=8, server_public_key=KEYS[8].public_key),
        config.Secrets(PRIVATE),
    )
    assert after.replace(f"{helper.ADDRESSES}{ONE} {OTHER}\n", "") == wanted
    assert helper.rewrite(after, KEYS[8], (ONE, OTHER)) == after
    assert helper.rewrite(after, KEYS[7], ()) == TEXT


def test_what_a_user_has_written_into_the_file_stays() -> None:
    text = TEXT.replace("[Peer]\n", "  [Peer]   # the office\n").replace("\n", "\r\n")
    text = text.replace("MTU = 1420", "MTU=1380\r\nPostUp = echo PublicKey = x")
    text = text.replace("PublicKey = kk", "publickey=kk")
    text = text.replace(f":{51820}", ":51820   # home")
    after = helper.rewrite(text, KEYS[8], ())
    changed = [
        (one, other)
        for one, other in zip(text.splitlines(), after.splitlines(), strict=True)
        if one != other
    ]
    assert len(changed) == 3
    assert all("\r\n" in line for line in after.splitlines(keepends=True))
    assert PRIVATE in after
    assert "PostUp = echo PublicKey = x" in after
    assert ":51821   # home" in after


def test_the_file_names_the_service_and_the_addresses() -> None:
    written = helper.read_config(helper.rewrite(TEXT, KEYS[7], (ONE, OTHER)))
    assert written == helper.Written(
        KEYS[7].public_key, "vpn.example.com:51820", SERVICE, (ONE, OTHER)
    )
    narrowed = replace(ALICE, allow=("10.20.3.4/32:tcp/5432",))
    tunnel = config.tunnel(
        ENVIRONMENT, narrowed, key_generation=7, server_public_key=KEYS[7].public_key
    )
    assert IPv4Network("10.20.3.4/32") in tunnel.allowed
    assert helper.read_config(config.render(tunnel, config.Secrets(PRIVATE))).service == SERVICE


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[Peer]", "[Peer]\n[Peer]", "2 peers where one is due"),
        ("[Peer]", "[Pear]", "0 peers"),
        ("Endpoint = ", "# Endpoint = ", "the peer has no endpoint"),
        (", 100.96.0.1/32", "", "does not end with the gateway's tunnel address"),
        (KEYS[7].public_key, "nonsense", "does not end with"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(old: str, new: str, said: str) -> None:
    assert old in TEXT
    with pytest.raises(Refused, match=said):
        helper.read_config(TEXT.replace(old, new))


def test_a_file_is_replaced_whole_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    target, link = tmp_path / "real.conf", tmp_path / "wg0.conf"
    target.write_text(TEXT)
    target.chmod(0o644)
    link.symlink_to(target)
    machine = Machine("wg0", link, SERVICE)
    wanted = Keep(KEYS[8], (ONE,))
    assert machine.stale(wanted)
    machine.do(wanted)
    assert link.is_symlink()
    assert target.stat().st_mode & 0o777 == 0o600
    assert helper.read_config(target.read_text()).public_key == KEYS[8].public_key
    assert sorted(tmp_path.iterdir()) == [target, link]
    assert not machine.stale(wanted)


def test_a_file_that_cannot_be_written_is_left_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wg0.conf"
    path.write_text(TEXT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        helper.replace_file(path, "other")
    assert path.read_text() == TEXT
    assert list(tmp_path.iterdir()) == [path]


# ------------------------------------------------------------------ wg


DUMP = "\n".join(
    (
        f"{PRIVATE}\t{OWN}\t40000\toff",
        f"{KEYS[7].public_key}\t(none)\t{ONE}:51820\t10.20.0.0/16,100.96.0.1/32\t12\t34\t56\t25",
        f"{KEYS[8].public_key}\t(none)\t(none)\t(none)\t0\t0\t0\toff",
    )
)


def test_wgs_dump_is_read_without_the_private_key() -> None:
    tunnel = helper.parse_dump(DUMP)
    assert tunnel.public_key == OWN
    seven = Peer(KEYS[7].public_key, f"{ONE}:51820", NETWORKS, 12, 34, 56, 25)
    assert tunnel.peers[KEYS[7].public_key] == seven
    assert tunnel.peers[KEYS[8].public_key] == Peer(KEYS[8].public_key, "", (), 0, 0, 0, 0)
    assert PRIVATE not in repr(tunnel)
    assert tunnel.peer_of(SERVICE) == seven
    assert tunnel.peer_of("8.8.8.8") is None
    with pytest.raises(Refused):
        helper.parse_dump("")


def test_the_peer_with_the_narrowest_network_is_the_one_that_carries() -> None:
    wide = Peer(key_of(55), "", ("0.0.0.0/0", "::/0"), 0, 0, 0, 0)
    tunnel = helper.parse_dump(DUMP)
    both = Tunnel(OWN, {wide.public_key: wide, **tunnel.peers})
    found = both.peer_of(SERVICE)
    assert found is not None
    assert found.public_key == KEYS[7].public_key


@pytest.mark.parametrize(
    ("action", "argv"),
    [
        (
            Greet(KEYS[8], f"{ONE}:51821"),
            f"peer {KEYS[8].public_key} endpoint {ONE}:51821 persistent-keepalive 25",
        ),
        (
            Move("NEW", "OLD", NETWORKS, back=True),
            "peer NEW persistent-keepalive 25 allowed-ips 10.20.0.0/16,100.96.0.1/32 "
            "peer OLD persistent-keepalive 0",
        ),
        (Drop("OLD"), "peer OLD remove"),
        (
            Redial(Peer("K", f"{ONE}:51820", NETWORKS, 0, 0, 0, 0), f"{OTHER}:51820", anew=False),
            f"peer K endpoint {OTHER}:51820",
        ),
        (
            Redial(Peer("K", f"{ONE}:51820", NETWORKS, 0, 0, 0, 0), f"{OTHER}:51820", anew=True),
            f"peer K remove peer K endpoint {OTHER}:51820 "
            "allowed-ips 10.20.0.0/16,100.96.0.1/32 persistent-keepalive 25",
        ),
    ],
)
def test_each_action_is_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Any, argv: str
) -> None:
    wg = Wg(DUMP)
    monkeypatch.setattr(helper, "run", wg)
    Machine("wg0", tmp_path / "wg0.conf", SERVICE).do(action)
    assert wg.ran == [(f"wg set wg0 {argv}", "")]


class Wg:
    """Stands for `wg`, and remembers what was set and what came on stdin."""

    def __init__(self, dump: str) -> None:
        self.dump, self.ran = dump, list[tuple[str, str]]()

    def __call__(self, *command: str, stdin: str = "") -> str:
        if command == ("wg", "show", "wg0", "dump"):
            return self.dump
        if command == ("wg", "show", "wg0", "preshared-keys"):
            return f"{KEYS[7].public_key}\t{SECRET}\n{KEYS[8].public_key}\t(none)\n"
        self.ran.append((" ".join(command), stdin))
        return ""


SECRET = "cHJlLXNoYXJlZCBwcmUtc2hhcmVkIHByZS1zaGFyZWQ="


@pytest.mark.parametrize(
    ("action", "argv"),
    [
        (
            Greet(KEYS[8], f"{ONE}:51821"),
            f"peer {KEYS[8].public_key} preshared-key /dev/stdin endpoint {ONE}:51821 "
            "persistent-keepalive 25",
        ),
        (
            Redial(
                Peer(KEYS[7].public_key, f"{ONE}:1", NETWORKS, 0, 0, 0, 0, preshared=True),
                f"{OTHER}:51820",
                anew=True,
            ),
            f"peer {KEYS[7].public_key} remove peer {KEYS[7].public_key} "
            f"endpoint {OTHER}:51820 preshared-key /dev/stdin "
            "allowed-ips 10.20.0.0/16,100.96.0.1/32 persistent-keepalive 25",
        ),
    ],
)
def test_a_preshared_key_goes_along_and_never_on_a_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: Any, argv: str
) -> None:
    wg = Wg(DUMP.replace("(none)", SECRET, 1))
    monkeypatch.setattr(helper, "run", wg)
    Machine("wg0", tmp_path / "wg0.conf", SERVICE).do(action)
    assert wg.ran == [(f"wg set wg0 {argv}", SECRET + "\n")]


def test_a_tunnel_is_known_to_have_a_preshared_key_without_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helper, "run", Wg(DUMP.replace("(none)", SECRET, 1)))
    look = Machine("wg0", tmp_path / "wg0.conf", SERVICE).look()
    assert look.main.preshared
    assert SECRET not in repr(look)


def test_the_file_keeps_its_preshared_key() -> None:
    sealed = replace(ALICE, preshared="Y2lwaGVy")
    tunnel = config.tunnel(
        ENVIRONMENT, sealed, key_generation=7, server_public_key=KEYS[7].public_key
    )
    text = config.render(tunnel, config.Secrets(PRIVATE, SECRET))
    after = helper.rewrite(text, KEYS[8], (ONE,))
    assert f"PresharedKey = {SECRET}\n" in after
    assert helper.read_config(after).public_key == KEYS[8].public_key


def test_the_move_waits_for_a_pause_in_the_traffic() -> None:
    pause = Pause(0.02, changed_at=0.0)
    pause = pause.feed(0.0, 100, 100)
    assert not pause.over(0.1), "nothing has been heard yet: the next packet may be about to go"
    pause = pause.feed(0.11, 100, 200)  # sent
    pause = pause.feed(0.12, 200, 200)  # answered
    assert not pause.over(0.13)
    pause = pause.feed(0.135, 200, 200)
    assert pause.over(0.141)
    busy = pause.feed(0.142, 200, 300)
    assert not busy.over(0.15)


def test_a_tunnel_that_nobody_uses_is_moved_without_waiting_for_anything() -> None:
    assert Pause(0.02, changed_at=5.0).feed(5.0, 1, 1).over(5.0 + helper.IDLE)


# ------------------------------------------------------------------ the command


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["wg0"], "no wg0.conf in /etc/wireguard"),
        (["../etc/passwd"], "is not a tunnel's name"),
        (["wg0", "--config", "CONF", "--service", "vpn"], "vpn"),
        (["wg0", "--config", "MISSING"], "No such file"),
        (["wg0", "--config", "OTHER"], "0 peers where one is due"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_done(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    said: str,
) -> None:
    (tmp_path / "CONF").write_text(TEXT)
    (tmp_path / "OTHER").write_text("[Interface]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(helper.signal, "signal", lambda *_: None)
    assert helper.main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert PRIVATE not in err


def test_only_root_may(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(helper.signal, "signal", lambda *_: None)
    assert helper.main(["wg0"]) == 2
    assert "run it with sudo" in capsys.readouterr().err


def test_events_are_json_on_stdout_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(served=(7, 8))
    driver = Driver(world, tmp_path, json=True)
    del driver.helper.say
    driver.run(30)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["announced", "moved", "proved", "kept"]
    assert {line["generation"] for line in lines} == {8}


def test_a_helper_without_a_tunnel_waits_for_one(tmp_path: Path) -> None:
    world = World()
    driver = Driver(world, tmp_path)
    real, calls = world.look, [0]

    def look() -> Look:
        calls[0] += 1
        if calls[0] < 4:
            raise Refused("wg show wg0: No such device")
        ended.set()
        return real()

    world.look = look
    ended = Hasty(world)
    assert driver.helper.run(ended) == 0
    assert driver.events()[0] == "waiting"
    assert driver.events().count("waiting") == 1


def test_the_helper_is_one_file_of_python_3_9_and_the_standard_library() -> None:
    tree = ast.parse(Path(helper.__file__).read_text(), feature_version=(3, 9))
    names = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [one.name for one in node.names]
            if isinstance(node, ast.Import)
            else [node.module or "."]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names <= sys.stdlib_module_names


def test_gateways_answer_where_the_helper_asks() -> None:
    assert settings.HELPER_PORT == announcement.PORT == helper.SERVICE_PORT
    assert announcement.PATH == helper.SERVICE_PATH
    assert announcement.VERSION == helper.SERVICE_VERSION
    assert config.KEEPALIVE == helper.KEEPALIVE


def test_a_memory_without_an_answer_is_not_settled() -> None:
    assert not Memory().settled


class Aside:
    """What is said beside the question."""

    def __init__(self) -> None:
        self.said: list[tuple[float, bytes, tuple[str, int]]] = []

    def sendto(self, data: bytes, to: tuple[str, int]) -> None:
        self.said.append((time.monotonic(), data, to))
        raise OSError("the network is away")


def await_link(link: socket.socket, aside: Aside, seconds: float, *, writing: bool = False) -> None:
    stand_in: Any = aside
    deadline = time.monotonic() + seconds
    helper.await_link(link, stand_in, (SERVICE, 9), deadline, writing=writing)


def test_while_an_answer_is_awaited_it_says_something_that_a_survivor_would_hear() -> None:
    """TCP's own second try would come after a second."""
    aside, began = Aside(), time.monotonic()
    here, there = socket.socketpair()
    with here, there:
        with pytest.raises(TimeoutError):
            await_link(here, aside, 0.9)
        took = time.monotonic() - began
        there.sendall(b"answer")
        await_link(here, aside, 5)
    assert 0.9 <= took < 2
    assert 2 <= len(aside.said) <= 4, "and nothing more once it is answered"
    assert aside.said[0][0] - began < 0.5
    assert {to for _, _, to in aside.said} == {(SERVICE, 9)}


def test_a_link_that_can_be_written_is_not_waited_for() -> None:
    here, there = socket.socketpair()
    with here, there:
        aside = Aside()
        await_link(here, aside, 5, writing=True)
    assert aside.said == []
