"""Which peers have come over to the newest server key, from what the gateways say. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from registry.sessions import merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from ipaddress import IPv4Network

    from registry.confirmation import Member
    from registry.items import Control, GatewayRecord, Peer
    from registry.sessions import Sessions, Use

FRESH = 300
"""Seconds: a gateway writes what it has seen every 30 s, with ten thousand peers every 125 s."""

DAY = 86400.0


@dataclass(frozen=True)
class Whereabouts:
    """A peer, and what it used last."""

    peer: Peer
    use: Use | None
    """None: no gateway has seen it since it was registered, as far as they remember."""

    @property
    def generation(self) -> int | None:
        """The server key it used."""
        return self.use.generation if self.use else None


def whereabouts(
    peers: Iterable[Peer], pool: IPv4Network, sessions: Iterable[Sessions], newest: int, now: float
) -> list[Whereabouts]:
    """Every peer whose access has not ended, with its last use. `now` is in epoch seconds."""
    uses = merged((one.uses for one in sessions), newest)
    base = int(pool.network_address)
    return [
        Whereabouts(peer, _own(peer, uses.get(int(peer.address) - base)))
        for peer in peers
        if peer.expires is None or peer.expires > now
    ]


def _own(peer: Peer, use: Use | None) -> Use | None:
    """The use, unless it was another's, who had the address before."""
    if use is None:
        return None
    try:
        created = datetime.fromisoformat(peer.created).timestamp()
    except ValueError:
        return use
    return use if use.at >= created else None


def left_behind(
    found: Iterable[Whereabouts], newest: int, now: float, *, days: float, everybody: bool = False
) -> list[Whereabouts]:
    """Those that still use an older key and were here within so many days.

    `everybody`: all that have not used the newest key last, whenever that was.
    """
    return [
        one
        for one in found
        if one.generation != newest
        and (everybody or (one.use is not None and one.use.at >= now - days * DAY))
    ]


def untold(
    members: Iterable[Member],
    control: Control,
    records: Mapping[str, GatewayRecord],
    sessions: Mapping[str, Sessions],
    now: float,
) -> dict[str, str]:
    """Instance id -> why this member leaves open who uses what. Empty: all is known."""
    wanted = control.key_generations
    found: dict[str, str] = {}
    for member in members:
        if member.leaving:
            continue
        record, said = records.get(member.instance_id), sessions.get(member.instance_id)
        if record is None:
            found[member.instance_id] = "has said nothing yet"
        elif set(record.keys) != set(wanted):
            serves = ", ".join(map(str, sorted(record.keys))) or "none"
            found[member.instance_id] = f"serves {serves}, not {', '.join(map(str, wanted))}"
        elif len(wanted) > 1 and (said is None or set(said.generations) != set(wanted)):
            found[member.instance_id] = "has not told yet which peers use which key"
        elif len(wanted) > 1 and said is not None and said.at < now - FRESH:
            found[member.instance_id] = f"last told {now - said.at:.0f} s ago who uses which key"
        elif said is not None and said.left_out and len(wanted) > 1:
            found[member.instance_id] = f"has left out {said.left_out} peers, there are too many"
    return found
