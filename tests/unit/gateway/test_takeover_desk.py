"""Single decisions about sessions; how they work together is test_takeover_fleet's."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from gateway.takeover.desk import Arrived, Desk, Relinquish, TakeOver, Tell, Watch
from gateway.takeover.packets import Endpoint
from gateway.takeover.recipients import PeerId
from gateway.takeover.sessions import LIFETIME, Claim, Place, Session

NOW = 1_800_000_000_000
ALICE = PeerId(b"a" * 16)
PLACE = Place(0, ALICE)
HOME, HOTEL = (Endpoint(IPv4Address(f"198.51.100.{last}"), 40000) for last in (1, 2))


def session(index: int, holder: str = "i-2", began: int = NOW, slot: int = 0) -> Session:
    return Session(slot, index, ALICE, holder, began, HOME, order=began)


def ours(index: int, began: int = NOW) -> Session:
    """As the watch hands it over: the table puts it in order."""
    return replace(session(index, "i-1", began), order=0)


def claim(holder: str, order: int) -> Claim:
    return Claim(PLACE, holder, order)


def beside() -> Desk:
    """A table that knows of one session of another gateway."""
    desk = Desk("i-1")
    desk.heard_session(session(7), NOW)
    return desk


def owner() -> Desk:
    """A table of a gateway that holds the peer."""
    desk = Desk("i-1")
    desk.sent(session(7, "i-1"), NOW)
    (told,) = desk.confirmed({PLACE: NOW // 1000}, NOW + 100)
    assert told == Tell(claim("i-1", NOW))
    return desk


def test_a_session_that_is_heard_of_is_watched_until_it_is_dead() -> None:
    desk = Desk("i-1")
    assert desk.heard_session(session(7), NOW + 5000) == [Watch(0, 7, LIFETIME - 5000)]
    assert desk.heard_session(session(7), NOW + 5000) == []
    assert desk.heard_session(session(8, began=NOW - LIFETIME - 1), NOW) == []
    ahead = session(9, began=NOW + 20_000)
    assert desk.heard_session(ahead, NOW) == [Watch(0, 9, LIFETIME)], "by a clock that is ahead"
    assert [watch.index for watch in desk.watched(NOW)] == [7, 9]


def test_a_packet_of_anothers_session_starts_a_takeover_in_its_slot() -> None:
    desk = Desk("i-1")
    desk.heard_session(session(7, slot=1), NOW)
    assert desk.reported(0, 7, HOTEL, NOW) == []
    assert desk.reported(1, 7, HOTEL, NOW) == [TakeOver(Place(1, ALICE), HOTEL, again=False)]
    assert desk.counts == {"unknown": 1, "started": 1}


def test_who_is_not_admitted_is_not_taken_over() -> None:
    desk = Desk("i-1", lambda peer: peer != ALICE)
    desk.heard_session(session(7), NOW)
    assert desk.reported(0, 7, HOTEL, NOW) == []
    assert desk.counts["barred"] == 1


def test_when_takeover_is_off_nothing_is_taken_and_nothing_given_up() -> None:
    desk = beside()
    desk.active = False
    assert desk.reported(0, 7, HOTEL, NOW) == []
    assert desk.counts["off"] == 1
    desk.sent(session(3, "i-1"), NOW)
    assert desk.heard_claim(claim("i-2", NOW + 5), NOW) == []
    desk.active = True
    desk.sent(session(4, "i-1", NOW + 9), NOW + 9)
    assert desk.heard_claim(claim("i-2", NOW + 10), NOW + 10) == [Relinquish(PLACE)]


def test_the_same_source_is_tried_again_ever_later() -> None:
    desk, now, started = beside(), NOW, []
    for _ in range(160):
        if desk.reported(0, 7, HOTEL, now):
            started.append(now - NOW)
        now += 100
    assert started == [0, 1500, 4500, 9500, 14500]


def test_the_same_address_is_tried_ever_later_whatever_port_it_comes_from() -> None:
    desk, ports = beside(), range(40000, 40160)
    started = [
        (port - 40000) * 100
        for port in ports
        if desk.reported(0, 7, Endpoint(HOTEL.address, port), NOW + (port - 40000) * 100)
    ]
    assert started == [0, 1500, 4500, 9500, 14500]


def test_another_source_is_tried_after_a_second() -> None:
    desk = beside()
    assert desk.reported(0, 7, HOTEL, NOW)
    assert desk.reported(0, 7, HOME, NOW + 999) == []
    assert desk.reported(0, 7, HOME, NOW + 1000) == [TakeOver(PLACE, HOME, again=True)]
    assert desk.counts["limited"] == 1


@pytest.mark.parametrize("phase", range(0, 1000, 50))
def test_a_replay_from_ever_new_ports_leaves_the_client_its_turn(phase: int) -> None:
    """The kernel shows one packet a second of each address (gateway.takeover.rules)."""
    desk, strangers = beside(), IPv4Address("198.51.100.66")
    moved = NOW + 30_000 + phase  # the stranger has been at it for long
    mine = None
    for after in range(0, 40_000, 50):
        now = NOW + after
        if after % 1000 == 0:
            desk.reported(0, 7, Endpoint(strangers, 1024 + after // 1000), now)
        if now >= moved and (now - moved) % 1000 == 0 and desk.reported(0, 7, HOME, now):
            mine = now
            break
    assert mine is not None
    assert mine - moved <= 2000


def test_a_handshake_that_the_client_began_is_not_interrupted() -> None:
    desk = beside()
    desk.sent(session(3, "i-1", NOW + 50), NOW + 50)
    assert desk.reported(0, 7, HOTEL, NOW + 100) == []
    assert desk.counts["limited"] == 1


def test_a_call_of_wireguards_own_keeps_no_client_waiting() -> None:
    """A gateway that had no takeover for a while may call a client of before every 5 s."""
    desk = owner()
    desk.heard_session(session(8, "i-2", NOW + 3_000), NOW + 3_000)
    desk.sent(session(9, "i-1", NOW + 20_000), NOW + 20_000, asks=True)
    assert desk.reported(0, 8, HOTEL, NOW + 20_100) == [TakeOver(PLACE, HOTEL, again=True)]
    assert desk.reported(0, 8, HOME, NOW + 21_099) == [], "the stranger's turn"
    assert desk.reported(0, 8, HOME, NOW + 21_100)


def test_keys_that_may_still_be_there_are_forgotten_first() -> None:
    desk = beside()
    desk.sent(session(3, "i-1", NOW - 100_000), NOW - 100_000)
    (took,) = desk.reported(0, 7, HOTEL, NOW)
    assert took == TakeOver(PLACE, HOTEL, again=True)
    old = beside()
    old.sent(session(3, "i-1", NOW - LIFETIME - 1), NOW - LIFETIME - 1)
    old.expire(NOW)
    assert old.reported(0, 7, HOTEL, NOW) == [TakeOver(PLACE, HOTEL, again=False)]


def test_only_a_completed_handshake_is_a_claim() -> None:
    desk = Desk("i-1")
    began = NOW + 500
    assert desk.sent(session(3, "i-1", began), began) == [Tell(session(3, "i-1", began))]
    assert desk.unsettled == {PLACE}
    assert desk.confirmed({}, NOW) == desk.confirmed({PLACE: 0}, NOW) == []
    assert desk.confirmed({PLACE: NOW // 1000 - 1}, NOW) == [], "that was an earlier one"
    assert desk.holding() == frozenset()
    assert desk.confirmed({PLACE: NOW // 1000}, NOW) == [Tell(claim("i-1", began))]
    assert (desk.holding(), desk.unsettled) == ({PLACE}, frozenset())


def test_a_client_may_take_its_time_with_its_first_packet() -> None:
    desk = Desk("i-1")
    desk.sent(session(3, "i-1"), NOW)
    assert desk.undecided(NOW + 60_000) == []
    assert desk.confirmed({PLACE: NOW // 1000 + 61}, NOW + 61_000) == [Tell(claim("i-1", NOW))]
    desk = Desk("i-1")
    desk.sent(session(3, "i-1"), NOW)
    desk.expire(NOW + LIFETIME + 1)
    assert desk.undecided(NOW + LIFETIME + 1) == []
    assert (desk.unsettled, desk._standings) == (frozenset(), {})


def test_the_kernels_clock_may_be_a_little_behind() -> None:
    desk = Desk("i-1")
    desk.sent(session(3, "i-1", NOW + 20), NOW + 20)
    assert desk.confirmed({PLACE: NOW // 1000 - 1}, NOW)


def test_a_claim_comes_after_all_that_was_known_whatever_the_clocks_say() -> None:
    desk = Desk("i-1")
    desk.heard_session(session(7, "i-2", NOW + 40), NOW)
    desk.heard_claim(claim("i-2", NOW + 45), NOW)
    (told,) = desk.sent(ours(3), NOW)
    assert told == Tell(replace(ours(3), order=NOW + 46))
    deeds = desk.confirmed({PLACE: NOW // 1000}, NOW)
    assert deeds == [Tell(claim("i-1", NOW + 46)), Arrived(PLACE)]


def test_what_is_heard_after_our_handshake_comes_after_our_claim() -> None:
    """The client has gone on to another gateway before we see that it completed ours."""
    desk = Desk("i-1")
    desk.sent(ours(3), NOW)
    desk.heard_session(session(7, "i-2", NOW + 40), NOW + 45)
    assert desk.confirmed({PLACE: NOW // 1000}, NOW + 90) == [Tell(claim("i-1", NOW))]
    assert desk.heard_claim(claim("i-2", NOW + 40), NOW + 95) == [Relinquish(PLACE)]


def test_the_other_one_does_not_give_up_for_a_claim_of_a_handshake_before() -> None:
    desk = Desk("i-2")
    desk.heard_session(session(3, "i-1"), NOW + 5)
    desk.sent(session(7, "i-2", NOW + 40), NOW + 40)
    assert desk.heard_claim(claim("i-1", NOW), NOW + 95) == []
    deeds = desk.confirmed({PLACE: NOW // 1000}, NOW + 100)
    assert deeds == [Tell(claim("i-2", NOW + 40)), Arrived(PLACE)]


def test_a_session_that_was_returned_keeps_its_order() -> None:
    desk = Desk("i-1")
    before = replace(session(3, "i-1", NOW - 60_000), order=NOW - 50_000)
    assert desk.sent(before, NOW) == [Tell(before)]


def test_who_comes_back_by_a_handshake_of_his_own_has_arrived_over_the_other_slot_too() -> None:
    desk = Desk("i-1")
    desk.heard_claim(Claim(Place(1, ALICE), "i-2", NOW), NOW)
    desk.sent(ours(3, NOW + 5_000), NOW + 5_000)
    deeds = desk.confirmed({PLACE: NOW // 1000 + 5}, NOW + 5_100)
    assert deeds == [Tell(claim("i-1", NOW + 5_000)), Arrived(PLACE)]


def test_who_was_nowhere_before_has_no_connections_to_go_on_with() -> None:
    desk = Desk("i-1")
    desk.sent(ours(3), NOW)
    assert desk.confirmed({PLACE: NOW // 1000}, NOW) == [Tell(claim("i-1", NOW))]


def test_an_owner_that_renews_its_session_does_not_claim_again() -> None:
    desk = owner()
    desk.sent(session(8, "i-1", NOW + 120_000), NOW + 120_000)
    assert desk.unsettled == frozenset()
    desk.expire(NOW + LIFETIME + 1000)
    assert desk.holding() == {PLACE}


def test_an_owner_lets_go_when_another_gateway_claims() -> None:
    desk = owner()
    assert desk.heard_claim(claim("i-2", NOW + 1), NOW + 500) == [Relinquish(PLACE)]
    assert desk.holding() == frozenset()
    assert desk.heard_claim(claim("i-2", NOW + 1), NOW + 500) == [], "the same again"
    # the client may come back with the session of before
    assert desk.forgotten(PLACE, NOW + 501) == [Watch(0, 7, LIFETIME - 501)]
    assert desk.counts["relinquished"] == 1


@pytest.mark.parametrize("order", [NOW - 1, NOW])
def test_an_older_claim_takes_nothing(order: int) -> None:
    desk = owner()
    assert desk.heard_claim(claim("i-0", order), NOW + 500) == []
    assert desk.holding() == {PLACE}


def test_of_two_claims_that_knew_nothing_of_each_other_all_prefer_the_same() -> None:
    desk = owner()
    assert desk.heard_claim(claim("i-9", NOW), NOW) == [Relinquish(PLACE)]


def test_a_claim_from_before_our_handshake_is_answered_by_a_claim() -> None:
    desk = owner()
    desk.sent(session(8, "i-1", NOW + 3000), NOW + 3000)
    assert desk.heard_claim(claim("i-2", NOW + 2000), NOW + 3050) == []
    deeds = desk.confirmed({PLACE: NOW // 1000 + 3}, NOW + 3100)
    assert deeds == [Tell(claim("i-1", NOW + 3000)), Arrived(PLACE)]


def test_what_wireguard_calls_by_itself_is_no_reason_to_doubt_a_claim() -> None:
    desk = owner()
    desk.sent(session(8, "i-1", NOW + 3000), NOW + 3000, asks=True)
    assert desk.heard_claim(claim("i-2", NOW + 2000), NOW + 3050) == [Relinquish(PLACE)]
    assert desk.unsettled == frozenset()


def test_a_client_that_is_known_to_be_elsewhere_is_not_called_again() -> None:
    desk = owner()
    desk.heard_claim(claim("i-2", NOW + 1), NOW + 1)
    called = session(8, "i-1", NOW + 3000)
    deeds = desk.sent(called, NOW + 3000, asks=True)
    assert deeds == [Tell(called), Relinquish(PLACE)]
    desk.active = False
    again = session(9, "i-1", NOW + 8000)
    assert desk.sent(again, NOW + 8000, asks=True) == [Tell(again)], "takeover is off"


def test_an_initiation_of_a_takeover_is_a_reason_to_wait_for_its_end() -> None:
    desk = beside()
    desk.reported(0, 7, HOTEL, NOW)
    desk.sent(session(3, "i-1", NOW + 5), NOW + 5, asks=True)
    assert desk.heard_claim(claim("i-2", NOW + 4), NOW + 10) == []
    assert desk.unsettled == {PLACE}


def restarted() -> Desk:
    """A table of an agent that has just come: of before it knows a session, and a later call that
    nobody has answered."""
    desk = Desk("i-1")
    for index, began in ((7, NOW), (8, NOW + 65_000)):
        desk.sent(session(index, "i-1", began), NOW + 70_000)
    return desk


COMPLETED = {PLACE: NOW // 1000}


def test_a_call_that_was_not_answered_makes_no_claim_younger() -> None:
    desk = restarted()
    assert desk.confirmed(COMPLETED, NOW + 70_100) == [Tell(claim("i-1", NOW))]
    assert desk.heard_claim(claim("i-2", NOW + 10_000), NOW + 70_200) == []
    assert desk.confirmed(COMPLETED, NOW + 70_300) == []
    called = session(9, "i-1", NOW + 71_000)
    assert desk.sent(called, NOW + 71_000, asks=True)[-1] == Relinquish(PLACE)


def test_a_handshake_of_before_another_gateways_claim_is_no_answer_to_it() -> None:
    desk = restarted()
    assert desk.heard_claim(claim("i-2", NOW + 10_000), NOW + 70_050) == []
    assert desk.confirmed(COMPLETED, NOW + 70_100) == []
    assert desk.undecided(NOW + 80_001) == [Relinquish(PLACE, NOW)]
    assert desk.holding() == frozenset()


def test_a_handshake_after_a_claim_was_heard_counts_whatever_the_clocks_say() -> None:
    desk = owner()
    desk.heard_claim(claim("i-2", NOW + 9_000), NOW + 1_000)  # by a clock that is ahead
    desk.forgotten(PLACE, NOW + 1_001)
    desk.sent(ours(8, NOW + 3_000), NOW + 3_000)
    deeds = desk.confirmed({PLACE: NOW // 1000 + 3}, NOW + 3_100)
    assert deeds == [Tell(claim("i-1", NOW + 9_001)), Arrived(PLACE)]


def test_a_handshake_of_before_is_no_answer_to_a_takeover() -> None:
    """Until the old keys are gone WireGuard goes on telling of them."""
    desk = owner()
    desk.heard_session(session(8, "i-2", NOW + 3_000), NOW + 3_000)
    assert desk.reported(0, 8, HOTEL, NOW + 5_000)
    assert desk.confirmed(COMPLETED, NOW + 5_010) == []
    desk.sent(ours(9, NOW + 5_020), NOW + 5_020)
    deeds = desk.confirmed({PLACE: NOW // 1000 + 5}, NOW + 5_100)
    assert deeds == [Tell(claim("i-1", NOW + 5_020)), Arrived(PLACE)]
    assert desk.counts["takeovers"] == 1


def test_a_session_that_is_renewed_by_our_own_timers_is_held_on() -> None:
    desk = owner()
    desk.sent(session(8, "i-1", NOW + 120_000), NOW + 120_000, asks=True)
    assert desk.holding() == {PLACE}
    assert desk.unsettled == frozenset()


def test_a_claim_from_before_a_handshake_that_never_completes_is_heeded_in_the_end() -> None:
    desk = owner()
    desk.sent(session(8, "i-1", NOW + 3000), NOW + 3000)
    assert desk.heard_claim(claim("i-2", NOW + 2000), NOW + 3050) == []
    assert desk.confirmed({PLACE: NOW // 1000}, NOW + 3100) == []
    assert desk.undecided(NOW + 13_000) == []
    assert desk.undecided(NOW + 13_001) == [Relinquish(PLACE, NOW + 3000)]
    assert desk.unsettled == frozenset()


def test_a_packet_of_before_a_claim_is_a_replay() -> None:
    desk = owner()
    desk.heard_session(session(5, began=NOW - 60_000), NOW)
    assert desk.reported(0, 5, HOTEL, NOW + 5000) == []
    assert desk.counts["stale"] == 1
    # also where neither of the two gateways is
    third = Desk("i-3")
    third.heard_session(session(5, began=NOW - 60_000), NOW)
    third.heard_claim(claim("i-1", NOW), NOW)
    assert third.reported(0, 5, HOTEL, NOW + 5000) == []
    third.heard_session(session(6, began=NOW + 1), NOW + 1)
    assert third.reported(0, 6, HOTEL, NOW + 5000)


def test_of_two_handshakes_at_once_a_packet_says_which_was_the_later_one() -> None:
    """Clocks differ, and a gateway may shake hands before it hears of the other's."""
    desk = Desk("i-1")
    desk.sent(ours(3), NOW)
    assert desk.heard_claim(claim("i-2", NOW + 1_000), NOW) == [Relinquish(PLACE)]
    desk.forgotten(PLACE, NOW + 20)
    assert desk.reported(0, 3, HOME, NOW + 30) == [TakeOver(PLACE, HOME, again=True)]
    desk.heard_claim(claim("i-2", NOW + 1_001), NOW + 40)
    assert desk.reported(0, 3, HOME, NOW + 10_000) == []
    assert desk.counts["stale"] == 1


def test_the_reset_of_a_takeover_is_no_turn_for_a_stranger() -> None:
    desk = owner()
    desk.heard_claim(claim("i-2", NOW + 1), NOW + 1)
    desk.forgotten(PLACE, NOW + 1)
    desk.heard_session(session(8, "i-2", NOW + 1), NOW + 2)
    assert desk.reported(0, 8, HOME, NOW + 2_000) == [TakeOver(PLACE, HOME, again=True)]
    desk.forgotten(PLACE, NOW + 2_010)
    assert desk.reported(0, 8, HOTEL, NOW + 2_020) == []
    assert desk.counts["limited"] == 1


def test_a_dead_session_is_not_taken_over() -> None:
    desk = beside()
    assert desk.reported(0, 7, HOTEL, NOW + LIFETIME + 1) == []
    assert desk.counts["stale"] == 1


def test_an_index_that_two_gateways_gave_out_by_chance_is_ours() -> None:
    desk = owner()
    assert desk.heard_session(session(7), NOW) == []
    assert desk.reported(0, 7, HOTEL, NOW) == []
    assert desk.counts["ours"] == 1


def test_a_takeover_that_leads_nowhere_is_undone() -> None:
    desk = beside()
    desk.reported(0, 7, HOTEL, NOW)
    desk.sent(session(3, "i-1", NOW + 1), NOW + 1)
    assert desk.undecided(NOW + 10_001) == []
    assert desk.undecided(NOW + 10_002) == [Relinquish(PLACE, NOW)]
    assert desk.undecided(NOW + 30_000) == []
    assert desk.reported(0, 7, HOTEL, NOW + 30_000), "and may be tried again"


def test_an_answer_to_a_replayed_initiation_costs_nobody_anything() -> None:
    desk = owner()
    desk.heard_claim(claim("i-2", NOW + 1), NOW + 1)
    desk.forgotten(PLACE, NOW + 2)
    desk.sent(session(9, "i-1", NOW + 60_000), NOW + 60_000)
    assert desk.undecided(NOW + 70_001) == [Relinquish(PLACE, NOW + 60_000)]
    assert desk.holding() == frozenset()


def test_sessions_of_an_interface_made_anew_may_be_resumed_here() -> None:
    desk = owner()
    assert desk.interface_made(1, NOW + 10) == []
    assert desk.interface_made(0, NOW + 2000) == [Watch(0, 7, LIFETIME - 2000)]
    assert desk.holding() == frozenset()
    assert [watch.index for watch in desk.watched(NOW)] == [7]
    assert desk.reported(0, 7, HOME, NOW + 3000) == [TakeOver(PLACE, HOME, again=True)]


def test_an_owner_that_has_forgotten_the_keys_claims_again() -> None:
    desk = owner()
    desk.interface_made(0, NOW + 2000)
    desk.sent(session(8, "i-1", NOW + 3000), NOW + 3000)
    assert desk.unsettled == {PLACE}
    assert desk.confirmed({PLACE: NOW // 1000 + 3}, NOW) == [Tell(claim("i-1", NOW + 3000))]


def test_a_handshake_after_the_interface_was_made_is_of_use() -> None:
    desk = owner()
    desk.sent(session(8, "i-1", NOW + 2001), NOW + 2001)
    desk.interface_made(0, NOW + 2001)
    assert desk.holding() == {PLACE}


def test_what_is_over_is_forgotten() -> None:
    desk = beside()
    desk.sent(session(3, "i-1"), NOW)
    desk.heard_claim(claim("i-2", NOW + 5), NOW)
    assert desk.sessions() == (1, 1)
    desk.undecided(NOW + 20_000)
    desk.expire(NOW + LIFETIME)
    assert desk.sessions() == (1, 1)
    desk.expire(NOW + LIFETIME + 1)
    assert desk.sessions() == (0, 0)
    assert desk._standings == {}
    assert desk._indices == {}


# ------------------------------------------------------------------ whose the client is


def test_the_owner_is_who_claimed_last_on_either_slot() -> None:
    desk = owner()
    assert (desk.owner(ALICE), desk.take_moved()) == ("i-1", {ALICE})
    desk.heard_claim(Claim(Place(1, ALICE), "i-2", NOW + 5_000), NOW + 5_000)
    assert (desk.owner(ALICE), desk.take_moved()) == ("i-2", {ALICE})
    desk.heard_claim(claim("i-3", NOW + 4_000), NOW + 6_000)
    assert desk.owner(ALICE) == "i-2", "what was before that comes late"
    assert desk.take_moved() == set()
    assert desk.owner(PeerId(b"b" * 16)) == ""


def test_an_owner_that_claims_again_has_not_moved() -> None:
    desk = beside()
    desk.heard_claim(claim("i-2", NOW), NOW)
    assert desk.take_moved() == {ALICE}
    desk.heard_claim(claim("i-2", NOW + 120_000), NOW + 120_000)
    assert desk.take_moved() == set()


def test_the_last_owner_stays_it_when_nothing_more_is_heard_of_the_session() -> None:
    desk = beside()
    desk.heard_claim(claim("i-2", NOW), NOW)
    desk.expire(NOW + 10 * LIFETIME)
    assert desk.owner(ALICE) == "i-2"


def test_the_owner_of_who_is_no_longer_admitted_is_forgotten_with_the_session() -> None:
    desk = Desk("i-1", admitted=lambda _: False)
    desk.heard_claim(claim("i-2", NOW), NOW)
    assert desk.owner(ALICE) == "i-2", "he may be admitted in a moment"
    desk.expire(NOW + 2 * LIFETIME)
    assert desk.owner(ALICE) == ""
