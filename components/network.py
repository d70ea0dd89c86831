"""The network: a new VPC with subnets for load balancer and gateways, or one that exists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pulumi
from pulumi_aws import ec2

from components.flow_logs import FlowLogs, FlowLogsArgs
from components.statements import partition
from components.subnets import ZoneBlocks, blocks
from settings import AdoptedVpc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from settings import NewVpc, Settings

EVERYWHERE = "0.0.0.0/0"


@dataclass(frozen=True, kw_only=True)
class NetworkArgs:
    """Inputs of `Network`."""

    settings: Settings
    tags: Mapping[str, str] = field(default_factory=dict)


class Network(pulumi.ComponentResource):
    """Where everything stands.

    Creates, for a new VPC: the VPC, its internet gateway, a public and a gateway subnet in each
    zone, a route table for either kind, gateway endpoints for S3 and DynamoDB, and flow logs of the
    whole VPC. In an adopted VPC: flow logs of the gateways' subnets, and nothing else; what others
    run in it is not ours to watch.
    """

    vpc_id: pulumi.Input[str]
    public_subnet_ids: Mapping[str, pulumi.Input[str]]
    """The load balancer's, by a key that stays: the zone, or an adopted subnet's id."""
    gateway_subnet_ids: Mapping[str, pulumi.Input[str]]
    route_table_ids: tuple[pulumi.Input[str], ...]
    """The tables in which the gateways of a routed stack keep a route to the clients' pool."""
    route_table_arns: tuple[pulumi.Input[str], ...]

    def __init__(
        self, name: str, args: NetworkArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("gatepair:network:Network", name, {}, opts)
        self._name, self._args = name, args
        self._child = pulumi.ResourceOptions(parent=self)

        where = args.settings.vpc
        if isinstance(where, AdoptedVpc):
            self.vpc_id = where.id
            self.public_subnet_ids = {key: key for key in where.public_subnet_ids}
            self.gateway_subnet_ids = {key: key for key in where.gateway_subnet_ids}
            self.route_table_ids = where.route_table_ids
            self.route_table_arns = arns(args.settings, where.route_table_ids)
            self._watch({key: {"subnet_id": key} for key in where.gateway_subnet_ids})
        else:
            self._create(where)
            self._watch({"vpc": {"vpc_id": self.vpc_id}})

        self.register_outputs(
            {
                "vpc_id": self.vpc_id,
                "public_subnet_ids": self.public_subnet_ids,
                "gateway_subnet_ids": self.gateway_subnet_ids,
            }
        )

    def _create(self, new: NewVpc) -> None:
        vpc = ec2.Vpc(
            f"{self._name}-vpc",
            cidr_block=str(new.cidr),
            enable_dns_support=True,
            enable_dns_hostnames=True,
            tags=self._tags("vpc"),
            opts=pulumi.ResourceOptions.merge(
                self._child, pulumi.ResourceOptions(protect=self._args.settings.protect)
            ),
        )
        internet = ec2.InternetGateway(
            f"{self._name}-internet", vpc_id=vpc.id, tags=self._tags("internet"), opts=self._child
        )
        # The VPC as its internet gateway knows it: whatever is put into the VPC then waits for the
        # gateway, without which AWS refuses an internet-facing load balancer.
        self.vpc_id = internet.vpc_id
        public, to_public = self._route_table("public", internet)
        gateway, to_gateway = self._route_table("gateway", internet)
        self.route_table_ids = (public.id, gateway.id)
        self.route_table_arns = (public.arn, gateway.arn)
        cut = blocks(new.cidr, new.availability_zones)
        self.public_subnet_ids = {
            zone: self._subnet("public", zone, cut[zone], to_public)
            for zone in new.availability_zones
        }
        self.gateway_subnet_ids = {
            zone: self._subnet("gateway", zone, cut[zone], to_gateway)
            for zone in new.availability_zones
        }
        for service in ("s3", "dynamodb"):
            ec2.VpcEndpoint(
                f"{self._name}-{service}",
                vpc_id=self.vpc_id,
                vpc_endpoint_type="Gateway",
                service_name=f"com.amazonaws.{self._args.settings.region}.{service}",
                route_table_ids=[gateway.id],
                tags=self._tags(service),
                opts=self._child,
            )

    def _watch(self, of: Mapping[str, Mapping[str, pulumi.Input[str]]]) -> None:
        chosen = self._args.settings
        args = FlowLogsArgs(
            of=of,
            retention_days=chosen.retention_days,
            protect=chosen.protect,
            tags=self._args.tags,
        )
        FlowLogs(f"{self._name}-flows", args, self._child)

    def _route_table(
        self, kind: str, internet: ec2.InternetGateway
    ) -> tuple[ec2.RouteTable, pulumi.Output[str]]:
        """A table with the way to the internet, and its id as that route knows it."""
        table = ec2.RouteTable(
            f"{self._name}-{kind}-routes",
            vpc_id=self.vpc_id,
            tags=self._tags(f"{kind}-routes"),
            opts=self._child,
        )
        # A route of its own, not inline: gateways add others to this table, and replace them.
        route = ec2.Route(
            f"{self._name}-{kind}-default",
            route_table_id=table.id,
            destination_cidr_block=EVERYWHERE,
            gateway_id=internet.id,
            opts=self._child,
        )
        return table, route.route_table_id

    def _subnet(
        self, kind: str, zone: str, cut: ZoneBlocks, table: pulumi.Input[str]
    ) -> pulumi.Output[str]:
        subnet = ec2.Subnet(
            f"{self._name}-{kind}-{zone}",
            vpc_id=self.vpc_id,
            availability_zone=zone,
            cidr_block=str(cut.gateway if kind == "gateway" else cut.public),
            # Gateways reach AWS's APIs by an address of their own: cheaper than a NAT gateway in
            # each zone, and no zone depends on another. Nothing from the internet may reach them.
            map_public_ip_on_launch=kind == "gateway",
            tags=self._tags(f"{kind}-{zone}"),
            opts=self._child,
        )
        # The subnet as its association knows it, and the table as its route does: what is put into
        # the subnet is there only while it has a way to the internet.
        association = ec2.RouteTableAssociation(
            f"{self._name}-{kind}-{zone}-routes",
            subnet_id=subnet.id,
            route_table_id=table,
            opts=self._child,
        )
        return association.subnet_id.apply(str)

    def _tags(self, suffix: str) -> dict[str, str]:
        return {**self._args.tags, "Name": f"{self._name}-{suffix}"}


def arns(settings: Settings, tables: Iterable[str]) -> tuple[str, ...]:
    """Of route tables that exist, in each account that the stack may be deployed to."""
    region = settings.region
    return tuple(
        f"arn:{partition(region)}:ec2:{region}:{account}:route-table/{table}"
        for account in settings.account_ids
        for table in tables
    )
