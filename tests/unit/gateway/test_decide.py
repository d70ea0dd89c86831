"""From a machine as it is to the machine as it should be: which commands, and no others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from unit.gateway.machine import Machine
from unit.gateway.samples import ALICE, BARE, BOB, FILTER, POOL, VPC, desired, serving

from gateway.access import EVERYWHERE, Access, access_of
from gateway.decide import (
    Action,
    ChangeSets,
    Command,
    CutFlows,
    Decider,
    Desired,
    LoadFilter,
    MoveRoutes,
    Observed,
    SetSysctl,
    step,
)
from gateway.firewall import Filter
from gateway.forwarding import ABSENT, Forwarding
from gateway.network import Link, Route, Rule
from gateway.routed import Routed
from gateway.wireguard import Device, DevicePeer

DECIDER = Decider()


def commands(want: tuple[int, ...], observed: Observed) -> list[str]:
    """The actions as short text."""
    said = []
    for action in DECIDER.plan(desired(*want), observed):
        match action:
            case Command(argv):
                said.append(" ".join(argv))
            case SetSysctl(name, value):
                said.append(f"{name}={value}")
            case LoadFilter():
                said.append("filter")
    return said


@pytest.mark.parametrize("generations", [(), (7,), (8,), (7, 8), (8, 7)])
def test_a_machine_that_is_right_is_left_alone(generations: tuple[int, ...]) -> None:
    assert commands(generations, serving(*generations)) == []


def test_from_a_fresh_boot_the_filter_stands_first_and_the_link_goes_up_last() -> None:
    assert commands((7,), BARE) == [
        "net/ipv4/ip_forward=1",
        "filter",
        "ip link add wg0 type wireguard",
        "wg set wg0 private-key /keys/7",
        "wg set wg0 listen-port 51820",
        "ip link set wg0 mtu 1420",
        "ip address replace 100.96.0.1/32 dev wg0",
        "wg set wg0 peer KEY-alice allowed-ips 100.96.0.5/32",
        "ip link set wg0 up",
        "ip -4 route replace 100.96.0.0/16 dev wg0 table 6700",
        "ip -4 route replace 100.96.0.0/16 dev wg0 table main",
    ]


def test_a_second_generation_leaves_the_first_alone_and_takes_the_default_route() -> None:
    said = commands((7, 8), serving(7))
    assert not [line for line in said if "wg0" in line]
    assert said[0] == "ip link add wg1 type wireguard"
    # both ways back are there before the default is another
    assert said[-4:] == [
        "ip -4 rule add fwmark 0x6700 lookup 6700 preference 6700",
        "ip -4 rule add fwmark 0x6701 lookup 6701 preference 6701",
        "ip -4 route replace 100.96.0.0/16 dev wg1 table 6701",
        "ip -4 route replace 100.96.0.0/16 dev wg1 table main",
    ]


def test_marks_are_looked_up_from_the_second_slot_on_and_then_for_good() -> None:
    one = replace(serving(7, 8), rules=frozenset({Rule(0x6700, "6700")}))
    assert commands((7, 8), one) == ["ip -4 rule add fwmark 0x6701 lookup 6701 preference 6701"]
    rotated = replace(serving(8), rules=serving(7, 8).rules)
    assert commands((8,), rotated) == [], "the kernel has forgotten the short way anyhow"


def test_a_retired_generation_goes_last_and_the_other_is_left_alone() -> None:
    assert commands((8,), serving(7, 8)) == ["ip link delete wg0"]


def test_one_generation_replaces_the_other_directly_new_before_old() -> None:
    said = commands((8,), serving(7))
    assert said[0] == "ip link add wg1 type wireguard"
    assert said[-2:] == [
        "ip -4 route replace 100.96.0.0/16 dev wg1 table main",
        "ip link delete wg0",
    ]


def test_going_back_moves_only_the_default_route() -> None:
    assert commands((8, 7), serving(7, 8)) == [
        "ip -4 route replace 100.96.0.0/16 dev wg0 table main"
    ]


def test_nothing_to_serve_takes_both_interfaces_down() -> None:
    assert commands((), serving(7, 8)) == ["ip link delete wg0", "ip link delete wg1"]


def device(**changes: Any) -> Observed:
    observed = serving(7)
    return replace(
        observed,
        devices={"wg0": replace(observed.devices["wg0"], **changes)},
    )


def link(**changes: Any) -> Observed:
    observed = serving(7)
    return replace(
        observed,
        links={"wg0": replace(observed.links["wg0"], **changes)},
    )


@pytest.mark.parametrize(
    ("observed", "said"),
    [
        (device(port=40000), ["wg set wg0 listen-port 51820"]),
        (
            device(public_key=""),
            ["wg set wg0 private-key /keys/7"],
        ),
        (link(mtu=1300), ["ip link set wg0 mtu 1420"]),
        (
            link(addresses=frozenset({"100.96.0.1/32", "192.0.2.1/32"})),
            ["ip address delete 192.0.2.1/32 dev wg0"],
        ),
        (
            replace(serving(7), routes=frozenset({Route("main", "wg0")})),
            ["ip -4 route replace 100.96.0.0/16 dev wg0 table 6700"],
        ),
        (replace(serving(7), filter=None), ["filter"]),
        (replace(serving(7), filter=replace(FILTER, reach=())), ["filter"]),
        (replace(serving(7), sysctl={"net/ipv4/ip_forward": "0"}), ["net/ipv4/ip_forward=1"]),
    ],
)
def test_each_difference_has_its_one_repair(observed: Observed, said: list[str]) -> None:
    assert commands((7,), observed) == said


def test_a_link_that_is_down_comes_up_and_gets_its_routes_back() -> None:
    assert commands((7,), link(up=False)) == [
        "ip link set wg0 up",
        "ip -4 route replace 100.96.0.0/16 dev wg0 table 6700",
        "ip -4 route replace 100.96.0.0/16 dev wg0 table main",
    ]


def test_an_interface_with_another_generations_key_is_made_anew() -> None:
    said = commands((9,), serving(7))
    assert said[:3] == [
        "ip link delete wg0",
        "ip link add wg0 type wireguard",
        "wg set wg0 private-key /keys/9",
    ]
    assert "ip -4 route replace 100.96.0.0/16 dev wg0 table 6700" in said


@pytest.mark.parametrize("half", ["links", "devices"])
def test_half_an_interface_is_made_anew(half: str) -> None:
    said = commands((7,), replace(serving(7), **{half: {}}))
    assert "ip link add wg0 type wireguard" in said
    assert ("ip link delete wg0" in said) == (half == "devices")


def test_a_setting_that_the_kernel_does_not_have_is_not_written() -> None:
    assert commands((7,), replace(serving(7), sysctl={})) == []


def test_values_of_several_numbers_compare_by_number() -> None:
    want = replace(desired(7), sysctl={"net/ipv4/ip_local_port_range": "1024 65535"})
    observed = replace(serving(7), sysctl={"net/ipv4/ip_local_port_range": "1024\t65535"})
    assert DECIDER.plan(want, observed) == []


def test_adding_a_peer_is_one_command_on_each_interface_with_just_this_peer() -> None:
    want = replace(desired(7, 8), peers={"KEY-alice": ALICE, "KEY-bob": BOB})
    actions = DECIDER.plan(want, serving(7, 8))
    assert actions == [
        Command(
            ("wg", "set", name, "peer", "KEY-bob", "allowed-ips", "100.96.0.6/32"), name, "filter"
        )
        for name in ("wg0", "wg1")
    ]


def test_a_revoked_peer_is_removed_from_each_interface() -> None:
    actions = DECIDER.plan(replace(desired(7, 8), peers={}), serving(7, 8))
    assert [action.argv[2:] for action in actions if isinstance(action, Command)] == [
        ("wg0", "peer", "KEY-alice", "remove"),
        ("wg1", "peer", "KEY-alice", "remove"),
    ]


# ------------------------------------------------------------------ who may go where, and cuts


def narrowed(*rules: str) -> Access:
    access, _broken = access_of(rules)
    assert access is not None
    return access


def kinds(actions: list[Action]) -> list[str]:
    return [
        " ".join(action.argv) if isinstance(action, Command) else type(action).__name__
        for action in actions
    ]


def test_a_step_is_out_then_filter_then_in_then_cut() -> None:
    before = desired(7, 8)
    after = replace(before, peers={"KEY-bob": ALICE}, reaches={ALICE: narrowed("10.20.3.0/24")})
    actions = step(before, after)
    assert kinds(actions) == [
        "wg set wg0 peer KEY-alice remove",
        "wg set wg1 peer KEY-alice remove",
        "ChangeSets",
        "wg set wg0 peer KEY-bob allowed-ips 100.96.0.5/32",
        "wg set wg1 peer KEY-bob allowed-ips 100.96.0.5/32",
        "CutFlows",
    ]
    (sets,) = [action for action in actions if isinstance(action, ChangeSets)]
    assert sets.changes.forget == (ALICE,)
    assert sets.reaches == after.reaches
    assert [action.needs for action in actions if isinstance(action, Command)] == [
        *("", ""),
        *("filter", "filter"),
    ]


def test_a_revocation_cuts_its_own_flows_and_touches_nobody_else() -> None:
    before = replace(
        desired(7),
        peers={"KEY-alice": ALICE, "KEY-bob": BOB},
        reaches={ALICE: EVERYWHERE, BOB: EVERYWHERE},
    )
    after = replace(before, peers={"KEY-bob": BOB}, reaches={BOB: EVERYWHERE})
    actions = step(before, after)
    assert kinds(actions)[0] == "wg set wg0 peer KEY-alice remove"
    assert actions[-1] == CutFlows(frozenset({ALICE}))
    assert "KEY-bob" not in str(actions)


def test_narrowing_cuts_and_widening_does_not() -> None:
    wide = desired(7)
    narrow = replace(wide, reaches={ALICE: narrowed("10.20.3.0/24")})
    more = replace(wide, reaches={ALICE: narrowed("10.20.3.0/24", "10.20.4.0/24:icmp")})
    assert kinds(step(wide, narrow)) == ["ChangeSets", "CutFlows"]
    assert kinds(step(narrow, more)) == ["ChangeSets"]
    assert kinds(step(more, narrow)) == ["ChangeSets", "CutFlows"]


def test_nothing_changed_is_no_step() -> None:
    assert step(desired(7), desired(7)) == []


def test_sets_that_somebody_has_touched_converge() -> None:
    observed = replace(serving(7), reaches=None, elements=frozenset({("open", "100.96.0.9")}))
    (sets, cut) = DECIDER.plan(desired(7), observed)
    assert isinstance(sets, ChangeSets)
    assert sets.changes.delete == (("open", "100.96.0.9"),)
    assert sets.changes.add == (("open", "100.96.0.5"),)
    assert cut == CutFlows(frozenset({IPv4Address("100.96.0.9")}))


def test_rules_and_sets_that_are_gone_come_back_in_one_transaction() -> None:
    observed = replace(serving(7), filter=None, reaches=None)
    (load,) = DECIDER.plan(desired(7), observed)
    assert isinstance(load, LoadFilter)
    assert load.changes.add == (("open", "100.96.0.5"),)


def test_a_peer_that_is_on_the_device_and_not_wanted_goes_before_anything_else() -> None:
    actions = DECIDER.plan(replace(desired(7), peers={}, reaches={}), serving(7))
    assert kinds(actions) == ["wg set wg0 peer KEY-alice remove", "ChangeSets", "CutFlows"]
    assert actions[-1] == CutFlows(frozenset({ALICE}))


@pytest.mark.parametrize("allowed", ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "100.96.0.0/24"])
def test_only_single_tunnel_addresses_are_ever_cut(allowed: str) -> None:
    observed = serving(7)
    stranger = DevicePeer("KEY-x", (allowed,))
    peers = {**observed.devices["wg0"].peers, "KEY-x": stranger}
    devices = {"wg0": replace(observed.devices["wg0"], peers=peers)}
    actions = DECIDER.plan(desired(7), replace(observed, devices=devices))
    assert kinds(actions) == ["wg set wg0 peer KEY-x remove"]


def test_in_user_space_interfaces_are_units() -> None:
    said = [
        action.argv
        for action in DECIDER.plan(desired(8), replace(serving(7), kernel_wireguard=False))
        if isinstance(action, Command)
    ]
    assert said[0] == ("systemctl", "restart", "gatepair-wireguard-go@wg1.service")
    assert said[-1] == ("systemctl", "stop", "gatepair-wireguard-go@wg0.service")


def test_no_command_ever_holds_a_private_key_or_resets_a_device() -> None:
    for observed in (BARE, serving(7), serving(8)):
        for line in commands((7, 8), observed):
            assert "setconf" not in line
            assert "syncconf" not in line
            if "private-key" in line:
                assert "/keys/" in line


def test_samples_are_of_the_types_they_stand_for() -> None:
    observed = serving(7)
    assert isinstance(observed.filter, Filter)
    assert isinstance(observed.links["wg0"], Link)
    assert isinstance(observed.devices["wg0"], Device)
    assert isinstance(observed.devices["wg0"].peers["KEY-alice"], DevicePeer)
    assert POOL[1] == desired(7).own_address


# ------------------------------------------------------------------ routed mode

OWN, OTHER = IPv4Address("10.20.0.10"), IPv4Address("10.20.0.11")
WAYS = {str(ALICE): str(OTHER)}


def forwarded(routes: Any = None, local: IPv4Address | None = OWN) -> Desired:
    """A routed gateway beside another one."""
    return replace(
        desired(7),
        filter=replace(FILTER, routed=Routed(vpc=VPC, monitoring=())),
        forwarding=Forwarding(
            local=local,
            address=POOL[1],
            mtu=1420,
            gateways=frozenset({OTHER}),
            routes=WAYS if routes is None else routes,
        ),
    )


def routed_machine() -> Machine:
    machine = Machine(serving(7))
    machine.carry_out(DECIDER.plan(forwarded(), machine.observed))
    return machine


def test_in_routed_mode_the_way_to_other_gateways_is_made_behind_the_filter_and_stays() -> None:
    machine = routed_machine()
    kinds = [type(action).__name__ for action in machine.said]
    assert kinds[0] == "LoadFilter"
    assert kinds[-1] == "MoveRoutes"
    assert machine.observed.forwarding.routes == WAYS
    assert Rule(0x6702, "51830") in machine.observed.rules
    assert DECIDER.plan(forwarded(), machine.observed) == []


def test_back_in_snat_mode_nothing_of_it_stays_and_untranslated_flows_end() -> None:
    machine = routed_machine()
    machine.carry_out(DECIDER.plan(desired(7), machine.observed))
    assert machine.observed.forwarding == ABSENT
    assert machine.observed.rules == serving(7).rules
    assert machine.cut == {ALICE}
    assert DECIDER.plan(desired(7), machine.observed) == []


def test_the_switch_to_routed_mode_ends_nothing() -> None:
    assert routed_machine().cut == frozenset()


def test_until_the_own_address_is_known_what_is_there_stays() -> None:
    machine = routed_machine()
    assert DECIDER.plan(forwarded({}, local=None), machine.observed) == []


def test_a_device_that_was_made_anew_gets_all_its_routes_again() -> None:
    machine = routed_machine()
    present = machine.observed.forwarding
    assert present.device is not None
    other = replace(present, device=replace(present.device, local="10.20.0.99"))
    machine.observed = replace(machine.observed, forwarding=other)
    machine.carry_out(DECIDER.plan(forwarded(), machine.observed))
    assert machine.observed.forwarding.routes == WAYS


def test_a_client_that_moves_is_one_step_of_one_action() -> None:
    assert step(forwarded(), forwarded({})) == [
        MoveRoutes("route delete 100.96.0.5/32 table 51830\n")
    ]
    assert step(forwarded(), forwarded()) == []
