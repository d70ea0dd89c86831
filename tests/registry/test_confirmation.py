"""A gateway has confirmed by its own fresh word, or by one relayed from the boot it last showed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from registry.confirmation import Awaited, Confirmed, Member, confirmed_by, reached, unconfirmed
from registry.items import Ack, GatewayRecord

NOW = Awaited(7, "epoch")


def record(name: str, **said: Any) -> GatewayRecord:
    usual = GatewayRecord(
        f"arn:{name}", name, "z", "10.0.0.1", f"boot-{name}", 7, "epoch", updated=100
    )
    return replace(usual, **said)


def records(*said: GatewayRecord) -> dict[str, GatewayRecord]:
    return {one.instance_id: one for one in said}


def ack(**said: Any) -> Ack:
    return replace(Ack("boot-a", 7, "epoch", 105), **said)


@pytest.mark.parametrize(
    ("said", "how"),
    [
        ({}, Confirmed("a")),
        ({"applied": 8}, Confirmed("a")),
        ({"applied": 6}, None),
        ({"epoch": "another"}, None),
    ],
)
def test_its_own_word_counts_for_the_same_epoch_and_at_least_the_generation(
    said: dict[str, Any], how: Confirmed | None
) -> None:
    assert confirmed_by("a", NOW, records(record("a", **said))) == how


def test_who_has_said_nothing_has_confirmed_nothing_whatever_others_say() -> None:
    assert confirmed_by("a", NOW, {}) is None
    assert confirmed_by("a", NOW, records(record("b", acks={"a": ack()}))) is None


@pytest.mark.parametrize(
    ("relayed", "counts"),
    [
        (ack(), True),
        (ack(generation=9), True),
        (ack(generation=6), False),
        (ack(epoch="another"), False),
        (ack(boot_id="boot-before", at=99), False),
        (ack(boot_id="boot-before", at=100), False),
        (ack(boot_id="boot-after", at=101), True),
    ],
)
def test_a_relayed_word_counts_from_the_boot_that_was_last_shown_or_a_newer_one(
    relayed: Ack,
    counts: bool,
) -> None:
    cut_off = record("a", applied=5)
    relay = record("b", acks={"a": relayed})
    how = Confirmed("a", "b") if counts else None
    assert confirmed_by("a", NOW, records(cut_off, relay)) == how


def test_nobody_relays_his_own_word() -> None:
    assert confirmed_by("a", NOW, records(record("a", applied=5, acks={"a": ack()}))) is None


def test_what_was_said_before_a_second_wait_counts_no_more() -> None:
    before = records(record("a"))
    again = Awaited(7, "epoch", before)
    assert confirmed_by("a", again, before) is None
    assert confirmed_by("a", again, records(record("a", updated=110))) == Confirmed("a")
    assert confirmed_by("a", again, records(record("a", boot_id="new"))) == Confirmed("a")


def test_a_word_relayed_before_a_second_wait_counts_no_more() -> None:
    before = records(record("a", applied=5), record("b", acks={"a": ack()}))
    again = Awaited(7, "epoch", before)
    assert confirmed_by("a", again, before) is None
    later = records(record("a", applied=5), record("b", acks={"a": ack(at=106)}))
    assert confirmed_by("a", again, later) == Confirmed("a", "b")


def test_every_member_counts_but_those_that_are_gone() -> None:
    members = [
        Member("a"),
        Member("b", lifecycle="Pending:Wait"),
        Member("c", lifecycle="Terminating:Wait"),
        Member("d", lifecycle="Terminated"),
    ]
    silent = unconfirmed(members, NOW, records(record("a")))
    assert [member.instance_id for member in silent] == ["b", "c"]


def test_addresses_are_free_up_to_what_the_last_of_them_has_applied() -> None:
    members = [Member("a"), Member("b")]
    assert reached(members, "epoch", records(record("a"), record("b", applied=3))) == 3
    assert reached(members, "epoch", records(record("a"))) == 0
    assert reached(members, "epoch", records(record("a"), record("b", epoch="old"))) == 0
    assert reached([], "epoch", {}) == 0
