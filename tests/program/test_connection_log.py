"""Where records of connections are kept, and who may add to them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import plan as plans

if TYPE_CHECKING:
    from recorder import Recorder

STREAMS = "arn:aws:mock:::audit-connections:*"


@pytest.mark.parametrize(("stack", "days"), [("mine", 731), ("prod", 365)])
def test_records_end_after_as_many_days_as_the_stack_says(stack: str, days: int) -> None:
    assert plans.built(stack).named("audit-connections").inputs["retentionInDays"] == days


def test_a_gateway_adds_records_and_can_neither_read_nor_delete_any(plan: Recorder) -> None:
    inputs = plan.named("audit-policy").inputs
    assert inputs["role"] == "gateway-role-id"
    assert json.loads(inputs["policy"])["Statement"] == [
        {
            "Sid": "RecordConnections",
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": STREAMS,
        }
    ]


@pytest.mark.parametrize("change", ["30", "3653"])
def test_another_retention_replaces_no_gateway(change: str) -> None:
    def template(plan: Recorder) -> object:
        return plan.one("launchTemplate:LaunchTemplate").inputs["userData"]

    changed = plans.build("dev", preview=False, change={"gatepair:retentionDays": change})
    assert template(changed) == template(plans.built("dev"))
