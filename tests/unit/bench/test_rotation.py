"""What the rotation bench makes of what it has seen."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Any

import pytest

from bench import rotation
from bench.echoes import Echoes
from effects import Refusal
from registry.items import Burnt, Command, Control, Head

TABLE = "urn:pulumi:lab::gatepair::gatepair:peer_registry:PeerRegistry$aws:dynamodb/tableItem"
CONTROL = f"{TABLE}:TableItem::peer-registry-control"
GROUP = "urn:pulumi:lab::gatepair::aws:autoscaling/group:Group::gateways"


def head(*generations: int, burnt: tuple[int, ...] = ()) -> Head:
    control = Control(
        generations, 51820, (IPv4Network("10.0.0.0/16"),), (), IPv4Network("100.96.0.0/16")
    )
    command = Command(burnt={number: Burnt("somebody", "once") for number in burnt})
    return Head(1, "epoch", control, command=command)


def helper(*, lost: int = 0, gap: float = 0.1, moved: float = 1.0) -> dict[str, Any]:
    facts = {"sent": 1000, "lost": lost, "longest_gap": gap, "moved_after": moved}
    return {"kind": "helper", "client": "h", **facts}


def straggler(before: int, after: int) -> dict[str, Any]:
    return {"kind": "straggler", "answered_before": before, "answered_after": after}


def deployment(*touched: str) -> dict[str, Any]:
    return {"kind": "deployment", "touched": list(touched)}


def reconnect(gap: float, *, resumed: bool = True) -> dict[str, Any]:
    return {"kind": "reconnect", "gap": gap, "resumed": resumed}


def samples(*more: dict[str, Any], reconnects: int = 1) -> list[dict[str, Any]]:
    gaps = [reconnect((n + 1) / 100) for n in range(reconnects)]
    return [helper(), straggler(5, 0), deployment(CONTROL), deployment(CONTROL), *gaps, *more]


def test_what_helpers_lost_is_summed_and_the_slowest_counts() -> None:
    figures = rotation.figures_of(samples(helper(lost=2, gap=0.4, moved=9.0)))
    assert (figures["helper_sent"], figures["helper_lost"]) == (2000, 2)
    assert (figures["helper_longest_gap"], figures["helper_moved_after_max"]) == (0.4, 9.0)


def test_a_hundred_reconnects_have_a_p99_and_fewer_have_none() -> None:
    assert "plain_gap_p99" not in rotation.figures_of(samples(reconnects=99))
    assert rotation.figures_of(samples(reconnects=100))["plain_gap_p99"] == 0.99
    assert rotation.figures_of(samples(reconnects=99))["plain_gap_max"] == 0.99


def test_a_client_that_did_not_come_back_is_counted_and_its_gap_too() -> None:
    figures = rotation.figures_of(samples(reconnect(30.4, resumed=False)))
    assert (figures["plain_not_resumed"], figures["plain_gap_max"]) == (1, 30.4)


def test_two_updates_of_the_control_item_are_all_that_is_touched() -> None:
    figures = rotation.figures_of(samples())
    assert (figures["resources_touched"], figures["resources_touched_but_control"]) == (2, 0)


def test_anything_else_that_is_touched_is_counted_apart() -> None:
    figures = rotation.figures_of(samples(deployment(GROUP, CONTROL)))
    assert (figures["resources_touched"], figures["resources_touched_but_control"]) == (4, 1)


@pytest.mark.parametrize("other", [straggler(5, 1), straggler(0, 0)])
def test_the_old_key_is_refused_only_if_every_straggler_was_cut_off(other: dict[str, Any]) -> None:
    assert rotation.figures_of(samples())["old_key_refused_after_retire"] == 1
    assert rotation.figures_of(samples(other))["old_key_refused_after_retire"] == 0


def test_a_straggler_is_judged_by_the_pings_sent_after_every_gateway_had_confirmed() -> None:
    echoes = Echoes()
    for number in range(10):
        echoes.send(number, float(number))
        if number < 5 or number in (6, 7):
            # the sixth is sent before, and its answer is on the way
            echoes.hear(number, number + 1.5)
    told = rotation.straggler("s", echoes, 1.0, 7.0, 10.0)
    assert (told["answered_before"], told["answered_after"]) == (5, 1)


def test_what_is_lost_while_a_client_reconnects_is_not_lost_elsewhere() -> None:
    echoes = Echoes()
    for number in range(10):
        echoes.send(number, float(number))
    for number in (0, 1, 4, 5, 6, 8, 9):
        echoes.hear(number, number + 0.1)
    assert rotation.lost_outside(echoes, (0.0, 10.0), [(1.5, 3.5)]) == 1
    assert rotation.lost_outside(echoes, (0.0, 10.0), [(1.5, 3.5), (7.0, 7.5)]) == 0
    assert rotation.lost_outside(echoes, (0.0, 10.0), [(3.0, 7.0)]) == 2


def test_it_rotates_to_the_next_generation_from_whatever_is_served() -> None:
    assert rotation.next_generation(head(1)) == (1, 2)
    assert rotation.next_generation(head(7, burnt=(6,))) == (7, 8)


@pytest.mark.parametrize("present", [head(1, 2), Head(1, "epoch", None), head(1, burnt=(2,))])
def test_a_lab_that_cannot_be_rotated_is_refused(present: Head) -> None:
    with pytest.raises(Refusal):
        rotation.next_generation(present)
