"""What the program writes for operators and gateways is what `registry/` reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import plan as plans
from registry.environment import Environment
from registry.items import Control, label

if TYPE_CHECKING:
    from recorder import Recorder


def test_every_stacks_control_item_is_read_by_gateways(plan: Recorder, stack: str) -> None:
    item = json.loads(plan.one("dynamodb/tableItem:TableItem").inputs["item"])
    control = Control.from_item(item)
    assert label(item) == "control/control"
    assert control.to_item() == item
    wanted = json.loads(plans.config(stack)["gatepair:keyGenerations"])
    assert list(control.key_generations) == wanted


def test_every_stacks_parameter_is_read_by_operators(plan: Recorder, stack: str) -> None:
    parameter = plan.one("ssm/parameter:Parameter").inputs
    environment = Environment.from_json(parameter["insecureValue"])
    item = json.loads(plan.one("dynamodb/tableItem:TableItem").inputs["item"])
    control = Control.from_item(item)
    assert parameter["name"] == f"/gatepair/{environment.stack}" == f"/gatepair/{stack}"
    assert len(environment.addresses) >= 2
    assert (environment.endpoint, environment.addresses) == (control.endpoint, control.addresses)
    assert len(environment.target_group_arns) == 2
    assert environment.port == control.port
    assert environment.client_pool == control.client_pool
    assert environment.vpc_cidrs == control.vpc_cidrs
    assert environment.routed_cidrs == control.routed_cidrs
