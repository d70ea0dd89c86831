"""By which gateway a client is reached: the same mapping until another one is due."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

from gateway.takeover.hub import SessionsView
from gateway.ways import Ways

NEAR, FAR = IPv4Address("10.20.0.11"), IPv4Address("10.20.0.12")
ADMITTED = {f"KEY-{last}": IPv4Address(f"100.96.0.{last}") for last in range(2, 9)}
GATEWAYS = frozenset({NEAR, FAR})
VIEW = SessionsView(
    elsewhere={"KEY-2": "i-2", "KEY-3": "i-3"}, addresses={"i-2": NEAR, "i-3": FAR}, in_step=True
)


def test_each_leads_to_its_owner_as_far_as_that_one_is_a_member() -> None:
    assert Ways().routes(VIEW, ADMITTED, GATEWAYS, {}) == {
        "100.96.0.2": "10.20.0.11",
        "100.96.0.3": "10.20.0.12",
    }
    assert Ways().routes(VIEW, ADMITTED, frozenset({FAR}), {}) == {"100.96.0.3": "10.20.0.12"}
    assert Ways().routes(VIEW, {}, GATEWAYS, {}) == {}


def test_step_by_step_it_comes_to_the_same_as_all_at_once() -> None:
    ways = Ways()
    for elsewhere in (
        {"KEY-2": "i-2"},
        {"KEY-2": "i-3", "KEY-4": "i-2"},
        {"KEY-4": "i-2", "KEY-9": "i-3", "KEY-5": "i-9"},
        {},
        {f"KEY-{last}": "i-2" for last in range(2, 9)},
    ):
        view = replace(VIEW, elsewhere=elsewhere)
        found = ways.routes(view, ADMITTED, GATEWAYS, {})
        assert found == Ways().routes(view, ADMITTED, GATEWAYS, {})
        assert ways.routes(replace(view, own=7), ADMITTED, GATEWAYS, {}) is found


def test_a_member_that_goes_takes_its_ways_along_and_brings_them_back() -> None:
    ways = Ways()
    both = ways.routes(VIEW, ADMITTED, GATEWAYS, {})
    assert ways.routes(VIEW, ADMITTED, frozenset({NEAR}), both) == {"100.96.0.2": "10.20.0.11"}
    assert ways.routes(VIEW, ADMITTED, GATEWAYS, {}) == both


def test_before_all_is_told_what_is_there_stays_unless_it_is_known_better() -> None:
    ways, there = Ways(), {f"100.96.0.{last}": "10.20.0.11" for last in (2, 3, 4, 5)}
    there |= {"100.96.0.6": "10.20.0.99", "100.96.0.77": "10.20.0.11"}
    told = replace(VIEW, in_step=False, elsewhere={"KEY-3": "i-3"})
    told = replace(told, holding=frozenset({("wg0", "KEY-4")}))
    assert ways.routes(told, ADMITTED, GATEWAYS, there) == {
        "100.96.0.2": "10.20.0.11",
        "100.96.0.3": "10.20.0.12",
        "100.96.0.5": "10.20.0.11",
    }
    here = replace(told, holding=told.holding | {("wg1", "KEY-5")})
    assert "100.96.0.5" not in ways.routes(here, ADMITTED, GATEWAYS, there)
    done = replace(here, in_step=True)
    assert ways.routes(done, ADMITTED, GATEWAYS, there) == {"100.96.0.3": "10.20.0.12"}
