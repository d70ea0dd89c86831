"""When a slot is healthy, and what it says when it is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from unit.gateway.samples import desired, serving

from gateway.chrony import Clock
from gateway.drain import HELD_UP, Drain
from gateway.health import complete, verdict
from gateway.messages import KeyFault
from gateway.peers import KnownPeers
from gateway.state import State

CLOCK = Clock(synchronised=True)
STATE = State(served=(7,), complete=True, known=KnownPeers("e", 1))


def reasons(slot: int = 0, **changes: object) -> tuple[str, ...]:
    facts: dict[str, Any] = {
        "state": STATE,
        "desired": desired(7),
        "observed": serving(7),
        "clock": CLOCK,
    }
    facts.update(changes)
    return verdict(slot, **facts).reasons


def test_a_gateway_that_serves_is_healthy_in_both_slots() -> None:
    assert reasons(0) == ()
    assert reasons(1) == (), "an idle slot is"


@pytest.mark.parametrize("slot", [0, 1])
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"drain": Drain("ordered by an operator", since=1.0)}, "draining: ordered by"),
        ({"state": replace(STATE, known=None)}, "peers have not been loaded"),
        ({"state": replace(STATE, served=())}, "control item has not been read"),
        ({"state": replace(STATE, served=(), served_fault="7 is burnt")}, "7 is burnt"),
        ({"observed": replace(serving(7), sysctl={"net/ipv4/ip_forward": "0"})}, "forwarding"),
        ({"observed": replace(serving(7), sysctl={})}, "forwarding"),
        ({"observed": replace(serving(7), filter=None)}, "packet filter"),
        ({"clock": Clock(synchronised=False, why="no source")}, "clock is not synchronised"),
    ],
)
def test_what_is_wrong_with_the_machine_fails_both_slots(
    slot: int, changes: dict[str, object], said: str
) -> None:
    assert any(said in reason for reason in reasons(slot, **changes))


@pytest.mark.parametrize(
    "observed",
    [
        replace(serving(7), links={}),
        replace(serving(7), devices={}),
        replace(serving(7), links={"wg0": replace(serving(7).links["wg0"], up=False)}),
        replace(
            serving(7),
            devices={"wg0": replace(serving(7).devices["wg0"], public_key="OTHER")},
        ),
        replace(serving(7), devices={"wg0": replace(serving(7).devices["wg0"], port=1)}),
    ],
)
def test_a_wrong_interface_fails_its_own_slot(observed: object) -> None:
    assert reasons(0, observed=observed) != ()
    assert reasons(1, observed=observed) == ()


def test_a_bad_new_key_fails_its_slot_and_not_the_old_one() -> None:
    fault = KeyFault(8, "the secret has no such version", refused=True)
    state = replace(STATE, served=(7, 8), key_faults={8: fault})
    assert reasons(0, state=state) == ()
    (said,) = reasons(1, state=state)
    assert "the secret has no such version" in said


def test_a_gateway_that_has_taken_no_traffic_yet_has_to_serve_all() -> None:
    state = replace(STATE, served=(7, 8), complete=False)
    assert reasons(0, state=state) != ()
    assert reasons(1, state=state) != ()


def test_one_that_is_told_to_drain_and_must_not_is_as_healthy_as_it_was() -> None:
    assert reasons(0, drain=Drain(HELD_UP, held_up=True)) == ()


def test_an_absent_aws_fails_nothing() -> None:
    state = replace(STATE, contact=None, trouble={"registry": "no answer"}, needs_full=True)
    assert reasons(0, state=state) == ()


def test_all_generations_have_to_be_up_at_once_to_be_complete() -> None:
    both = replace(STATE, served=(7, 8))
    assert complete(both, desired(7, 8), serving(7, 8))
    assert not complete(both, desired(7, 8), serving(7))
    assert not complete(replace(STATE, served=()), desired(), serving())
