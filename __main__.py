"""Wiring only: settings in, components, exports out."""

from functools import partial
from pathlib import Path

import pulumi
from pulumi_aws import Provider

import settings
from components import user_data
from components.artifact_store import ArtifactStore, ArtifactStoreArgs
from components.environment import Environment, EnvironmentArgs
from components.gateway_key import GatewayKey, GatewayKeyArgs
from components.gateway_role import GatewayRole, GatewayRoleArgs
from components.gateways import Gateways, GatewaysArgs
from components.load_balancer import LoadBalancer, LoadBalancerArgs
from components.network import Network, NetworkArgs
from components.operator_policies import OperatorPolicies, OperatorPoliciesArgs
from components.peer_registry import PeerRegistry, PeerRegistryArgs

root = Path(__file__).resolve().parent
chosen = settings.load()
stack = pulumi.get_stack()
tags = {"project": pulumi.get_project(), "stack": stack}
aws = Provider(
    "aws",
    region=chosen.region,
    allowed_account_ids=list(chosen.account_ids),
    default_tags={"tags": tags},
)
here = pulumi.ResourceOptions(provider=aws)

network = Network("network", NetworkArgs(settings=chosen, tags=tags), here)
key = GatewayKey("gateway-key", GatewayKeyArgs(protect=chosen.protect, tags=tags), here)
registry = PeerRegistry("peer-registry", PeerRegistryArgs(settings=chosen, tags=tags), here)
balancer = LoadBalancer(
    "load-balancer", LoadBalancerArgs(settings=chosen, network=network, tags=tags), here
)
store = ArtifactStore(
    "artifact", ArtifactStoreArgs(root=root, protect=chosen.protect, tags=tags), here
)
role = GatewayRole(
    "gateway",
    GatewayRoleArgs(registry=registry, key=key, store=store, region=chosen.region, tags=tags),
    here,
)
start = user_data.environment(chosen, stack=stack, registry=registry, key=key, store=store)
gateways = Gateways(
    "gateways",
    GatewaysArgs(
        settings=chosen,
        network=network,
        balancer=balancer,
        profile_arn=role.profile_arn,
        user_data=pulumi.Output.from_input(start).apply(partial(user_data.from_files, root=root)),
        tags=tags,
    ),
    here,
)
environment = Environment(
    "environment",
    EnvironmentArgs(
        settings=chosen, registry=registry, key=key, balancer=balancer, gateways=gateways, tags=tags
    ),
    here,
)
operators = OperatorPolicies(
    "operator",
    OperatorPoliciesArgs(
        settings=chosen, network=network, registry=registry, gateways=gateways, tags=tags
    ),
    here,
)

pulumi.export("endpoint", environment.endpoint)
pulumi.export("addresses", balancer.addresses)
pulumi.export("parameter", environment.parameter)
pulumi.export("operatorPolicies", operators.arns)
