"""The main loop on a machine made of data: what is applied, what is confirmed, what survives."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from unit.gateway.machine import Machine
from unit.gateway.samples import ALICE, BOB, POOL, VPC, control, desired, head

from gateway import agent as agent_module
from gateway.agent import LOOK_EVERY, Agent
from gateway.chrony import Clock
from gateway.decide import MoveRoutes, peer_delta
from gateway.drain import HELD_UP, LIMIT, NOTICED, QUIET
from gateway.environment import Environment
from gateway.forwarding import ABSENT
from gateway.messages import (
    ChangesSeen,
    GatewaysSeen,
    HeadSeen,
    IdentityFound,
    KeyFault,
    KeyReady,
    LifecycleSeen,
    OwnersMove,
    PeersRead,
    PresharedSeen,
    RoutesSeen,
    SessionsMove,
    Trouble,
)
from gateway.metadata import Identity
from gateway.paths import Paths
from gateway.peers import KnownPeers
from gateway.preshared import seal
from gateway.routed import Routed
from gateway.routes.view import RoutesView
from gateway.takeover.hub import FilterLoaded, InterfaceMade, SessionsView
from gateway.takeover.moves import LetGo, PointAt
from gateway.wireguard import PeerChanges
from registry.items import (
    DRAINED,
    DRAINING,
    ROUTED,
    SERVING,
    UNWELL,
    Change,
    Command,
    DrainOrder,
    GatewayRecord,
    Head,
    Peer,
    Unreadable,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gateway.messages import Message

ALICE_KEY = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE="
BOB_KEY = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBE="
ENVIRONMENT = Environment(
    stack="test",
    region="eu-west-1",
    table="registry",
    secret_arn="arn",
    key_seed=UUID(int=1),
    port=51820,
    health_port=9585,
    metrics_port=9586,
    gossip_port=9588,
    mtu=1420,
    client_pool=POOL,
    vpc_cidrs=VPC,
    routed_cidrs=(IPv4Network("10.30.0.0/16"),),
    peer_to_peer=False,
    version="ab",
)


def alice(generation: int = 1, expires: int | None = None) -> Peer:
    return Peer("alice", ALICE_KEY, ALICE, generation=generation, expires=expires)


def bob(generation: int) -> Peer:
    return Peer("bob", BOB_KEY, BOB, generation=generation)


class Stage:
    """An agent on a machine, with both clocks in hand."""

    def __init__(
        self,
        directory: Path,
        machine: Machine | None = None,
        monotonic: float = 1000.0,
        wall: float = 1_700_000_000.0,
    ) -> None:
        self.machine = machine or Machine()
        self.monotonic, self.wall = monotonic, wall
        (directory / "boot_id").write_text("boot\n")
        paths = Paths(state=directory, boot_id=directory / "boot_id", sysctl=directory)
        self.agent = Agent(
            ENVIRONMENT,
            paths,
            look_at_clock=lambda: Clock(synchronised=True),
            wall=lambda: self.wall,
            monotonic=lambda: self.monotonic,
        )
        self.agent._actor.carry_out = self.machine.carry_out

    def hear(self, *messages: Message) -> None:
        for message in messages:
            self.agent.post(message)
        self.agent.turn()

    def tick(self, seconds: float = LOOK_EVERY) -> None:
        """Time passes, and the loop runs."""
        self.monotonic += seconds
        self.wall += seconds
        self.agent.post(Trouble("nothing", ""))
        self.agent.turn()

    def healthy(self, slot: int = 0) -> bool:
        return self.agent.board.status.verdicts[slot].healthy

    @property
    def applied(self) -> int:
        return self.agent.board.status.applied


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    """Makes agents that share one state directory, as restarts do."""
    made: list[Stage] = []
    monkeypatch.setattr(agent_module, "kernel_has_wireguard", lambda: True)
    monkeypatch.setattr(
        agent_module, "list_devices", lambda *_: dict(made[-1].machine.look().devices)
    )
    monkeypatch.setattr(agent_module, "observe", lambda *_, **__: made[-1].machine.look())
    monkeypatch.setattr(
        "gateway.keys.public_key_of", lambda text: text.strip().replace("PRIVATE", "SERVER")
    )

    def make(machine: Machine | None = None, **clocks: float) -> Stage:
        made.append(Stage(tmp_path, machine, **clocks))
        files = made[-1].agent.key_files
        files._derive = lambda text: text.strip().replace("PRIVATE", "SERVER")
        made[-1].agent.start()
        return made[-1]

    return make


def key(on: Stage, generation: int) -> KeyReady:
    """The message of a key that is on disk."""
    on.agent.key_files.keep(generation, f"PRIVATE-{generation}")
    return KeyReady(generation, f"SERVER-{generation}")


def served(on: Stage, *generations: int) -> Stage:
    """A gateway with these generations and alice."""
    known = KnownPeers("e", 1, {"alice": alice()})
    on.hear(HeadSeen(head(1, *generations), on.monotonic), PeersRead(known, ()))
    on.hear(*(key(on, generation) for generation in generations))
    return on


# ------------------------------------------------------------------ pre-shared keys

SEALED, OTHER = "c2VhbGVk", "b3RoZXI="
"""Ciphertexts."""


def with_preshared(generation: int, sealed: str = SEALED) -> Peer:
    return replace(bob(generation), preshared=sealed)


def decrypted(on: Stage, peer: Peer, byte: int = 1) -> PresharedSeen:
    """The message that a key is here, and its file."""
    name = seal(peer)
    return PresharedSeen({name: on.agent.preshared_files.keep(name, bytes([byte]) * 32)}, {})


def bobs(on: Stage) -> str | None:
    """The fingerprint that bob has on the device; None if he is not there."""
    found = on.machine.observed.devices["wg0"].peers.get(BOB_KEY)
    return None if found is None else found.preshared


def test_a_peer_with_a_preshared_key_enters_with_it_and_not_before(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.hear(ChangesSeen("e", (Change(2, "put", with_preshared(2)),)))
    assert bobs(on) is None
    assert on.applied == 2, "nobody else waits for it"
    assert on.agent.board.status.faults == (), "it is being decrypted"
    on.machine.said.clear()
    ready = decrypted(on, with_preshared(2))
    (key_here,) = ready.opened.values()
    on.hear(ready)
    assert bobs(on) == key_here.fingerprint
    assert on.machine.commands() == [
        f"wg set wg0 peer {BOB_KEY} preshared-key {key_here.file} allowed-ips 100.96.0.6/32"
    ]
    on.machine.said.clear()
    on.tick()
    assert on.machine.commands() == [], "what it is told agrees with what it sees"


def test_one_that_cannot_be_decrypted_is_named_and_all_others_go_on(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.hear(ChangesSeen("e", (Change(2, "put", with_preshared(2)),)))
    on.hear(PresharedSeen({}, {seal(with_preshared(2)): "Decrypt: InvalidCiphertext"}))
    assert bobs(on) is None
    assert ALICE_KEY in on.machine.observed.devices["wg0"].peers
    assert on.agent.board.status.faults == (
        "peer bob is left out: its pre-shared key: Decrypt: InvalidCiphertext",
    )
    assert on.healthy()
    on.hear(decrypted(on, with_preshared(2)))
    assert bobs(on)
    assert on.agent.board.status.faults == ()


def test_a_restart_without_aws_serves_peers_with_preshared_keys(
    stage: Callable[..., Stage],
) -> None:
    machine = Machine()
    on = served(stage(machine), 7)
    on.hear(ChangesSeen("e", (Change(2, "put", with_preshared(2)),)))
    on.hear(decrypted(on, with_preshared(2)))
    fingerprint = bobs(on)
    machine.said.clear()
    again = stage(machine)
    again.tick()
    assert machine.commands() == [], "its session goes on"
    machine.observed = Machine().observed  # and after a reboot
    rebooted = stage(machine)
    rebooted.tick()
    assert bobs(rebooted) == fingerprint


def test_another_preshared_key_ends_the_session_with_the_former_one(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.hear(ChangesSeen("e", (Change(2, "put", with_preshared(2)),)))
    on.hear(decrypted(on, with_preshared(2)))
    first = bobs(on)
    changed = with_preshared(3, OTHER)
    on.hear(ChangesSeen("e", (Change(3, "put", changed),)))
    assert bobs(on) is None, "the former one is no longer right"
    on.hear(decrypted(on, changed, 2))
    assert bobs(on) not in (None, first)
    on.machine.said.clear()
    on.hear(ChangesSeen("e", (Change(4, "put", bob(4)),)))
    assert on.machine.commands() == [
        f"wg set wg0 peer {BOB_KEY} remove",
        f"wg set wg0 peer {BOB_KEY} allowed-ips 100.96.0.6/32",
    ]
    assert bobs(on) == ""


def test_a_preshared_key_that_somebody_has_changed_on_the_device_is_put_right(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.hear(ChangesSeen("e", (Change(2, "put", with_preshared(2)),)))
    on.hear(decrypted(on, with_preshared(2)))
    wanted = bobs(on)
    device = on.machine.observed.devices["wg0"]
    for wrong in ("", "another"):
        peers = {**device.peers, BOB_KEY: replace(device.peers[BOB_KEY], preshared=wrong)}
        on.machine.observed = replace(
            on.machine.observed, devices={"wg0": replace(device, peers=peers)}
        )
        on.tick()
        assert bobs(on) == wanted
    stranger = replace(device.peers[ALICE_KEY], preshared="another")
    on.machine.observed = replace(
        on.machine.observed,
        devices={"wg0": replace(device, peers={**device.peers, ALICE_KEY: stranger})},
    )
    on.tick()
    assert on.machine.observed.devices["wg0"].peers[ALICE_KEY].preshared == ""


def test_a_session_that_moves_keeps_its_preshared_key(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = served(stage(), 7)
    on.hear(ChangesSeen("e", (Change(2, "put", with_preshared(2)),)))
    on.hear(decrypted(on, with_preshared(2)))
    wanted = bobs(on)
    dump = f"PRIV\tPUB\t51820\toff\n{BOB_KEY}\tPSK\t192.0.2.1:5\t100.96.0.6/32\t1\t0\t0\toff\n"
    monkeypatch.setattr(on.agent._mover, "_read", lambda _: dump)
    monkeypatch.setattr(on.agent._mover, "_forget", lambda _: None)
    for move in (PointAt("wg0", BOB_KEY, "192.0.2.9:7", again=True), LetGo("wg0", BOB_KEY)):
        on.machine.said.clear()
        on.hear(SessionsMove((move,)))
        (command,) = on.machine.commands()
        assert f"peer {BOB_KEY} remove peer {BOB_KEY} preshared-key " in command
        assert bobs(on) == wanted
        on.machine.said.clear()
        on.hear(ChangesSeen("e", ()))
        assert on.machine.commands() == []
        on.tick()
        assert bobs(on) == wanted
    assert "PSK" not in repr(on.agent.board.status)


def test_a_gateway_comes_up_step_by_step(stage: Callable[..., Stage]) -> None:
    on = stage()
    assert not on.healthy()
    on.hear(HeadSeen(head(1, 7), on.monotonic), PeersRead(KnownPeers("e", 1), ()))
    assert on.machine.observed.devices == {}
    assert not on.healthy()
    on.hear(key(on, 7))
    assert on.healthy(0)
    assert on.healthy(1)
    assert on.applied == 1


def test_a_new_peer_is_one_command_and_no_look_at_the_machine(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.machine.said.clear()
    on.machine.blind = True
    on.hear(ChangesSeen("e", (Change(2, "put", bob(2)),)))
    assert on.machine.commands() == [f"wg set wg0 peer {BOB_KEY} allowed-ips 100.96.0.6/32"]
    assert on.applied == 2


def test_a_revocation_is_one_command_on_each_interface(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7, 8)
    on.machine.said.clear()
    on.hear(ChangesSeen("e", (Change(2, "remove", alice()),)))
    assert on.machine.commands() == [
        f"wg set {name} peer {ALICE_KEY} remove" for name in ("wg0", "wg1")
    ]
    assert on.applied == 2


def test_a_change_that_could_not_be_applied_is_not_confirmed(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7, 8)
    on.machine.broken = {"wg1"}
    on.hear(ChangesSeen("e", (Change(2, "remove", alice()),)))
    assert on.applied == 1
    assert on.agent.board.status.faults == ("wg1: broken",)
    on.tick(0.1)
    assert on.applied == 1
    on.machine.broken = set()
    on.tick()
    assert on.applied == 2
    assert on.agent.board.status.faults == ()


def test_an_interface_that_cannot_be_made_holds_no_confirmation_up(
    stage: Callable[..., Stage],
) -> None:
    on = stage()
    on.machine.broken = {"wg1"}
    served(on, 7, 8)
    assert on.applied == 1, "nothing passes through an interface that is not there"
    assert not on.healthy(0), "it has taken no traffic yet and does not serve everything"


def test_a_gap_is_not_confirmed(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7)
    on.hear(ChangesSeen("e", (Change(2, "put", bob(2)), Unreadable("change/3", "x", 3))))
    assert on.applied == 2
    assert on.agent.board.status.state.needs_full
    assert on.agent.board.status.unreadable == 1


def test_peers_that_cannot_let_in_are_faults_by_name_or_by_number(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    thief = replace(bob(2), address=alice().address)
    on.hear(PeersRead(KnownPeers("e", 2, {"alice": alice(), "bob": thief}, unreadable=1), ()))
    assert on.agent.board.status.faults == (
        "peer bob is left out: its address or key is another's, or not of clientPool",
        "peers: 1 cannot be read; `scripts/peers list` names them",
    )


def test_a_peer_expires_by_the_gateways_own_clock(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7)
    until = int(on.wall) + 60
    on.hear(ChangesSeen("e", (Change(2, "put", alice(2, expires=until)),)))
    assert ALICE_KEY in on.machine.observed.devices["wg0"].peers
    on.tick(59)
    assert ALICE_KEY in on.machine.observed.devices["wg0"].peers
    on.tick(1.5)
    assert ALICE_KEY not in on.machine.observed.devices["wg0"].peers


def test_who_has_expired_stays_out_when_the_clock_goes_back_also_over_a_restart(
    stage: Callable[..., Stage],
) -> None:
    machine = Machine()
    on = served(stage(machine), 7)
    until = int(on.wall) + 60
    on.hear(ChangesSeen("e", (Change(2, "put", alice(2, expires=until)),)))
    on.tick(61)
    assert ALICE_KEY not in machine.observed.devices["wg0"].peers
    on.wall -= 3600
    on.tick(10)
    on.hear(ChangesSeen("e", (Change(3, "put", bob(3)),)))
    assert list(machine.observed.devices["wg0"].peers) == [BOB_KEY]
    assert "the clock has been set back: peers expire by the time before" in (
        on.agent.board.status.faults
    )
    again = stage(machine)
    again.wall = on.wall - 7200
    again.tick(1)
    assert list(machine.observed.devices["wg0"].peers) == [BOB_KEY]


def test_a_clock_that_follows_nothing_is_no_floor(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7)
    on.agent._look_at_clock = lambda: Clock(synchronised=False, why="no source")
    on.wall += 10_000_000
    on.tick()
    on.wall -= 10_000_000
    on.hear(ChangesSeen("e", (Change(2, "put", alice(2, expires=int(on.wall) + 600)),)))
    assert ALICE_KEY in on.machine.observed.devices["wg0"].peers


def test_a_revocation_cuts_flows_and_tries_again_until_it_is_done(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.machine.broken = {"flows"}
    on.hear(ChangesSeen("e", (Change(2, "remove", alice()),)))
    assert ALICE_KEY not in on.machine.observed.devices["wg0"].peers
    assert on.machine.cut == frozenset()
    assert on.applied == 1, "not done while packets still pass"
    on.machine.broken = set()
    on.tick(0.1)
    assert on.machine.cut == {ALICE}
    assert on.applied == 2


def test_nobody_comes_in_before_the_filter_knows_where_to(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7)
    on.machine.broken = {"filter"}
    on.hear(ChangesSeen("e", (Change(2, "put", bob(2)),)))
    assert BOB_KEY not in on.machine.observed.devices["wg0"].peers
    assert on.applied == 1
    on.machine.broken = set()
    on.tick(0.1)
    assert BOB_KEY in on.machine.observed.devices["wg0"].peers
    assert on.applied == 2


def test_where_a_peer_may_go_changes_without_touching_its_session(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.machine.said.clear()
    narrow = replace(alice(2), allow=("10.20.3.0/24:tcp/5432",))
    on.hear(ChangesSeen("e", (Change(2, "put", narrow),)))
    assert on.machine.commands() == []
    assert on.machine.elements == {("allowed_ports", "100.96.0.5 . 10.20.3.0/24 . 6 . 5432")}
    assert on.machine.cut == {ALICE}
    assert on.applied == 2


def test_changes_are_kept_for_other_gateways_also_over_a_restart(
    stage: Callable[..., Stage],
) -> None:
    machine = Machine()
    on = served(stage(machine), 7)
    changes = (Change(2, "put", bob(2)), Change(3, "remove", alice()))
    on.hear(ChangesSeen("e", changes))
    assert on.agent.board.status.state.recent == changes
    assert stage(machine).agent.board.status.state.recent == changes
    on.hear(PeersRead(KnownPeers("e", 9), ()))
    assert on.agent.board.status.state.recent == ()


def test_all_peers_are_listed_as_rarely_as_that_is_dear(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = served(stage(), 7)
    on.tick()
    listed: list[float] = []

    def dear(*_: object) -> dict:
        listed.append(on.monotonic)
        on.monotonic += 0.15
        return dict(on.machine.look().devices)

    monkeypatch.setattr(agent_module, "list_devices", dear)
    for _ in range(12):
        on.tick()
    assert len(listed) == 2, "0.15 s every 30 s"
    on.machine.said.clear()
    on.hear(ChangesSeen("e", (Change(2, "put", bob(2)),)))
    on.hear(ChangesSeen("e", (Change(3, "remove", bob(2)),)))
    assert len(on.machine.commands()) == 2
    on.tick()
    assert len(on.machine.commands()) == 2, "what was done by a step is not done again"


def test_after_a_restart_nothing_is_touched_and_everything_is_served_without_aws(
    stage: Callable[..., Stage],
) -> None:
    machine = Machine()
    on = served(stage(machine), 7, 8)
    on.hear(ChangesSeen("e", (Change(2, "put", bob(2)),)))
    machine.said.clear()
    again = stage(machine)
    assert machine.said == []
    assert again.healthy(0)
    assert again.healthy(1)
    assert again.applied == 2
    assert again.agent.board.status.state.needs_full


def test_after_a_reboot_the_last_known_set_is_served_without_aws(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.hear(ChangesSeen("e", (Change(2, "put", bob(2)), Change(3, "remove", alice()))))
    again = stage(Machine())
    assert list(again.machine.observed.devices["wg0"].peers) == [BOB_KEY]
    assert again.healthy()
    assert again.applied == 3


def age(on: Stage) -> float:
    """As the metrics page would count it."""
    contact = on.agent.board.status.state.contact
    assert contact is not None
    return on.monotonic - contact


def test_what_is_served_without_aws_ages_over_a_reboot_and_whatever_the_clock_does(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    rebooted = stage(Machine(), monotonic=3.0, wall=on.wall + 1000)
    assert age(rebooted) == 1000
    rebooted.wall -= 5000
    rebooted.tick(10)
    assert age(rebooted) == 1010
    rebooted.hear(HeadSeen(head(1, 7), rebooted.monotonic))
    assert age(rebooted) == 0


def test_the_age_is_not_less_after_a_restart_with_a_clock_that_was_set_back(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    later = stage(Machine(), monotonic=3.0, wall=on.wall + 1000)
    later.agent.run(lambda: True)
    assert age(stage(Machine(), monotonic=3.0, wall=on.wall - 4000)) == 1000


def test_an_agent_that_is_told_to_end_leaves_the_last_answer(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7)
    on.tick(20)
    on.hear(HeadSeen(head(1, 7), on.monotonic))
    on.agent.run(lambda: True)
    assert age(stage(Machine(), monotonic=3.0, wall=on.wall)) == 0


def test_what_an_emptied_registry_answers_is_not_the_last_answer(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.tick(20)
    on.hear(HeadSeen(replace(head(0, 7), epoch=""), on.monotonic))
    assert age(on) == 20
    on.agent.run(lambda: True)
    assert age(stage(Machine(), monotonic=3.0, wall=on.wall)) == 20


def test_a_gateway_that_the_registry_never_answered_has_no_age(stage: Callable[..., Stage]) -> None:
    on = stage()
    on.agent.run(lambda: True)
    assert stage().agent.board.status.state.contact is None


def test_a_cached_key_is_served_until_the_registry_says_otherwise(
    stage: Callable[..., Stage],
) -> None:
    served(stage(), 7)
    again = stage(Machine())
    assert again.agent.board.status.state.unverified() == (7,)
    again.hear(KeyFault(7, "the registry names another one", refused=True))
    assert again.machine.observed.devices == {}
    assert not again.healthy(0)
    assert "key generation 7: the registry names another one" in again.agent.board.status.faults


def test_a_retired_generation_is_down_its_key_deleted_and_the_other_one_untouched(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7, 8)
    on.machine.said.clear()
    on.hear(HeadSeen(head(1, 8), on.monotonic))
    assert on.machine.commands() == ["ip link delete wg0"]
    assert not on.agent.key_files.path(7).exists()
    assert on.agent.key_files.path(8).exists()


def test_a_jump_keeps_what_is_served_also_after_a_restart(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7)
    on.hear(HeadSeen(head(1, 9), on.monotonic))
    assert on.healthy(0)
    assert "a jump" in on.agent.board.status.faults[0]
    again = stage(Machine())
    again.hear(HeadSeen(head(1, 9), again.monotonic))
    assert again.machine.observed.devices["wg0"].public_key == "SERVER-7"


def test_clients_reach_what_both_the_launch_template_and_control_allow(
    stage: Callable[..., Stage],
) -> None:
    on = stage()
    assert on.machine.observed.filter is not None
    assert on.machine.observed.filter.reach == (), "nothing before the control item is known"
    served(on, 7)
    assert on.machine.observed.filter.reach == VPC


def test_gateways_that_come_and_go_are_in_the_filter_and_survive_a_restart(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    other = IPv4Address("10.20.0.11")
    on.hear(GatewaysSeen(frozenset({other})))
    assert on.machine.observed.filter is not None
    assert other in on.machine.observed.filter.gateways
    again = stage(Machine())
    assert again.machine.observed.filter is not None
    assert other in again.machine.observed.filter.gateways


IDENTITY = Identity("i-1", "1", "eu-west-1", "eu-west-1a", "10.20.0.10")


def with_another(on: Stage) -> Stage:
    """Another gateway is in service and healthy, now and for all of the test."""
    on.hear(IdentityFound(IDENTITY), GatewaysSeen(frozenset(), {"i-2": int(on.wall) + 10_000}))
    return on


def record_of(on: Stage) -> GatewayRecord:
    record = on.agent.board.status.record
    assert record is not None
    return record


def test_an_instance_that_is_to_end_fails_health_first_and_goes_down_later(
    stage: Callable[..., Stage],
) -> None:
    on = with_another(served(stage(), 7))
    on.hear(LifecycleSeen(ending=True))
    assert not on.healthy(0)
    assert not on.healthy(1)
    assert record_of(on).state == DRAINING
    on.tick(NOTICED - LOOK_EVERY)
    assert "wg0" in on.machine.observed.devices
    assert not on.agent.board.status.drained
    on.tick(LOOK_EVERY)
    on.tick(LOOK_EVERY)
    assert on.machine.observed.devices == {}
    assert on.agent.board.status.drained
    assert record_of(on).state == DRAINED


def test_it_goes_down_only_when_no_route_leads_to_it(stage: Callable[..., Stage]) -> None:
    on = with_another(served(stage(), 7))
    on.hear(RoutesSeen(RoutesView(held=("rtb-1",), pointing=("rtb-1",))))
    on.hear(LifecycleSeen(ending=True))
    on.tick(NOTICED)
    on.tick()
    assert "wg0" in on.machine.observed.devices
    on.hear(RoutesSeen(RoutesView(pointing=("rtb-1",))))
    on.tick()
    assert "wg0" in on.machine.observed.devices, "given up, and nobody has it yet"
    on.hear(RoutesSeen(RoutesView()))
    on.tick()
    assert on.agent.board.status.drained


def test_it_does_not_wait_for_ever_for_that(stage: Callable[..., Stage]) -> None:
    on = with_another(served(stage(), 7))
    on.hear(RoutesSeen(RoutesView(held=("rtb-1",))))
    on.hear(LifecycleSeen(ending=True))
    on.tick(LIMIT)
    on.tick()
    assert on.agent.board.status.drained


def test_a_routed_gateway_is_ready_only_when_ec2_lets_its_clients_packets_through(
    stage: Callable[..., Stage],
) -> None:
    on = stage()
    routed = replace(control(7), egress="routed", route_tables=("rtb-1",))
    known = KnownPeers("e", 1, {"alice": alice()})
    on.hear(HeadSeen(Head(1, "e", routed), on.monotonic), PeersRead(known, ()), key(on, 7))
    on.tick()
    assert not on.healthy()
    reasons = on.agent.board.status.verdicts[0].reasons
    assert reasons == ("the source/destination check of the instance is not off yet",)
    on.hear(RoutesSeen(RoutesView(forwards=True)))
    assert on.healthy()
    on.hear(RoutesSeen(RoutesView(forwards=False)))
    assert on.healthy(), "that it is not known any more is no reason"


def test_a_gateway_that_serves_stays_healthy_when_the_stack_becomes_routed(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    routed = replace(control(7), egress="routed", route_tables=("rtb-1",))
    on.hear(HeadSeen(Head(1, "e", routed), on.monotonic))
    assert on.healthy()
    again = stage(on.machine)
    assert again.healthy(), "also after a restart"


def test_clients_that_are_still_here_are_listed_at_every_look_and_waited_for(
    stage: Callable[..., Stage],
) -> None:
    on = with_another(served(stage(), 7))
    on.hear(LifecycleSeen(ending=True))
    for count in range(1, 10):
        device = on.machine.observed.devices["wg0"]
        here = replace(
            device.peers[ALICE_KEY], latest_handshake=int(on.wall), received=count * 1000
        )
        devices = {"wg0": replace(device, peers={ALICE_KEY: here})}
        on.machine.observed = replace(on.machine.observed, devices=devices)
        on.agent._listing_cost = 60.0  # so many peers that they are rarely listed
        on.tick()
    status = on.agent.board.status
    assert status.drain.clients.active == {ALICE_KEY}
    assert "wg0" in on.machine.observed.devices
    on.tick(QUIET)
    on.tick()
    assert on.agent.board.status.drained


def test_an_order_that_is_taken_back_or_over_brings_the_gateway_back(
    stage: Callable[..., Stage],
) -> None:
    on = with_another(served(stage(), 7))
    order = Command({"i-1": DrainOrder(int(on.wall) + 60, "me", "now")})
    on.hear(HeadSeen(replace(head(1, 7), command=order), on.monotonic))
    assert not on.healthy()
    on.hear(HeadSeen(head(1, 7), on.monotonic))
    assert on.healthy()
    on.hear(HeadSeen(replace(head(1, 7), command=order), on.monotonic))
    for _ in range(4):
        on.tick()
    assert on.agent.board.status.drained
    for _ in range(9):
        on.tick()
    assert on.healthy(), "the order has expired, though nobody took it out"
    assert "wg0" in on.machine.observed.devices
    assert record_of(on).state == SERVING


def test_the_last_one_that_is_told_to_go_serves_on_and_says_so(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7)
    on.hear(IdentityFound(IDENTITY), LifecycleSeen(ending=True))
    for _ in range(60):
        on.tick()
    assert on.healthy()
    assert "wg0" in on.machine.observed.devices
    assert HELD_UP in on.agent.board.status.faults
    with_another(on)
    assert not on.healthy()
    assert HELD_UP not in on.agent.board.status.faults


def test_a_gateway_that_is_not_healthy_does_not_say_that_it_serves(
    stage: Callable[..., Stage],
) -> None:
    on = with_another(served(stage(), 7))
    assert record_of(on).state == SERVING
    on.hear(HeadSeen(head(1, 7, 8), on.monotonic))
    assert record_of(on).state == UNWELL


def test_a_machine_that_cannot_be_looked_at_is_not_healthy_and_comes_back(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.machine.blind = True
    on.tick()
    assert not on.healthy()
    on.machine.blind = False
    on.tick(1)
    assert on.healthy()


def test_what_is_lost_on_the_machine_is_put_back_at_the_next_look(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.machine.observed = replace(on.machine.observed, filter=None)
    on.tick()
    assert on.machine.observed.filter is not None
    assert on.healthy()


MOVED = PointAt("wg0", ALICE_KEY, "198.51.100.7:40001", again=False)


def test_a_session_moves_in_the_turn_that_hears_of_it_and_before_anything_else(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.machine.said.clear()
    on.monotonic += LOOK_EVERY  # a look is due, too
    on.hear(SessionsMove((MOVED,)), HeadSeen(head(2, 7), on.monotonic))
    first, *_ = on.machine.commands()
    assert first == (
        f"wg set wg0 peer {ALICE_KEY} allowed-ips {ALICE}/32 endpoint 198.51.100.7:40001 "
        "persistent-keepalive 25"
    )
    on.tick(1.0)
    assert on.machine.commands()[-1] == f"wg set wg0 peer {ALICE_KEY} persistent-keepalive 0"
    assert on.agent.board.status.faults == ()


def test_who_is_revoked_in_the_same_turn_is_not_taken_over_nor_is_its_keepalive_touched(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    on.hear(SessionsMove((MOVED,)))
    on.machine.said.clear()
    on.monotonic += 1.0
    on.hear(
        SessionsMove((replace(MOVED, again=True),)),
        ChangesSeen("e", (Change(2, "remove", alice(2)),)),
    )
    on.tick()
    assert on.machine.commands() == [f"wg set wg0 peer {ALICE_KEY} remove"]
    assert not on.machine.observed.devices["wg0"].peers


def test_who_has_expired_is_not_taken_over(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7)
    on.hear(ChangesSeen("e", (Change(2, "put", alice(2, expires=1_700_000_010)),)))
    on.machine.said.clear()
    on.wall += 11
    on.monotonic += 11
    on.hear(SessionsMove((replace(MOVED, again=True),)))
    on.hear(SessionsMove((MOVED,)))
    assert not on.machine.observed.devices["wg0"].peers
    assert not any("endpoint" in command for command in on.machine.commands())


def test_counters_of_a_peer_that_changed_hands_go_on_from_where_they_were(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    words = f"{ALICE_KEY}\t(none)\t198.51.100.7:5\t{ALICE}/32\t9\t700\t300\t0\n"
    on.agent._mover._read = lambda _: words
    on.agent._mover._forget = lambda _: None
    device = on.machine.observed.devices["wg0"]
    used = replace(device.peers[ALICE_KEY], received=650, sent=250, latest_handshake=9)
    on.machine._device("wg0", replace(device, peers={ALICE_KEY: used}))
    on.agent._listed_at = float("-inf")
    on.tick()
    on.hear(SessionsMove((LetGo("wg0", ALICE_KEY),)))
    status = on.agent.board.status
    assert status.carried == {("wg0", ALICE_KEY): (700, 300)}
    peer = status.devices["wg0"].peers[ALICE_KEY]
    assert (peer.received, peer.sent, peer.latest_handshake) == (0, 0, 0)


def test_the_takeover_thread_hears_of_new_filters_and_of_new_interfaces(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    found = on.agent.hub.take()
    assert FilterLoaded() in found
    assert [item.interface for item in found if isinstance(item, InterfaceMade)] == ["wg0"]
    on.tick()
    assert on.agent.hub.take() == []
    on.machine.observed = replace(on.machine.observed, filter=None)
    on.machine._gone("wg0")
    on.tick()
    kinds = [type(item) for item in on.agent.hub.take()]
    assert sorted(kinds, key=str) == [FilterLoaded, InterfaceMade]


def test_takeover_is_switched_in_the_filter_by_the_control_item(
    stage: Callable[..., Stage],
) -> None:
    on = served(stage(), 7)
    assert on.machine.observed.filter is not None
    assert on.machine.observed.filter.takeover
    off = replace(head(1, 7), control=replace(control(7), takeover=False))
    on.hear(HeadSeen(off, on.monotonic))
    assert not on.machine.observed.filter.takeover


def test_the_record_says_what_is_in_force(stage: Callable[..., Stage]) -> None:
    on = served(stage(), 7)
    assert on.agent.board.status.record is None
    on.hear(IdentityFound(Identity("i-1", "1", "eu-west-1", "eu-west-1a", "10.20.0.10")))
    record = on.agent.board.status.record
    assert record is not None
    assert record.keys == {7: "SERVER-7"}
    assert (record.applied, record.epoch, record.boot_id) == (1, "e", "boot")
    assert (record.address, record.zone, record.version) == ("10.20.0.10", "eu-west-1a", "ab")
    on.hear(HeadSeen(head(1, 7, 8), on.monotonic))
    record = on.agent.board.status.record
    assert record is not None
    assert record.keys == {7: "SERVER-7"}, "8 is wanted and not served"


def test_the_difference_of_two_sets_names_only_what_changed() -> None:
    def changes(before: dict[str, IPv4Address], after: dict[str, IPv4Address]) -> PeerChanges:
        return peer_delta(replace(desired(7), peers=before), replace(desired(7), peers=after))

    assert changes({"A": ALICE, "B": BOB}, {"B": BOB, "C": ALICE}) == PeerChanges(
        remove=("A",), put=(("C", ALICE),)
    )
    assert changes({"A": ALICE}, {"A": BOB}).put == (("A", BOB),)
    assert not changes({"A": ALICE}, {"A": ALICE})


# ------------------------------------------------------------------ routed mode

FAR = IPv4Address("10.20.0.11")
NEAR_ID, FAR_ID = "i-1", "i-2"


def routed(on: Stage) -> Stage:
    """Served in routed mode beside another gateway; alice and bob are peers."""
    on = served(on, 7)
    on.hear(ChangesSeen("e", (Change(2, "put", bob(2)),)))
    told = replace(head(2, 7), control=replace(control(7), egress=ROUTED))
    on.hear(HeadSeen(told, on.monotonic))
    return acquainted(on)


def acquainted(on: Stage) -> Stage:
    """It knows itself and the other one."""
    identity = Identity(NEAR_ID, "123456789012", "eu-west-1", "eu-west-1a", "10.20.0.10")
    gateways = frozenset({FAR, IPv4Address("10.20.0.10")})
    on.hear(IdentityFound(identity), GatewaysSeen(gateways))
    on.tick()
    return on


def owned(on: Stage, *elsewhere: str, here: tuple[str, ...] = (), in_step: bool = True) -> None:
    """What the takeover thread publishes and says."""
    on.agent.hub.view = SessionsView(
        elsewhere=dict.fromkeys(elsewhere, FAR_ID),
        addresses={FAR_ID: FAR},
        holding=frozenset(("wg0", key) for key in here),
        in_step=in_step,
    )
    on.hear(OwnersMove())


def ways(on: Stage) -> dict[IPv4Address, IPv4Address]:
    routes = on.machine.observed.forwarding.routes
    return {IPv4Address(client): IPv4Address(gateway) for client, gateway in routes.items()}


def test_a_client_that_moves_has_another_way_in_the_same_turn_and_nothing_else_is_done(
    stage: Callable[..., Stage],
) -> None:
    on = routed(stage())
    owned(on)
    assert on.machine.observed.forwarding.device is not None
    assert on.agent.board.status.faults == ()
    on.machine.said.clear()
    owned(on, ALICE_KEY)
    assert ways(on) == {ALICE: FAR}
    assert [type(action) for action in on.machine.said] == [MoveRoutes]
    on.tick()
    assert len(on.machine.said) == 1, "what it is told agrees with what it sees"
    owned(on, BOB_KEY)
    assert ways(on) == {BOB: FAR}
    assert len(on.machine.said) == 2


def test_somebodys_way_goes_with_his_access_and_all_ways_with_their_gateway(
    stage: Callable[..., Stage],
) -> None:
    on = routed(stage())
    owned(on, ALICE_KEY, BOB_KEY)
    assert ways(on) == {ALICE: FAR, BOB: FAR}
    on.hear(ChangesSeen("e", (Change(3, "remove", bob(2)),)))
    assert ways(on) == {ALICE: FAR}
    on.hear(GatewaysSeen(frozenset({IPv4Address("10.20.0.10")})))
    assert ways(on) == {}
    assert on.machine.observed.forwarding.neighbours == frozenset()


def test_ways_of_before_a_restart_stay_until_the_others_have_told_theirs(
    stage: Callable[..., Stage],
) -> None:
    machine = Machine()
    before = routed(stage(machine))
    owned(before, ALICE_KEY, BOB_KEY)
    on = stage(machine)
    assert ways(on) == {ALICE: FAR, BOB: FAR}, "it does not know itself yet"
    acquainted(on)
    assert ways(on) == {ALICE: FAR, BOB: FAR}
    owned(on, here=(ALICE_KEY,), in_step=False)
    assert ways(on) == {BOB: FAR}, "alice has come here since"
    owned(on, ALICE_KEY)
    assert ways(on) == {ALICE: FAR}, "and so the others have said"


def test_a_way_that_somebody_takes_out_is_put_back_at_the_next_look(
    stage: Callable[..., Stage],
) -> None:
    on = routed(stage())
    owned(on, ALICE_KEY)
    present = on.machine.observed.forwarding
    on.machine.observed = replace(
        on.machine.observed, forwarding=replace(present, routes={str(BOB): str(FAR)})
    )
    on.tick()
    assert ways(on) == {ALICE: FAR}


def test_ways_that_cannot_be_changed_are_said_and_tried_again(stage: Callable[..., Stage]) -> None:
    on = routed(stage())
    owned(on)
    on.machine.broken.add("forwarding")
    owned(on, ALICE_KEY)
    assert on.agent.board.status.faults == ("forwarding: broken",)
    on.machine.broken.clear()
    on.tick()
    assert ways(on) == {ALICE: FAR}
    assert on.agent.board.status.faults == ()


def test_the_filter_is_told_who_may_watch_and_whether_clients_may_be_called(
    stage: Callable[..., Stage],
) -> None:
    on = routed(stage())
    watchers = (IPv4Network("10.20.9.0/24"),)
    routed_control = replace(
        control(7), egress=ROUTED, connections_to_clients=True, monitoring_cidrs=watchers
    )
    on.hear(HeadSeen(replace(head(2, 7), control=routed_control), on.monotonic))
    loaded = on.machine.observed.filter
    assert loaded is not None
    assert loaded.routed == Routed(vpc=VPC, monitoring=watchers, connections_to_clients=True)
    on.hear(HeadSeen(head(2, 7), on.monotonic))
    assert on.machine.observed.filter is not None
    assert on.machine.observed.filter.routed is None
    assert on.machine.observed.forwarding == ABSENT
