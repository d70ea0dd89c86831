"""The load balancer: where clients dial in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pulumi
from pulumi_aws import ec2, lb, vpc

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from components.network import Network
    from settings import Settings

SLOTS = (0, 1)
"""The two key slots: generation g of the server key lives in slot (g - 1) mod 2."""
_DESTINATION_UNREACHABLE, _FRAGMENTATION_NEEDED = 3, 4
"""The ICMP type and code by which a router reports a smaller MTU (RFC 1191)."""


@dataclass(frozen=True, kw_only=True)
class LoadBalancerArgs:
    """Inputs of `LoadBalancer`."""

    settings: Settings
    network: Network
    tags: Mapping[str, str] = field(default_factory=dict)


def metrics_name(arn: str) -> str:
    """How CloudWatch names a load balancer (`net/NAME/ID`) or a target group, from its ARN."""
    return arn.rpartition(":")[2].removeprefix("loadbalancer/")


class LoadBalancer(pulumi.ComponentResource):
    """A network load balancer with an address of its own in each zone.

    Creates its security group (AWS takes none later) with the rules for clients, one Elastic IP a
    zone, the load balancer, and for each key slot a listener and a target group, so that a key
    rotation changes no resource. What it may send to the gateways is theirs to say.
    """

    arn: pulumi.Output[str]
    metrics_name: pulumi.Output[str]
    """As CloudWatch names it."""
    dns_name: pulumi.Output[str]
    addresses: Sequence[pulumi.Output[str]]
    """Public IPv4 addresses, one a zone."""
    security_group_id: pulumi.Output[str]
    target_group_arns: Sequence[pulumi.Output[str]]
    """By slot."""
    target_group_metrics_names: Sequence[pulumi.Output[str]]
    """By slot, as CloudWatch names them."""

    def __init__(
        self, name: str, args: LoadBalancerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:load_balancer:LoadBalancer", name, {}, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)
        self._kept = pulumi.ResourceOptions(parent=self, protect=args.settings.protect)

        group = self._security_group()
        addresses = {
            key: ec2.Eip(
                f"{name}-address-{key}",
                domain="vpc",
                tags=self._tags(f"address-{key}"),
                opts=self._kept,
            )
            for key in args.network.public_subnet_ids
        }
        balancer = lb.LoadBalancer(
            f"{name}-nlb",
            load_balancer_type="network",
            internal=False,
            ip_address_type="ipv4",
            security_groups=[group.id],
            subnet_mappings=[
                {"subnet_id": subnet, "allocation_id": addresses[key].allocation_id}
                for key, subnet in args.network.public_subnet_ids.items()
            ],
            # Off is AWS's default for this kind; WireGuard resolves its endpoint once, so a client
            # whose zone lost its gateway would stay there for ever.
            enable_cross_zone_load_balancing=True,
            enable_deletion_protection=args.settings.protect,
            tags=self._tags("nlb"),
            opts=self._kept,
        )

        slots = [self._slot(slot, balancer) for slot in SLOTS]
        self.target_group_arns = [group.arn for group in slots]
        self.target_group_metrics_names = [group.arn.apply(metrics_name) for group in slots]
        self.arn, self.metrics_name = balancer.arn, balancer.arn.apply(metrics_name)
        self.dns_name = balancer.dns_name
        self.addresses = [address.public_ip for address in addresses.values()]
        self.security_group_id = group.id
        self.register_outputs({"dns_name": self.dns_name, "addresses": self.addresses})

    def _security_group(self) -> ec2.SecurityGroup:
        args = self._args
        group = ec2.SecurityGroup(
            f"{self._name}-sg",
            description="gatepair load balancer",
            vpc_id=args.network.vpc_id,
            tags=self._tags("sg"),
            opts=self._child,
        )
        for cidr in args.settings.client_cidrs:
            vpc.SecurityGroupIngressRule(
                f"{self._name}-from-{cidr.network_address}-{cidr.prefixlen}",
                security_group_id=group.id,
                description="WireGuard, both key slots",
                ip_protocol="udp",
                from_port=args.settings.port,
                to_port=args.settings.port + len(SLOTS) - 1,
                cidr_ipv4=str(cidr),
                tags=args.tags,
                opts=self._child,
            )
        # From anywhere: it is sent by routers on the way, not by clients.
        vpc.SecurityGroupIngressRule(
            f"{self._name}-path-mtu",
            security_group_id=group.id,
            description="path MTU discovery",
            ip_protocol="icmp",
            from_port=_DESTINATION_UNREACHABLE,
            to_port=_FRAGMENTATION_NEEDED,
            cidr_ipv4="0.0.0.0/0",
            tags=args.tags,
            opts=self._child,
        )
        return group

    def _slot(self, slot: int, balancer: lb.LoadBalancer) -> lb.TargetGroup:
        args = self._args
        targets = lb.TargetGroup(
            f"{self._name}-slot-{slot}",
            vpc_id=args.network.vpc_id,
            target_type="instance",
            protocol="UDP",
            port=args.settings.port + slot,
            # All of it explicit: the provider's defaults are not AWS's.
            health_check={
                "enabled": True,
                "protocol": "HTTP",
                "path": f"/healthz/{slot}",
                "port": str(args.settings.health_port),
                "interval": 5,
                "timeout": 2,
                "healthy_threshold": 2,
                "unhealthy_threshold": 2,
                "matcher": "200",
            },
            deregistration_delay=0,
            connection_termination=True,
            preserve_client_ip="true",
            tags=self._tags(f"slot-{slot}"),
            opts=self._child,
        )
        lb.Listener(
            f"{self._name}-listener-{slot}",
            load_balancer_arn=balancer.arn,
            protocol="UDP",
            port=args.settings.port + slot,
            default_actions=[{"type": "forward", "target_group_arn": targets.arn}],
            tags=self._tags(f"listener-{slot}"),
            opts=self._child,
        )
        return targets

    def _tags(self, suffix: str) -> dict[str, str]:
        return {**self._args.tags, "Name": f"{self._name}-{suffix}"}
