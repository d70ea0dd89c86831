"""The packet filter's part in takeovers, as text for nftables. Pure.

In UDP, `@th,64,32` is WireGuard's message type with its three zero bytes and `@th,96,32` the
session's index, as they lie on the wire. nft 1.0.6 and 1.1.3 take sets of these, also joined with
others, by `typeof`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from gateway.takeover.packets import INITIATION, RESPONSE, TRANSPORT, Endpoint
from gateway.takeover.sessions import LIFETIME

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HANDSHAKES, MOVED, STALLED = 0x6700, 0x6701, 0x6702
"""nflog groups: any numbers that nobody else on the machine uses."""

HANDED, WATCHED, SOURCES, RECENT = "handed_out", "watched", "reported_from", "reported"
"""Sets: indices that this gateway has handed out, filled by the kernel itself, so that they are
known even while no agent runs; indices whose packets are reported; those reported just now, by
where they came from and in all."""

_MOST = 262144
_MOST_SOURCES = 65536
_LIFETIME = f"{LIFETIME // 1000}s"
_HANDED_KEY = "udp sport . @th,96,32 . ip daddr . udp dport"
_INCOMING_KEY = "udp dport . @th,96,32"
_SOURCE_KEY = f"{_INCOMING_KEY} . ip saddr"
_AT_MOST = "16/second burst 16 packets"
_WHOLE_HANDSHAKE = 256
"""Bytes: an initiation of 148 behind the longest IPv4 header and UDP's."""
_HEADERS = 96

RESUMED, KICKED = "resumed", "kicked"
"""Sets: tunnel addresses of clients whose sessions have just come here; connections of theirs of
which a segment was shown just now."""

RESUMED_LIFETIME = 30
"""Seconds: an end that tried just before the session was here tries again within the double of what
it had waited, 25 s after the death of a gateway that is noticed within ten."""

_CONNECTION = "ip saddr . ip daddr . tcp sport . tcp dport"
_KICKS_AT_MOST = "500/second burst 500 packets"
"""Of each direction. One is less than 0.1 ms of work."""
_LONGEST_HEADERS = 60 + 20
"""Bytes: of IPv4 with every option, and TCP's without."""

SETS = {
    HANDED: (f"typeof {_HANDED_KEY}; size {_MOST}; flags dynamic,timeout; timeout {_LIFETIME};"),
    WATCHED: f"typeof {_INCOMING_KEY}; size {_MOST}; flags timeout;",
    SOURCES: f"typeof {_SOURCE_KEY}; size {_MOST_SOURCES}; flags dynamic,timeout; timeout 2s;",
    RECENT: f"typeof {_INCOMING_KEY}; size {_MOST}; flags dynamic,timeout; timeout 2s;",
    RESUMED: f"type ipv4_addr; size {_MOST}; flags timeout; timeout {RESUMED_LIFETIME}s;",
    KICKED: f"typeof {_CONNECTION}; size {_MOST_SOURCES}; flags dynamic,timeout; timeout 2s;",
}
"""Their declarations. They are there whether or not takeover is on."""

BATCH = 1000
"""Elements in one command: a netlink message holds 64 KB."""


def let_data_out() -> str:
    """Rule for WireGuard's packets that are let out, as answers: nothing is noted of nearly all."""
    return f"@th,64,32 {_kind(TRANSPORT)} accept"


def note_handshakes() -> str:
    """Rule for those of the rest: note the index of a handshake message, show it to the agent."""
    kinds = f"{{ {_kind(INITIATION)}, {_kind(RESPONSE)} }}"
    return (
        f"@th,64,32 {kinds} add @{HANDED} {{ {_HANDED_KEY} }} "
        f"log group {HANDSHAKES} snaplen {_WHOLE_HANDSHAKE} queue-threshold 1"
    )


def report_moved() -> str:
    """Rule for what comes in: show one packet a second of each watched session to the agent.

    One a second of each address that sends some: whoever replays a session's packets as fast as he
    can has a budget of his own, and the session's owner still has his. In all no more than
    `_AT_MOST`, or made-up addresses would make work without end. A stranger's packet of no session
    is looked up and forgotten; it costs nobody's place in a queue.
    """
    return (
        f"@th,64,32 {_kind(TRANSPORT)} {_INCOMING_KEY} @{WATCHED} "
        f"add @{SOURCES} {{ {_SOURCE_KEY} limit rate 1/second burst 1 packets }} "
        f"add @{RECENT} {{ {_INCOMING_KEY} limit rate {_AT_MOST} }} "
        f"log group {MOVED} snaplen {_HEADERS} queue-threshold 1"
    )


def report_stalled(wg: str, inward: str) -> list[str]:
    """Rules for what has been let through: show segments of clients whose sessions have just come.

    Two a second of each direction of a connection, if it acknowledges something; on its way to
    another gateway as well, which may be dead. `inward`: the operand with all interfaces behind
    which clients are; another client is told of its own only.
    """
    shown = (
        "tcp flags & (syn | rst | ack) == ack "
        f"add @{KICKED} {{ {_CONNECTION} limit rate 2/second burst 1 packets }} "
        f"limit rate {_KICKS_AT_MOST} "
        f"log group {STALLED} snaplen {_LONGEST_HEADERS} queue-threshold 1"
    )
    return [
        f"oifname {inward} ip daddr @{RESUMED} {shown}",
        f"iifname {wg} oifname != {inward} ip saddr @{RESUMED} {shown}",
    ]


def _kind(number: int) -> str:
    return f"{number << 24:#010x}"


def watch(table: str, elements: Iterable[tuple[int, int, int]]) -> Iterator[str]:
    """Commands that watch sessions: port, index, milliseconds. Those already watched stay so."""
    texts = [
        f"{port} . {index:#010x} timeout {max(1, left // 1000)}s" for port, index, left in elements
    ]
    for start in range(0, len(texts), BATCH):
        some = ", ".join(texts[start : start + BATCH])
        yield f"add element {table} {WATCHED} {{ {some} }}\n"


def resume(table: str, clients: Iterable[IPv4Address]) -> Iterator[str]:
    """Commands that show segments of these clients for a while from now on.

    Adding one that is there would not lengthen its time: it is taken out in the same transaction.
    """
    texts = sorted(map(str, clients))
    for start in range(0, len(texts), BATCH):
        elements = f"element {table} {RESUMED} {{ {', '.join(texts[start : start + BATCH])} }}\n"
        yield f"add {elements}delete {elements}add {elements}"


def list_handed(table: str) -> tuple[str, ...]:
    """Command that lists what this gateway has handed out."""
    return ("nft", "--json", "list", "set", *table.split(), HANDED)


@dataclass(frozen=True)
class HandedOut:
    """A handshake message the kernel has seen leave."""

    port: int
    index: int
    endpoint: Endpoint
    age: int
    """Milliseconds; the kernel tells whole seconds, and this errs towards older."""


def parse_handed(text: str) -> list[HandedOut]:
    """From `nft --json list set`. Raises `ValueError` when it is in no form that is known."""
    found = []
    try:
        for entry in json.loads(text)["nftables"]:
            for element in entry.get("set", {}).get("elem", ()):
                port, index, address, dport = element["elem"]["val"]["concat"]
                age = max(0, LIFETIME - int(element["elem"]["expires"]) * 1000)
                endpoint = Endpoint(IPv4Address(address), int(dport))
                found.append(HandedOut(int(port), int(index), endpoint, age))
    except (KeyError, TypeError, AttributeError) as err:
        raise ValueError(f"nft lists the handed out indices in another form: {err!r}") from err
    return found
