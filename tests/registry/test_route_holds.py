"""Who holds which route: exactly one of those who want it at the same moment."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fake_registry import TABLE

from registry.items import ItemError, RouteHold
from registry.route_holds import RouteHolds

if TYPE_CHECKING:
    from fake_registry import Fake

NOON = "2026-01-02T12:00:00Z"
HOLD = RouteHold("rtb-1", "i-1", "eni-1", 1, NOON)


@pytest.fixture
def holds(fake: Fake) -> RouteHolds:
    return RouteHolds(fake.client, TABLE, lambda: NOON)


def test_an_item_is_read_as_it_was_written() -> None:
    given_up = replace(HOLD, holder="", version=2)
    for hold in (HOLD, given_up):
        assert RouteHold.from_item(hold.to_item()) == hold


@pytest.mark.parametrize("missing", ["holder", "interface", "version"])
def test_an_item_that_is_half_there_is_refused(missing: str) -> None:
    item = {name: value for name, value in HOLD.to_item().items() if name != missing}
    with pytest.raises(ItemError, match=f"route/rtb-1: {missing} is missing"):
        RouteHold.from_item(item)


def test_nobody_holds_anything_at_first(holds: RouteHolds) -> None:
    assert holds.read() == ({}, [])


def test_of_two_who_take_a_free_route_one_has_it(holds: RouteHolds) -> None:
    assert holds.take("rtb-1", None, "i-1", "eni-1") == HOLD
    assert holds.take("rtb-1", None, "i-2", "eni-2") is None
    assert holds.read() == ({"rtb-1": HOLD}, [])


def test_of_two_who_take_it_from_a_third_one_has_it(holds: RouteHolds) -> None:
    holds.take("rtb-1", None, "i-3", "eni-3")
    (before,) = holds.read()[0].values()
    taken = holds.take("rtb-1", before, "i-2", "eni-2")
    assert taken == RouteHold("rtb-1", "i-2", "eni-2", 2, NOON)
    assert holds.take("rtb-1", before, "i-1", "eni-1") is None
    assert holds.read()[0] == {"rtb-1": taken}


def test_what_is_given_up_can_be_taken_by_another_and_only_once(holds: RouteHolds) -> None:
    hold = holds.take("rtb-1", None, "i-1", "eni-1")
    assert hold is not None
    free = holds.give_up(hold)
    assert free == RouteHold("rtb-1", "", "eni-1", 2, NOON)
    assert holds.give_up(hold) is None, "it is somebody else's to give up by now"
    taken = holds.take("rtb-1", free, "i-2", "eni-2")
    assert taken is not None
    assert taken.version == 3


def test_only_what_is_as_it_was_read_is_deleted(holds: RouteHolds) -> None:
    hold = holds.take("rtb-1", None, "i-1", "eni-1")
    assert hold is not None
    assert holds.take("rtb-1", hold, "i-2", "eni-2") is not None
    assert not holds.delete(hold)
    (now,) = holds.read()[0].values()
    assert holds.delete(now)
    assert holds.read() == ({}, [])


def test_an_item_that_does_not_parse_hides_no_other_and_is_not_taken(
    fake: Fake, holds: RouteHolds
) -> None:
    holds.take("rtb-1", None, "i-1", "eni-1")
    broken = {**RouteHold("rtb-2", "i-1", "eni-1", 1).to_item(), "version": {"S": "one"}}
    fake.client.put_item(TableName=TABLE, Item=broken)
    good, bad = holds.read()
    assert list(good) == ["rtb-1"]
    assert [one.key for one in bad] == ["route/rtb-2"]
    assert holds.take("rtb-2", None, "i-2", "eni-2") is None
