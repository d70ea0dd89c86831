"""The database of approved public keys, and what the stack tells its gateways through it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_aws import dynamodb

from components.audit_archive import AuditArchive, AuditArchiveArgs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from components.load_balancer import LoadBalancer
    from components.network import Network
    from settings import Settings

_HASH_KEY, _RANGE_KEY = "pk", "sk"


@dataclass(frozen=True, kw_only=True)
class PeerRegistryArgs:
    """Inputs of `PeerRegistry`."""

    settings: Settings
    network: Network
    balancer: LoadBalancer
    tags: Mapping[str, str] = field(default_factory=dict)


def control_item(args: PeerRegistryArgs) -> dict[str, Any]:
    """The `control` item in DynamoDB's own notation. Gateways read it about once a second.

    Where clients find the load balancer is in it, and not in the user data: gateways only pass it
    on, and another address must not replace them. The same holds for how packets leave them.
    """
    settings, balancer = args.settings, args.balancer
    return {
        _HASH_KEY: {"S": "control"},
        _RANGE_KEY: {"S": "control"},
        "key_generations": {"L": [{"N": str(number)} for number in settings.key_generations]},
        "port": {"N": str(settings.port)},
        "vpc_cidrs": {"L": [{"S": str(cidr)} for cidr in settings.vpc.cidrs]},
        "routed_cidrs": {"L": [{"S": str(cidr)} for cidr in settings.routed_cidrs]},
        "client_pool": {"S": str(settings.client_pool)},
        "takeover": {"BOOL": settings.takeover},
        "endpoint": {"S": settings.endpoint or balancer.dns_name},
        "addresses": {"L": [{"S": address} for address in balancer.addresses]},
        **(_routed(settings, args.network) if settings.routed else {}),
    }


def _routed(settings: Settings, network: Network) -> dict[str, Any]:
    """What a routed stack says beyond that. What is not said is none, or not so."""
    says: dict[str, Any] = {
        "egress": {"S": settings.egress},
        "route_tables": {"L": [{"S": table} for table in network.route_table_ids]},
    }
    if settings.connections_to_clients:
        says["connections_to_clients"] = {"BOOL": True}
    if settings.monitoring_cidrs:
        says["monitoring_cidrs"] = {"L": [{"S": str(cidr)} for cidr in settings.monitoring_cidrs]}
    return says


class PeerRegistry(pulumi.ComponentResource):
    """One DynamoDB table with point-in-time recovery, its `control` item, and its audit archive.

    Every other item is written by operators and gateways. A key rotation updates the `control` item
    and nothing else.
    """

    table_name: pulumi.Output[str]
    table_arn: pulumi.Output[str]
    archive: AuditArchive
    """What operators write to it ahead of each change."""

    def __init__(
        self, name: str, args: PeerRegistryArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:peer_registry:PeerRegistry", name, {}, opts)
        self._name, self._args = name, args
        child = pulumi.ResourceOptions(parent=self)
        protect = args.settings.protect

        table = dynamodb.Table(
            f"{name}-table",
            billing_mode="PAY_PER_REQUEST",
            hash_key=_HASH_KEY,
            range_key=_RANGE_KEY,
            attributes=[{"name": _HASH_KEY, "type": "S"}, {"name": _RANGE_KEY, "type": "S"}],
            point_in_time_recovery={"enabled": True},
            server_side_encryption={"enabled": True},
            deletion_protection_enabled=protect,
            tags={**args.tags, "Name": f"{name}-table"},
            opts=pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(protect=protect)),
        )
        self.archive = AuditArchive(
            f"{name}-archive", AuditArchiveArgs(protect=protect, tags=args.tags), child
        )
        self.table_name = table.name
        self.table_arn = table.arn
        self.register_outputs({"table_name": self.table_name, "table_arn": self.table_arn})

    def tell(self, *, after: pulumi.Resource) -> pulumi.Resource:
        """Write the `control` item, when what it asks of gateways is allowed by `after`."""
        return dynamodb.TableItem(
            f"{self._name}-control",
            table_name=self.table_name,
            hash_key=_HASH_KEY,
            range_key=_RANGE_KEY,
            item=pulumi.Output.json_dumps(control_item(self._args), sort_keys=True),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[after]),
        )
