"""What the operator commands must know of an environment: AWS credentials suffice to find it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import ssm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.connection_log import ConnectionLog
    from components.gateway_key import GatewayKey
    from components.gateways import Gateways
    from components.http_api import HttpApi
    from components.load_balancer import LoadBalancer
    from components.peer_registry import PeerRegistry
    from components.preshared_keys import PresharedKeys
    from settings import Settings


@dataclass(frozen=True, kw_only=True)
class EnvironmentArgs:
    """Inputs of `Environment`."""

    settings: Settings
    registry: PeerRegistry
    key: GatewayKey
    balancer: LoadBalancer
    gateways: Gateways
    log: ConnectionLog
    api: HttpApi | None = None
    """None where the stack has no HTTP API."""
    preshared: PresharedKeys | None = None
    """None where the stack's peers have no pre-shared keys."""
    tags: Mapping[str, str] = field(default_factory=dict)


def document(args: EnvironmentArgs) -> dict[str, Any]:
    """What the parameter says. No key generation: a rotation must not touch it."""
    settings = args.settings
    return {
        "stack": pulumi.get_stack(),
        "region": settings.region,
        "table": args.registry.table_name,
        "archive": args.registry.archive.bucket,
        "connection_log": args.log.group,
        "secret_arn": args.key.secret_arn,
        "auto_scaling_group": args.gateways.auto_scaling_group,
        "load_balancer_arn": args.balancer.arn,
        "target_group_arns": list(args.balancer.target_group_arns),
        "endpoint": settings.endpoint or args.balancer.dns_name,
        "addresses": list(args.balancer.addresses),
        "port": settings.port,
        "mtu": settings.mtu,
        "client_pool": str(settings.client_pool),
        "vpc_cidrs": [str(cidr) for cidr in settings.vpc.cidrs],
        "routed_cidrs": [str(cidr) for cidr in settings.routed_cidrs],
        "dns": {
            "servers": [str(server) for server in settings.dns_servers],
            "search_domains": list(settings.dns_search_domains),
        },
        **({} if args.api is None else {"api_function": args.api.function_name}),
        **({} if args.preshared is None else {"preshared_key_arn": args.preshared.key_arn}),
    }


class Environment(pulumi.ComponentResource):
    """The parameter `/gatepair/STACK` of AWS Systems Manager, a JSON document."""

    endpoint: pulumi.Input[str]
    """What clients dial, without the port."""
    parameter: pulumi.Output[str]
    exports: Mapping[str, Any]
    """What `pulumi stack output` shows of the stack."""

    def __init__(
        self, name: str, args: EnvironmentArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:environment:Environment", name, {}, opts)

        says = document(args)
        parameter = ssm.Parameter(
            f"{name}-parameter",
            # fixed: operators' commands find everything else by it
            name=f"/gatepair/{pulumi.get_stack()}",
            type="String",
            description="Where gatepair's operator commands find this environment",
            # "insecure" only says that previews may show it: nothing in it is secret
            insecure_value=pulumi.Output.json_dumps(says, sort_keys=True),
            tags={**args.tags, "Name": f"{name}-parameter"},
            opts=pulumi.ResourceOptions(parent=self),
        )

        self.endpoint = says["endpoint"]
        self.parameter = parameter.name
        self.exports = {
            "endpoint": self.endpoint,
            "addresses": args.balancer.addresses,
            "parameter": self.parameter,
            **({} if args.api is None else {"api_url": args.api.url}),
        }
        self.register_outputs({"endpoint": self.endpoint, "parameter": self.parameter})
