"""What each client may reach, as elements of the packet filter's sets and what rules ask. Pure.

A client that is in no set reaches nothing: an element that is lost costs access and never gives it.
Within one set all elements of a client have the same shape, so that two of them overlap only when
one network holds the other; such a one is left out, because the kernel refuses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, collapse_addresses
from typing import TYPE_CHECKING, TypeAlias

from effects import Refusal
from registry.allow import Allow, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

TABLE = "inet gatepair"

OPEN, NETWORKS, PROTOCOLS, PORTS = "open", "allowed", "allowed_protocols", "allowed_ports"

SETS = {
    OPEN: "type ipv4_addr;",
    NETWORKS: "type ipv4_addr . ipv4_addr; flags interval;",
    PROTOCOLS: "type ipv4_addr . ipv4_addr . inet_proto; flags interval;",
    PORTS: "type ipv4_addr . ipv4_addr . inet_proto . inet_service; flags interval;",
}
"""Name -> declaration. Each starts with the client's tunnel address."""

_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}
_AT_ONCE = 500
"""Elements in one line of nft's input."""

Access: TypeAlias = tuple[Allow, ...]
"""Where one client may go; empty is everywhere that the stack lets clients go."""

EVERYWHERE: Access = ()

Reaches: TypeAlias = "Mapping[IPv4Address, Access]"
"""By tunnel address. An address that is not in it reaches nothing."""

Element: TypeAlias = tuple[str, str]
"""A set's name, and the element as nft lists it with numbers for names."""


@lru_cache(maxsize=4096)
def access_of(rules: tuple[str, ...]) -> tuple[Access | None, tuple[str, ...]]:
    """What a peer's `allow` says, and which of it could not be read.

    None: there are rules and none of them can be read, so it may go nowhere.
    """
    read: list[Allow] = []
    broken: list[str] = []
    for rule in rules:
        try:
            read.append(parse(rule))
        except (ValueError, Refusal):
            broken.append(rule)
    return (None if broken and not read else _distinct(read)), tuple(broken)


def _distinct(rules: Iterable[Allow]) -> Access:
    kinds: dict[tuple[str, int | None], list] = {}
    for rule in rules:
        kinds.setdefault((rule.protocol, rule.port), []).append(rule.network)
    return tuple(
        Allow(network, protocol, port)
        for (protocol, port), networks in sorted(kinds.items(), key=str)
        for network in collapse_addresses(networks)
    )


def elements(address: IPv4Address, access: Access) -> Iterator[Element]:
    """One client's elements."""
    if not access:
        yield OPEN, str(address)
    for rule in access:
        network = rule.network
        whole = str(
            network.network_address if network.prefixlen == network.max_prefixlen else network
        )
        where = f"{address} . {whole}"
        if not rule.protocol:
            yield NETWORKS, where
        elif rule.port is None:
            yield PROTOCOLS, f"{where} . {_NUMBERS[rule.protocol]}"
        else:
            yield PORTS, f"{where} . {_NUMBERS[rule.protocol]} . {rule.port}"


def any_of(values: Iterable[object]) -> str:
    """An operand: any of these addresses, networks, ports or quoted names."""
    return "{ " + ", ".join(str(value) for value in values) + " }"


def conditions(reach: str, *, to_client: bool = False) -> dict[str, str]:
    """Set -> condition on a packet: by this set its client may reach its host.

    Of what comes from a client, or of what goes to one. The set of those who may go everywhere is
    the first, and the only one whose condition asks for `reach`, the operand of where that is.
    """
    client, host, port = ("daddr", "saddr", "sport") if to_client else ("saddr", "daddr", "dport")
    return {
        OPEN: f"ip {client} @{OPEN} ip {host} {reach}",
        PORTS: f"ip {client} . ip {host} . meta l4proto . th {port} @{PORTS}",
        PROTOCOLS: f"ip {client} . ip {host} . meta l4proto @{PROTOCOLS}",
        NETWORKS: f"ip {client} . ip {host} @{NETWORKS}",
    }


def all_elements(reaches: Reaches) -> frozenset[Element]:
    """Every client's."""
    return frozenset(
        element for address, access in reaches.items() for element in elements(address, access)
    )


@dataclass(frozen=True)
class SetChanges:
    """What to do to the sets, and to nobody else's elements."""

    delete: tuple[Element, ...] = ()
    add: tuple[Element, ...] = ()
    forget: tuple[IPv4Address, ...] = ()
    """Clients whose return path is forgotten as well."""

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.delete or self.add or self.forget)

    @property
    def narrowed(self) -> frozenset[IPv4Address]:
        """Who loses something."""
        return frozenset(IPv4Address(text.partition(" ")[0]) for _set, text in self.delete)


def differences(before: Reaches, after: Reaches) -> SetChanges:
    """From sets that hold exactly `before` to those that hold `after`."""
    if before is after:
        return SetChanges()
    touched = [address for address, access in after.items() if before.get(address) != access]
    touched += [address for address in before if address not in after]
    return converge(
        {element for at in touched if at in before for element in elements(at, before[at])},
        {element for at in touched if at in after for element in elements(at, after[at])},
    )


def converge(
    there: set[Element] | frozenset[Element], wanted: set[Element] | frozenset[Element]
) -> SetChanges:
    """From the elements that are there to the wanted ones."""
    return SetChanges(tuple(sorted(there - wanted)), tuple(sorted(wanted - there)))


def script(changes: SetChanges, return_paths: Sequence[str]) -> str:
    """Text for `nft -f`: one transaction. Deleting comes first: networks may not overlap."""
    lines = [
        *_lines("delete", changes.delete),
        *_lines("add", changes.add),
        # to add it first is the way not to fail where there is none
        *(
            line
            for verb in ("add", "delete")
            for line in _lines(
                verb, [(path, str(at)) for path in return_paths for at in changes.forget]
            )
        ),
    ]
    return "".join(f"{line}\n" for line in lines)


def _lines(verb: str, found: Iterable[Element]) -> Iterator[str]:
    by_set: dict[str, list[str]] = {}
    for name, text in found:
        by_set.setdefault(name, []).append(text)
    for name, texts in by_set.items():
        for start in range(0, len(texts), _AT_ONCE):
            some = ", ".join(texts[start : start + _AT_ONCE])
            yield f"{verb} element {TABLE} {name} {{ {some} }}"


def listing(name: str) -> tuple[str, ...]:
    """Command that lists one set, with numbers for names."""
    return ("nft", "-nn", "list", "set", *TABLE.split(), name)


def parse_listing(name: str, text: str) -> Iterator[Element]:
    """The elements in what `listing` prints; a set that is not there has none."""
    _head, _equals, rest = text.partition("elements = {")
    body = rest.partition("}")[0]
    for part in body.split(",") if body else ():
        yield name, part.strip()
