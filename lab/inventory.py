"""What moto says there is, in the shapes the lab's data plane works with.

`parse_*` are pure: an entry of an EC2 or ELBv2 describe answer in, a frozen dataclass out. The
`read_*` functions ask moto. Everything is IPv4: the lab has no other.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

LIVE = frozenset({"pending", "running"})
"""Instance states in which a machine has power."""


@dataclass(frozen=True)
class Attachment:
    """Something with an address in the VPC: a machine or a private host."""

    interface: str
    """The veth's end in the VPC router's namespace."""
    address: IPv4Address
    subnet_id: str
    vpc_id: str
    groups: tuple[str, ...]
    source_check: bool = True
    id: str = ""
    """Instance id, or the host's name."""
    interface_id: str = ""


@dataclass(frozen=True)
class Instance:
    """An EC2 instance with its one network interface."""

    id: str
    state: str
    address: IPv4Address
    mac: str
    interface_id: str
    subnet_id: str
    vpc_id: str
    zone: str
    groups: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    source_check: bool = True
    image: str = ""
    type: str = ""
    launched: str = ""
    public_address: str | None = None
    profile: str | None = None
    """Name or ARN of the instance profile given to the instance itself."""
    template: tuple[str, str] | None = None
    """Launch template id and version that made it."""
    scaling_group: str | None = None

    @property
    def short(self) -> str:
        """`i-` and eight characters: fits an interface's name."""
        return self.id[:10]

    def attachment(self) -> Attachment:
        """Its place in the VPC."""
        return Attachment(
            interface=self.short,
            address=self.address,
            subnet_id=self.subnet_id,
            vpc_id=self.vpc_id,
            groups=self.groups,
            source_check=self.source_check,
            id=self.id,
            interface_id=self.interface_id,
        )


@dataclass(frozen=True)
class Rule:
    """One security group rule: exactly one of `cidr` and `peer_group` is set."""

    group: str
    egress: bool
    protocol: str
    """`-1` (any), `tcp`, `udp`, `icmp`, or a protocol number."""
    low: int
    """First port or ICMP type; -1 is any."""
    high: int
    """Last port or ICMP code; -1 is any."""
    cidr: IPv4Network | None = None
    peer_group: str | None = None


@dataclass(frozen=True)
class Route:
    """One route of a VPC route table. `kind`: `local`, `outside` (a gateway of some kind),
    `instance`, `interface`, or `none` (nothing the lab knows)."""

    destination: IPv4Network
    kind: str
    target: str = ""


@dataclass(frozen=True)
class RouteTable:
    """A VPC route table and the subnets that are tied to it by name."""

    id: str
    vpc_id: str
    main: bool
    subnet_ids: tuple[str, ...]
    routes: tuple[Route, ...]


@dataclass(frozen=True)
class Balancer:
    """A network load balancer: where its nodes stand, its groups, its name and its EIPs."""

    name: str
    subnet_ids: tuple[str, ...]
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Network:
    """All of a VPC that the router enforces; instances are read apart, and more often."""

    subnets: dict[str, IPv4Network] = field(default_factory=dict)
    cidrs: dict[str, tuple[IPv4Network, ...]] = field(default_factory=dict)
    """VPC id -> its CIDRs."""
    rules: tuple[Rule, ...] = ()
    tables: tuple[RouteTable, ...] = ()
    balancers: tuple[Balancer, ...] = ()
    ports: tuple[int, ...] = ()
    """UDP ports of the load balancers' targets."""

    def node(self, subnet_id: str) -> IPv4Address:
        """The load balancer node's private address in a subnet: the last one of a host."""
        return self.subnets[subnet_id].broadcast_address - 1


def read_instances(ec2: Any) -> dict[str, Instance]:
    """Every instance that has an address, by id; terminated ones have none."""
    found = {}
    for page in ec2.get_paginator("describe_instances").paginate():
        for reservation in page["Reservations"]:
            for entry in reservation["Instances"]:
                if entry.get("NetworkInterfaces"):
                    found[entry["InstanceId"]] = parse_instance(entry)
    return found


def read_subnets(ec2: Any) -> dict[str, IPv4Network]:
    """Subnet id -> CIDR."""
    subnets = ec2.describe_subnets()["Subnets"]
    return {entry["SubnetId"]: IPv4Network(entry["CidrBlock"]) for entry in subnets}


def read_cidrs(ec2: Any) -> dict[str, tuple[IPv4Network, ...]]:
    """VPC id -> CIDRs."""
    return {entry["VpcId"]: parse_cidrs(entry) for entry in ec2.describe_vpcs()["Vpcs"]}


def read_network(ec2: Any, elbv2: Any) -> Network:
    """The rest of the VPC."""
    balancers = [
        entry
        for entry in elbv2.describe_load_balancers()["LoadBalancers"]
        if entry.get("Type") == "network"
    ]
    groups = elbv2.describe_target_groups()["TargetGroups"] if balancers else []
    elastic = ec2.describe_addresses()["Addresses"] if balancers else []
    public = {entry["AllocationId"]: entry["PublicIp"] for entry in elastic}
    rules = ec2.describe_security_group_rules()["SecurityGroupRules"]
    return Network(
        subnets=read_subnets(ec2),
        cidrs=read_cidrs(ec2),
        rules=tuple(rule for entry in rules if (rule := parse_rule(entry))),
        tables=tuple(parse_table(entry) for entry in ec2.describe_route_tables()["RouteTables"]),
        balancers=tuple(parse_balancer(entry, public) for entry in balancers),
        ports=tuple(sorted({g["Port"] for g in groups if g.get("Protocol") == "UDP"})),
    )


def parse_instance(entry: dict[str, Any]) -> Instance:
    """An entry of DescribeInstances with at least one network interface."""
    interface = entry["NetworkInterfaces"][0]
    tags = {tag["Key"]: tag["Value"] for tag in entry.get("Tags", [])}
    template = tags.get("aws:ec2launchtemplate:id")
    launched = entry.get("LaunchTime")
    return Instance(
        id=entry["InstanceId"],
        state=entry["State"]["Name"],
        address=IPv4Address(interface["PrivateIpAddress"]),
        mac=interface["MacAddress"],
        interface_id=interface["NetworkInterfaceId"],
        subnet_id=interface["SubnetId"],
        vpc_id=interface["VpcId"],
        zone=entry["Placement"]["AvailabilityZone"],
        groups=tuple(group["GroupId"] for group in interface["Groups"]),
        group_names=tuple(group.get("GroupName", "") for group in interface["Groups"]),
        # The attribute is the interface's; ModifyInstanceAttribute changes the instance's copy
        source_check=interface.get("SourceDestCheck", True) and entry.get("SourceDestCheck", True),
        image=entry.get("ImageId", ""),
        type=entry.get("InstanceType", ""),
        launched=f"{launched:%Y-%m-%dT%H:%M:%SZ}" if launched else "",
        public_address=entry.get("PublicIpAddress"),
        profile=(entry.get("IamInstanceProfile") or {}).get("Arn"),
        template=(template, tags["aws:ec2launchtemplate:version"]) if template else None,
        scaling_group=tags.get("aws:autoscaling:groupName"),
    )


def parse_rule(entry: dict[str, Any]) -> Rule | None:
    """An entry of DescribeSecurityGroupRules; None for IPv6 and prefix lists."""
    cidr = entry.get("CidrIpv4")
    peer = (entry.get("ReferencedGroupInfo") or {}).get("GroupId")
    if not cidr and not peer:
        return None
    return Rule(
        group=entry["GroupId"],
        egress=entry["IsEgress"],
        protocol=str(entry["IpProtocol"]),
        low=int(entry.get("FromPort", -1)),
        high=int(entry.get("ToPort", -1)),
        cidr=IPv4Network(cidr, strict=False) if cidr else None,
        peer_group=None if cidr else peer,
    )


def parse_table(entry: dict[str, Any]) -> RouteTable:
    """An entry of DescribeRouteTables."""
    ties = entry.get("Associations", [])
    return RouteTable(
        id=entry["RouteTableId"],
        vpc_id=entry["VpcId"],
        main=any(tie.get("Main") for tie in ties),
        subnet_ids=tuple(tie["SubnetId"] for tie in ties if tie.get("SubnetId")),
        routes=tuple(_parse_routes(entry.get("Routes", []))),
    )


def parse_balancer(entry: dict[str, Any], public: dict[str, str]) -> Balancer:
    """An entry of DescribeLoadBalancers; `public` is allocation id -> Elastic IP."""
    zones = entry.get("AvailabilityZones", [])
    addresses = [a for zone in zones for a in zone.get("LoadBalancerAddresses") or []]
    elastic = [a.get("IpAddress") or public.get(a.get("AllocationId", "")) for a in addresses]
    return Balancer(
        name=entry["DNSName"],
        subnet_ids=tuple(zone["SubnetId"] for zone in zones if zone.get("SubnetId")),
        groups=tuple(entry.get("SecurityGroups") or ()),
        addresses=tuple(address for address in elastic if address),
    )


def parse_cidrs(entry: dict[str, Any]) -> tuple[IPv4Network, ...]:
    """All CIDRs of an entry of DescribeVpcs."""
    more = [tie["CidrBlock"] for tie in entry.get("CidrBlockAssociationSet", [])]
    return tuple(sorted({IPv4Network(cidr) for cidr in [entry["CidrBlock"], *more]}))


def _parse_routes(entries: Iterable[dict[str, Any]]) -> Iterable[Route]:
    outside = ("GatewayId", "NatGatewayId", "TransitGatewayId", "VpcPeeringConnectionId")
    for entry in entries:
        if not entry.get("DestinationCidrBlock"):
            continue  # IPv6, and the prefix lists of gateway endpoints
        destination = IPv4Network(entry["DestinationCidrBlock"])
        if entry.get("GatewayId") == "local":
            yield Route(destination, "local")
        elif entry.get("InstanceId"):
            yield Route(destination, "instance", entry["InstanceId"])
        elif entry.get("NetworkInterfaceId"):
            yield Route(destination, "interface", entry["NetworkInterfaceId"])
        elif any(entry.get(key) for key in outside):
            yield Route(destination, "outside")
        else:
            yield Route(destination, "none")
