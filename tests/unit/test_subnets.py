"""The arithmetic of a new VPC's subnets."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest

from components.subnets import blocks


@pytest.mark.parametrize("cidr", ["10.1.0.0/16", "10.1.0.0/20", "10.1.0.0/24"])
def test_no_two_subnets_share_an_address_and_all_lie_in_the_first_24(cidr: str) -> None:
    cut = [block for zone in blocks(IPv4Network(cidr), list("abcdefgh")).values() for block in zone]
    assert len(cut) == 16
    assert sum(block.num_addresses for block in cut) == 256
    assert len({address for block in cut for address in block}) == 256
    assert all(block.subnet_of(IPv4Network("10.1.0.0/24")) for block in cut)


def test_a_zone_added_at_the_end_moves_no_subnet() -> None:
    vpc = IPv4Network("10.1.0.0/16")
    two, three = blocks(vpc, ["a", "b"]), blocks(vpc, ["a", "b", "c"])
    assert three["a"] == two["a"] == (IPv4Network("10.1.0.0/28"), IPv4Network("10.1.0.128/28"))
    assert three["b"] == two["b"]


def test_more_zones_than_there_is_room_for_are_refused() -> None:
    with pytest.raises(ValueError, match="9 of them"):
        blocks(IPv4Network("10.1.0.0/16"), list("abcdefghi"))
