"""What is written of a connection: never what was in it. Pure. The fields: docs/audit.md."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address, IPv4Network

    from gateway.connections.events import Flow

END, OPEN, LEFT_OUT = "end", "open", "left-out"
"""What a record says: it is over; it goes on, with the counts so far; so many have no record."""

LONG = 3600.0
"""Seconds: a connection that is older has an `OPEN` record each hour, so that a gateway that dies
takes at most an hour of it along."""

PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 50: "esp", 132: "sctp"}
"""https://www.iana.org/assignments/protocol-numbers"""

_NANO = 1_000_000_000


@dataclass(frozen=True)
class Line:
    """A record on its way."""

    at: int
    """Epoch milliseconds: when what it says was so."""
    text: str
    """A JSON object."""


@dataclass(frozen=True, kw_only=True)
class Describer:
    """Makes records. `name` says which peer had an address at a moment (epoch seconds)."""

    pool: IPv4Network
    name: Callable[[IPv4Address, float], str]
    lingering: Mapping[str, float] = field(default_factory=dict)
    """State of TCP -> seconds for which the kernel keeps a connection that was closed."""

    def client(self, flow: Flow) -> IPv4Address | None:
        """The client whose connection it is; None if it is the gateway's own service's.

        Between two clients: the one that opened it.
        """
        gateway = self.pool[1]
        if gateway in (flow.source, flow.destination):
            return None
        return flow.source if flow.source in self.pool else flow.destination

    def line(self, flow: Flow, client: IPv4Address, event: str, now: float) -> Line:
        """The record of a connection; `now` in epoch seconds."""
        stop = flow.stop / _NANO if flow.stop else now
        stop -= self.lingering.get(flow.closing, 0.0) if event == END else 0.0
        start = flow.start / _NANO if flow.start else stop
        stop = max(start, stop)
        outward = client == flow.source
        sent, received = (
            (flow.there_bytes, flow.there_packets),
            (flow.back_bytes, flow.back_packets),
        )
        if not outward:
            sent, received = received, sent
        says = {
            "event": event,
            "id": f"{flow.number:08x}-{flow.start // 1_000_000:x}",
            "peer": self.name(client, start),
            "client": str(client),
            "protocol": PROTOCOLS.get(flow.protocol, str(flow.protocol)),
            "source": str(flow.source),
            "source_port": flow.source_port,
            "destination": str(flow.destination),
            "port": flow.destination_port,
            "sent": sent[0],
            "received": received[0],
            "sent_packets": sent[1],
            "received_packets": received[1],
            "start": moment(start),
            "seconds": round(stop - start, 3),
            "closed": bool(flow.closing),
        }
        if outward and flow.destination in self.pool:
            says["other_peer"] = self.name(flow.destination, start)
        return Line(int(stop * 1000), _json(says))

    def left_out(self, client: IPv4Address | None, why: str, count: int, now: float) -> Line:
        """So many connections (of one client, if that is known) have no record."""
        whose = {} if client is None else {"peer": self.name(client, now), "client": str(client)}
        return Line(
            int(now * 1000),
            _json({"event": LEFT_OUT, **whose, "why": why, "count": count, "until": moment(now)}),
        )


def is_long(flow: Flow, now: float) -> bool:
    """Whether it has gone on for so long that it is told of before its end."""
    return 0 < flow.start / _NANO <= now - LONG


def moment(seconds: float) -> str:
    """ISO 8601 in UTC, with milliseconds; `seconds` since the epoch."""
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _json(says: Mapping[str, object]) -> str:
    return json.dumps(says, separators=(",", ":"))
