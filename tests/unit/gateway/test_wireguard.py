"""Reading WireGuard's devices, and the commands that change their peers."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from gateway import wireguard
from gateway.wireguard import (
    Device,
    DevicePeer,
    PeerChanges,
    changed,
    differences,
    parse_dump,
    put_peers,
    remove_peers,
)

PRIVATE = "WHYNOTAPRIVATEKEYxxxxxxxxxxxxxxxxxxxxxxxxxx="
DUMP = (
    f"wg0\t{PRIVATE}\tPUB0\t51820\toff\n"
    "wg0\tALICE\t(none)\t198.51.100.2:4711\t100.96.0.5/32\t1700000000\t10\t20\toff\n"
    "wg0\tBOB\t(none)\t(none)\t(none)\t0\t0\t0\t25\n"
    "wg1\t(none)\t(none)\t0\toff\n"
)
A5, A6 = IPv4Address("100.96.0.5"), IPv4Address("100.96.0.6")


def device(**peers: DevicePeer) -> Device:
    return Device("wg0", "PUB0", 51820, peers)


def peer(key: str, *allowed: str) -> DevicePeer:
    return DevicePeer(key, allowed)


def test_a_dump_is_parsed_without_the_private_key() -> None:
    devices = parse_dump(DUMP)
    assert PRIVATE not in repr(devices)
    assert (devices["wg0"].public_key, devices["wg0"].port) == ("PUB0", 51820)
    assert devices["wg0"].peers["ALICE"] == DevicePeer(
        "ALICE", ("100.96.0.5/32",), "198.51.100.2:4711", 1700000000, 10, 20
    )
    assert devices["wg0"].peers["BOB"] == DevicePeer("BOB", ())
    assert devices["wg1"] == wireguard.Device("wg1", "", 0, {})
    assert parse_dump("") == {}


def test_an_unknown_form_of_the_dump_is_an_error_without_its_content() -> None:
    with pytest.raises(ValueError, match="3 fields") as error:
        parse_dump(f"wg0\t{PRIVATE}\tx\n")
    assert PRIVATE not in str(error.value)


def test_adding_a_peer_is_one_command_with_just_this_peer() -> None:
    there = device(ALICE=peer("ALICE", "100.96.0.5/32"))
    changes = differences({"ALICE": A5, "CAROL": A6}, there)
    assert list(put_peers("wg0", changes)) == [
        ("wg", "set", "wg0", "peer", "CAROL", "allowed-ips", "100.96.0.6/32")
    ]
    assert not list(remove_peers("wg0", changes))


def test_a_peer_that_is_right_is_in_no_command() -> None:
    assert not differences({"ALICE": A5}, device(ALICE=peer("ALICE", "100.96.0.5/32")))


@pytest.mark.parametrize(
    "allowed", [(), ("100.96.0.6/32",), ("100.96.0.5/32", "10.0.0.0/8"), ("100.96.0.5/31",)]
)
def test_a_peer_with_other_addresses_gets_its_own_and_no_other(allowed: tuple[str, ...]) -> None:
    changes = differences({"ALICE": A5}, device(ALICE=peer("ALICE", *allowed)))
    assert changes == PeerChanges(put=(("ALICE", A5),))


def test_an_address_goes_from_an_old_key_to_a_new_one() -> None:
    changes = differences({"NEW": A5}, device(OLD=peer("OLD", "100.96.0.5/32")))
    assert [command[3:] for command in remove_peers("wg0", changes)] == [("peer", "OLD", "remove")]
    (command,) = put_peers("wg0", changes)
    assert command[3:] == ("peer", "NEW", "allowed-ips", "100.96.0.5/32")


def test_a_device_is_known_after_changes_without_a_look() -> None:
    after = changed(
        parse_dump(DUMP)["wg0"], PeerChanges(remove=("BOB",), put=(("ALICE", A6), ("CAROL", A5)))
    )
    assert set(after.peers) == {"ALICE", "CAROL"}
    assert after.peers["ALICE"].allowed_ips == ("100.96.0.6/32",)
    assert after.peers["ALICE"].received == 10
    assert not differences({"ALICE": A6, "CAROL": A5}, after)


def test_many_peers_go_in_batches_that_fit_a_command_line() -> None:
    wanted = {f"K{number}": A5 + number for number in range(1000)}
    commands = list(put_peers("wg0", differences(wanted, None)))
    assert len(commands) == 1000 // wireguard.BATCH
    named = [word for command in commands for word in command if word.startswith("K")]
    assert named == list(wanted)
    assert max(len(" ".join(command)) for command in commands) < 100_000


def test_the_private_key_goes_by_file() -> None:
    command = wireguard.set_key("wg0", Path("/var/lib/gatepair/keys/7"))
    assert command[-2:] == ("private-key", "/var/lib/gatepair/keys/7")


def test_a_dump_that_has_not_changed_is_not_parsed_again() -> None:
    reader = wireguard.DumpReader()
    first = reader.read(DUMP)
    assert reader.read(DUMP) is first
    assert reader.read(DUMP.replace("ALICE", "CAROL")) == parse_dump(DUMP.replace("ALICE", "CAROL"))
    assert reader.read("") == {}


def test_thousands_that_were_found_to_agree_are_not_compared_again() -> None:
    wanted = {"ALICE": A5}
    there = replace(device(), holds=wanted)
    assert not differences(wanted, there)
    assert differences(dict(wanted), there), "another wanted set is compared"
