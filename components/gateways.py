"""The gateways: machines of one kind behind the load balancer, replaced and never repaired."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pulumi
from pulumi_aws import autoscaling, ec2, vpc

from components.load_balancer import SLOTS
from components.user_data import HOOKS
from settings import METRICS_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.gateway_role import GatewayRole
    from components.load_balancer import LoadBalancer
    from components.network import Network
    from settings import Settings

_HEALTHY_PERCENT, _REFRESH_PERCENT = 100, 150
_ROOT_DEVICE = "/dev/xvda"
"""As Debian's images name it."""
_ROOT_GIB = 8


@dataclass(frozen=True, kw_only=True)
class GatewaysArgs:
    """Inputs of `Gateways`."""

    settings: Settings
    network: Network
    balancer: LoadBalancer
    role: GatewayRole
    user_data: pulumi.Input[str]
    """Not secret: whoever may describe an instance can read it."""
    tags: Mapping[str, str] = field(default_factory=dict)


class Gateways(pulumi.ComponentResource):
    """An Auto Scaling group of gateways.

    Creates their security group and both ends of the path between load balancer and gateways, a
    launch template, the group over all zones, and the hooks by which a gateway says that it serves
    and that it has drained.
    """

    auto_scaling_group: pulumi.Output[str]
    auto_scaling_group_arn: pulumi.Output[str]

    def __init__(
        self, name: str, args: GatewaysArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:gateways:Gateways", name, {}, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)

        group = self._security_group()
        template = self._launch_template(group)
        scaling = self._auto_scaling_group(template)
        # A launch that does not get healthy in time is given up and tried anew; a gateway that is
        # told to go has this long to hand its clients over.
        self._hook(scaling, "launch", "LAUNCHING", seconds=900, then="ABANDON")
        self._hook(scaling, "terminate", "TERMINATING", seconds=300, then="CONTINUE")

        self.auto_scaling_group, self.auto_scaling_group_arn = scaling.name, scaling.arn
        self.register_outputs({"auto_scaling_group": self.auto_scaling_group})

    def _security_group(self) -> ec2.SecurityGroup:
        args = self._args
        balancer = args.balancer.security_group_id
        group = ec2.SecurityGroup(
            f"{self._name}-sg",
            description="gatepair gateways",
            vpc_id=args.network.vpc_id,
            tags=self._tags("sg"),
            opts=self._child,
        )
        last = args.settings.port + len(SLOTS) - 1
        for what, protocol, low, high in (
            ("wireguard", "udp", args.settings.port, last),
            ("health", "tcp", args.settings.health_port, args.settings.health_port),
        ):
            vpc.SecurityGroupIngressRule(
                f"{self._name}-{what}",
                security_group_id=group.id,
                description=f"{what}, from the load balancer",
                ip_protocol=protocol,
                from_port=low,
                to_port=high,
                referenced_security_group_id=balancer,
                tags=args.tags,
                opts=self._child,
            )
            vpc.SecurityGroupEgressRule(
                f"{self._name}-balancer-{what}",
                security_group_id=balancer,
                description=f"{what}, to the gateways",
                ip_protocol=protocol,
                from_port=low,
                to_port=high,
                referenced_security_group_id=group.id,
                tags=args.tags,
                opts=self._child,
            )
        # Out it goes by the rules for the VPC's blocks below.
        vpc.SecurityGroupIngressRule(
            f"{self._name}-gossip",
            security_group_id=group.id,
            description="gossip, between gateways",
            ip_protocol="udp",
            from_port=args.settings.gossip_port,
            to_port=args.settings.gossip_port,
            referenced_security_group_id=group.id,
            tags=args.tags,
            opts=self._child,
        )
        for cidr in args.settings.monitoring_cidrs:
            vpc.SecurityGroupIngressRule(
                f"{self._name}-metrics-from-{cidr.network_address}-{cidr.prefixlen}",
                security_group_id=group.id,
                description="metrics",
                ip_protocol="tcp",
                from_port=METRICS_PORT,
                to_port=METRICS_PORT,
                cidr_ipv4=str(cidr),
                tags=args.tags,
                opts=self._child,
            )
        # No UDP to the internet: a gateway's own WireGuard packets must not reach a client but as
        # replies through the load balancer, or the client would turn to this gateway's address.
        for what, port in (("https", 443), ("http", 80)):
            vpc.SecurityGroupEgressRule(
                f"{self._name}-to-{what}",
                security_group_id=group.id,
                description="AWS and Debian",
                ip_protocol="tcp",
                from_port=port,
                to_port=port,
                cidr_ipv4="0.0.0.0/0",
                tags=args.tags,
                opts=self._child,
            )
        for cidr in args.settings.reachable_cidrs:
            vpc.SecurityGroupEgressRule(
                f"{self._name}-to-{cidr.network_address}-{cidr.prefixlen}",
                security_group_id=group.id,
                description="what clients may reach",
                ip_protocol="-1",
                cidr_ipv4=str(cidr),
                tags=args.tags,
                opts=self._child,
            )
        return group

    def _launch_template(self, group: ec2.SecurityGroup) -> ec2.LaunchTemplate:
        args = self._args
        return ec2.LaunchTemplate(
            f"{self._name}-template",
            image_id=args.settings.ami_id,
            instance_type=args.settings.instance_type,
            iam_instance_profile={"arn": args.role.profile_arn},
            vpc_security_group_ids=[group.id],
            metadata_options={
                "http_endpoint": "enabled",
                "http_tokens": "required",
                "http_put_response_hop_limit": 1,
            },
            block_device_mappings=[
                {
                    "device_name": _ROOT_DEVICE,
                    "ebs": {
                        "encrypted": "true",
                        "volume_type": "gp3",
                        "volume_size": _ROOT_GIB,
                        "delete_on_termination": "true",
                    },
                }
            ],
            # the provider's default tags do not reach what is made from a template
            tag_specifications=[
                {"resource_type": kind, "tags": self._tags("gateway")}
                for kind in ("instance", "volume", "network-interface")
            ],
            user_data=pulumi.Output.from_input(args.user_data).apply(_base64),
            tags=self._tags("template"),
            opts=self._child,
        )

    def _auto_scaling_group(self, template: ec2.LaunchTemplate) -> autoscaling.Group:
        args = self._args
        return autoscaling.Group(
            f"{self._name}-group",
            min_size=args.settings.gateway_count,
            desired_capacity=args.settings.gateway_count,
            # room for the launch that precedes each termination
            max_size=args.settings.gateway_count * _REFRESH_PERCENT // 100,
            vpc_zone_identifiers=list(args.network.gateway_subnet_ids.values()),
            # Never $Latest: the group runs the version that this deployment has made.
            launch_template={"id": template.id, "version": template.latest_version.apply(str)},
            # Not ELB: when AWS's own health checks fail everywhere, replacing all gateways helps no
            # one. A gateway reports its own lasting faults.
            health_check_type="EC2",
            health_check_grace_period=300,
            target_group_arns=list(args.balancer.target_group_arns),
            # Whoever replaces gateways, for whatever reason: launch first, warm up, then terminate
            default_instance_warmup=args.settings.warmup_seconds,
            instance_maintenance_policy={
                "min_healthy_percentage": _HEALTHY_PERCENT,
                "max_healthy_percentage": _REFRESH_PERCENT,
            },
            instance_refresh={
                "strategy": "Rolling",
                "preferences": {
                    "min_healthy_percentage": _HEALTHY_PERCENT,
                    "max_healthy_percentage": _REFRESH_PERCENT,
                    "instance_warmup": str(args.settings.warmup_seconds),
                },
            },
            tags=[
                {"key": key, "value": value, "propagate_at_launch": False}
                for key, value in self._tags("group").items()
            ],
            opts=self._child,
        )

    def _hook(
        self, group: autoscaling.Group, what: str, when: str, *, seconds: int, then: str
    ) -> None:
        autoscaling.LifecycleHook(
            f"{self._name}-{what}",
            # fixed, within this one group: the gateways call it by this name
            name=HOOKS[what],
            autoscaling_group_name=group.name,
            lifecycle_transition=f"autoscaling:EC2_INSTANCE_{when}",
            heartbeat_timeout=seconds,
            default_result=then,
            opts=self._child,
        )

    def _tags(self, suffix: str) -> dict[str, str]:
        return {**self._args.tags, "Name": f"{self._name}-{suffix}"}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
