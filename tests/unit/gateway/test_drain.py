"""Draining: when it begins, whom it waits for, when it ends, and when it must not be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.drain import (
    LIMIT,
    NOTICED,
    QUIET,
    SESSION,
    STALE,
    Clients,
    Drain,
    advance,
    clients,
    reason,
    replaceable,
)
from gateway.metadata import Identity
from gateway.state import State
from gateway.wireguard import Device, DevicePeer
from registry.items import Command, DrainOrder

WALL = 1_700_000_000.0
NOW = 1000.0
OWN, OTHER = "i-1", "i-2"
IDENTITY = Identity(OWN, "1", "eu-west-1", "eu-west-1a", "10.20.0.10")
STATE = State(identity=IDENTITY, serving={OTHER: int(WALL)})


def ordered(*names: str, until: float = WALL + 600) -> Command:
    return Command({name: DrainOrder(int(until), "me", "now") for name in names})


def device(name: str = "wg0", **received: int) -> dict[str, Device]:
    """A device whose peers have just shaken hands and sent so many bytes."""
    peers = {
        key: DevicePeer(key, (), latest_handshake=int(WALL), received=number)
        for key, number in received.items()
    }
    return {name: Device(name, "K", 51820, peers)}


def told(before: Drain, now: float, seen: Clients | None = None, *, able: bool = True) -> Drain:
    return advance(before, "because", replaceable=able, seen=seen or before.clients, now=now)


# ------------------------------------------------------------------ why


def test_a_gateway_that_nobody_told_anything_serves() -> None:
    assert reason(STATE, WALL) == ""
    assert reason(replace(STATE, command=ordered(OTHER)), WALL) == ""
    assert reason(State(command=ordered(OWN)), WALL) == "", "it does not know yet who it is"


def test_auto_scaling_and_operators_are_reasons() -> None:
    assert "terminated" in reason(replace(STATE, ending=True), WALL)
    state = replace(STATE, command=ordered(OWN))
    assert "operator" in reason(state, WALL + 599)
    assert reason(state, WALL + 600) == "", "the order has expired"


@pytest.mark.parametrize(
    ("state", "able"),
    [
        (STATE, True),
        (replace(STATE, serving={}), False),
        (replace(STATE, serving={OTHER: int(WALL - STALE)}), False),
        (replace(STATE, serving={OTHER: int(WALL - STALE + 1)}), True),
        (replace(STATE, command=ordered(OTHER)), False),
        (replace(STATE, command=ordered(OTHER, until=WALL)), True),
        (
            replace(STATE, command=ordered(OTHER), serving={OTHER: int(WALL), "i-3": int(WALL)}),
            True,
        ),
    ],
)
def test_clients_can_be_left_to_a_gateway_that_serves_lately_and_is_not_to_drain(
    state: State, *, able: bool
) -> None:
    assert replaceable(state, WALL) is able


# ------------------------------------------------------------------ whose session is here


def test_a_peer_with_a_live_session_is_active_until_it_has_been_quiet() -> None:
    seen = clients(Clients(), device(alice=5, bob=7), NOW, WALL)
    assert seen.active == {"alice", "bob"}
    seen = clients(seen, device(alice=5, bob=8), NOW + QUIET - 1, WALL)
    assert seen.active == {"alice", "bob"}
    seen = clients(seen, device(alice=5, bob=8), NOW + QUIET, WALL)
    assert seen.active == {"bob"}
    seen = clients(seen, device(alice=6, bob=8), NOW + 2 * QUIET, WALL)
    assert seen.active == {"alice"}


@pytest.mark.parametrize("age", [SESSION, WALL])
def test_a_peer_whose_session_is_over_or_was_taken_over_is_not_waited_for(age: float) -> None:
    devices = device(alice=5)
    gone = replace(devices["wg0"].peers["alice"], latest_handshake=int(WALL - age))
    devices = {"wg0": replace(devices["wg0"], peers={"alice": gone})}
    assert clients(Clients(), devices, NOW, WALL).active == frozenset()


def test_a_peer_may_be_here_by_either_key() -> None:
    both = {**device("wg0", alice=5), **device("wg1", alice=9)}
    seen = clients(Clients(), both, NOW, WALL)
    both = {**device("wg0", alice=5), **device("wg1", alice=10)}
    assert clients(seen, both, NOW + QUIET, WALL).active == {"alice"}


# ------------------------------------------------------------------ how


def test_it_drains_until_the_load_balancer_has_noticed_and_nobody_is_left() -> None:
    state = told(Drain(), NOW)
    assert (state.begun, state.done, state.word) == (True, False, "draining")
    empty = clients(Clients(), {}, NOW + NOTICED - 0.1, WALL)
    assert not told(state, NOW + NOTICED, empty).done, "a listing from before it noticed"
    state = told(state, NOW + NOTICED, clients(Clients(), {}, NOW + NOTICED, WALL))
    assert (state.begun, state.done, state.word) == (True, True, "drained")


def test_it_waits_for_whoever_is_still_here_but_not_for_ever() -> None:
    state = told(Drain(), NOW)
    for count, second in enumerate(range(0, int(LIMIT), 5)):
        seen = clients(state.clients, device(alice=count), NOW + second, WALL)
        state = told(state, NOW + second, seen)
        assert not state.done
    assert told(state, NOW + LIMIT - 0.1).done is False
    assert told(state, NOW + LIMIT).done is True


def test_it_is_done_as_soon_as_every_client_was_taken_over() -> None:
    state = told(Drain(), NOW)
    seen = clients(Clients(), device(alice=1, bob=1), NOW + NOTICED, WALL)
    state = told(state, NOW + NOTICED, seen)
    assert not state.done
    taken = {"wg0": Device("wg0", "K", 51820, {"alice": DevicePeer("alice", (), received=1)})}
    state = told(state, NOW + NOTICED + 1, clients(seen, taken, NOW + NOTICED + 1, WALL))
    assert state.done


def test_it_stays_drained_until_it_is_no_longer_told_to() -> None:
    done = told(told(Drain(), NOW), NOW + LIMIT)
    assert done.done
    busy = clients(done.clients, device(alice=1), NOW + LIMIT + 1, WALL)
    assert told(done, NOW + LIMIT + 1, busy).done
    early = told(told(Drain(), NOW), NOW + NOTICED, Clients(at=NOW + NOTICED))
    late = clients(early.clients, device(alice=1), NOW + NOTICED + 1, WALL)
    assert late.active
    assert told(early, NOW + NOTICED + 1, late).done, "a straggler does not bring it back"
    assert told(done, NOW + LIMIT + 1, able=False).done, "its clients are not here any more"
    back = advance(done, "", replaceable=True, seen=busy, now=NOW + LIMIT + 2)
    assert back == Drain()


def test_the_last_one_serves_on_and_drains_when_there_is_another() -> None:
    held = told(Drain(), NOW, able=False)
    assert (held.begun, held.held_up, held.word) == (False, True, "drain held up")
    held = told(held, NOW + LIMIT, able=False)
    assert not held.begun
    begun = told(held, NOW + LIMIT + 1)
    assert (begun.begun, begun.held_up, begun.since) == (True, False, NOW + LIMIT + 1)


def test_one_that_becomes_the_last_while_it_drains_serves_again() -> None:
    begun = told(Drain(), NOW)
    held = told(begun, NOW + 5, able=False)
    assert (held.begun, held.held_up) == (False, True)
    assert told(held, NOW + 10).since == NOW + 10
