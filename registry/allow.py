"""What a peer may reach, more narrowly than its stack: a network, a protocol, a port. Pure.

Written as `CIDR`, `CIDR:tcp`, `CIDR:tcp/5432`, `CIDR:udp/53` or `CIDR:icmp`; `str()` of an `Allow`
is the one spelling that the registry stores.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Network, NetmaskValueError
from typing import TYPE_CHECKING

from effects import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterable

PROTOCOLS = ("tcp", "udp", "icmp")
WITH_PORTS = ("tcp", "udp")

LAST_PORT = 65535

MOST = 50
"""Rules of one peer: a larger number belongs into the stack's networks or a subnet's."""

_CURE = "write CIDR, CIDR:tcp, CIDR:tcp/5432, CIDR:udp/53 or CIDR:icmp"
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True)
class Allow:
    """One rule: where to, and by what."""

    network: IPv4Network
    protocol: str = ""
    """`tcp`, `udp`, `icmp`; empty is all of them."""
    port: int | None = None
    """The destination's; None is all of them."""

    def __str__(self) -> str:
        """As the registry stores it."""
        protocol = f":{self.protocol}" if self.protocol else ""
        return f"{self.network}{protocol}" + ("" if self.port is None else f"/{self.port}")

    def covers(self, other: Allow) -> bool:
        """Whether this rule lets through all that the other one does."""
        return (
            other.network.subnet_of(self.network)
            and self.protocol in ("", other.protocol)
            and self.port in (None, other.port)
        )


def parse(text: str) -> Allow:
    """One rule as a person writes it; an address alone is that address. Raises `Refusal`."""
    what = f"allow {text!r}"
    where, colon, service = text.strip().partition(":")
    network = _network(what, where)
    protocol, slash, number = service.partition("/")
    if not colon:
        return Allow(network)
    if protocol not in PROTOCOLS:
        raise Refusal(what, f"no protocol {protocol!r}", _CURE)
    if not slash:
        return Allow(network, protocol)
    if protocol not in WITH_PORTS:
        raise Refusal(what, f"{protocol} has no ports", f"write {network}:{protocol}")
    if not _PORT.fullmatch(number) or not 1 <= int(number) <= LAST_PORT:
        raise Refusal(what, f"no port {number!r}", f"give one number from 1 to {LAST_PORT}")
    return Allow(network, protocol, int(number))


def _network(what: str, text: str) -> IPv4Network:
    try:
        return IPv4Network(text)
    except (AddressValueError, NetmaskValueError) as err:
        raise Refusal(what, f"{text!r} is no IPv4 network", _CURE) from err
    except ValueError as err:
        meant, host = IPv4Network(text, strict=False), text.partition("/")[0]
        raise Refusal(what, "has host bits set", f"write {meant} or {host}/32") from err


def canonical(text: str) -> str:
    """A rule in the one spelling that the registry stores. Raises `Refusal`."""
    return str(parse(text))


def rules(texts: Iterable[str], reach: Iterable[IPv4Network]) -> tuple[str, ...]:
    """A peer's rules, each once and in order, if all lie within `reach`: the stack's networks.

    Raises `Refusal` for the first that does not parse, or lies outside.
    """
    networks = tuple(reach)
    found = sorted({parse(text) for text in texts}, key=lambda rule: (rule.network, str(rule)))
    for rule in found:
        if not any(rule.network.subnet_of(network) for network in networks):
            raise Refusal(
                f"allow {str(rule)!r}",
                "not within what the stack lets peers reach",
                f"stay within {', '.join(map(str, networks)) or 'its vpc and routedCidrs'}",
            )
    if len(found) > MOST:
        raise Refusal(f"allow: {len(found)} rules", f"at most {MOST}", "name larger networks")
    return tuple(map(str, found))
