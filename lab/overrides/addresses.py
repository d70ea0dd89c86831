"""Addresses that the lab's networks can carry.

moto: an Elastic IP is a random one of 127.0.0.0/8, an instance's public address a random one of
54.214.0.0/16, and a private address is never free again.
AWS: public addresses are routable, and an address returns to its subnet when the instance has gone
(EC2 user guide, "Private IPv4 addresses"). The first four addresses and the last one of a subnet
are AWS's own (VPC user guide, "Subnet CIDR blocks").
Here: Elastic IPs are 203.0.113.10-127 and instances' public addresses 203.0.113.128-254 (RFC 5737);
a private address is given out again, but the one that was free for longest first.
"""

from __future__ import annotations

import ipaddress
import itertools
from typing import TYPE_CHECKING, Any

from moto.ec2.models import elastic_network_interfaces
from moto.ec2.models.elastic_ip_addresses import ElasticAddressBackend
from moto.ec2.models.instances import Instance
from moto.ec2.models.subnets import Subnet

if TYPE_CHECKING:
    from collections.abc import Callable

POOL = ipaddress.IPv4Network("203.0.113.0/24")
_ELASTIC = range(10, 128)
_EPHEMERAL = range(128, 255)
_RESERVED = 4

_ephemeral = itertools.cycle(_EPHEMERAL)
_allocate = ElasticAddressBackend.allocate_address
_terminate = Instance.terminate


def install(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Replace moto's choice of addresses; `replace` is for tests that put it back."""
    for owner, name, ours in (
        (ElasticAddressBackend, "allocate_address", _allocate_address),
        (elastic_network_interfaces, "random_public_ip", _public_address),
        (Subnet, "get_available_subnet_ip", _next_address),
        (Instance, "terminate", _terminate_and_release),
    ):
        replace(owner, name, ours)


def _allocate_address(
    self: Any, domain: str, address: str | None = None, tags: dict[str, str] | None = None
) -> Any:
    taken = {elastic.public_ip for elastic in self.addresses}
    free = (str(POOL[number]) for number in _ELASTIC if str(POOL[number]) not in taken)
    chosen = address or next(free, None)
    if chosen is None:
        message = f"all of {POOL[_ELASTIC[0]]}-{POOL[_ELASTIC[-1]]} are in use"
        raise RuntimeError(message)
    return _allocate(self, domain, chosen, tags)


def _public_address() -> str:
    return str(POOL[next(_ephemeral)])


def _next_address(self: Any, instance: Any) -> str:
    usable = list(self.cidr)[_RESERVED:-1]
    start = getattr(self, "lab_next", 0)
    for step in range(len(usable)):
        place = (start + step) % len(usable)
        address = str(usable[place])
        if address not in self._subnet_ips:
            self.lab_next = place + 1
            self._subnet_ips[address] = instance
            return address
    message = f"subnet {self.cidr}: all {len(usable)} addresses are in use"
    raise RuntimeError(message)


def _terminate_and_release(self: Any) -> Any:
    before = _terminate(self)
    subnet = self.ec2_backend.get_subnet(self.subnet_id)
    for address in self._private_ips:
        if subnet._subnet_ips.get(address) is self:  # noqa: SLF001 - moto keeps them nowhere else
            del subnet._subnet_ips[address]  # noqa: SLF001
    return before
