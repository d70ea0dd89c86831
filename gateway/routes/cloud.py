"""The calls that the routes need, of EC2 and of the load balancer. Effects.

What a gateway's role must allow in a routed stack, and on what:

| call | resource |
|---|---|
| ec2:CreateRoute, ec2:ReplaceRoute, ec2:DeleteRoute | the ARNs of the control item's route tables |
| ec2:DescribeRouteTables, ec2:DescribeInstances | * (AWS knows no narrower one) |
| elasticloadbalancing:DescribeTargetHealth | * (as well) |
| ec2:ModifyInstanceAttribute, only SourceDestCheck | the instance's own ARN |
| dynamodb:Query | the registry's table (leading key `route`) |
| dynamodb:UpdateItem, dynamodb:DeleteItem | the registry's table, leading key `route` |

After the switch back to snat a gateway needs the same once more, to take away its routes and to
switch its check on; all but CreateRoute, ReplaceRoute, DescribeTargetHealth and UpdateItem. One
whose instance has never been in a routed stack makes none of these calls.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from gateway.routes.decide import Route
from registry import targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from ipaddress import IPv4Network

_TARGETS = (
    "GatewayId",
    "NatGatewayId",
    "TransitGatewayId",
    "VpcPeeringConnectionId",
    "LocalGatewayId",
    "CarrierGatewayId",
    "EgressOnlyInternetGatewayId",
    "CoreNetworkArn",
    "InstanceId",
)
"""What else than an interface a route may lead to (EC2 API reference, Route)."""


class RouteCloud:
    """EC2 and ELBv2 through boto3; its errors pass through. Clients are made when first needed."""

    def __init__(self, ec2: Callable[[], Any], elbv2: Callable[[], Any]) -> None:
        self._make_ec2, self._make_elbv2 = ec2, elbv2

    @cached_property
    def _ec2(self) -> Any:
        return self._make_ec2()

    @cached_property
    def _elbv2(self) -> Any:
        return self._make_elbv2()

    def routes(self, tables: Iterable[str], pool: IPv4Network) -> dict[str, Route | None]:
        """Of each of these route tables that there is: its route to `pool`, None without one.

        By a filter: an id that there is not would be an error, and hide the others.
        """
        filters = [{"Name": "route-table-id", "Values": list(tables)}]
        found: dict[str, Route | None] = {}
        request: dict[str, Any] = {"Filters": filters}
        while True:
            answer = self._ec2.describe_route_tables(**request)
            for table in answer["RouteTables"]:
                routes = [
                    _route(one)
                    for one in table.get("Routes", ())
                    if one.get("DestinationCidrBlock") == str(pool)
                ]
                found[table["RouteTableId"]] = routes[0] if routes else None
            if not answer.get("NextToken"):
                return found
            request["NextToken"] = answer["NextToken"]

    def create_route(self, table: str, pool: IPv4Network, interface: str) -> None:
        """Add the route."""
        self._ec2.create_route(
            RouteTableId=table, DestinationCidrBlock=str(pool), NetworkInterfaceId=interface
        )

    def replace_route(self, table: str, pool: IPv4Network, interface: str) -> None:
        """Let the route that there is lead to this interface."""
        self._ec2.replace_route(
            RouteTableId=table, DestinationCidrBlock=str(pool), NetworkInterfaceId=interface
        )

    def delete_route(self, table: str, pool: IPv4Network) -> None:
        """Take the route away."""
        self._ec2.delete_route(RouteTableId=table, DestinationCidrBlock=str(pool))

    def check(self, instance_id: str) -> bool:
        """Whether the instance's source/destination check is on: its primary interface's.

        While it is, EC2 lets nothing pass that is not from or for the instance itself.
        """
        answer = self._ec2.describe_instances(InstanceIds=[instance_id])
        return any(
            instance.get("SourceDestCheck", True)
            for part in answer["Reservations"]
            for instance in part["Instances"]
        )

    def set_check(self, instance_id: str, *, on: bool) -> None:
        """Switch the check of the instance's primary interface."""
        self._ec2.modify_instance_attribute(InstanceId=instance_id, SourceDestCheck={"Value": on})

    def health(self, target_groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Instance id -> each target group's word for it; empty where it is no target."""
        return targets.health(self._elbv2, target_groups)


def _route(answer: dict[str, Any]) -> Route:
    """One route of a table. That to an interface may name the instance besides."""
    if interface := answer.get("NetworkInterfaceId"):
        return Route(interface)
    return Route(target=next((answer[name] for name in _TARGETS if answer.get(name)), ""))
