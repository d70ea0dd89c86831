"""The packet filter as one nftables transaction. Pure.

One table of ours. Loading the text again replaces every rule in one step and keeps the sets: the
return paths, which the kernel fills, and who may go where (gateway.access). Rules hold no counters
but named ones, so that the listing is comparable.

Whose packets are judged where: `mark_*` and `learn_way` find the way back to a client, `to_gateway`
is what may reach the gateway itself (`to_wireguard`: a session's; `ask_gateway`: from a client),
`from_wireguard` what WireGuard may say (`in_answer`), `through` what may pass the gateway;
`from_client` judges every packet of a client by itself, before any thought of established
connections. In snat mode `translate` gives what leaves the gateway's address; in routed mode
(gateway.routed) `first` marks what goes on to another gateway and `to_client` judges what comes
back. The widest thing a client may reach is `Filter.reach`, the sets say which client may go
where in it, and one that is in none of them goes nowhere; what a client writes into its own config
is the client's choice.

Every packet of every client meets these rules, so what decides for nearly all of them comes first.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Network, collapse_addresses
from typing import TYPE_CHECKING

from gateway import routed
from gateway.access import OPEN, SETS, TABLE, SetChanges, any_of, conditions, script
from gateway.announcement import PORT as CLIENT_PORT
from gateway.forwarding import DEVICE, MARK
from gateway.generations import INTERFACES, interface_of
from gateway.network import mark_of
from gateway.takeover import rules as takeover
from registry.key_slots import SLOTS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address

    from gateway.routed import Routed

LOAD = ("nft", "-f", "-")
LISTING = ("nft", "--terse", "--stateless", "list", "table", "inet", "gatepair")
"""Terse: without the elements of the named sets, of which there may be thousands."""

NEVER = ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")
"""This machine, the instance's metadata and other link-local services, groups and broadcasts."""

RETURN_PATH_LIFETIME = "1d"
"""How long a silent client's way back is remembered; after that the main route serves it."""

MOST_RETURN_PATHS = 262144

TUNNELS = '"wg*"'
"""The interfaces of all slots, as an operand: two letters are compared, names would be hashed."""

ASKING = "asking"
"""Set of the clients that have connected to the gateway's service lately, with a limit for each."""

ASKING_LIFETIME = "1m"
ASKING_RATE = "1/second burst 20 packets"
"""Connections of one client. Its helper asks once a minute, and a few times while it moves."""


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What the rules are made from."""

    port: int
    """UDP of slot 0; slot 1 has the next one."""
    health_port: int
    metrics_port: int
    gossip_port: int
    """UDP, between gateways."""
    client_pool: IPv4Network
    reach: tuple[IPv4Network, ...]
    """Where clients may go; empty: nowhere."""
    gateways: frozenset[IPv4Address]
    """Every gateway's own: a client, translated, would look like a gateway to the others."""
    peer_to_peer: bool
    takeover: bool = True
    """Whether packets of other gateways' sessions are reported to the agent."""
    routed: Routed | None = None
    """None: clients' packets leave with the gateway's address."""


def intersection(
    one: Iterable[IPv4Network], other: Iterable[IPv4Network]
) -> tuple[IPv4Network, ...]:
    """What lies in both lists. Of two networks one holds the other, or they are apart."""
    others = list(other)
    both = [
        a if a.subnet_of(b) else b for a in one for b in others if a.subnet_of(b) or b.subnet_of(a)
    ]
    return tuple(collapse_addresses(both))


NO_CHANGES = SetChanges()


def via(slot: int) -> str:
    """Name of the set of tunnel addresses whose last data packet came in through this slot."""
    return f"via_{interface_of(slot)}"


RETURN_PATHS = tuple(via(slot) for slot in SLOTS)


def _chains(filter_: Filter) -> dict[str, tuple[str, list[str]]]:
    """Chain name -> its hook and its rules. A chain without rules is taken away."""
    wg, pool = TUNNELS, filter_.client_pool
    ports = f"{filter_.port + SLOTS[0]}-{filter_.port + SLOTS[-1]}"
    # one network is compared, several are looked up
    reach = str(filter_.reach[0]) if len(filter_.reach) == 1 else any_of(filter_.reach)
    known = any_of(sorted(filter_.gateways)) if filter_.gateways else ""
    # only addresses of the pool are in the sets: most packets need not be looked up
    only_clients = f"ip daddr != {pool} accept"
    mark = [f"ip daddr @{via(slot)} meta mark set {mark_of(slot):#010x} accept" for slot in SLOTS]
    return {
        # Behind the translation back to the client's address (priority -100), before routing. A
        # client's packet may be to another client, hence not `goto`
        "mark_forwarded": (
            "type filter hook prerouting priority -50; policy accept;",
            [
                f"ip saddr {pool} jump learn_way",
                only_clients,
                *([f"meta mark {MARK:#010x} accept"] if filter_.routed else ()),
                *mark,
            ],
        ),
        # The interface of a client's last *decrypted data packet*: WireGuard has checked that this
        # key may use this source. A handshake alone proves no working session on that side. Two
        # sets and not one map: `update` does not change the value of an element that is there.
        "learn_way": (
            "",
            [
                f'iifname "{interface_of(slot)}" '
                f"update @{via(slot)} {{ ip saddr }} delete @{via(1 - slot)} {{ ip saddr }}"
                for slot in SLOTS
            ],
        ),
        "mark_own": (
            "type route hook output priority mangle; policy accept;",
            [f"udp sport {ports} goto from_wireguard", only_clients, *mark],
        ),
        # WireGuard speaks only in answer. A client follows whoever last sent it something valid, so
        # a gateway that the load balancer has left must not call it back past the load balancer.
        "from_wireguard": ("", ["ct direction reply goto in_answer", "drop"]),
        "in_answer": ("", [takeover.let_data_out(), takeover.note_handshakes()]),
        "to_gateway": (
            "type filter hook input priority filter; policy drop;",
            _to_gateway(filter_, wg, ports, known),
        ),
        # Reported before they are accepted, established or not: one flow may outlive several
        # sessions
        "to_wireguard": (
            "",
            [*([takeover.report_moved()] if filter_.takeover else []), "accept"],
        ),
        # the one thing a client may ask of a gateway
        "ask_gateway": ("", _ask_gateway(pool)),
        "through": (
            "type filter hook forward priority filter; policy drop;",
            _through(filter_, wg, reach),
        ),
        "from_client": ("", [*_from_client(filter_, wg, reach, known), "drop"]),
        **(_routed(filter_, filter_.routed, wg, reach, known) if filter_.routed else NOT_ROUTED),
        **(NOT_TRANSLATED if filter_.routed else _translated(filter_, wg, reach)),
    }


def _to_gateway(filter_: Filter, wg: str, ports: str, known: str) -> list[str]:
    gossip = [f"udp dport {filter_.gossip_port} drop"]
    if known:
        gossip.insert(0, f"ip saddr {known} udp dport {filter_.gossip_port} accept")
    rest = (
        routed.to_gateway(filter_.routed, known, filter_.health_port, filter_.metrics_port)
        if filter_.routed
        else [
            "ct state established,related accept",
            f"tcp dport {any_of((filter_.health_port, filter_.metrics_port))} accept",
        ]
    )
    return [
        *([routed.stop_here()] if filter_.routed else ()),
        # WireGuard's packets, nearly all there are, take the shortest way. Tunnels are no
        # Ethernet: what a client sends to these ports is asked like all else
        f"meta iiftype ether udp dport {ports} goto to_wireguard",
        'iifname "lo" accept',
        f"iifname {wg} goto ask_gateway",
        # before what is established: a gateway that is gone is a stranger at once
        *gossip,
        *rest,
        "meta l4proto { icmp, ipv6-icmp } accept",
        "udp sport 67 udp dport 68 accept",
        "udp sport 547 udp dport 546 accept",
    ]


def _ask_gateway(pool: IPv4Network) -> list[str]:
    # the gateway's own tunnel address, the same on each of them
    service = f"ip saddr {pool} ip daddr {pool[1]} tcp dport {CLIENT_PORT}"
    return [
        f"{service} ct state new add @{ASKING} {{ ip saddr limit rate over {ASKING_RATE} }} drop",
        f"{service} accept",
        "drop",
    ]


def _through(filter_: Filter, wg: str, reach: str) -> list[str]:
    through = [
        # the smaller of the two sides' path MTU, in both directions; it never raises a value
        "tcp flags syn / syn,rst tcp option maxseg size set rt mtu",
        f"iifname {wg} goto from_client",
    ]
    if filter_.routed:
        return through + routed.through(filter_.client_pool, wg, reach if filter_.reach else "")
    if filter_.reach:
        through += [
            f"oifname {wg} ip saddr {reach} ct state established,related accept",
            f"oifname {wg} meta l4proto icmp ct state related accept",
        ]
    return through


def _from_client(filter_: Filter, wg: str, reach: str, known: str) -> list[str]:
    inward = _inward(filter_, wg)
    # where no client may go anyway needs no rule, and most stacks' reach has nothing of it
    may = (*filter_.reach, filter_.client_pool)
    never = [one for one in NEVER if any(map(IPv4Network(one).overlaps, may))]
    rules = [f"ip daddr {any_of(never)} drop"] if never else []
    if known:
        rules.append(f"ip daddr {known} drop")
    if filter_.peer_to_peer:
        rules.append(f"ip saddr @{OPEN} ip daddr {filter_.client_pool} oifname {inward} accept")
    rules.append(f"oifname {inward} drop")
    if filter_.reach:
        if filter_.routed is None:
            rules.append("ct state { new, invalid } jump strays")
        # Only ever accepting: a part of a packet that cannot be read ends a rule, and a rule that
        # drops what is *not* allowed would let just that packet through
        open_, *others = conditions(reach).values()
        rules += [
            f"{open_} accept",
            f"ip daddr != {reach} drop",
            # the narrowest first, by which most packets pass: each of these is dear to look up
            *(f"{condition} accept" for condition in others),
        ]
    return rules


def _inward(filter_: Filter, wg: str) -> str:
    """All interfaces behind which clients are."""
    return any_of(f'"{name}"' for name in (*INTERFACES, DEVICE)) if filter_.routed else wg


STRAYS = [
    "ct state new tcp flags & syn == 0x0 goto stray",
    "ct state invalid tcp flags & fin == fin goto stray",
]
"""TCP in the middle of a connection that this gateway has no translation of: it began on another
one. Whoever has come back finds his own as they were. (Connection tracking takes no connection up
at its end, and calls that invalid.)"""

NOT_ROUTED = dict.fromkeys(("first", "last", "to_client", "answers", "let_through"), ("", []))
NOT_TRANSLATED = dict.fromkeys(("strays", "stray", "translate"), ("", []))


def _routed(
    filter_: Filter, mode: Routed, wg: str, reach: str, known: str
) -> dict[str, tuple[str, list[str]]]:
    pool, between = filter_.client_pool, filter_.peer_to_peer
    judged = routed.to_client(pool, reach, mode, peer_to_peer=between) if filter_.reach else []
    answers = routed.answers(reach) if filter_.reach else []
    return {
        "first": (
            "type filter hook prerouting priority raw; policy accept;",
            routed.first(pool, INTERFACES, known, peer_to_peer=between),
        ),
        "last": (
            "type filter hook output priority raw; policy accept;",
            [*routed.capsules(known), *routed.asked(pool)],
        ),
        "to_client": ("", [*judged, "drop"]),
        "answers": ("", [*answers, "drop"]),
        # only what has been judged, wherever that was, has a word in it
        "let_through": (
            "type filter hook postrouting priority filter; policy accept;",
            [routed.unasked(), *takeover.report_stalled(wg, _inward(filter_, wg))],
        ),
    }


def _translated(filter_: Filter, wg: str, reach: str) -> dict[str, tuple[str, list[str]]]:
    resets = [f"{condition} reject with tcp reset" for condition in conditions(reach).values()]
    return {
        "strays": ("", STRAYS if filter_.reach else []),
        # at once, where its answers would never find the way; to whom it may reach, and no other
        "stray": ("", [*(resets if filter_.reach else ()), "drop"]),
        "translate": (
            "type nat hook postrouting priority srcnat; policy accept;",
            [f"ip saddr {filter_.client_pool} oifname != {wg} masquerade"],
        ),
    }


def render(filter_: Filter, changes: SetChanges = NO_CHANGES) -> str:
    """Text for `nft -f`: makes what is missing, then replaces all rules, in one transaction.

    `changes` of the sets are part of it.
    """
    chains = _chains(filter_)
    size = min(filter_.client_pool.num_addresses, MOST_RETURN_PATHS)
    lines = [
        f"add table {TABLE}",
        *(
            f"add set {TABLE} {via(slot)} {{ type ipv4_addr; size {size}; "
            f"flags dynamic,timeout; timeout {RETURN_PATH_LIFETIME}; }}"
            for slot in SLOTS
        ),
        f"add set {TABLE} {ASKING} {{ type ipv4_addr; size {size}; "
        f"flags dynamic,timeout; timeout {ASKING_LIFETIME}; }}",
        *(
            f"add set {TABLE} {name} {{ {kind} }}"
            for name, kind in {**SETS, **takeover.SETS}.items()
        ),
        *(f"add counter {TABLE} {name}" for name in routed.COUNTERS),
    ]
    for name, (hook, _rules) in chains.items():
        lines.append(f"add chain {TABLE} {name}" + (f" {{ {hook} }}" if hook else ""))
        lines.append(f"flush chain {TABLE} {name}")
    for name, (_hook, rules) in chains.items():
        lines += [f"add rule {TABLE} {name} {rule}" for rule in rules]
        lines += [] if rules else [f"delete chain {TABLE} {name}"]
    return "\n".join(lines) + "\n" + script(changes, RETURN_PATHS)


def render_anew(filter_: Filter) -> str:
    """The same, but from nothing: for when another table of our name is in the way.

    Still one transaction; the return paths are forgotten, and who may go where has to be told anew.
    """
    return f"add table {TABLE}\ndelete table {TABLE}\n{render(filter_)}"


def fingerprint(listing: str) -> str:
    """Of what the kernel has, for comparison with what it had just after loading."""
    return hashlib.sha256(listing.encode()).hexdigest()
