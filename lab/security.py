"""Security groups as the VPC router's packet filter: a pure compiler to an nftables ruleset.

What AWS does at each instance's interface happens here in the router's forward chain: what belongs
to no flow of the sender's interface passes its egress rules, and what belongs to none of the
receiver's passes its ingress rules (`lab.tracking` knows the flows). Nothing else is forwarded.
Packets of the load balancer come through the interface `lb`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab import tracking

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address

    from lab.inventory import Attachment, Network, Rule

TABLE = "gatepair"
BALANCER = "lb"
"""The router's interface towards the load balancer."""
BALANCER_MARK = 0x6770
"""On UDP of a load balancer's target to the outside: it goes back through the load balancer."""

METADATA = "169.254.169.254"
TIME = "169.254.169.123"
RESOLVER = "169.254.169.253"
AWS = "169.254.170.2"
"""Stands in for the AWS APIs, which machines reach by the internet."""
LINK_LOCAL = "169.254.0.0/16"

_ANY_PORT = (0, 65535)


def ruleset(attachments: Sequence[Attachment], network: Network) -> str:
    """The whole filter as input of `nft -f`: replaces the former one in one step."""
    known = {attachment.interface: attachment for attachment in attachments}
    ports = [known[name] for name in sorted(known)]
    balancers = {group for balancer in network.balancers for group in balancer.groups}
    parts = [
        tracking.table(BALANCER),
        f"table ip {TABLE}",
        f"delete table ip {TABLE}",
        f"table ip {TABLE} {{",
        *_members(ports, network.rules),
        *_prerouting(ports, network),
        *_input(),
        *_forward(ports),
    ]
    for group in sorted({group for port in ports for group in port.groups}):
        own = [rule for rule in network.rules if rule.group == group]
        for egress, word in ((True, "egress"), (False, "ingress")):
            verdict = "goto deliver" if egress else "accept"
            lines = {
                f"{match} {verdict}".strip()
                for rule in own
                if rule.egress is egress
                for match in matches(rule, from_balancer=rule.peer_group in balancers)
            }
            parts += _chain(f"{word}-{group}", sorted(lines))
    return "\n".join([*parts, "}", ""])


def matches(rule: Rule, *, from_balancer: bool) -> list[str]:
    """The nft matches that stand for one rule, any of which is enough.

    A load balancer's packets carry the client's address, so its group is known by the interface.
    """
    side, interface = ("daddr", "oifname") if rule.egress else ("saddr", "iifname")
    ends = []
    if rule.cidr is not None:
        ends.append("" if rule.cidr.prefixlen == 0 else f"ip {side} {rule.cidr}")
    else:
        ends.append(f"ip {side} @{_set(rule.peer_group or '')}")
        if from_balancer:
            ends.append(f'{interface} "{BALANCER}"')
    return [f"{end} {_protocol(rule)}".strip() for end in ends]


def _protocol(rule: Rule) -> str:
    if rule.protocol == "-1":
        return ""
    if rule.protocol in {"tcp", "udp"}:
        if rule.low < 0 or (rule.low, rule.high) == _ANY_PORT:
            return f"meta l4proto {rule.protocol}"
        return f"{rule.protocol} dport {rule.low}-{rule.high}"
    if rule.protocol == "icmp" and rule.low >= 0:
        code = f" icmp code {rule.high}" if rule.high >= 0 else ""
        return f"icmp type {rule.low}{code}"
    return f"meta l4proto {rule.protocol}"


def _members(ports: Sequence[Attachment], rules: Iterable[Rule]) -> list[str]:
    """One set of addresses for each group that a rule refers to."""
    parts = []
    for group in sorted({rule.peer_group for rule in rules if rule.peer_group}):
        addresses = sorted(port.address for port in ports if group in port.groups)
        parts += [f"set {_set(group)} {{", "type ipv4_addr", *_elements(addresses), "}"]
    return parts


def _prerouting(ports: Sequence[Attachment], network: Network) -> list[str]:
    """The source check, and the way back of what came from the load balancer."""
    lines = [f'iifname "{BALANCER}" ip daddr {LINK_LOCAL} drop']
    for port in ports:
        # Without the check an instance may forward for others, but not ask the services for them
        where = "" if port.source_check else f"ip daddr {LINK_LOCAL} "
        lines.append(f'iifname "{port.interface}" {where}ip saddr != {port.address} drop')
    if network.ports:
        inside = sorted({str(cidr) for cidrs in network.cidrs.values() for cidr in cidrs})
        outside = ", ".join([*inside, LINK_LOCAL])
        lines.append(
            f'iifname != "{BALANCER}" udp sport {{ {", ".join(map(str, network.ports))} }} '
            f"ip daddr != {{ {outside} }} meta mark set {BALANCER_MARK:#x}"
        )
    return _chain("prerouting", lines, "type filter hook prerouting priority mangle; policy accept")


def _input() -> list[str]:
    """The services of the VPC. The router itself is nobody, as in a real VPC."""
    lines = [
        'iifname "lo" accept',
        "ct state established,related accept",
        f'iifname "{BALANCER}" drop',
        f"ip daddr {{ {METADATA}, {AWS} }} tcp dport 80 accept",
        f"ip daddr {RESOLVER} meta l4proto {{ tcp, udp }} th dport 53 accept",
        f"ip daddr {TIME} udp dport 123 accept",
        # On AWS this is silence. Here, whoever tries should not have to wait.
        "reject with icmp type admin-prohibited",
    ]
    return _chain("input", lines, "type filter hook input priority filter; policy drop")


def _forward(ports: Sequence[Attachment]) -> list[str]:
    parts = [
        *_map("senders", [f'"{port.interface}" : goto from-{port.interface}' for port in ports]),
        *_map("receivers", [f'"{port.interface}" : goto to-{port.interface}' for port in ports]),
    ]
    parts += _chain(
        "forward",
        [
            f'iifname "{BALANCER}" goto deliver',
            f"{_holds(tracking.KNOWN_OUT)} goto deliver",
            # Error messages about a flow: which interface knows the flow is not looked at
            "ct state related goto deliver",
            "iifname vmap @senders",
        ],
        "type filter hook forward priority filter; policy drop",
    )
    # The load balancer judges for itself what may come back to it
    parts += _chain("deliver", [f'oifname "{BALANCER}" accept', "oifname vmap @receivers", "drop"])
    for port in ports:
        egress = [f"jump egress-{group}" for group in sorted(set(port.groups))]
        ingress = [f"jump ingress-{group}" for group in sorted(set(port.groups))]
        check = [f"ip daddr != {port.address} drop"] if port.source_check else []
        known = [f"{_holds(tracking.KNOWN_IN)} accept", "ct state related accept"]
        parts += _chain(f"from-{port.interface}", [*egress, _refuse(tracking.REFUSED_OUT)])
        parts += _chain(
            f"to-{port.interface}", [*check, *known, *ingress, _refuse(tracking.REFUSED_IN)]
        )
    return parts


def _holds(bit: int) -> str:
    return f"meta mark & {bit:#x} == {bit:#x}"


def _refuse(bit: int) -> str:
    # Dropped where it is recorded, which is in the same transaction
    return f"meta mark set meta mark | {bit:#x} accept"


def _chain(name: str, lines: Sequence[str], hook: str = "") -> list[str]:
    return [f"chain {name} {{", *([f"{hook};"] if hook else []), *lines, "}"]


def _map(name: str, elements: Sequence[str]) -> list[str]:
    return [f"map {name} {{", "type ifname : verdict", *_elements(elements), "}"]


def _elements(elements: Sequence[str] | Sequence[IPv4Address]) -> list[str]:
    return [f"elements = {{ {', '.join(map(str, elements))} }}"] if elements else []


def _set(group: str) -> str:
    return f"members-{group}"
