"""The packet filter's text, as the kernel takes it: in a namespace with nothing else in it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from unit.gateway.samples import FILTER

from effects import run
from gateway import access, firewall, observe, ruleset
from gateway.access import EVERYWHERE, SetChanges, access_of
from gateway.act import Actor
from gateway.decide import ChangeSets, LoadFilter
from gateway.paths import Paths
from lab.netns import inside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "gpx-filter"
A, B, C = (IPv4Address(f"100.96.0.{n}") for n in (5, 6, 7))

pytestmark = [pytest.mark.lab, pytest.mark.timeout(60)]


@pytest.fixture(autouse=True)
def _namespace() -> Iterator[None]:
    run(["ip", "netns", "delete", NAME], check=False)
    run(["ip", "netns", "add", NAME])
    with inside(NAME):
        yield
    run(["ip", "netns", "delete", NAME])


def reaches(**rules: str) -> dict[IPv4Address, access.Access]:
    found = {}
    for name, text in rules.items():
        read, broken = access_of(tuple(text.split()))
        assert read is not None
        assert not broken
        found[{"a": A, "b": B, "c": C}[name]] = read
    return found


@pytest.mark.parametrize("peer_to_peer", [False, True])
@pytest.mark.parametrize("reach", [FILTER.reach, ()])
@pytest.mark.parametrize("gateways", [FILTER.gateways, frozenset()])
def test_every_form_of_the_text_is_valid(
    peer_to_peer: bool, reach: tuple, gateways: frozenset
) -> None:
    text = firewall.render(
        replace(FILTER, peer_to_peer=peer_to_peer, reach=reach, gateways=gateways),
        SetChanges(
            add=tuple(access.all_elements(reaches(a="", b="10.20.0.0/16 10.20.3.0/24:tcp/1"))),
            forget=(C,),
        ),
    )
    run(["nft", "-c", "-f", "-"], stdin=text)


STEPS = (
    reaches(a=""),
    reaches(a="", b="10.20.0.0/16:tcp/1"),
    reaches(a="10.20.0.0/16", b="10.20.3.0/24:tcp/1"),
    reaches(a="10.20.3.0/24 10.20.5.7/32:udp", b="10.20.0.0/16:tcp/1", c="0.0.0.0/0:icmp"),
    reaches(a="10.0.0.0/8", c=""),
    {},
    reaches(a="10.20.3.4/32:udp/53 10.20.3.0/24 10.20.3.0/24:icmp"),
)


def test_the_sets_follow_every_change_and_are_read_back_as_they_were_meant(tmp_path: Path) -> None:
    memory = observe.FilterMemory()
    actor = Actor(Paths(state=tmp_path), memory, lambda: None)
    assert actor.carry_out([LoadFilter(FILTER, SetChanges(), {})]) == {}
    before: dict[IPv4Address, access.Access] = {}
    for after in STEPS:
        changes = replace(access.differences(before, after), forget=(A,))
        assert actor.carry_out([ChangeSets(changes, after)]) == {}
        fresh = observe.FilterMemory()
        assert fresh.sets() == (None, access.all_elements(after))
        before = after


def test_nothing_is_listed_while_nobody_has_changed_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = observe.FilterMemory()
    actor = Actor(Paths(state=tmp_path), memory, lambda: None)
    wanted = reaches(a="", b="10.20.0.0/16")
    actor.carry_out([LoadFilter(FILTER, access.differences({}, wanted), wanted)])
    assert memory.present() == FILTER
    assert memory.sets() == (wanted, frozenset())
    with monkeypatch.context() as patched:
        patched.setattr(observe, "run", lambda *_, **__: pytest.fail("listed"))
        narrower = reaches(a="10.20.0.0/16", b="10.20.0.0/16")
        actor.carry_out([ChangeSets(access.differences(wanted, narrower), narrower)])
        assert memory.present() == FILTER
        assert memory.sets() == (narrower, frozenset())
    run(["nft", "flush", "set", "inet", "gatepair", "open"])
    assert memory.sets() == (narrower, frozenset()), "looked, and found what should be there"
    run(["nft", "flush", "set", "inet", "gatepair", "allowed"])
    assert memory.sets() == (None, frozenset())
    assert memory.present() == FILTER
    run(["nft", "insert", "rule", "inet", "gatepair", "through", "accept"])
    assert memory.present() is None


def test_a_table_of_another_shape_gives_way_and_the_sets_are_filled_anew(tmp_path: Path) -> None:
    run(
        ["nft", "-f", "-"],
        stdin="add table inet gatepair\nadd set inet gatepair open { type mark; }\n",
    )
    memory = observe.FilterMemory()
    actor = Actor(Paths(state=tmp_path), memory, lambda: None)
    wanted = {A: EVERYWHERE}
    assert actor.carry_out([LoadFilter(FILTER, access.differences({}, wanted), wanted)]) == {}
    assert memory.sets() == (None, frozenset())
    assert memory.present() == FILTER


def test_the_number_of_the_last_transaction_rises_by_one_each_time() -> None:
    first = ruleset.generation()
    run(["nft", "add", "table", "inet", "x"])
    assert ruleset.generation() == first + 1
    run(["nft", "list", "ruleset"])
    assert ruleset.generation() == first + 1
