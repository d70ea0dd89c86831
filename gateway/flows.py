"""Connections of a client that the kernel still lets through: cut when its access ends.

conntrack(8) filters by one address; for many the flows are listed once, and only clients that have
any are asked for again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from effects import Failed, run

if TYPE_CHECKING:
    from collections.abc import Iterable

LIST = ("conntrack", "-L", "-f", "ipv4")
BULK = ("conntrack", "-R", "-")
"""Reads commands, one a line; one that finds nothing to delete is no failure there."""

FEW = 16
"""Clients up to which each is simply tried."""

_NOTHING = "0 flow entries"
_ORIGINAL = re.compile(r"\bsrc=(\S+) dst=(\S+)")
_TIMEOUT = 10.0


def delete(address: IPv4Address) -> tuple[tuple[str, ...], ...]:
    """Commands that delete the flows which began at a client, and those which began to it."""
    return tuple(("conntrack", "-D", "-f", "ipv4", which, str(address)) for which in ("-s", "-d"))


def concerned(listing: str) -> set[IPv4Address]:
    """Addresses that a flow began at or to, from `conntrack -L`. Pure."""
    found: set[IPv4Address] = set()
    for line in listing.splitlines():
        if match := _ORIGINAL.search(line):
            found.update(map(IPv4Address, match.groups()))
    return found


def cut(addresses: Iterable[IPv4Address]) -> None:
    """Delete all flows of these clients and no other. Raises `effects.Failed`."""
    wanted = set(addresses)
    if len(wanted) > FEW:
        wanted &= concerned(run(LIST, timeout=_TIMEOUT).stdout)
    for address in sorted(wanted):
        for command in delete(address):
            ran = run(command, timeout=_TIMEOUT, check=False)
            # it counts to nothing deleted as a failure
            if ran.status != 0 and _NOTHING not in ran.stderr:
                raise Failed(command, ran.status, ran.stderr)


@dataclass(frozen=True)
class Outside:
    """A client's UDP flow to this gateway: where it comes from, and the port it comes to."""

    address: IPv4Address
    port: int
    to: int


def bulk(flows: Iterable[Outside]) -> str:
    """Lines for `BULK` that delete these flows and no other. Pure."""
    return "".join(
        f"-D -f ipv4 -p udp -s {flow.address} --sport {flow.port} --dport {flow.to}\n"
        for flow in flows
    )


def forget(flows: Iterable[Outside]) -> None:
    """Delete these flows: an answer to them would be none any more. Raises `effects.Failed`."""
    if text := bulk(flows):
        run(BULK, stdin=text, timeout=_TIMEOUT)
