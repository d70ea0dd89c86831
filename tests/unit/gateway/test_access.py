"""Who may go where, as elements of sets."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network

import pytest

from gateway import flows
from gateway.access import (
    EVERYWHERE,
    NETWORKS,
    OPEN,
    PORTS,
    PROTOCOLS,
    SETS,
    Element,
    SetChanges,
    access_of,
    all_elements,
    converge,
    differences,
    elements,
    listing,
    parse_listing,
    script,
)
from gateway.peers import KnownPeers, admitted
from registry.items import Peer

A, B = IPv4Address("100.96.0.5"), IPv4Address("100.96.0.6")
POOL = IPv4Network("100.96.0.0/16")


def of(*rules: str) -> list[Element]:
    access, broken = access_of(rules)
    assert broken == ()
    assert access is not None
    return list(elements(A, access))


def test_each_kind_of_rule_has_its_set() -> None:
    assert of() == [(OPEN, "100.96.0.5")]
    assert of("10.20.3.0/24") == [(NETWORKS, "100.96.0.5 . 10.20.3.0/24")]
    assert of("10.20.3.4/32") == [(NETWORKS, "100.96.0.5 . 10.20.3.4")]
    assert of("10.20.3.0/24:icmp") == [(PROTOCOLS, "100.96.0.5 . 10.20.3.0/24 . 1")]
    assert of("10.20.3.0/24:tcp") == [(PROTOCOLS, "100.96.0.5 . 10.20.3.0/24 . 6")]
    assert of("10.20.3.0/24:tcp/5432") == [(PORTS, "100.96.0.5 . 10.20.3.0/24 . 6 . 5432")]
    assert of("10.20.3.0/24:udp/53") == [(PORTS, "100.96.0.5 . 10.20.3.0/24 . 17 . 53")]


def test_within_a_set_no_two_elements_of_a_client_overlap() -> None:
    assert of("10.20.0.0/16", "10.20.3.0/24", "10.20.3.4/32") == [
        (NETWORKS, "100.96.0.5 . 10.20.0.0/16")
    ]
    assert of("10.20.3.0/24:tcp/1", "10.20.0.0/16:tcp/1", "10.20.3.0/24:tcp/2") == [
        (PORTS, "100.96.0.5 . 10.20.0.0/16 . 6 . 1"),
        (PORTS, "100.96.0.5 . 10.20.3.0/24 . 6 . 2"),
    ]
    assert of("10.20.2.0/24:icmp", "10.20.3.0/24:icmp") == [
        (PROTOCOLS, "100.96.0.5 . 10.20.2.0/23 . 1")
    ]


def peer(name: str, address: IPv4Address, *allow: str) -> Peer:
    return Peer(name, f"K{name}", address, allow=allow)


def test_a_rule_that_cannot_be_read_allows_nothing_and_never_everything() -> None:
    peers = (peer("a", A, "nonsense"), peer("b", B, "nonsense", "10.20.3.0/24"))
    found = admitted(KnownPeers("e", 1, {one.name: one for one in peers}), POOL, 0)
    assert set(found.addresses) == {"Ka", "Kb"}
    assert all_elements(found.reaches) == {(NETWORKS, "100.96.0.6 . 10.20.3.0/24")}
    assert found.misruled == ("a", "b")


def test_only_what_differs_is_changed() -> None:
    (wide, _), (narrow, _) = access_of(("10.20.0.0/16",)), access_of(("10.20.3.0/24:tcp/1",))
    assert wide is not None
    assert narrow is not None
    before = {A: EVERYWHERE, B: wide}
    assert not differences(before, dict(before))
    changes = differences(before, {A: narrow, B: wide})
    assert changes == SetChanges(
        delete=((OPEN, "100.96.0.5"),), add=((PORTS, "100.96.0.5 . 10.20.3.0/24 . 6 . 1"),)
    )
    assert changes.narrowed == {A}
    assert differences({B: wide}, before).narrowed == frozenset()
    assert differences(before, {B: wide}).delete == ((OPEN, "100.96.0.5"),)


def test_from_whatever_is_there_to_what_is_wanted() -> None:
    there = frozenset({(OPEN, "100.96.0.9"), (OPEN, "100.96.0.5")})
    assert converge(there, all_elements({A: EVERYWHERE, B: EVERYWHERE})) == SetChanges(
        delete=((OPEN, "100.96.0.9"),), add=((OPEN, "100.96.0.6"),)
    )


def test_a_script_deletes_before_it_adds_and_forgets_return_paths() -> None:
    changes = SetChanges(((NETWORKS, "x"),), ((NETWORKS, "y"), (OPEN, "z")), (A,))
    assert script(changes, ["via_wg0"]).splitlines() == [
        "delete element inet gatepair allowed { x }",
        "add element inet gatepair allowed { y }",
        "add element inet gatepair open { z }",
        "add element inet gatepair via_wg0 { 100.96.0.5 }",
        "delete element inet gatepair via_wg0 { 100.96.0.5 }",
    ]


@pytest.mark.parametrize("number", [0, 1, 500, 501, 1200])
def test_no_line_of_a_script_grows_without_bounds(number: int) -> None:
    text = script(SetChanges(add=tuple((OPEN, f"e{n}") for n in range(number))), [])
    words = text.replace(",", " ").split()
    assert [word for word in words if word[0] == "e" and word[1:].isdecimal()] == [
        f"e{n}" for n in range(number)
    ]
    assert len(text.splitlines()) == -(-number // 500)


def test_a_listing_is_read_back() -> None:
    text = (
        "table inet gatepair {\n\tset allowed_ports {\n\t\ttype ipv4_addr . ipv4_addr\n"
        "\t\tflags interval\n\t\telements = { 100.96.0.5 . 10.20.3.0/24 . 6 . 5432,\n"
        "\t\t\t     100.96.0.6 . 10.20.3.4 . 17 . 53 }\n\t}\n}\n"
    )
    assert set(parse_listing(PORTS, text)) == {
        (PORTS, "100.96.0.5 . 10.20.3.0/24 . 6 . 5432"),
        (PORTS, "100.96.0.6 . 10.20.3.4 . 17 . 53"),
    }
    assert not list(parse_listing(OPEN, ""))
    assert not list(parse_listing(OPEN, text.partition("elements")[0] + "}"))
    assert [listing(name)[-1] for name in SETS] == list(SETS)


# ------------------------------------------------------------------ flows


def test_flows_are_found_by_the_side_they_began_at_or_to() -> None:
    listed = (
        "tcp      6 431999 ESTABLISHED src=100.96.0.5 dst=10.20.0.20 sport=44412 dport=7 "
        "src=10.20.0.20 dst=10.20.0.10 sport=7 dport=44412 [ASSURED] mark=0 use=1\n"
        "udp      17 20 src=10.20.0.20 dst=100.96.0.6 sport=1 dport=2 [UNREPLIED] "
        "src=100.96.0.6 dst=10.20.0.20 sport=2 dport=1 mark=0 use=1\n"
    )
    assert flows.concerned(listed) == {A, B, IPv4Address("10.20.0.20")}


def test_one_clients_flows_are_deleted_in_both_directions() -> None:
    assert [command[-2:] for command in flows.delete(A)] == [
        ("-s", "100.96.0.5"),
        ("-d", "100.96.0.5"),
    ]
