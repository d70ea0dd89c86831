"""Expiry by a clock that may go anywhere: who is out stays out."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest

from gateway.peers import KnownPeers, admitted
from gateway.ratchet import KEEP_EVERY, Floor, Ratchet
from registry.items import Peer

if TYPE_CHECKING:
    from pathlib import Path

POOL = IPv4Network("100.96.0.0/16")


class Machine:
    """Both clocks of a machine, and its ratchet."""

    def __init__(self, path: Path, wall: float, monotonic: float = 50.0) -> None:
        self.path, self.wall, self.monotonic = path, wall, monotonic
        self.restart()

    def restart(self) -> None:
        self.ratchet = Ratchet(self.path, lambda: self.wall, lambda: self.monotonic)

    def pass_by(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "clock", 1000.0)


@pytest.mark.parametrize(
    ("floor", "wall", "monotonic", "now"),
    [
        (Floor(1000, 50), 1000, 50, 1000),
        (Floor(1000, 50), 1010, 60, 1010),
        (Floor(1000, 50), 400, 60, 1010),
        (Floor(1000, 50), 9000, 60, 9000),
        (Floor(1000, 50), 400, 40, 1000),
        (Floor(float("-inf"), 50), 5, 60, 5),
    ],
    ids=["same", "in step", "set back", "set ahead", "monotonic of another boot", "no floor"],
)
def test_the_time_is_the_later_of_clock_and_floor(
    floor: Floor, wall: float, monotonic: float, now: float
) -> None:
    assert floor.now(wall, monotonic) == now


def test_a_clock_set_back_goes_on_from_where_it_was(machine: Machine) -> None:
    machine.ratchet.raise_floor()
    machine.pass_by(10)
    machine.wall -= 500
    assert machine.ratchet.now() == 1010
    assert "set back" in machine.ratchet.fault
    machine.pass_by(5)
    machine.ratchet.raise_floor()
    assert machine.ratchet.now() == 1015
    machine.wall += 500
    assert machine.ratchet.fault == ""


def test_a_reading_that_nobody_vouches_for_is_no_floor(machine: Machine) -> None:
    machine.ratchet.raise_floor()
    machine.wall = 900_000.0
    assert machine.ratchet.now() == 900_000
    machine.wall = 1001.0
    machine.monotonic += 1
    assert machine.ratchet.now() == 1001


def test_the_time_survives_a_restart_with_the_clock_set_back(machine: Machine) -> None:
    machine.ratchet.raise_floor()
    machine.pass_by(7)
    machine.ratchet.keep()
    machine.wall, machine.monotonic = 3.0, 0.5
    machine.restart()
    assert machine.ratchet.now() == 1007
    assert machine.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", ["", "soon", "\x00"])
def test_a_damaged_file_is_no_floor(machine: Machine, text: str) -> None:
    machine.path.write_text(text)
    machine.restart()
    assert machine.ratchet.now() == 1000


def test_it_is_written_rarely(machine: Machine) -> None:
    machine.ratchet.raise_floor()
    first = machine.path.read_text()
    for _ in range(10):
        machine.pass_by(KEEP_EVERY / 10 - 1)
        machine.ratchet.raise_floor()
    assert machine.path.read_text() == first
    machine.pass_by(11)
    machine.ratchet.raise_floor()
    assert machine.path.read_text() != first


# ------------------------------------------------------------------ who is in when


def known(*expiries: int | None) -> KnownPeers:
    peers = [
        Peer(f"p{n}", f"K{n}", IPv4Address("100.96.1.0") + n, expires=expires, generation=n)
        for n, expires in enumerate(expiries)
    ]
    return KnownPeers("e", len(peers), {peer.name: peer for peer in peers})


@pytest.mark.parametrize(
    ("now", "inside", "next_expiry"),
    [
        (99.9, ["K0", "K1", "K2"], 100),
        (100, ["K0", "K2"], 200),
        (100.1, ["K0", "K2"], 200),
        (199.999, ["K0", "K2"], 200),
        (200, ["K0"], None),
        (1e12, ["K0"], None),
    ],
)
def test_a_peer_is_out_from_the_second_of_its_expiry_on(
    now: float, inside: list[str], next_expiry: int | None
) -> None:
    found = admitted(known(None, 100, 200), POOL, now)
    assert list(found.addresses) == inside
    assert found.next_expiry == next_expiry
    assert set(found.reaches) == set(found.addresses.values())


def test_who_has_expired_stays_out_whatever_the_clock_does(machine: Machine) -> None:
    peers = known(1005, 1500)
    machine.ratchet.raise_floor()
    machine.pass_by(6)
    for wall in (1006.0, 900.0, 0.0, 1004.9):
        machine.wall = wall
        assert list(admitted(peers, POOL, machine.ratchet.now()).addresses) == ["K1"]
    machine.monotonic += 500
    assert list(admitted(peers, POOL, machine.ratchet.now()).addresses) == []
