"""Flow records of the VPC's interfaces, after VPC flow logs: what `scripts/lab flows` prints.

Each interface records what it sent and received: one record for each direction of a flow, and one
for what a security group refused. As on AWS, what an instance asks of the metadata, name and time
services is not recorded. Addresses are the packets' own, AWS's `pkt-srcaddr` and `pkt-dstaddr`:
its `srcaddr` and `dstaddr` show an interface's own address in place of one that it forwards for
(VPC user guide, "Flow log limitations"). Counted in the kernel by `lab.tracking`; nothing of it is
kept beyond the lab.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from effects import Refusal
from lab import aws, inventory, netns, tracking, vpc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from ipaddress import IPv4Network

    from lab.inventory import Attachment

_ACTIONS = {tracking.ACCEPTED: "ACCEPT", tracking.REFUSED: "REJECT"}
_NAMES = {1: "icmp", 6: "tcp", 17: "udp"}
_HEADINGS = ("BEGAN", "SECONDS", "OF", "ACTION", "PROTOCOL", "FROM", "TO", "PACKETS", "BYTES")


@dataclass(frozen=True)
class Record:
    """Packets of one direction at one interface. Ports are 0 where the protocol has none.

    A flow that goes on for longer than `tracking.WINDOW` seconds has a record for each of them.
    """

    interface: str
    """The network interface's id; a private host's name, which has none."""
    instance: str
    """Instance id or the private host's name."""
    source: IPv4Address
    destination: IPv4Address
    source_port: int
    destination_port: int
    protocol: int
    """IANA's number."""
    packets: int
    bytes: int
    """Of IP packets, headers included."""
    start: int
    """When the first packet came, in seconds since the epoch, one second off at most."""
    end: int
    """When the last one came."""
    action: str
    """`ACCEPT` or `REJECT`."""

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "source": str(self.source), "destination": str(self.destination)}


def read(of: IPv4Network | None = None) -> list[Record]:
    """The records there are, the oldest first; `of`: only those from or to these addresses.

    Raises `Refusal` if the lab is not up.
    """
    if not netns.exists(vpc.NAMESPACE):
        raise Refusal("lab", "not up", "scripts/lab up")
    instances = inventory.read_instances(aws.client("ec2")).values()
    known = {one.interface: one for one in (*(one.attachment() for one in instances), *vpc.hosts())}
    listing = netns.run_in(
        vpc.NAMESPACE, ["nft", "-jnn", "list", "table", "ip", tracking.TABLE], timeout=60
    )
    found = parse(json.loads(listing.stdout), known, time.time())
    return [one for one in found if of is None or one.source in of or one.destination in of]


def parse(listing: dict[str, Any], known: Mapping[str, Attachment], now: float) -> list[Record]:
    """The records in what `nft -jnn list table` says at `now` (seconds since the epoch).

    `known` is the router's interface -> who is there; one that is gone is told by its name alone.
    """
    sets = {one["set"]["name"]: one["set"] for one in listing["nftables"] if "set" in one}
    records = []
    for verdict, action in _ACTIONS.items():
        for protocol in tracking.PROTOCOLS:
            ends = _ages(sets.get(tracking.seen(verdict, protocol), {}))
            for key, age, counter in _elements(sets.get(tracking.begun(verdict, protocol), {})):
                where = known.get(key[0])
                number, source, source_port, target, target_port = _flow(protocol, key)
                records.append(
                    Record(
                        interface=(where.interface_id or where.id) if where else key[0],
                        instance=where.id if where else key[0],
                        source=IPv4Address(source),
                        destination=IPv4Address(target),
                        source_port=source_port,
                        destination_port=target_port,
                        protocol=number,
                        packets=counter["packets"],
                        bytes=counter["bytes"],
                        start=round(now - age),
                        end=round(now - min(ends.get(key, age), age)),
                        action=action,
                    )
                )
    return sorted(records, key=lambda one: (one.start, one.interface, one.end, one.source))


def lines(records: Sequence[Record]) -> list[str]:
    """The records for people."""
    rows = [_HEADINGS, *map(_row, records)]
    wide = [max(len(row[n]) for row in rows) for n in range(len(_HEADINGS))]
    return ["  ".join(f"{w:<{wide[n]}}" for n, w in enumerate(row)).rstrip() for row in rows]


def _row(one: Record) -> tuple[str, ...]:
    return (
        time.strftime("%H:%M:%S", time.gmtime(one.start)),
        str(one.end - one.start),
        one.instance,
        one.action,
        _NAMES.get(one.protocol, str(one.protocol)),
        f"{one.source}:{one.source_port}" if one.source_port else str(one.source),
        f"{one.destination}:{one.destination_port}"
        if one.destination_port
        else str(one.destination),
        str(one.packets),
        str(one.bytes),
    )


def _flow(protocol: str, key: tuple[Any, ...]) -> tuple[int, str, int, str, int]:
    """Protocol number, source, source port, destination, destination port of an element's key."""
    if protocol == "other":
        _, number, source, target = key
        return int(number), source, 0, target, 0
    _, source, source_port, target, target_port = key
    number = next(n for n, name in _NAMES.items() if name == protocol)
    return number, source, int(source_port), target, int(target_port)


def _ages(listed: Mapping[str, Any]) -> dict[tuple[Any, ...], float]:
    return {key: age for key, age, _ in _elements(listed)}


def _elements(
    listed: Mapping[str, Any],
) -> Iterable[tuple[tuple[Any, ...], float, dict[str, int]]]:
    """Of each element: its key, the seconds since it was made or renewed, its counter."""
    for entry in listed.get("elem", ()):
        one = entry["elem"]
        age = listed["timeout"] - one["expires"]
        yield tuple(one["val"]["concat"]), age, one.get("counter", {"packets": 0, "bytes": 0})
