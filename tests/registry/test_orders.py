"""Orders to gateways: written on what was read, pruned of what is over."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from fake_registry import TABLE

from effects import Refusal
from registry import items, orders
from registry.items import Burnt, Command, DrainOrder
from registry.orders import Crowded, Orders

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_registry import Fake

NOW = 1_700_000_000.0
AT = "2023-11-14T22:13:20Z"


@pytest.fixture
def given(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Orders:
    monkeypatch.setattr(orders.time, "sleep", lambda _: None)
    return Orders(fake.client, TABLE, lambda: NOW)


def drain(name: str, seconds: int = 600) -> Callable[[Command], Command]:
    order = DrainOrder(int(NOW) + seconds, "me", AT)
    return lambda command: replace(command, drain={**command.drain, name: order})


def burn(number: int) -> Callable[[Command], Command]:
    return lambda command: replace(command, burnt={**command.burnt, number: Burnt(AT, "me")})


def test_an_order_is_in_the_head_that_every_gateway_reads(fake: Fake, given: Orders) -> None:
    written = given.change(drain("i-1"))
    assert fake.registry.head().command == written == given.read()
    assert list(written.drain) == ["i-1"]


def test_orders_of_both_kinds_stand_side_by_side(given: Orders) -> None:
    given.change(drain("i-1"))
    given.change(burn(7))
    given.change(drain("i-2"))
    assert sorted(given.read().drain) == ["i-1", "i-2"]
    assert list(given.read().burnt) == [7]


def test_what_is_over_is_ignored_and_goes_with_the_next_order(fake: Fake, given: Orders) -> None:
    given.change(drain("i-1", seconds=-1))
    assert given.read().drain == {}
    assert list(fake.items("command")[0]["drain"]["M"]) == ["i-1"]
    given.change(drain("i-2"))
    assert list(fake.items("command")[0]["drain"]["M"]) == ["i-2"]


def test_an_order_that_changes_nothing_writes_nothing(fake: Fake, given: Orders) -> None:
    given.change(lambda command: command)
    given.change(drain("i-1"))
    before = fake.items("command")
    given.change(lambda command: command)
    assert fake.items("command") == before


def test_whoever_loses_a_race_decides_again_on_what_the_winner_wrote(given: Orders) -> None:
    seen: list[list[str]] = []

    def second(command: Command) -> Command:
        seen.append(sorted(command.drain))
        if len(seen) == 1:
            given.change(drain("i-1"))
        if command.drain:
            raise Refusal("gateway i-2", "it is the last one")
        return drain("i-2")(command)

    with pytest.raises(Refusal, match="the last one"):
        given.change(second)
    assert seen == [[], ["i-1"]]
    assert list(given.read().drain) == ["i-1"]


def test_an_order_of_the_other_kind_loses_no_race(given: Orders) -> None:
    given.change(drain("i-1"))
    given.change(burn(1))
    tries = []

    def slow(command: Command) -> Command:
        tries.append(command)
        if len(tries) == 1:
            given.change(burn(2))
        return drain("i-2")(command)

    given.change(slow)
    assert len(tries) == 1
    assert sorted(given.read().burnt) == [1, 2]


def test_it_is_given_up_aloud_when_others_are_always_faster(given: Orders) -> None:
    others = iter(range(100))

    def slow(command: Command) -> Command:
        given.change(burn(next(others)))
        return burn(1000)(command)

    with pytest.raises(Crowded, match="nothing was written"):
        given.change(slow)
    assert 1000 not in given.read().burnt


def test_a_command_item_that_does_not_parse_is_not_overwritten(fake: Fake, given: Orders) -> None:
    broken = {**items.COMMAND_KEY, "burnt": {"S": "all of them"}}
    fake.client.put_item(TableName=TABLE, Item=broken)
    with pytest.raises(items.ItemError, match="burnt"):
        given.change(drain("i-1"))
    assert fake.items("command") == [broken]
