"""From any state a machine may be found in, a few rounds of decisions end in the wanted one."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from unit.gateway.machine import Machine
from unit.gateway.samples import BOB, FILTER, REACHES, RULES, SYSCTL, desired, serving

from gateway.access import EVERYWHERE, NETWORKS, OPEN, all_elements
from gateway.decide import Command, Decider, Observed
from gateway.network import Link, Route, Rule
from gateway.wireguard import Device, DevicePeer

ROUNDS = 3
ELEMENTS = {
    *all_elements(REACHES),
    (OPEN, "100.96.0.9"),
    (NETWORKS, "100.96.0.5 . 10.0.0.0/8"),
}
WANTED = [(), (7,), (8,), (7, 8), (8, 7), (9,), (8, 9)]


def found(rng: random.Random) -> Observed:
    """Some state: interfaces half made, of other generations, with other peers, rules missing."""
    links, devices, routes = {}, {}, set()
    for name in ("wg0", "wg1"):
        if rng.random() < 0.7:
            addresses = rng.sample(["100.96.0.1/32", "192.0.2.1/32"], rng.randrange(3))
            mtu = rng.choice([1420, 1300])
            links[name] = Link(name, rng.random() < 0.7, mtu, frozenset(addresses))
            for table in rng.sample(["6700", "6701"], rng.randrange(3)):
                routes.add(Route(table, name))
        if name in links and rng.random() < 0.9:
            key = rng.choice(["", "SERVER-7", "SERVER-8", "SERVER-9", "FOREIGN"])
            peers = {
                peer: DevicePeer(peer, tuple(rng.sample(["100.96.0.5/32", "10.0.0.0/8"], 1)))
                for peer in rng.sample(["KEY-alice", "KEY-bob", "KEY-eve"], rng.randrange(4))
            }
            devices[name] = Device(name, key, rng.choice([0, 51820, 51821]), peers)
    return Observed(
        links=links,
        devices=devices,
        rules=frozenset(rng.sample(sorted(RULES, key=str), rng.randrange(3))) | {Rule(1, "x")},
        routes=frozenset(routes),
        sysctl={name: rng.choice(["0", "1"]) for name in SYSCTL},
        filter=rng.choice([None, FILTER, replace(FILTER, reach=())]),
        reaches=rng.choice([None, {}, REACHES, {BOB: EVERYWHERE}]),
        elements=frozenset(rng.sample(sorted(ELEMENTS), rng.randrange(4))),
    )


@pytest.mark.parametrize("wanted", WANTED)
def test_any_state_is_brought_to_the_wanted_one(wanted: tuple[int, ...]) -> None:
    rng, decider, want = random.Random(str(wanted)), Decider(), desired(*wanted)  # noqa: S311
    for _ in range(300):
        start = found(rng)
        machine = Machine(start)
        for _round in range(ROUNDS):
            actions = decider.plan(want, machine.observed)
            machine.carry_out(actions)
        assert decider.plan(want, machine.observed) == [], start
        assert machine.observed.devices == serving(*wanted).devices, start
        assert machine.elements == all_elements(REACHES), start


@pytest.mark.parametrize("before", WANTED)
@pytest.mark.parametrize("after", WANTED)
def test_a_step_never_touches_an_interface_that_stays(
    before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    machine = Machine(serving(*before))
    machine.carry_out(Decider().plan(desired(*after), machine.observed))
    staying = {f"wg{(generation - 1) % 2}" for generation in set(before) & set(after)}
    assert not [
        action
        for action in machine.said
        if isinstance(action, Command) and action.scope in staying and "route" not in action.argv
    ]
