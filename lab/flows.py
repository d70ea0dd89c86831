"""Which target a flow goes to, and which live flows have to move: the load balancer's pure core.

A network load balancer picks a target for each new flow by a hash of its 5-tuple and keeps it there
(elbv2 user guide, "Network Load Balancer overview"). That a live UDP flow leaves its target once
that is unhealthy is reported from the field, not documented: not yet measured on AWS.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.health import Check, Health, State

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

INTERNET = "inet"
"""Interface of gp-lb towards the internet."""
VPC = "vpc-lb"
"""Interface of gp-lb towards the VPC."""

TABLE = "balancer"

_LOST = (State.UNHEALTHY, State.UNUSED)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A registered target. `address` is None and `running` false once its instance has stopped."""

    id: str
    port: int
    address: str | None
    zone: str
    running: bool = True


@dataclass(frozen=True, kw_only=True)
class Group:
    """A target group with those registered in it. `cross_zone` None: as the load balancer says."""

    arn: str
    check: Check
    targets: tuple[Target, ...]
    deregistration_delay: float
    connection_termination: bool
    cross_zone: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """The load balancer in one zone: its Elastic IP, and the address it uses in the VPC."""

    zone: str
    address: str
    private_address: str


@dataclass(frozen=True, kw_only=True)
class Listener:
    """A port of the load balancer. `protocols` are `udp`, `tcp` or both."""

    port: int
    protocols: tuple[str, ...]
    group: str


@dataclass(frozen=True, kw_only=True)
class Ingress:
    """A rule of the load balancer's security group, as EC2 gives it (ICMP: type and code)."""

    protocol: str
    from_port: int
    to_port: int
    cidr: str


@dataclass(frozen=True, kw_only=True)
class Balancer:
    """The network load balancer as the cloud's control plane describes it."""

    arn: str
    dns_name: str
    vpc_cidrs: tuple[str, ...]
    nodes: tuple[Node, ...]
    cross_zone: bool
    listeners: tuple[Listener, ...]
    groups: tuple[Group, ...]
    ingress: tuple[Ingress, ...]

    def group(self, arn: str) -> Group | None:
        """The group of that ARN."""
        return next((group for group in self.groups if group.arn == arn), None)


Key = tuple[str, str, int]
"""Group ARN, target id, port: AWS's own identity of a registration."""


@dataclass(frozen=True, order=True)
class Flows:
    """Every live flow to one target's port."""

    protocol: str
    address: str
    port: int


def key(group: Group, target: Target) -> Key:
    """The identity of a registration."""
    return (group.arn, target.id, target.port)


def eligible(balancer: Balancer, group: Group) -> tuple[Target, ...]:
    """The registered targets that may get traffic at all, in an order that does not change."""
    zones = {node.zone for node in balancer.nodes}
    fit = [t for t in group.targets if t.running and t.address is not None and t.zone in zones]
    return tuple(sorted(fit, key=lambda t: (t.id, t.port)))


def chosen(
    balancer: Balancer, group: Group, states: Mapping[Key, State], zone: str
) -> tuple[Target, ...]:
    """The targets among which the node of `zone` spreads new flows.

    The healthy ones; when no zone has a healthy one, all of them (fail-open). Without cross-zone
    a node knows only the targets of its zone, and none of them being healthy it drops what comes.
    """
    fit = eligible(balancer, group)
    healthy = tuple(t for t in fit if states.get(key(group, t)) is State.HEALTHY)
    pool = healthy or fit
    cross = balancer.cross_zone if group.cross_zone is None else group.cross_zone
    return pool if cross else tuple(t for t in pool if t.zone == zone)


def forbidden(
    balancer: Balancer,
    states: Mapping[Key, State],
    gone: Mapping[Key, tuple[Flows, ...]],
) -> frozenset[Flows]:
    """The flows that must not be: to unhealthy targets, and to those whose draining has ended.

    A target that still gets new flows (fail-open) keeps its old ones too. `gone` are registrations
    that ended, with connection termination and the delay over.
    """
    kept: set[Flows] = set()
    moved = {flows for ended in gone.values() for flows in ended}
    for listener in balancer.listeners:
        group = balancer.group(listener.group)
        if group is None:
            continue
        used = {t for node in balancer.nodes for t in chosen(balancer, group, states, node.zone)}
        for target in group.targets:
            flows = _flows(listener, target)
            if target in used or states.get(key(group, target)) not in _LOST:
                kept |= flows
            else:
                moved |= flows
    return frozenset(moved - kept)


def flows_to(balancer: Balancer, group: Group, target: Target) -> tuple[Flows, ...]:
    """The flows that reach `target` as a member of `group`."""
    found: set[Flows] = set()
    for listener in balancer.listeners:
        if listener.group == group.arn:
            found |= _flows(listener, target)
    return tuple(sorted(found))


def effective(
    health: Mapping[Key, Health], delay: float, now: float, lost: Collection[str] = ()
) -> dict[Key, State]:
    """The states the data plane goes by: it hears of an unhealthy target `delay` seconds late.

    How long AWS's data plane takes is not documented: not yet measured on AWS. The healthy targets
    whose ids are in `lost` are unhealthy to it at once, whatever the checks find.
    """
    states = {}
    for name, one in health.items():
        late = one.state is State.UNHEALTHY and now < one.since + delay
        states[name] = State.HEALTHY if late else one.state
        if states[name] is State.HEALTHY and name[1] in lost:
            states[name] = State.UNHEALTHY
    return states


def addresses(balancer: Balancer, states: Mapping[Key, State]) -> dict[str, tuple[str, ...]]:
    """DNS: the load balancer's name, and one name a zone, with the addresses they resolve to.

    A node with nowhere to send to is left out of the first, unless all would be
    (user guide, "Target groups": health checks).
    """
    able = [node for node in balancer.nodes if _serves(balancer, states, node)]
    answer = {balancer.dns_name: tuple(node.address for node in able or balancer.nodes)}
    for node in balancer.nodes:
        answer[f"{node.zone}.{balancer.dns_name}"] = (node.address,)
    return answer


def ruleset(balancer: Balancer | None, states: Mapping[Key, State]) -> str:
    """The text for `nft -f -`: one transaction, in which a live flow notices nothing.

    Chains are flushed and filled, never removed, so NAT's hooks stay registered throughout.
    """
    admit = [f'iifname != "{INTERNET}" accept', "ct state established accept"]
    spread: list[str] = []
    if balancer is not None:
        admit += [_admit(rule) for rule in balancer.ingress]
        for listener in balancer.listeners:
            group = balancer.group(listener.group)
            for node in balancer.nodes if group is not None else ():
                targets = chosen(balancer, group, states, node.zone) if group else ()
                spread += _spread(listener, node, targets)
    admit.append("drop")
    # An answer passes by its conntrack entry only: whatever else a gateway sends stays here.
    # An ICMP error about a translated flow carries that flow's status and direction.
    forward = [
        f'iifname "{INTERNET}" oifname "{VPC}" ct direction original ct status dnat accept',
        f'iifname "{VPC}" oifname "{INTERNET}" ct direction reply ct status dnat accept',
    ]
    receive = ['iifname "lo" accept', f'iifname "{VPC}" ct state established,related accept']
    chains = [
        _chain("admit", "type filter hook prerouting priority mangle; policy accept;", admit),
        _chain("spread", "type nat hook prerouting priority dstnat; policy accept;", spread),
        _chain("forward", "type filter hook forward priority filter; policy drop;", forward),
        _chain("receive", "type filter hook input priority filter; policy drop;", receive),
    ]
    body = "\n".join(chains)
    return f"table ip {TABLE} {{\n}}\nflush table ip {TABLE}\ntable ip {TABLE} {{\n{body}\n}}\n"


def _flows(listener: Listener, target: Target) -> set[Flows]:
    if target.address is None:
        return set()
    return {Flows(protocol, target.address, target.port) for protocol in listener.protocols}


def _serves(balancer: Balancer, states: Mapping[Key, State], node: Node) -> bool:
    for listener in balancer.listeners:
        group = balancer.group(listener.group)
        if group is not None and not chosen(balancer, group, states, node.zone):
            return False
    return True


def _spread(listener: Listener, node: Node, targets: tuple[Target, ...]) -> list[str]:
    if not targets:
        return []
    places = ", ".join(f"{n} : {t.address} . {t.port}" for n, t in enumerate(targets))
    rules = []
    for protocol in listener.protocols:
        fields = f"ip saddr . {protocol} sport . ip daddr . {protocol} dport"
        rules.append(
            f'iifname "{INTERNET}" ip daddr {node.address} {protocol} dport {listener.port} '
            f"dnat ip to jhash {fields} mod {len(targets)} seed 0x1 map {{ {places} }}"
        )
    return rules


def _admit(rule: Ingress) -> str:
    source = f"ip saddr {rule.cidr}"
    if rule.protocol == "-1":
        return f"{source} accept"
    if rule.protocol == "icmp":
        kind = "" if rule.from_port < 0 else f" icmp type {rule.from_port}"
        code = "" if rule.to_port < 0 else f" icmp code {rule.to_port}"
        return f"{source} meta l4proto icmp{kind}{code} accept"
    return f"{source} {rule.protocol} dport {rule.from_port}-{rule.to_port} accept"


def _chain(name: str, head: str, rules: list[str]) -> str:
    lines = "\n".join(f"    {rule}" for rule in rules)
    return f"  chain {name} {{\n    {head}\n{lines}\n  }}"
