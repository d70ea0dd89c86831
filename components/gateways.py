"""The gateways: machines of one kind behind the load balancer, replaced and never repaired."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import autoscaling, ec2, vpc

from components import gateway_rules as rules
from components.user_data import HOOKS

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
        # There before the first gateway and gone after the last, which asks AWS for what it needs
        # to give up the routes that it holds.
        rules_first = pulumi.ResourceOptions(depends_on=self._rules(group))
        scaling = self._auto_scaling_group(template, rules_first)
        # A launch that does not get healthy in time is given up and tried anew; a gateway that is
        # told to go has this long to hand its clients over.
        self._hook(scaling, "launch", "LAUNCHING", seconds=900, then="ABANDON")
        self._hook(scaling, "terminate", "TERMINATING", seconds=300, then="CONTINUE")

        self.auto_scaling_group, self.auto_scaling_group_arn = scaling.name, scaling.arn
        self.register_outputs({"auto_scaling_group": self.auto_scaling_group})

    def _security_group(self) -> ec2.SecurityGroup:
        return ec2.SecurityGroup(
            f"{self._name}-sg",
            description="gatepair gateways",
            vpc_id=self._args.network.vpc_id,
            tags=self._tags("sg"),
            opts=self._child,
        )

    def _rules(self, group: ec2.SecurityGroup) -> list[pulumi.Resource]:
        settings = self._args.settings
        balancer = self._args.balancer.security_group_id
        groups = {rules.BALANCER: balancer, rules.GATEWAYS: group.id}
        made: list[pulumi.Resource] = []
        for rule in rules.from_balancer(settings):
            made.append(
                vpc.SecurityGroupIngressRule(
                    f"{self._name}-{rule.name}",
                    security_group_id=group.id,
                    description=f"{rule.says}, from the load balancer",
                    **self._traffic(rule, groups),
                )
            )
            made.append(
                vpc.SecurityGroupEgressRule(
                    f"{self._name}-balancer-{rule.name}",
                    security_group_id=balancer,
                    description=f"{rule.says}, to the gateways",
                    **self._traffic(replace(rule, other=rules.GATEWAYS), groups),
                )
            )
        for kind, several in (
            (vpc.SecurityGroupIngressRule, rules.ingress(settings)),
            (vpc.SecurityGroupEgressRule, rules.egress(settings)),
        ):
            made += [
                kind(
                    f"{self._name}-{rule.name}",
                    security_group_id=group.id,
                    description=rule.says,
                    **self._traffic(rule, groups),
                )
                for rule in several
            ]
        return made

    def _traffic(self, rule: rules.Rule, groups: Mapping[str, pulumi.Input[str]]) -> dict[str, Any]:
        """The arguments by which both directions say what they are about."""
        what: dict[str, Any] = {"ip_protocol": rule.protocol}
        if rule.ports is not None:
            what["from_port"], what["to_port"] = rule.ports
        if rule.other in groups:
            what["referenced_security_group_id"] = groups[rule.other]
        else:
            what["cidr_ipv4"] = rule.other
        return {**what, "tags": self._args.tags, "opts": self._child}

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

    def _auto_scaling_group(
        self, template: ec2.LaunchTemplate, waiting: pulumi.ResourceOptions
    ) -> autoscaling.Group:
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
            opts=pulumi.ResourceOptions.merge(self._child, waiting),
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
            # Gone with the group, not ahead of it: a gateway that a `pulumi destroy` ends is given
            # the time to give up what it holds, too.
            opts=pulumi.ResourceOptions.merge(
                self._child, pulumi.ResourceOptions(deleted_with=group)
            ),
        )

    def _tags(self, suffix: str) -> dict[str, str]:
        return {**self._args.tags, "Name": f"{self._name}-{suffix}"}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
