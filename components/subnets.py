"""Which block each subnet of a new VPC gets: arithmetic, no resources."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network

_RESERVED_PREFIX, _SUBNET_PREFIX = 24, 28
_FIRST_GATEWAY = 8


class ZoneBlocks(NamedTuple):
    """The two subnets of one availability zone."""

    public: IPv4Network
    gateway: IPv4Network


def blocks(vpc: IPv4Network, zones: Sequence[str]) -> Mapping[str, ZoneBlocks]:
    """The first /24 of `vpc` in /28s: number i is public in zone i, number 8 + i its gateways'.

    A /28 leaves 11 addresses; a load balancer asks for 8 free ones. All of the VPC beyond the first
    /24 stays free for what the gateways lead to.
    """
    reserved = next(vpc.subnets(new_prefix=_RESERVED_PREFIX))
    cut = list(reserved.subnets(new_prefix=_SUBNET_PREFIX))
    if len(zones) > _FIRST_GATEWAY:
        raise ValueError(f"zones: {len(zones)} of them: a /24 has subnets for {_FIRST_GATEWAY}")
    return {
        zone: ZoneBlocks(cut[number], cut[_FIRST_GATEWAY + number])
        for number, zone in enumerate(zones)
    }
