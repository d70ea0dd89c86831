"""What gateways recorded of clients' connections (docs/audit.md), read from CloudWatch Logs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

END, OPEN, LEFT_OUT = "end", "open", "left-out"

MOST = 20_000
"""Events that are read in one call of a command: some seconds, and 8 MB of JSON."""
LONGEST = 60.0
"""Seconds for which pages are asked for."""
PROGRESS_AFTER = 2.0
"""Seconds: nobody waits longer without a word."""


@dataclass(frozen=True)
class Event:
    """A record as CloudWatch Logs has it."""

    at: int
    """Epoch milliseconds."""
    gateway: str
    """Instance id: the stream's name."""
    says: Mapping[str, Any]


@dataclass(frozen=True)
class Connections:
    """What was found, oldest first."""

    ended: list[Event] = field(default_factory=list)
    """One for each connection: its end, or the last that was told of it."""
    left_out: list[Event] = field(default_factory=list)
    """Of which there is no record."""
    complete: bool = True
    """False: there are more, and later ones, than were read."""


def pattern(name: str | None) -> str:
    """CloudWatch's filter for a peer's records, and for what may be missing of them. Pure.

    A name has no character that would end the quotes (`registry.validation.peer_name`). Source:
    CloudWatch Logs user guide, "Filter pattern syntax", JSON log events.
    """
    if name is None:
        return ""
    peer = f'($.peer = "{name}") || ($.other_peer = "{name}")'
    return f'{{ {peer} || ($.event = "{LEFT_OUT}") }}'


def event(raw: Mapping[str, Any]) -> Event | None:
    """One of FilterLogEvents' answer; None if it is not of ours. Pure."""
    try:
        says = json.loads(raw["message"])
        known = says["event"] in (END, OPEN, LEFT_OUT) and ("id" in says) == (
            says["event"] != LEFT_OUT
        )
    except (ValueError, KeyError, TypeError):
        return None
    return Event(int(raw["timestamp"]), str(raw["logStreamName"]), says) if known else None


def merged(events: Iterable[Event], name: str | None = None) -> Connections:
    """Each connection once: a record may have come twice, and some come while it goes on. Pure.

    `name`: of one peer. What was left out of nobody in particular may be anybody's.
    """
    last: dict[tuple[str, str], Event] = {}
    left: dict[tuple[int, str, str], Event] = {}
    for one in events:
        says = one.says
        if name is not None and name not in (says.get("peer", name), says.get("other_peer")):
            continue
        if says["event"] == LEFT_OUT:
            left[one.at, one.gateway, json.dumps(says, sort_keys=True)] = one
            continue
        key = one.gateway, says["id"]
        before = last.get(key)
        if before is None or _weight(before) <= _weight(one):
            last[key] = one
    return Connections(sorted(last.values(), key=_time), sorted(left.values(), key=_time))


def _weight(one: Event) -> tuple[bool, int]:
    return one.says["event"] == END, one.at


def _time(one: Event) -> tuple[int, str]:
    return one.at, one.gateway


def read(
    client: Any,
    group: str,
    *,
    since: datetime,
    name: str | None = None,
    tell: Callable[[str], None],
    monotonic: Callable[[], float] = time.monotonic,
) -> Connections:
    """Records from `since` on, of one peer or of all. botocore's errors pass through.

    `tell` hears how far it is when that takes longer.
    """
    request: dict[str, Any] = {
        "logGroupName": group,
        "startTime": int(since.timestamp() * 1000),
        **({"filterPattern": pattern(name)} if name else {}),
    }
    found: list[Event] = []
    began = told = monotonic()
    while True:
        answer = client.filter_log_events(**request)
        found += filter(None, map(event, answer.get("events", ())))
        token, now = answer.get("nextToken"), monotonic()
        if not token or len(found) >= MOST or now - began >= LONGEST:
            break
        if now - told >= PROGRESS_AFTER:
            told = now
            tell(f"{len(found)} records of connections so far")
        request["nextToken"] = token
    result = merged(found, name)
    return Connections(result.ended, result.left_out, complete=not token)
