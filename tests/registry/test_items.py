"""Items go into the table and come back the same; what is not one of ours is named, not guessed."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from fake_registry import CONTROL, key_of

from registry.items import (
    Ack,
    Audit,
    Burnt,
    Change,
    Command,
    Control,
    DrainOrder,
    GatewayRecord,
    Head,
    ItemError,
    Peer,
)

PEER = Peer(
    name="alice",
    public_key=key_of(1),
    address=IPv4Address("100.96.3.4"),
    owner="Alice Ä.",
    created="2026-11-22T12:00:00Z",
    expires=1_800_000_000,
    allow=("10.20.3.0/24:tcp/5432",),
    generation=7,
)
PLAIN = Peer("bob", key_of(2), IPv4Address("100.96.0.9"), created="2026-11-22T12:00:00Z")
RECORD = GatewayRecord(
    arn="arn:aws:ec2:eu-west-1:123456789012:instance/i-0123",
    instance_id="i-0123",
    zone="eu-west-1a",
    address="10.20.0.132",
    boot_id="b0",
    applied=41,
    epoch="e",
    keys={1: key_of(3), 2: key_of(4)},
    version="ab12",
    faults=("clock",),
    updated=1_700_000_000,
    acks={"i-0456": Ack("b1", 40, "e", 1_700_000_001)},
    state="draining",
)
COMMAND = Command(
    drain={"i-0123": DrainOrder(1_700_000_600, "arn:operator", "2026-11-22T12:00:00Z")},
    burnt={7: Burnt("2026-11-22T12:00:00Z", "arn:operator")},
)


@pytest.mark.parametrize("peer", [PEER, PLAIN])
def test_a_peer_comes_back_as_it_was_written(peer: Peer) -> None:
    assert Peer.from_item(peer.to_item()) == peer


@pytest.mark.parametrize("kind", ["put", "remove"])
def test_a_change_carries_the_whole_peer(kind: Any) -> None:
    change = Change(12, kind, PEER, "2026-11-22T12:00:00Z")
    item = change.to_item()
    assert item["sk"] == {"S": "000000000012"}
    assert Change.from_item(item) == change


def test_control_and_gateway_items_come_back_as_they_were_written() -> None:
    assert Control.from_item(CONTROL.to_item()) == CONTROL
    assert GatewayRecord.from_item(RECORD.to_item()) == RECORD


def test_a_gateways_item_stands_under_its_own_arn_which_iam_lets_it_write() -> None:
    assert RECORD.to_item()["pk"] == {"S": f"gateway#{RECORD.arn}"}


def test_attributes_have_the_types_that_others_read() -> None:
    item = PEER.to_item()
    assert item["pk"], item["sk"] == ({"S": "peer"}, {"S": "alice"})
    assert item["address"] == {"S": "100.96.3.4"}
    assert item["expires"] == {"N": "1800000000"}
    assert item["allow"] == {"L": [{"S": "10.20.3.0/24:tcp/5432"}]}
    assert "expires" not in PLAIN.to_item()
    assert "allow" not in PLAIN.to_item()
    assert CONTROL.to_item()["key_generations"] == {"L": [{"N": "1"}]}
    details = Audit(1, "t", "add", "a", "arn", {"n": 1, "b": True, "m": {"x": ["y"]}}).to_item()
    assert details["details"] == {
        "M": {"n": {"N": "1"}, "b": {"BOOL": True}, "m": {"M": {"x": {"L": [{"S": "y"}]}}}}
    }


@pytest.mark.parametrize(
    ("attribute", "value", "why"),
    [
        ("name", {"S": "bob"}, "its name is 'bob'"),
        ("name", {"S": "No Good"}, "not a usable name"),
        ("public_key", None, "public_key is missing"),
        ("public_key", {"S": "AAAA"}, "3 bytes"),
        ("public_key", {"N": "4"}, "public_key: type N where S is due"),
        ("address", {"S": "100.96.0.0/16"}, "address"),
        ("address", {"S": "2001:db8::1"}, "address"),
        ("expires", {"S": "tomorrow"}, "expires: type S where N is due"),
        ("expires", {"N": "1.5"}, "not a whole number"),
        ("expires", {"N": "-1"}, "not a whole number"),
        ("allow", {"L": [{"N": "1"}]}, "allow: not a list of texts"),
        ("allow", {"S": "10.0.0.0/8"}, "allow: type S where L is due"),
        ("generation", {"N": "NaN"}, "generation"),
    ],
)
def test_a_peer_that_does_not_parse_is_named_with_the_reason(
    attribute: str, value: dict[str, Any] | None, why: str
) -> None:
    item = PEER.to_item()
    item.pop(attribute)
    if value is not None:
        item[attribute] = value
    with pytest.raises(ItemError) as error:
        Peer.from_item(item)
    assert error.value.key == "peer/alice"
    assert why in error.value.why


def test_a_change_is_named_by_its_own_key_also_when_its_peer_is_at_fault() -> None:
    item: dict[str, Any] = Change(12, "put", PEER).to_item()
    item["peer"]["M"].pop("address")
    with pytest.raises(ItemError, match="change/000000000012: address is missing"):
        Change.from_item(item)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("kind", {"S": "drop"}), ("generation", {"N": "13"}), ("peer", {"S": "alice"})],
)
def test_a_change_that_contradicts_itself_does_not_parse(
    attribute: str, value: dict[str, Any]
) -> None:
    item = {**Change(12, "put", PEER).to_item(), attribute: value}
    with pytest.raises(ItemError):
        Change.from_item(item)


@pytest.mark.parametrize("generations", [[], [0], [1, 3], [2, 2], [1, 2, 3], [0, 1]])
def test_control_with_other_than_one_or_two_adjacent_generations_does_not_parse(
    generations: list[int],
) -> None:
    item = CONTROL.to_item()
    item["key_generations"] = {"L": [{"N": str(number)} for number in generations]}
    with pytest.raises(ItemError, match="key_generations"):
        Control.from_item(item)


@pytest.mark.parametrize("generations", [[7], [7, 8], [8, 7]])
def test_the_last_generation_is_the_one_for_new_configs(generations: list[int]) -> None:
    item = CONTROL.to_item()
    item["key_generations"] = {"L": [{"N": str(number)} for number in generations]}
    assert Control.from_item(item).newest == generations[-1]


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ("vpc_cidrs", {"L": [{"S": "10.0.0.1/8"}]}),
        ("client_pool", {"S": "nowhere"}),
        ("port", {"N": "65535"}),
        ("port", {"N": "0"}),
        ("takeover", {"S": "no"}),
        ("egress", {"S": "Routed"}),
        ("egress", {"S": ""}),
        ("route_tables", {"S": "rtb-1"}),
        ("connections_to_clients", {"S": "no"}),
        ("monitoring_cidrs", {"L": [{"S": "10.0.0.1/8"}]}),
    ],
)
def test_control_with_a_network_or_port_that_is_none_does_not_parse(
    attribute: str, value: dict[str, Any]
) -> None:
    with pytest.raises(ItemError, match=attribute):
        Control.from_item({**CONTROL.to_item(), attribute: value})


def test_takeover_is_on_unless_control_says_otherwise() -> None:
    item = CONTROL.to_item()
    assert Control.from_item({**item, "takeover": {"BOOL": False}}).takeover is False
    del item["takeover"]
    assert Control.from_item(item).takeover is True


def test_packets_are_translated_unless_control_says_otherwise() -> None:
    item = CONTROL.to_item()
    assert not set(item) & {"egress", "route_tables", "connections_to_clients", "monitoring_cidrs"}
    read = Control.from_item(item)
    assert (read.egress, read.routed, read.connections_to_clients) == ("snat", False, False)
    assert (read.route_tables, read.monitoring_cidrs) == ((), ())


def test_a_routed_control_comes_back_as_it_was_written() -> None:
    routed = replace(
        CONTROL,
        egress="routed",
        route_tables=("rtb-1", "rtb-2"),
        connections_to_clients=True,
        monitoring_cidrs=(IPv4Network("10.9.0.0/16"), IPv4Network("10.8.0.0/16")),
    )
    assert routed.routed
    assert Control.from_item(routed.to_item()) == routed


def test_the_head_of_an_empty_table_is_generation_nought() -> None:
    assert Head.from_items(None, None) == Head(0, "", None)


def test_an_unreadable_control_item_does_not_hide_the_counter() -> None:
    control = {**CONTROL.to_item(), "port": {"S": "http"}}
    head = Head.from_items(Head(5, "e", None).to_item(), control)
    assert (head.generation, head.epoch, head.control) == (5, "e", None)
    assert [fault.key for fault in head.unreadable] == ["control/control"]


def test_a_counter_without_an_epoch_is_an_error() -> None:
    with pytest.raises(ItemError, match="epoch is empty"):
        Head.from_items(Head(5, "", None).to_item(), None)


def test_a_gateways_item_with_odd_keys_does_not_parse() -> None:
    item = {**RECORD.to_item(), "keys": {"M": {"one": {"S": key_of(1)}}}}
    with pytest.raises(ItemError, match="keys"):
        GatewayRecord.from_item(item)


def test_a_gateways_item_without_acknowledgements_is_one_of_an_earlier_version() -> None:
    item = RECORD.to_item()
    del item["acks"]
    assert GatewayRecord.from_item(item) == replace(RECORD, acks={})
    assert "acks" not in replace(RECORD, acks={}).to_item()


@pytest.mark.parametrize(
    "acks",
    [{"S": "x"}, {"M": {"i-1": {"S": "x"}}}, {"M": {"i-1": {"M": {"boot_id": {"S": "b"}}}}}],
)
def test_acknowledgements_that_do_not_parse_are_refused(acks: dict) -> None:
    with pytest.raises(ItemError, match="gateway"):
        GatewayRecord.from_item({**RECORD.to_item(), "acks": acks})


@pytest.mark.parametrize("command", [COMMAND, Command()])
def test_commands_come_back_as_they_were_written(command: Command) -> None:
    item = command.to_item()
    assert (item["pk"], item["sk"]) == ({"S": "command"}, {"S": "command"})
    assert Command.from_item(item) == command


def test_an_order_to_drain_is_in_force_until_its_time_is_up() -> None:
    assert list(COMMAND.draining(1_700_000_599.9)) == ["i-0123"]
    assert COMMAND.draining(1_700_000_600) == {}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"drain": {"S": "all"}}, "drain: type S where M is due"),
        ({"drain": {"M": {"i-1": {"N": "5"}}}}, "drain: not a map of maps"),
        ({"drain": {"M": {"i-1": {"M": {"by": {"S": "x"}}}}}}, "until is missing"),
        ({"burnt": {"M": {"seven": {"M": {}}}}}, "burnt: not a map of key generations"),
        ({"burnt": {"M": {"7": {"M": {"at": {"S": "x"}}}}}}, "by is missing"),
    ],
)
def test_a_command_that_does_not_parse_is_said_and_the_rest_of_the_head_holds(
    broken: Any, why: str
) -> None:
    item = {**Command().to_item(), **broken}
    with pytest.raises(ItemError, match=why):
        Command.from_item(item)
    head = Head.from_items(None, CONTROL.to_item(), item)
    assert head.control == CONTROL
    assert head.control_fault == ""
    assert head.command is None
    assert [bad.key for bad in head.unreadable] == ["command/command"]
    assert why in head.unreadable[0].why


def test_nobody_has_to_have_ordered_anything() -> None:
    assert Head.from_items(None, None).command == Command()
