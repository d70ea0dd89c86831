"""What a gateway tells of who last used which server key."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from unit.gateway.samples import ALICE, BOB, POOL, stands_in

from gateway.metadata import Identity
from gateway.peers import Admitted
from gateway.session_watch import ENTRIES_A_SECOND, LOOK, REFRESH, SessionWatch, uses_of
from gateway.state import State
from gateway.status import Board, Status
from gateway.wireguard import Device, DevicePeer
from registry.sessions import Sessions, Use

if TYPE_CHECKING:
    from collections.abc import Iterable

ADMITTED = Admitted({"KEY-alice": ALICE, "KEY-bob": BOB}, {})
AT_ALICE, AT_BOB = 5, 6
IDENTITY = Identity(instance_id="i-1", zone="z", address="10.20.0.10", region="r", account="a")


def device(generation: int, **handshakes: int) -> Device:
    name = f"wg{(generation - 1) % 2}"
    peers = {
        f"KEY-{who}": DevicePeer(f"KEY-{who}", (), latest_handshake=at)
        for who, at in handshakes.items()
    }
    return Device(name, f"SERVER-{generation}", 51820, peers)


def status(served: tuple[int, ...], *devices: Device) -> Status:
    state = State(
        identity=IDENTITY, served=served, keys={number: f"SERVER-{number}" for number in served}
    )
    return Status(state=state, devices={one.name: one for one in devices}, admitted=ADMITTED)


@dataclass
class Table:
    """The registry, as far as it is needed."""

    written: list[Sessions] = field(default_factory=list)

    def put_sessions(self, sessions: Sessions) -> None:
        self.written.append(sessions)

    def sessions(self, arns: Iterable[str]) -> list[Sessions]:
        return [one for one in self.written[-1:] if one.arn in list(arns)]


class Watch:
    """A watch with its clock in hand."""

    def __init__(self, table: Table | None = None) -> None:
        self.table, self.board, self.now = table or Table(), Board(), 1000.0
        self.watch = SessionWatch(stands_in(self.table), self.board, POOL, lambda: self.now)

    def see(self, seen: Status) -> float:
        self.board.publish(seen)
        return self.watch.step()

    @property
    def last(self) -> Sessions:
        return self.table.written[-1]


def test_the_later_handshake_says_which_key_a_peer_uses() -> None:
    seen = status((7, 8), device(7, alice=100, bob=200), device(8, alice=101, bob=199))
    assert uses_of(seen, POOL) == {AT_ALICE: Use(101, 8), AT_BOB: Use(200, 7)}


def test_who_has_never_shaken_hands_or_is_not_admitted_is_not_told_of() -> None:
    seen = status((7, 8), device(7, alice=0, mallory=5))
    assert uses_of(seen, POOL) == {}


def test_an_interface_with_another_key_than_its_generations_says_nothing() -> None:
    stale = replace(device(7, alice=100), public_key="SERVER-9")
    assert uses_of(status((7, 8), stale), POOL) == {}


def test_nothing_is_written_while_there_is_one_generation() -> None:
    watch = Watch()
    for _ in range(3):
        assert watch.see(status((7,), device(7, alice=100))) == LOOK
        watch.now += REFRESH
    assert watch.table.written == []


def test_in_an_overlap_what_is_new_is_written_and_else_a_sign_of_life() -> None:
    watch = Watch()
    watch.see(status((7,), device(7, alice=100)))
    both = status((7, 8), device(7, alice=100), device(8))
    watch.see(both)
    assert watch.last.generations == (7, 8)
    assert watch.last.uses == {AT_ALICE: Use(100, 7)}
    watch.now += LOOK
    watch.see(both)
    assert len(watch.table.written) == 1
    watch.now += LOOK
    watch.see(status((7, 8), device(7, alice=100), device(8, alice=1010)))
    assert watch.last.uses == {AT_ALICE: Use(1010, 8)}
    watch.now += REFRESH
    watch.see(both)
    assert len(watch.table.written) == 3
    assert watch.last.at == int(watch.now)


def test_a_peer_that_was_put_back_on_its_interface_is_remembered() -> None:
    watch = Watch()
    watch.see(status((7, 8), device(7, alice=100), device(8)))
    watch.see(status((7, 8), device(7, alice=0), device(8)))
    assert watch.last.uses == {AT_ALICE: Use(100, 7)}


def test_what_was_seen_before_a_restart_is_read_back() -> None:
    table = Table()
    Watch(table).see(status((7, 8), device(7, alice=100), device(8, bob=90)))
    again = Watch(table)
    again.see(status((7, 8), device(7), device(8, bob=110)))
    assert again.last.uses == {AT_ALICE: Use(100, 7), AT_BOB: Use(110, 8)}


def test_a_generation_that_is_over_is_forgotten() -> None:
    watch = Watch()
    watch.see(status((7, 8), device(7, alice=100), device(8, bob=90)))
    watch.see(status((8,), device(8, bob=90)))
    watch.see(status((8, 9), device(9), device(8, bob=90)))
    assert watch.last.uses == {AT_BOB: Use(90, 8)}


def test_many_peers_are_written_more_rarely() -> None:
    watch = Watch()
    admitted = Admitted({f"KEY-{n}": POOL[n] for n in range(2, 2002)}, {})
    peers = {f"KEY-{n}": DevicePeer(f"KEY-{n}", (), latest_handshake=n) for n in range(2, 2002)}
    seen = replace(status((7, 8), replace(device(7), peers=peers), device(8)), admitted=admitted)
    assert watch.see(seen) == 2000 / ENTRIES_A_SECOND


def test_a_gateway_that_does_not_know_itself_yet_writes_nothing() -> None:
    watch = Watch()
    seen = status((7, 8), device(7, alice=100))
    watch.see(replace(seen, state=replace(seen.state, identity=None)))
    assert watch.table.written == []
