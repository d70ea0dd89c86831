"""Gateways and the routes they share: who has which, after whatever may happen."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from unit.gateway.route_fleet import NOTICE, World

from gateway.routes.decide import (
    CALM,
    LOOK_AFTER,
    LOOK_EVERY,
    SERVED_FOR,
    SILENT,
    TURN,
    Route,
)
from gateway.routes.view import RoutesView
from registry.items import DRAINED, DRAINING, SERVING, UNWELL, RouteHold, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLES = ("rtb-1", "rtb-2")
ONE, TWO, THREE = "i-1", "i-2", "i-3"


@pytest.fixture
def world(tmp_path: Path) -> Callable[..., World]:
    """Gateways that have been up for a while."""

    def make(*names: str, tables: tuple[str, ...] = TABLES, seconds: float = 90.0) -> World:
        made = World(tmp_path, tables, routes=dict.fromkeys(tables))
        made.launch(*names)
        made.run(seconds)
        return made

    return make


def held(world: World, name: str) -> int:
    return sum(hold.holder == name for hold in world.holds.values())


# ------------------------------------------------------------------ the beginning, and rest


@pytest.mark.parametrize("names", [(ONE,), (ONE, TWO), (ONE, TWO, THREE)])
def test_free_routes_are_shared_out_within_two_seconds(
    world: Callable[..., World], names: tuple[str, ...]
) -> None:
    tables = tuple(f"rtb-{number}" for number in range(6))
    made = world(*names, tables=tables, seconds=2.0)
    assert made.agreed()
    assert {held(made, name) for name in names} == {6 // len(names)}


def test_before_a_route_leads_to_it_a_gateway_lets_pass_what_is_not_its_own(
    world: Callable[..., World],
) -> None:
    made = world(ONE, seconds=0.6)
    calls = [what for _, _, what in made.calls]
    assert calls.index("check!") < calls.index("take") < calls.index("create")
    assert made.gateways[ONE].view.forwards
    assert made.gateways[ONE].view.held == TABLES
    assert made.gateways[ONE].view.changes == 2


def test_without_it_no_route_is_taken(world: Callable[..., World]) -> None:
    made = world(seconds=0)
    made.refused["check!"] = {ONE}
    made.launch(ONE)
    made.run(30)
    assert made.holds == {}
    assert not made.gateways[ONE].view.forwards
    assert "switching the source/destination check" in made.gateways[ONE].trouble
    made.refused.clear()
    made.run(6)
    assert made.agreed()
    assert made.gateways[ONE].trouble == ""


@pytest.mark.parametrize("word", ["", UNWELL])
def test_one_that_does_not_serve_yet_takes_none(world: Callable[..., World], word: str) -> None:
    made = world(seconds=0)
    made.launch(ONE, word=word)
    made.run(30)
    assert made.holds == {}
    assert made.gateways[ONE].view.forwards, "it is ready for them"
    made.gateways[ONE].word = SERVING
    made.run(2)
    assert made.agreed()


def test_at_rest_nobody_writes_and_little_is_read(world: Callable[..., World]) -> None:
    made = world(ONE, TWO, THREE)
    began = made.now
    made.run(600)
    assert made.writes(began) == []
    assert made.made("health", since=began) == 0
    for name in (ONE, TWO, THREE):
        assert made.made("read", since=began, by=name) <= 6 * 10 + 20, "six a minute, and re-reads"
        assert made.made("look", since=began, by=name) <= 11
        assert made.made("check", since=began, by=name) <= 11
    assert all(one.trouble == "" for one in made.gateways.values())


def test_in_a_stack_that_is_not_routed_nothing_is_asked(tmp_path: Path) -> None:
    made = World(tmp_path, TABLES, egress="snat", routes=dict.fromkeys(TABLES))
    made.launch(ONE, TWO)
    made.run(120)
    assert made.calls == []


# ------------------------------------------------------------------ death


@pytest.mark.parametrize("names", [(ONE, TWO), (ONE, TWO, THREE), (ONE, TWO, THREE, "i-4")])
@pytest.mark.parametrize("phase", [0.0, 0.3, 0.7, 1.1])
def test_a_dead_gateways_routes_are_a_survivors_within_two_seconds_of_the_decision(
    world: Callable[..., World], names: tuple[str, ...], phase: float
) -> None:
    tables = tuple(f"rtb-{number}" for number in range(4))
    made = world(*names, tables=tables)
    made.run(phase)
    assert held(made, ONE)
    made.die(ONE)
    made.run(NOTICE - 0.2)
    assert held(made, ONE), "silence alone is no death"
    made.run(0.2 + 2.0)
    assert made.agreed()
    assert not held(made, ONE)
    shares = [held(made, name) for name in names[1:]]
    assert max(shares) - min(shares) <= 1


def test_one_that_the_group_has_lost_is_not_waited_for_at_the_load_balancer(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    made.die(ONE)
    del made.members[ONE]
    made.ill.clear()
    made.run(SILENT - 0.2)
    assert held(made, ONE)
    made.run(2.2)
    assert made.agreed()
    assert made.made("health") == 0


def test_a_gateway_outside_of_its_group_takes_nobody_for_gone(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    began = made.now
    made.members.clear()
    made.sever(ONE, TWO)
    made.run(60)
    assert made.writes(began) == []


def test_when_gossip_is_cut_and_all_live_nobody_takes_anything(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO, THREE)
    began, before = made.now, dict(made.holds)
    made.sever(ONE, TWO, THREE)
    made.sever(TWO, THREE)
    made.run(600)
    assert made.holds == before
    assert made.writes(began) == []
    made.run(60)
    slow = made.made("health", since=made.now - 60, by=ONE)
    assert 0 < slow <= 13, "and after a minute it is asked more rarely"
    made.cut.clear()
    made.run(60)
    assert made.writes(began) == []


def test_a_gateway_that_is_ill_but_heard_is_not_robbed(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    made.ill[ONE] = made.now, ("unhealthy", "unhealthy")
    began = made.now
    made.run(60)
    assert made.writes(began) == []


def test_what_the_load_balancer_said_a_while_ago_does_not_count(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    made.refused["take"] = {TWO}
    made.sever(ONE, TWO)
    made.ill[ONE] = made.now, ("unhealthy", "unhealthy")
    made.run(10)
    made.refused["health"] = {TWO}
    made.run(2)
    del made.refused["take"]
    made.run(30)
    assert held(made, ONE) == 1
    made.refused.clear()
    made.run(7)
    assert held(made, ONE) == 0


def test_one_ill_slot_of_one_that_was_not_well_is_no_death(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    made.gateways[ONE].word = UNWELL
    made.refused["give_up"] = {ONE}
    made.sever(ONE, TWO)
    made.ill[ONE] = made.now, ("healthy", "unhealthy")
    made.run(60)
    assert held(made, ONE)
    made.ill[ONE] = made.now, ("unhealthy", "unhealthy")
    made.run(7)
    assert not held(made, ONE)


def test_what_was_cut_off_and_robbed_does_not_fight_for_it(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    made.sever(ONE, TWO)
    made.ill[ONE] = made.now, ("unhealthy", "unhealthy")
    made.run(30)
    assert set(made.led().values()) == {TWO}
    began = made.now
    made.run(300)
    assert made.writes(began) == []


def test_a_restarted_agent_takes_nobody_for_dead_and_keeps_its_own(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    began, before = made.now, dict(made.holds)
    made.ill[ONE] = made.now, ("unhealthy", "unhealthy")
    made.gateways[TWO].restart()
    made.run(60)
    assert made.holds == before
    assert made.writes(began) == []


# ------------------------------------------------------------------ races and crashes


def test_of_two_survivors_who_have_read_the_same_one_takes(world: Callable[..., World]) -> None:
    made = world(ONE, TWO, THREE, tables=("rtb-1",))
    made.die(ONE)

    def the_other_as_well() -> None:
        made.gateways[THREE].watch.step()
        made.now += TURN  # it is nobody's turn any more
        made.gateways[THREE].watch.step()

    made.before[TWO, "take"] = the_other_as_well
    began, version = made.now, made.holds["rtb-1"].version
    made.run(NOTICE + 3)
    tried = [who for at, who, what in made.calls if what == "take" and at >= began]
    assert sorted(tried) == [TWO, THREE]
    assert made.holds["rtb-1"] == RouteHold("rtb-1", THREE, "eni-i-3", version + 1)
    assert made.agreed()
    assert made.made("replace", since=began) == 1


def test_a_take_that_comes_second_changes_nothing(world: Callable[..., World]) -> None:
    made = world(ONE, TWO, THREE, tables=("rtb-1",))
    made.die(ONE)

    def other_first() -> None:
        before = made.holds["rtb-1"]
        made.holds["rtb-1"] = RouteHold("rtb-1", THREE, "eni-i-3", before.version + 1)

    made.before[TWO, "take"] = other_first
    made.run(NOTICE + 3)
    assert (TWO, "take") not in made.before, "it did try"
    assert made.holds["rtb-1"].holder == THREE
    made.run(20)
    assert made.agreed()
    assert made.made("replace", by=TWO) == 0


def test_a_crash_between_item_and_route_is_mended_by_the_next_survivor(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO, THREE, tables=("rtb-1",))
    made.die(ONE)
    made.refused["replace"] = {TWO}
    made.run(NOTICE + 2)
    assert made.holds["rtb-1"].holder == TWO
    assert made.led()["rtb-1"] == ONE
    made.die(TWO)
    made.run(NOTICE + 3)
    assert made.agreed()
    assert made.holds["rtb-1"].holder == THREE


def test_an_agent_that_crashed_between_item_and_route_writes_the_route_when_it_is_back(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO, tables=("rtb-1",))
    made.die(ONE)
    made.refused["replace"] = {TWO}
    made.run(NOTICE + 2)
    made.refused.clear()
    made.gateways[TWO].restart()
    made.run(1.5)
    assert made.agreed()


def test_a_late_write_of_one_that_has_lost_the_route_is_put_right(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO, tables=("rtb-1",))
    made.sever(ONE, TWO)
    made.ill[ONE] = made.now, ("unhealthy", "unhealthy")
    made.run(SILENT + 2)
    assert made.led()["rtb-1"] == TWO
    made.run(2.0)
    made.routes["rtb-1"] = Route("eni-i-1")  # its request was under way all the time
    made.run(LOOK_AFTER[1])
    assert made.agreed()
    began = made.now
    made.run(120)
    assert made.writes(began) == []


@pytest.mark.parametrize("refused", ["", "read"])
def test_one_that_was_robbed_since_it_read_the_item_writes_no_route(
    world: Callable[..., World], refused: str
) -> None:
    """Its reading of the item is old when the route is looked at: it is read again first."""
    made = world(ONE, TWO, tables=("rtb-1",))
    made.run(LOOK_EVERY)

    def robbed() -> None:
        before = made.holds["rtb-1"]
        made.holds["rtb-1"] = RouteHold("rtb-1", TWO, "eni-i-2", before.version + 1)
        made.routes["rtb-1"] = Route("eni-i-2")
        made.refused[refused] = {ONE}

    replaced = made.made("replace", by=ONE)
    made.before[ONE, "look"] = robbed
    made.run(LOOK_EVERY + 15)
    assert (ONE, "look") not in made.before
    assert made.made("replace", by=ONE) == replaced
    assert made.led()["rtb-1"] == TWO


def test_a_route_that_somebody_else_has_changed_is_mended_once_a_minute_at_most(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO, tables=("rtb-1",))
    began = made.now
    for _ in range(300):
        made.routes["rtb-1"] = Route("eni-x")
        made.run(1)
    assert 4 <= made.made("replace", since=began) <= 6
    made.run(LOOK_EVERY + 1)
    assert made.agreed()


def test_a_route_of_somebody_else_is_left_alone_and_told(world: Callable[..., World]) -> None:
    made = world(seconds=0)
    made.routes["rtb-1"] = Route(target="tgw-1")
    made.launch(ONE)
    made.run(30)
    assert made.routes["rtb-1"] == Route(target="tgw-1")
    assert "leads to tgw-1: not ours to replace" in made.gateways[ONE].trouble
    assert made.led()["rtb-2"] == ONE


def test_a_route_table_that_is_not_there_is_told_and_hides_no_other(
    world: Callable[..., World],
) -> None:
    made = world(seconds=0, tables=("rtb-1", "rtb-2"))
    del made.routes["rtb-1"]
    made.launch(ONE)
    made.run(10)
    assert "rtb-1: there is no such route table" in made.gateways[ONE].trouble
    assert made.led() == {"rtb-2": ONE}


def test_an_item_that_does_not_parse_is_nobodys_to_overwrite(world: Callable[..., World]) -> None:
    made = world(seconds=0)
    made.unreadable.append(Unreadable("route/rtb-1", "broken"))
    made.launch(ONE)
    made.run(10)
    assert list(made.holds) == ["rtb-2"]
    assert "route/rtb-1 does not parse" in made.gateways[ONE].trouble


# ------------------------------------------------------------------ the API refuses


def test_when_the_api_refuses_for_a_minute_there_is_no_fight_and_it_is_done_afterwards(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO, THREE, tables=("rtb-1",))
    made.die(ONE)
    made.refused["replace"] = {TWO, THREE}
    made.run(NOTICE + 2)
    began = made.now
    made.run(60)
    assert made.made("take", since=began) == 0, "whoever has it keeps it"
    assert 6 <= made.made("replace", since=began) <= 20
    holder = made.gateways[made.holds["rtb-1"].holder]
    assert "writing the route of rtb-1: replace: Refused" in holder.trouble
    made.refused.clear()
    made.run(6)
    assert made.agreed()
    assert holder.trouble == ""


@pytest.mark.parametrize("call", ["read", "look", "health", "check", "take"])
def test_whatever_call_is_refused_for_a_minute_rest_returns_afterwards(
    world: Callable[..., World], call: str
) -> None:
    made = world(ONE, TWO)
    made.refused[call] = {ONE, TWO}
    began = made.now
    made.run(60)
    assert made.made(call, since=began) <= 2 * (60 / 5 + 5)
    assert set(made.led().values()) == {ONE, TWO}
    made.refused.clear()
    made.run(30)
    assert all(one.trouble == "" for one in made.gateways.values())
    assert made.writes(began) == []


# ------------------------------------------------------------------ leaving


def test_a_drain_hands_over_before_it_ends_and_the_route_always_leads_somewhere(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    leaver = made.gateways[ONE]
    leaver.word = DRAINING
    while not leaver.view.rid:
        assert made.now < 1100.0, "it does not end"
        made.run(0.1)
        for table, name in made.led().items():
            assert name in (ONE, TWO), table
    assert made.agreed()
    assert held(made, TWO) == 2
    leaver.word = DRAINED
    began = made.now
    made.run(300)
    assert made.writes(began) == [], "and it takes none back"


def test_a_handover_takes_two_seconds(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    made.gateways[ONE].word = DRAINING
    made.run(2)
    assert set(made.led().values()) == {TWO}
    assert made.gateways[ONE].view.rid


def test_a_leaver_is_not_rid_of_a_route_before_another_has_it(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    made.refused["replace"] = {TWO}
    made.gateways[ONE].word = DRAINING
    made.run(30)
    assert (held(made, ONE), held(made, TWO)) == (0, 2)
    assert not made.gateways[ONE].view.rid, "it still leads here"
    made.refused.clear()
    made.run(7)
    assert made.gateways[ONE].view.rid


def test_one_that_drains_without_the_registry_is_relieved_all_the_same(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    made.refused = {call: {ONE} for call in ("read", "give_up")}
    made.gateways[ONE].word = DRAINING
    made.run(15)
    assert set(made.led().values()) == {TWO}


def test_without_another_that_serves_a_leaver_keeps_its_routes(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    made.gateways[TWO].word = UNWELL
    made.run(10)
    assert held(made, ONE) == 2
    made.gateways[ONE].word = DRAINING
    made.run(60)
    assert set(made.led().values()) == {ONE}
    assert held(made, ONE) == 2
    assert made.made("give_up", by=ONE) == 0


def test_a_gateway_that_is_not_well_leaves_its_routes_to_one_that_is(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    made.gateways[ONE].word = UNWELL
    made.run(2)
    made.gateways[ONE].word = SERVING
    made.run(5)
    assert held(made, ONE) == 1, "a moment does not count"
    made.gateways[ONE].word = UNWELL
    made.run(7)
    assert set(made.led().values()) == {TWO}


def test_the_last_one_that_is_terminated_takes_its_routes_away(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    for name in (ONE, TWO):
        made.members[name] = "Terminating:Wait"
        made.gateways[name].ending = True
    made.run(5)
    assert made.holds == {}
    assert made.routes == dict.fromkeys(TABLES)
    assert all(one.view.rid for one in made.gateways.values())
    began = made.now
    made.run(60)
    assert made.writes(began) == []


def test_one_of_two_that_is_terminated_deletes_nothing(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    made.members[ONE] = "Terminating:Wait"
    made.gateways[ONE].ending = True
    made.run(12)
    assert set(made.led().values()) == {TWO}
    assert made.made("delete_route", "delete") == 0


def test_one_whose_successor_is_only_booting_keeps_them(world: Callable[..., World]) -> None:
    made = world(ONE)
    made.members |= {ONE: "Terminating:Wait", TWO: "Pending:Wait"}
    made.gateways[ONE].ending = True
    made.run(30)
    assert set(made.led().values()) == {ONE}


# ------------------------------------------------------------------ coming back


def test_a_returner_gets_a_route_back_only_when_nothing_would_notice(
    world: Callable[..., World],
) -> None:
    made = world(ONE)
    assert held(made, ONE) == 2
    made.launch(TWO)
    made.run(SERVED_FOR - 1)
    assert held(made, TWO) == 0, "it has not served for long enough"
    made.run(CALM + 5)
    assert (held(made, ONE), held(made, TWO)) == (1, 1)
    assert made.agreed()
    began = made.now
    made.run(300)
    assert made.writes(began) == []


def test_a_single_route_stays_where_it_is(world: Callable[..., World]) -> None:
    made = world(ONE, tables=("rtb-1",))
    made.launch(TWO)
    began = made.now
    made.run(300)
    assert made.writes(began) == [one for one in made.calls if one[2] == "check!" and one[1] == TWO]
    assert held(made, ONE) == 1


@pytest.mark.parametrize("what", ["takeover", "gossip", "word"])
def test_one_that_is_not_in_step_gets_nothing_back(world: Callable[..., World], what: str) -> None:
    made = world(ONE)
    made.launch(TWO)
    match what:
        case "takeover":
            made.gateways[TWO].working = False
        case "gossip":
            made.sever(ONE, TWO)
        case "word":
            made.gateways[TWO].word = UNWELL
    made.run(200)
    assert held(made, ONE) == 2


def test_routes_come_back_one_after_another(world: Callable[..., World]) -> None:
    tables = tuple(f"rtb-{number}" for number in range(6))
    made = world(ONE, tables=tables)
    made.launch(TWO)
    began = made.now
    made.run(SERVED_FOR + 15 + 3 * CALM)
    assert (held(made, ONE), held(made, TWO)) == (3, 3)
    moved = [at for at, who, what in made.calls if who == TWO and what == "take" and at >= began]
    assert min(b - a for a, b in pairwise(moved)) >= CALM - 0.01


# ------------------------------------------------------------------ the way back to snat


def test_back_to_snat_leaves_no_traces_and_then_asks_nothing(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    assert made.check == {ONE: False, TWO: False}
    made.egress = "snat"
    made.run(15)
    assert made.holds == {}
    assert made.routes == dict.fromkeys(TABLES)
    assert made.check == {ONE: True, TWO: True}
    assert not list(made.directory.iterdir())
    began = made.now
    made.run(120)
    assert [one for one in made.calls if one[0] > began] == []


def test_also_one_whose_check_was_off_already_leaves_none(world: Callable[..., World]) -> None:
    made = world(seconds=0)
    made.check[ONE] = False
    made.launch(ONE)
    made.run(5)
    assert made.agreed()
    assert made.made("check!") == 0
    made.egress = "snat"
    made.run(15)
    assert (made.holds, made.check) == ({}, {ONE: True})


def test_a_restarted_agent_knows_that_it_forwards_without_asking_aws(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    made.refused["check"] = {ONE}
    made.gateways[ONE].restart()
    made.gateways[ONE].view = RoutesView()
    made.run(1)
    assert made.gateways[ONE].view.forwards


def test_the_check_stays_off_while_a_route_leads_here(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    made.refused["delete_route"] = {ONE}
    made.egress = "snat"
    made.run(130)
    assert made.check == {ONE: False, TWO: True}
    assert "deleting the route of" in made.gateways[ONE].trouble
    assert made.made("delete_route", by=ONE) <= 10
    made.gateways[ONE].restart()
    made.refused.clear()
    made.run(15)
    assert made.check == {ONE: True, TWO: True}
    assert made.holds == {}


def test_what_a_dead_gateway_has_left_is_taken_away_by_another(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    made.die(ONE)
    del made.members[ONE]
    made.egress = "snat"
    made.run(15)
    assert made.holds == {}
    assert made.routes == dict.fromkeys(TABLES)


def test_a_table_that_the_stack_no_longer_names_loses_its_route(
    world: Callable[..., World],
) -> None:
    made = world(ONE, TWO)
    made.tables = ("rtb-2",)
    made.run(15)
    assert list(made.holds) == ["rtb-2"]
    assert made.routes["rtb-1"] is None
    assert made.check == {ONE: False, TWO: False}


def test_there_and_back_again(world: Callable[..., World]) -> None:
    made = world(ONE, TWO)
    made.egress = "snat"
    made.run(15)
    made.egress = "routed"
    made.run(15)
    assert made.agreed()
    assert made.check == {ONE: False, TWO: False}
