"""A rotation of the server key is one item of one table, and nothing else."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pulumi
import pytest

import plan as plans
from recorder import public_address

if TYPE_CHECKING:
    from recorder import Recorder


def inputs(plan: Recorder) -> dict[str, Any]:
    """Every resource's inputs, files by their content."""
    return {
        urn: {
            key: plans.Path(value.path).read_bytes()
            if isinstance(value, pulumi.FileAsset)
            else value
            for key, value in d.inputs.items()
        }
        for urn, d in plan.declared.items()
    }


def rotated(stack: str, generations: list[int]) -> Recorder:
    change = {"gatepair:keyGenerations": json.dumps(generations)}
    return plans.build(stack, preview=False, change=change)


@pytest.mark.parametrize("stack", ["lab", "prod", "mine"])
def test_a_rotation_touches_the_control_item_and_nothing_else(stack: str) -> None:
    steps = [inputs(rotated(stack, generations)) for generations in ([1], [1, 2], [2])]
    for before, after in pairwise(steps):
        assert before.keys() == after.keys()
        changed = [urn for urn in before if before[urn] != after[urn]]
        (only,) = changed
        assert only.endswith("dynamodb/tableItem:TableItem::peer-registry-control")
        assert before[only].keys() == after[only].keys()
        assert [k for k in before[only] if before[only][k] != after[only][k]] == ["item"]


def test_the_control_item_says_what_gateways_serve_and_where_they_lead(mine: Recorder) -> None:
    control = mine.one("dynamodb/tableItem:TableItem").inputs
    assert (control["hashKey"], control["rangeKey"]) == ("pk", "sk")
    assert control["tableName"] == "peer-registry-table-name"
    assert json.loads(control["item"]) == {
        "pk": {"S": "control"},
        "sk": {"S": "control"},
        "key_generations": {"L": [{"N": "8"}, {"N": "7"}]},
        "port": {"N": "4500"},
        "vpc_cidrs": {"L": [{"S": "172.20.0.0/20"}]},
        "routed_cidrs": {"L": [{"S": "10.60.0.0/16"}, {"S": "10.61.0.0/16"}]},
        "client_pool": {"S": "10.99.0.0/24"},
        "takeover": {"BOOL": False},
        "endpoint": {"S": "vpn.example.com"},
        "addresses": {
            "L": [
                {"S": public_address(f"load-balancer-address-eu-central-1{zone}")} for zone in "abc"
            ]
        },
    }


def test_switching_takeover_touches_the_control_item_and_nothing_else() -> None:
    on, off = (
        inputs(plans.build("lab", preview=False, change={"gatepair:takeover": value}))
        for value in ("true", "false")
    )
    (only,) = [urn for urn in on if on[urn] != off[urn]]
    assert only.endswith("dynamodb/tableItem:TableItem::peer-registry-control")


SNAT_SAYS = {
    "pk",
    "sk",
    "key_generations",
    "port",
    "vpc_cidrs",
    "routed_cidrs",
    "client_pool",
    "takeover",
    "endpoint",
    "addresses",
}


def control_of(stack: str, **change: str) -> dict[str, Any]:
    plan = plans.build(stack, preview=False, change={f"gatepair:{k}": v for k, v in change.items()})
    return json.loads(plan.one("dynamodb/tableItem:TableItem").inputs["item"])


@pytest.mark.parametrize("stack", [*plans.COMMITTED, "mine", "adopting"])
def test_a_stack_that_translates_says_nothing_of_routes(stack: str) -> None:
    assert set(control_of(stack)) == SNAT_SAYS


def test_a_routed_stack_names_the_tables_it_was_given_and_who_may_read_metrics() -> None:
    item = control_of("routed")
    assert {key: item[key] for key in set(item) - SNAT_SAYS} == {
        "egress": {"S": "routed"},
        "route_tables": {"L": [{"S": "rtb-0e"}, {"S": "rtb-0f"}]},
        "connections_to_clients": {"BOOL": True},
        "monitoring_cidrs": {"L": [{"S": "10.70.9.0/24"}, {"S": "10.60.1.0/24"}]},
    }


def test_a_routed_stack_names_both_tables_of_the_vpc_it_makes() -> None:
    item = control_of("lab", egress="routed")
    assert {key: item[key] for key in set(item) - SNAT_SAYS} == {
        "egress": {"S": "routed"},
        "route_tables": {
            "L": [{"S": "network-public-routes-id"}, {"S": "network-gateway-routes-id"}]
        },
    }


def test_the_registry_can_be_taken_back_to_any_second(plan: Recorder) -> None:
    table = plan.one("dynamodb/table:Table").inputs
    assert table["pointInTimeRecovery"] == {"enabled": True}
    assert table["serverSideEncryption"] == {"enabled": True}
    assert table["billingMode"] == "PAY_PER_REQUEST"
    assert (table["hashKey"], table["rangeKey"]) == ("pk", "sk")
    assert table["attributes"] == [{"name": "pk", "type": "S"}, {"name": "sk", "type": "S"}]
