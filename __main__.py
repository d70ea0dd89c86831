"""Wiring only: settings in, components, exports out."""

from functools import partial
from pathlib import Path

import pulumi
from pulumi_aws import Provider

import settings
from components import user_data
from components.artifact_store import ArtifactStore, ArtifactStoreArgs
from components.connection_log import ConnectionLog, ConnectionLogArgs
from components.environment import Environment, EnvironmentArgs
from components.gateway_key import GatewayKey, GatewayKeyArgs
from components.gateway_role import GatewayRole, GatewayRoleArgs
from components.gateways import Gateways, GatewaysArgs
from components.http_api import HttpApi, HttpApiArgs
from components.load_balancer import LoadBalancer, LoadBalancerArgs
from components.monitoring import Monitoring, MonitoringArgs
from components.network import Network, NetworkArgs
from components.operator_policies import OperatorPolicies, OperatorPoliciesArgs
from components.peer_registry import PeerRegistry, PeerRegistryArgs
from components.preshared_keys import PresharedKeys, PresharedKeysArgs

root = Path(__file__).resolve().parent
chosen = settings.load()
stack = pulumi.get_stack()
tags = {"project": pulumi.get_project(), "stack": stack}
ids = list(chosen.account_ids)
aws = Provider("aws", region=chosen.region, allowed_account_ids=ids, default_tags={"tags": tags})
here = pulumi.ResourceOptions(provider=aws)

network = Network("network", NetworkArgs(settings=chosen, tags=tags), here)
key = GatewayKey("gateway-key", GatewayKeyArgs(protect=chosen.protect, tags=tags), here)
balancer = LoadBalancer(
    "load-balancer", LoadBalancerArgs(settings=chosen, network=network, tags=tags), here
)
told = PeerRegistryArgs(settings=chosen, network=network, balancer=balancer, tags=tags)
registry = PeerRegistry("peer-registry", told, here)
store = ArtifactStore(
    "artifact", ArtifactStoreArgs(root=root, protect=chosen.protect, tags=tags), here
)
may = GatewayRoleArgs(
    settings=chosen, network=network, registry=registry, key=key, store=store, tags=tags
)
role = GatewayRole("gateway", may, here)
log = ConnectionLog("audit", ConnectionLogArgs(settings=chosen, role=role, tags=tags), here)
sealing = PresharedKeysArgs(role=role, protect=chosen.protect, tags=tags)
psk = PresharedKeys("preshared-keys", sealing, here) if chosen.preshared_keys else None
start = user_data.environment(chosen, stack=stack, registry=registry, key=key, store=store, log=log)
text = pulumi.Output.from_input(start).apply(partial(user_data.from_files, root=root))
running = GatewaysArgs(
    settings=chosen, network=network, balancer=balancer, role=role, user_data=text, tags=tags
)
gateways = Gateways("gateways", running, here)
serving = HttpApiArgs(
    root=root, registry=registry, store=store, region=chosen.region, preshared=psk, tags=tags
)
api = HttpApi("http-api", serving, here) if chosen.http_api else None
found = EnvironmentArgs(
    settings=chosen,
    registry=registry,
    key=key,
    balancer=balancer,
    gateways=gateways,
    log=log,
    api=api,
    preshared=psk,
    tags=tags,
)
environment = Environment("environment", found, here)
allowed = OperatorPoliciesArgs(environment=found, network=network, tags=tags)
operators = OperatorPolicies("operator", allowed, here)
watched = MonitoringArgs(settings=chosen, balancer=balancer, tags=tags)
monitoring = Monitoring("monitoring", watched, here)

more = {"operatorPolicies": operators.arns, "alarmTopic": monitoring.topic_arn}
for output, value in {**environment.exports, **more}.items():
    pulumi.export(output, value)
