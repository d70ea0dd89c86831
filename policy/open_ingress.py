"""What the world may reach: WireGuard's two UDP ports of the load balancer, and nothing else.

ICMP "fragmentation needed" comes with them: routers on the way send it, not clients. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from policy.model import Gap, find, items, same, shown, violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from policy.model import Resource, Violation

RULE = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"
OLD_RULE = "aws:ec2/securityGroupRule:SecurityGroupRule"
GROUPS = (
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
)
ABOUT_GROUPS = (
    RULE,
    OLD_RULE,
    *GROUPS,
    "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
)
"""What refers to a group without putting anything into it."""
BALANCER = "aws:lb/loadBalancer:LoadBalancer"
LISTENER = "aws:lb/listener:Listener"
FUNCTION_URL = "aws:lambda/functionUrl:FunctionUrl"
PERMISSION = "aws:lambda/permission:Permission"

SLOTS = 2
"""Ports that may be open, one for each key slot."""
_OWNED = {4: 8, 6: 16}
"""The prefix of the widest block that may be one organisation's, by IP version. IANA gave /8s to
single ones ("IPv4 Address Space Registry"); for IPv6 it is a choice, wide enough for anybody."""
_SOURCES = (
    "cidrIpv4",
    "cidrIpv6",
    "cidrBlocks",
    "ipv6CidrBlocks",
    "prefixListId",
    "prefixListIds",
)
"""Where addresses stand, in one kind of rule or another."""
_PATH_MTU = ("icmp", 3, 4)
"""Destination unreachable, fragmentation needed (RFC 1191)."""
_CURE = "name the addresses that need it, or reach it through the tunnel"


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What one rule of a security group lets in from everywhere."""

    resource: Resource
    path: str
    """The property that says "from everywhere"."""
    source: str
    protocol: Any
    low: Any
    high: Any
    groups: frozenset[str]
    """URNs of the groups it is for; none where the program does not make the group."""

    @property
    def allowed_kind(self) -> bool:
        """Whether it may be open anywhere: path MTU, or as many UDP ports as key slots."""
        if Gap.UNKNOWN in (self.protocol, self.low, self.high):
            return True
        if (self.protocol, self.low, self.high) == _PATH_MTU:
            return True
        return self.protocol in ("udp", "17") and len(self.ports) in range(1, SLOTS + 1)

    @property
    def ports(self) -> range:
        """Empty if it does not say which."""
        if isinstance(self.low, int | float) and isinstance(self.high, int | float):
            return range(int(self.low), int(self.high) + 1)
        return range(0)

    def __str__(self) -> str:
        return f"{shown(self.protocol)} {shown(self.low)} to {shown(self.high)} from {self.source}"


def is_world(source: Any) -> bool:
    """Whether a source is more than any organisation's addresses.

    So is a prefix list: what is in it can be changed without a deployment.
    """
    if isinstance(source, Gap):
        return False
    try:
        network = ip_network(str(source), strict=False)
    except ValueError:
        return True
    return network.prefixlen < _OWNED[network.version]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One block, or whatever stands for one, that one rule of a security group lets in."""

    rule: Mapping[str, Any]
    """As it stands in the resource."""
    path: str
    """Of the source, in the resource."""
    protocol: Any
    source: Any
    groups: frozenset[str]
    """URNs of the groups it is for; none where the program does not make the group."""


def sources(resource: Resource) -> Iterator[Source]:
    """Whoever the resource lets in by address."""
    props = resource.props
    if resource.type == RULE or (resource.type == OLD_RULE and find(props, "type") != "egress"):
        yield from _sources(resource, props, "", resource.made_from("securityGroupId"))
    elif resource.type in GROUPS:
        for number, inline in enumerate(items(props, "ingress")):
            yield from _sources(resource, inline, f"ingress.{number}.", frozenset({resource.urn}))


def _sources(
    resource: Resource, rule: Mapping[str, Any], prefix: str, groups: frozenset[str]
) -> Iterator[Source]:
    protocol = find(rule, "ipProtocol" if resource.type == RULE else "protocol")
    for name in _SOURCES:
        given = find(rule, name)
        for source in given if isinstance(given, list) else [given]:
            yield Source(
                rule=rule, path=prefix + name, protocol=protocol, source=source, groups=groups
            )


def openings(resource: Resource) -> Iterator[Opening]:
    """Whatever the resource opens to the world."""
    for said in sources(resource):
        if is_world(said.source):
            yield Opening(
                resource=resource,
                path=said.path,
                source=shown(said.source),
                protocol=said.protocol,
                low=find(said.rule, "fromPort"),
                high=find(said.rule, "toPort"),
                groups=said.groups,
            )


def judge(resource: Resource) -> Iterator[Violation]:
    """Nothing but path MTU and WireGuard is open to the world, wherever it stands."""
    for opening in openings(resource):
        if not opening.allowed_kind:
            why = f"{opening} is more than path MTU discovery and WireGuard's {SLOTS} UDP ports"
            yield violation(resource, opening.path, why, _CURE, value=opening.source)
    if resource.type == FUNCTION_URL:
        access = find(resource.props, "authorizationType")
        if access is not Gap.UNKNOWN and access != "AWS_IAM":
            why = "anybody could call it"
            yield violation(resource, "authorizationType", why, "set it to AWS_IAM")
    if resource.type == PERMISSION and find(resource.props, "principal") == "*":
        yield violation(resource, "principal", "anybody could call it", "name who may")


def judge_place(resources: Sequence[Resource]) -> Iterator[Violation]:
    """What may be open at all is open at the load balancer, on ports that it listens on."""
    balancers = [resource for resource in resources if resource.type == BALANCER]
    own = _groups_of(balancers)
    shared = _groups_of([r for r in resources if r.type not in (BALANCER, *ABOUT_GROUPS)])
    urns = {balancer.urn for balancer in balancers}
    listening = [
        find(resource.props, "port")
        for resource in resources
        if resource.type == LISTENER
        and resource.made_from("loadBalancerArn") & urns
        and same(find(resource.props, "protocol"), "UDP")
    ]
    for resource in resources:
        for opening in openings(resource):
            if not opening.allowed_kind:
                continue  # `judge` says so
            if not opening.groups or not opening.groups <= own - shared:
                why = f"{opening} is not for the load balancer alone"
                yield violation(resource, opening.path, why, _CURE, value=opening.source)
            elif opening.protocol != "icmp" and not set(opening.ports) <= set(listening):
                heard = ", ".join(shown(port) for port in listening) or "none"
                why = f"{opening} is not what the load balancer listens on, which is {heard}"
                cure = "open the two ports of the key slots"
                yield violation(resource, opening.path, why, cure, value=opening.source)


def _groups_of(resources: Sequence[Resource]) -> frozenset[str]:
    """URNs of all groups that these are made from, in whichever property."""
    named = (urn for r in resources for urns in r.references.values() for urn in urns)
    return frozenset(urn for urn in named if _is_group(urn))


def _is_group(urn: str) -> bool:
    return urn.split("::")[2].rpartition("$")[2] in GROUPS
