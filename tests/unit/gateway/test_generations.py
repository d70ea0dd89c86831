"""Which key generations are served, and where."""

from __future__ import annotations

import pytest

from gateway.generations import interface_of, next_served
from registry.key_slots import port_of, slot_of


def test_neighbouring_generations_never_share_a_slot() -> None:
    assert [slot_of(number) for number in (1, 2, 3, 7, 8)] == [0, 1, 0, 0, 1]
    assert interface_of(slot_of(8)) == "wg1"
    assert [port_of(number, 51820) for number in (1, 2, 3)] == [51820, 51821, 51820]


@pytest.mark.parametrize(
    ("serving", "wanted"),
    [
        ((), (7,)),
        ((), (7, 8)),
        ((7,), (7,)),
        ((7,), (7, 8)),
        ((7, 8), (8,)),
        ((7, 8), (8, 7)),
        ((8, 7), (7,)),
        ((7,), (8,)),
        ((8,), (7,)),
        ((7,), (8, 9)),
    ],
)
def test_a_step_is_taken(serving: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    served = next_served(serving, wanted)
    assert served.generations == wanted
    assert not served.fault


@pytest.mark.parametrize(
    ("serving", "wanted"),
    [
        ((7,), (9,)),
        ((7,), (9, 10)),
        ((7, 8), (10,)),
        ((7,), (5,)),
        ((7, 8), (5, 4)),
    ],
)
def test_a_jump_is_refused_and_what_was_served_is_kept(
    serving: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    served = next_served(serving, wanted)
    assert served.generations == serving
    assert "a jump" in served.fault
    assert str(list(wanted)) in served.fault


@pytest.mark.parametrize("wanted", [(), (0,), (7, 9), (7, 8, 9), (7, 7), (-1,)])
def test_what_is_not_one_or_two_adjacent_numbers_is_refused(wanted: tuple[int, ...]) -> None:
    served = next_served((7,), wanted)
    assert served.generations == (7,)
    assert "not one or two adjacent" in served.fault


@pytest.mark.parametrize(
    ("serving", "wanted", "kept"),
    [
        ((8,), (7, 8), (8,)),
        ((8,), (8, 7), (8,)),
        ((8,), (7,), (8,)),
        ((8, 9), (7, 8), (8, 9)),
        ((), (7, 8), (8,)),
        ((), (7,), ()),
    ],
)
def test_a_burnt_generation_does_not_come_back_and_what_was_served_is_kept(
    serving: tuple[int, ...], wanted: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    served = next_served(serving, wanted, {7})
    assert served.generations == kept
    assert "7 is burnt and does not come back" in served.fault


@pytest.mark.parametrize(
    ("serving", "wanted"), [((7, 8), (7, 8)), ((7, 8), (8, 7)), ((7, 8), (8,)), ((7,), (7, 8))]
)
def test_a_burnt_generation_that_is_served_goes_only_when_control_says_so(
    serving: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    assert next_served(serving, wanted, {7}).generations == wanted
    assert not next_served(serving, wanted, {7}).fault


def test_burnt_generations_are_stepped_over_and_no_others() -> None:
    assert next_served((7,), (9,), {8}).generations == (9,)
    assert next_served((7,), (10,), {8, 9}).generations == (10,)
    assert "a jump" in next_served((7,), (10,), {8}).fault
    assert "a jump" in next_served((7,), (10,), {9}).fault
