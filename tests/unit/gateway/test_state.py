"""What each message changes."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from unit.gateway.samples import control, head

from gateway.messages import (
    ChangesSeen,
    GatewaysSeen,
    HeadSeen,
    KeyDated,
    KeyFault,
    KeyReady,
    LifecycleSeen,
    Message,
    PeersRead,
    Trouble,
)
from gateway.peers import KnownPeers
from gateway.state import State, receive
from registry.items import Burnt, Change, Command, DrainOrder, Head, Peer, Unreadable


def after(state: State, *messages: Message) -> State:
    for message in messages:
        state = receive(state, message)
    return state


def seen(generation: int, *generations: int, epoch: str = "e") -> HeadSeen:
    return HeadSeen(head(generation, *generations, epoch=epoch), 1.0)


def put(generation: int) -> Change:
    return Change(generation, "put", Peer(f"p{generation}", "K", IPv4Address("100.96.0.9")))


def test_the_control_item_says_what_is_served() -> None:
    state = after(State(), seen(3, 7))
    assert state.served == (7,)
    assert state.control == control(7)
    assert (state.head_generation, state.contact) == (3, 1.0)
    assert state.unverified() == (7,)


def test_a_refused_step_keeps_keys_and_control_is_still_heard() -> None:
    state = after(State(), seen(0, 7), KeyReady(7, "K7"), seen(0, 9))
    assert state.served == (7,)
    assert "a jump" in state.served_fault
    assert state.keys == {7: "K7"}
    assert state.control == control(9)
    assert after(state, seen(0, 8)).served_fault == ""


def test_a_generation_that_operators_have_burnt_is_refused_and_the_other_goes_on() -> None:
    burnt = Command(burnt={7: Burnt("now", "me")})
    state = after(State(), seen(0, 8), KeyReady(8, "K8"))
    state = after(state, HeadSeen(Head(0, "e", control(7, 8), (), burnt), 1.0))
    assert state.served == (8,)
    assert state.keys == {8: "K8"}
    assert "7 is burnt" in state.served_fault
    bad = (Unreadable("command/command", "burnt: odd"),)
    state = after(state, HeadSeen(Head(0, "e", control(7, 8), bad, None), 2.0))
    assert state.served == (8,), "also while the orders cannot be read"


def test_a_rotation_asks_for_the_new_key_and_forgets_the_retired_one() -> None:
    state = after(State(), seen(0, 7), KeyReady(7, "K7"), seen(0, 7, 8))
    assert state.unverified() == (8,)
    state = after(state, KeyReady(8, "K8"), seen(0, 8))
    assert state.keys == {8: "K8"}
    assert state.verified == {8}


def test_a_key_that_comes_after_its_generation_was_retired_is_dropped() -> None:
    state = after(State(), seen(0, 8), KeyReady(7, "K7"), KeyFault(7, "x", refused=True))
    assert state.keys == {}
    assert state.key_faults == {}


def test_a_key_has_its_date_from_when_it_is_verified_until_it_is_retired() -> None:
    state = after(State(), seen(0, 7, 8), KeyReady(7, "K7"))
    assert state.undated() == (7,), "the other may not be published yet"
    state = after(state, KeyDated(7, 5), KeyReady(8, "K8"), KeyDated(8, 6))
    assert (state.undated(), state.key_dates) == ((), {7: 5, 8: 6})
    state = after(state, seen(0, 8), KeyDated(7, 5))
    assert state.key_dates == {8: 6}


def test_a_refusal_takes_the_key_away_and_an_absent_aws_does_not() -> None:
    serving = replace(State(), served=(7,), keys={7: "K7"})
    away = after(serving, KeyFault(7, "no answer", refused=False))
    assert away.keys == {7: "K7"}
    assert 7 in away.key_faults
    refused = after(serving, KeyFault(7, "differs", refused=True))
    assert refused.keys == {}
    assert after(refused, KeyReady(7, "K7")).key_faults == {}


def test_an_unreadable_control_item_changes_nothing_and_is_a_fault() -> None:
    state = after(State(), seen(0, 7), KeyReady(7, "K7"))
    broken = Head(0, "e", None, (Unreadable("control/control", "port: 0"),))
    state = after(state, HeadSeen(broken, 2.0))
    assert (state.served, state.keys) == ((7,), {7: "K7"})
    assert "port: 0" in state.served_fault
    assert state.contact == 2.0


def test_orders_hold_while_they_cannot_be_read_and_end_when_they_are_taken_back() -> None:
    orders = Command({"i-1": DrainOrder(9, "me", "now")})
    state = after(State(), HeadSeen(Head(0, "e", control(7), (), orders), 1.0))
    assert state.command == orders
    bad = (Unreadable("command/command", "drain: odd"),)
    state = after(state, HeadSeen(Head(0, "e", control(7), bad, None), 2.0))
    assert state.command == orders
    assert state.served_fault == ""
    state = after(state, HeadSeen(Head(0, "e", None, bad, None), 2.5))
    assert state.served_fault == "", "it is the control item's fault only if that is unreadable"
    assert after(state, seen(0, 7)).command == Command()


def test_a_full_reading_comes_first_and_changes_follow() -> None:
    assert State().needs_full
    state = after(State(), PeersRead(KnownPeers("e", 4), ()))
    assert not state.needs_full
    state = after(state, ChangesSeen("e", (put(5), put(6))))
    assert state.known is not None
    assert state.known.generation == 6


def test_a_gap_asks_for_a_full_reading() -> None:
    state = after(State(), PeersRead(KnownPeers("e", 4), ()), ChangesSeen("e", (put(6),)))
    assert state.needs_full
    assert state.known == KnownPeers("e", 4)


def test_changes_of_another_epoch_ask_for_a_full_reading() -> None:
    state = after(State(), PeersRead(KnownPeers("e", 4), ()), ChangesSeen("f", (put(5),)))
    assert state.needs_full
    assert state.known == KnownPeers("e", 4)


def test_a_restored_registry_asks_for_a_full_reading_even_at_a_lower_generation() -> None:
    state = after(State(), PeersRead(KnownPeers("e", 9), ()), seen(5, 7, epoch="f"))
    assert state.needs_full
    state = after(state, PeersRead(KnownPeers("f", 5), ()))
    assert state.known == KnownPeers("f", 5)


def test_a_full_reading_that_changes_have_overtaken_is_not_applied() -> None:
    state = after(
        State(),
        PeersRead(KnownPeers("e", 4), ()),
        ChangesSeen("e", (put(5),)),
        PeersRead(KnownPeers("e", 4), ()),
    )
    assert state.known is not None
    assert state.known.generation == 5


def test_the_rest_is_noted() -> None:
    address = IPv4Address("10.20.0.11")
    state = after(
        State(),
        GatewaysSeen(frozenset({address})),
        LifecycleSeen(ending=True),
        Trouble("registry", "no answer"),
    )
    assert state.gateways == {address}
    assert state.ending
    assert state.trouble == {"registry": "no answer"}
    assert after(state, Trouble("registry", "")).trouble == {}


def test_a_full_reading_that_found_nothing_new_leaves_everything_as_it_was() -> None:
    known = KnownPeers("e", 1, {"p1": put(1).peer})
    state = State(known=known, recent=(put(1),))
    after = receive(state, PeersRead(KnownPeers("e", 1, {"p1": put(1).peer}), ()))
    assert after.known is known
    assert after.recent == state.recent
    assert not after.needs_full
    other = receive(state, PeersRead(KnownPeers("e", 1), ()))
    assert other.known == KnownPeers("e", 1), "a table that was edited by hand"
    assert other.recent == state.recent
    assert receive(state, PeersRead(KnownPeers("e", 2), ())).recent == ()
