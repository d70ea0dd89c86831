"""What a gateway may do to the VPC's route tables, and of itself, for clients' own addresses. Pure.

The gateways, not Pulumi, own the routes to the clients' pool: which of them holds one changes with
every failover.

AWS knows no condition for a route's destination ("Actions, resources, and condition keys for Amazon
EC2"), so the tables themselves are the bound. Which instance asks can be compared with the one that
is asked about, as AWS's own managed policy AWSEC2VssSnapshotPolicy does it; `ec2:SourceInstanceARN`
"cannot be used as a variable to populate the ARN for the Resource element" (EC2 user guide,
"Identity-based policies for Amazon EC2", which also has `ec2:Attribute/NAME`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from components.statements import partition, writes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pulumi

    from settings import Settings

ROUTE_ITEMS = "route"
"""Partition key of the registry's items that say who holds which table's route."""


def statements(
    settings: Settings, tables: Sequence[pulumi.Input[str]], registry: pulumi.Input[str]
) -> list[dict[str, Any]]:
    """For a role's policy: `tables` are the route tables' ARNs, `registry` the table's.

    A stack that has tables but translates may only give up: after a switch back, gateways still
    hold routes and have their source/destination check off. One without tables never held any.
    """
    if not tables:
        return []
    give_up = [
        _on_tables("GiveUpRoutes", ["ec2:DeleteRoute"], tables),
        writes("ForgetRoutes", ["dynamodb:DeleteItem"], registry, [ROUTE_ITEMS]),
        _see("SeeRoutes", ["ec2:DescribeInstances", "ec2:DescribeRouteTables"]),
        _own_check(settings.region, off=settings.routed),
    ]
    if not settings.routed:
        return give_up
    return [
        *give_up,
        _on_tables("TakeRoutes", ["ec2:CreateRoute", "ec2:ReplaceRoute"], tables),
        writes("HoldRoutes", ["dynamodb:UpdateItem"], registry, [ROUTE_ITEMS]),
        _see("SeeOtherGateways", ["elasticloadbalancing:DescribeTargetHealth"]),
    ]


def _on_tables(
    what: str, actions: Sequence[str], tables: Sequence[pulumi.Input[str]]
) -> dict[str, Any]:
    return {"Sid": what, "Effect": "Allow", "Action": list(actions), "Resource": list(tables)}


def _see(what: str, actions: Sequence[str]) -> dict[str, Any]:
    """AWS knows no narrower resource for what describes."""
    return {"Sid": what, "Effect": "Allow", "Action": list(actions), "Resource": "*"}


def _own_check(region: str, *, off: bool) -> dict[str, Any]:
    """To switch the asking instance's own source/destination check off, or back on."""
    instances = f"arn:{partition(region)}:ec2:{region}:*:instance/"
    return {
        "Sid": "SwitchOwnCheck",
        "Effect": "Allow",
        "Action": "ec2:ModifyInstanceAttribute",
        "Resource": f"{instances}*",
        "Condition": {
            "ArnLike": {"ec2:SourceInstanceARN": f"{instances}${{ec2:InstanceID}}"},
            "StringEquals": {"ec2:Attribute/SourceDestCheck": "false" if off else "true"},
        },
    }
