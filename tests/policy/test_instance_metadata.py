"""How machines give their role's credentials out."""

from __future__ import annotations

from typing import Any

import pytest

from judging import resource, violations
from policy.instance_metadata import judge
from policy.model import Gap

MACHINES = ["ec2/launchTemplate:LaunchTemplate", "ec2/instance:Instance"]
GOOD = {"httpTokens": "required", "httpPutResponseHopLimit": 1}


def test_no_stack_breaks_it(stack: str) -> None:
    assert violations(stack, "instance-metadata") == []


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    "options", [GOOD, {**GOOD, "httpPutResponseHopLimit": 1.0}, {**GOOD, "httpTokens": Gap.UNKNOWN}]
)
def test_version_two_within_one_hop_passes(machine: str, options: dict[str, Any]) -> None:
    assert list(judge(resource(machine, props={"metadataOptions": options}))) == []


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("httpTokens", "optional"),
        ("httpTokens", None),
        ("httpPutResponseHopLimit", 2),
        ("httpPutResponseHopLimit", None),
    ],
)
def test_anything_else_is_refused(machine: str, option: str, value: Any) -> None:
    options = {**GOOD, option: value}
    (wrong,) = judge(resource(machine, props={"metadataOptions": options}))
    assert wrong.what == f"it metadataOptions.{option}"


@pytest.mark.parametrize("machine", MACHINES)
def test_the_accounts_default_does_not_count(machine: str) -> None:
    assert len(list(judge(resource(machine)))) == 2


def test_nothing_is_asked_of_what_boots_no_machine() -> None:
    assert list(judge(resource("ec2/eip:Eip"))) == []
