"""Connection tracking of each network interface by itself, and its flow records, as nftables text.

AWS: security groups are stateful: an answer passes whatever the rules say, at the interface that
saw the question, and at no other (EC2 user guide, "Security group connection tracking"). Linux'
conntrack knows one state for the whole router. With asymmetric paths that is more than is true: an
answer that arrives at another interface than the one that asked is nobody's answer there.

So the router keeps sets of (interface, protocol, addresses, ports) of what passed an interface, and
`lab.security` judges what is in none of them. The table outlives each new ruleset. It works by bits
of the packet's mark: set before the judgement for what is known, by the judgement for what it
refuses, and read after it, where flows are noted and what was refused is dropped.
"""

from __future__ import annotations

from dataclasses import dataclass

TABLE = "gatepair-flows"

KNOWN_OUT, KNOWN_IN = 0x1, 0x2
"""Bits of a packet's mark: it belongs to a flow of the sender's, of the receiver's interface."""
REFUSED_OUT, REFUSED_IN = 0x4, 0x8
"""Bits of a packet's mark: the sender's, the receiver's interface does not let it pass."""

CAPACITY = 65535
"""Flows that are tracked and recorded, of each protocol. What exceeds it is judged by the rules
packet by packet, and not recorded."""
WINDOW = 3600
"""Seconds that a record counts from its first packet on; what follows is in a new one."""
PROTOCOLS = ("tcp", "udp", "other")
ACCEPTED, REFUSED = "accepted", "refused"

# Defaults: TCP 350 s on Nitro v6 instances and five days on others, of which the lab takes the
# shorter one; UDP streams 180 s (EC2 API reference, ConnectionTrackingConfiguration).
_IDLE = {"tcp": 350, "udp": 180, "other": 180}
_PORTED = "type ifname . ipv4_addr . inet_service . ipv4_addr . inet_service"
_PORTLESS = "typeof iifname . meta l4proto . ip saddr . ip daddr"


@dataclass(frozen=True)
class _Side:
    """One of the two interfaces that a packet passes."""

    word: str
    interface: str
    known: int
    refused: int


_SIDES = (
    _Side("out", "iifname", KNOWN_OUT, REFUSED_OUT),
    _Side("in", "oifname", KNOWN_IN, REFUSED_IN),
)


def tracked(protocol: str) -> str:
    """The set of the flows that interfaces know."""
    return f"tracked-{protocol}"


def begun(verdict: str, protocol: str) -> str:
    """The set of records: an element's age tells when its first packet came."""
    return f"{verdict}-{protocol}"


def seen(verdict: str, protocol: str) -> str:
    """The set of records' last packets, by the elements' ages."""
    return f"{verdict}-{protocol}-last"


def table(balancer: str) -> str:
    """The table as input of `nft -f`: new rules, and the sets as they are if they are there.

    `balancer` is the interface that is nobody's: the load balancer tracks for itself.
    """
    sets = [_set(tracked(one), one, _IDLE[one]) for one in PROTOCOLS]
    for verdict in (ACCEPTED, REFUSED):
        for one in PROTOCOLS:
            sets += [_set(name(verdict, one), one, WINDOW) for name in (begun, seen)]
    chains = []
    for protocol in PROTOCOLS:
        chains.append(_chain(f"known-{protocol}", _known(protocol)))
        for side in _SIDES:
            chains.append(_chain(f"passed-{side.word}-{protocol}", _passed(side, protocol)))
            lines = _record(REFUSED, side, protocol)
            chains.append(_chain(f"refused-{side.word}-{protocol}", lines))
    for side in _SIDES:
        chains.append(_chain(f"passed-{side.word}", _by_protocol(f"passed-{side.word}")))
        lines = [*_by_protocol(f"refused-{side.word}"), "drop"]
        chains.append(_chain(f"refused-{side.word}", lines))
    first = "type filter hook forward priority filter - 10; policy accept"
    chains.append(_chain("known", _by_protocol("known"), first))
    last = "type filter hook forward priority filter + 10; policy accept"
    note = []
    for side in _SIDES:
        note.append(f"meta mark & {side.refused:#x} != 0 goto refused-{side.word}")
        note.append(f'{side.interface} != "{balancer}" jump passed-{side.word}')
    chains.append(_chain("note", note, last))
    parts = [f"table ip {TABLE} {{", *sets, "}", f"flush table ip {TABLE}"]
    return "\n".join([*parts, f"table ip {TABLE} {{", *chains, "}", ""])


def _known(protocol: str) -> list[str]:
    lines = []
    for side in _SIDES:
        keys = [_key(side.interface, protocol, turned=turned) for turned in (False, True)]
        known = f"@{tracked(protocol)} meta mark set meta mark | {side.known:#x}"
        lines += [f"{key} {known}" for key in keys]
    return lines


def _passed(side: _Side, protocol: str) -> list[str]:
    key = _key(side.interface, protocol)
    # An error message about a flow begins none
    track = f"ct state != related update @{tracked(protocol)} {{ {key} }}"
    return [track, *_record(ACCEPTED, side, protocol)]


def _record(verdict: str, side: _Side, protocol: str) -> list[str]:
    key = _key(side.interface, protocol)
    return [
        f"add @{begun(verdict, protocol)} {{ {key} counter }}",
        f"update @{seen(verdict, protocol)} {{ {key} }}",
    ]


def _key(interface: str, protocol: str, *, turned: bool = False) -> str:
    one, other = ("d", "s") if turned else ("s", "d")
    if protocol == "other":
        return f"{interface} . meta l4proto . ip {one}addr . ip {other}addr"
    ports = [f"{protocol} {end}port" for end in (one, other)]
    return f"{interface} . ip {one}addr . {ports[0]} . ip {other}addr . {ports[1]}"


def _by_protocol(chain: str) -> list[str]:
    return [
        f"meta l4proto tcp jump {chain}-tcp",
        f"meta l4proto udp jump {chain}-udp",
        f"meta l4proto != {{ tcp, udp }} jump {chain}-other",
    ]


def _set(name: str, protocol: str, timeout: int) -> str:
    # The protocol is in the set's name: nft 1.0.6 cannot read a key of more than five parts
    key = _PORTLESS if protocol == "other" else _PORTED
    flags = "flags dynamic,timeout"
    return f"set {name} {{ {key}; size {CAPACITY}; {flags}; timeout {timeout}s; }}"


def _chain(name: str, lines: list[str], hook: str = "") -> str:
    return "\n".join([f"chain {name} {{", *([f"{hook};"] if hook else []), *lines, "}"])
