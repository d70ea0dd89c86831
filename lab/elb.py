"""The network load balancer as the cloud's control plane describes it, read into `lab.flows`.

Requests go to elbv2 and EC2 only, as an operator's would.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from lab.flows import Balancer, Group, Ingress, Listener, Node, Target
from lab.health import Check

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PROTOCOLS = {"UDP": ("udp",), "TCP": ("tcp",), "TCP_UDP": ("tcp", "udp")}
_ANY = "0.0.0.0/0"


class Reader:
    """Reads the one network load balancer there is. `elb` and `ec2` are boto3 clients."""

    def __init__(self, elb: Any, ec2: Any) -> None:
        self._elb, self._ec2 = elb, ec2

    def read(self) -> Balancer | None:
        """The load balancer now, or None if there is none. AWS's errors pass through."""
        found = self._elb.describe_load_balancers()["LoadBalancers"]
        one = next((b for b in found if b["Type"] == "network"), None)
        if one is None:
            return None
        arn = one["LoadBalancerArn"]
        listeners = tuple(self._listeners(arn))
        described = self._elb.describe_target_groups(LoadBalancerArn=arn)["TargetGroups"]
        registered = {g["TargetGroupArn"]: self._registered(g["TargetGroupArn"]) for g in described}
        instances = self._instances(
            {name for targets in registered.values() for name, _ in targets}
        )
        return Balancer(
            arn=arn,
            dns_name=one["DNSName"],
            vpc_cidrs=self._vpc_cidrs(one["VpcId"]),
            nodes=tuple(self._nodes(one)),
            cross_zone=_true(self._attributes(arn), "load_balancing.cross_zone.enabled"),
            listeners=listeners,
            groups=tuple(
                self._group(one, registered[one["TargetGroupArn"]], instances) for one in described
            ),
            ingress=tuple(self._ingress(one.get("SecurityGroups", []))),
        )

    def refresh(self, before: Balancer) -> Balancer:
        """`before` with the targets that are registered now: what changes by the second."""
        registered = {group.arn: self._registered(group.arn) for group in before.groups}
        instances = self._instances(
            {name for targets in registered.values() for name, _ in targets}
        )
        groups = tuple(
            replace(
                group,
                targets=tuple(
                    _target(n, port, instances.get(n)) for n, port in registered[group.arn]
                ),
            )
            for group in before.groups
        )
        return replace(before, groups=groups)

    def _listeners(self, arn: str) -> Iterable[Listener]:
        for one in self._elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]:
            forward = next((a for a in one["DefaultActions"] if a["Type"] == "forward"), None)
            if forward is not None and one["Protocol"] in _PROTOCOLS:
                protocols = _PROTOCOLS[one["Protocol"]]
                yield Listener(port=one["Port"], protocols=protocols, group=_group_of(forward))

    def _nodes(self, one: Mapping[str, Any]) -> Iterable[Node]:
        zones = one["AvailabilityZones"]
        subnets = self._ec2.describe_subnets(SubnetIds=[z["SubnetId"] for z in zones])["Subnets"]
        cidrs = {s["SubnetId"]: IPv4Network(s["CidrBlock"]) for s in subnets}
        for zone in zones:
            address = next((a["IpAddress"] for a in zone.get("LoadBalancerAddresses", [])), None)
            if address is not None:
                private = node_address(cidrs[zone["SubnetId"]])
                yield Node(zone=zone["ZoneName"], address=address, private_address=private)

    def _group(
        self,
        one: Mapping[str, Any],
        registered: Iterable[tuple[str, int]],
        instances: Mapping[str, Mapping[str, Any]],
    ) -> Group:
        attributes = self._group_attributes(one["TargetGroupArn"])
        cross = attributes.get("load_balancing.cross_zone.enabled", "")
        return Group(
            arn=one["TargetGroupArn"],
            check=_check(one),
            targets=tuple(_target(name, port, instances.get(name)) for name, port in registered),
            deregistration_delay=float(
                attributes.get("deregistration_delay.timeout_seconds") or 300
            ),
            # The default of a UDP target group is true (elbv2 API reference, TargetGroupAttribute)
            connection_termination=_true(
                attributes, "deregistration_delay.connection_termination.enabled", default=True
            ),
            cross_zone={"true": True, "false": False}.get(cross),
        )

    def _registered(self, arn: str) -> list[tuple[str, int]]:
        answer = self._elb.describe_target_health(TargetGroupArn=arn)
        return [
            (one["Target"]["Id"], one["Target"]["Port"])
            for one in answer["TargetHealthDescriptions"]
            if one["TargetHealth"]["State"] != "draining"
        ]

    def _instances(self, names: set[str]) -> dict[str, Mapping[str, Any]]:
        if not names:
            return {}
        # A filter, not InstanceIds: an instance that is long gone is no error then
        wanted = [{"Name": "instance-id", "Values": sorted(names)}]
        answer = self._ec2.describe_instances(Filters=wanted)["Reservations"]
        return {one["InstanceId"]: one for group in answer for one in group["Instances"]}

    def _vpc_cidrs(self, vpc: str) -> tuple[str, ...]:
        one = self._ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]
        cidrs = [a["CidrBlock"] for a in one.get("CidrBlockAssociationSet", [])]
        return tuple(dict.fromkeys([one["CidrBlock"], *cidrs]))

    def _attributes(self, arn: str) -> dict[str, str]:
        answer = self._elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
        return {one["Key"]: one["Value"] for one in answer}

    def _group_attributes(self, arn: str) -> dict[str, str]:
        answer = self._elb.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
        return {one["Key"]: one["Value"] for one in answer}

    def _ingress(self, groups: list[str]) -> Iterable[Ingress]:
        if not groups:
            yield Ingress(protocol="-1", from_port=-1, to_port=-1, cidr=_ANY)
            return
        for group in self._ec2.describe_security_groups(GroupIds=groups)["SecurityGroups"]:
            for rule in group["IpPermissions"]:
                yield from _rules(rule)


def node_address(subnet: IPv4Network) -> str:
    """The load balancer's own address in a subnet of its: the last that a host may have."""
    return str(subnet.broadcast_address - 1)


def _rules(rule: Mapping[str, Any]) -> Iterable[Ingress]:
    # ICMP counts types and codes here, -1 for all; other protocols always have both ports
    for cidr in rule.get("IpRanges", []):
        yield Ingress(
            protocol=rule["IpProtocol"],
            from_port=int(rule.get("FromPort", -1)),
            to_port=int(rule.get("ToPort", -1)),
            cidr=cidr["CidrIp"],
        )


def _check(one: Mapping[str, Any]) -> Check:
    port = one.get("HealthCheckPort", "traffic-port")
    return Check(
        protocol=one["HealthCheckProtocol"],
        port=None if port == "traffic-port" else int(port),
        path=one.get("HealthCheckPath") or "/",
        matcher=(one.get("Matcher") or {}).get("HttpCode") or "200-399",
        interval=float(one["HealthCheckIntervalSeconds"]),
        timeout=float(one["HealthCheckTimeoutSeconds"]),
        healthy=int(one["HealthyThresholdCount"]),
        unhealthy=int(one["UnhealthyThresholdCount"]),
    )


def _target(name: str, port: int, instance: Mapping[str, Any] | None) -> Target:
    if instance is None:
        return Target(id=name, port=port, address=None, zone="", running=False)
    return Target(
        id=name,
        port=port,
        address=instance.get("PrivateIpAddress"),
        zone=instance["Placement"]["AvailabilityZone"],
        running=instance["State"]["Name"] in {"pending", "running"},
    )


def _group_of(action: Mapping[str, Any]) -> str:
    if "TargetGroupArn" in action:
        return action["TargetGroupArn"]
    return action["ForwardConfig"]["TargetGroups"][0]["TargetGroupArn"]


def _true(attributes: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    return attributes.get(name, str(default)).lower() == "true"
