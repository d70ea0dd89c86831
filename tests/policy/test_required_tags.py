"""Whose a resource is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from judging import resource, violations
from policy.model import Gap
from policy.required_tags import judge

MINE = {"project": "gatepair", "stack": "dev"}
TEMPLATE = "ec2/launchTemplate:LaunchTemplate"
LAUNCHED = ["instance", "network-interface", "volume"]


def launching(kinds: list[str], tags: Any = MINE) -> dict[str, Any]:
    return {"tags": MINE, "tagSpecifications": [{"resourceType": k, "tags": tags} for k in kinds]}


def test_no_stack_breaks_it(stack: str) -> None:
    assert violations(stack, "required-tags") == []


@pytest.mark.parametrize(
    ("typ", "props"),
    [
        ("ec2/eip:Eip", {"tags": {**MINE, "Name": "x"}}),
        ("ec2/eip:Eip", {"tags": Gap.UNKNOWN}),
        ("ec2/eip:Eip", {"tags": {**MINE, "stack": Gap.UNKNOWN}}),
        ("autoscaling/group:Group", {"tags": [{"key": k, "value": MINE[k]} for k in MINE]}),
        (TEMPLATE, launching(LAUNCHED)),
        ("pulumi:providers:aws", {"defaultTags": json.dumps({"tags": MINE})}),
        ("pulumi:providers:aws", {"defaultTags": {"tags": MINE}}),
        ("pulumi:providers:aws", {"defaultTags": Gap.UNKNOWN}),
        ("iam/rolePolicy:RolePolicy", {}),
        ("random:index/randomUuid:RandomUuid", {}),
        ("gatepair:network:Network", {}),
    ],
)
def test_what_says_whose_it_is_or_cannot_passes(typ: str, props: dict[str, Any]) -> None:
    assert list(judge(resource(typ, props=props))) == []


@pytest.mark.parametrize(
    ("tags", "missing"),
    [
        ({"project": "gatepair"}, "stack"),
        ({"stack": "dev"}, "project"),
        ({**MINE, "stack": "prod"}, "stack"),
        ({**MINE, "project": ""}, "project"),
    ],
)
@pytest.mark.parametrize(
    "typ", ["ec2/eip:Eip", "autoscaling/group:Group", "pulumi:providers:aws", "new/thing:Thing"]
)
def test_each_tag_is_there_and_says_the_truth(typ: str, tags: dict[str, str], missing: str) -> None:
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    props = {"tags": listed if "Group" in typ else tags, "defaultTags": {"tags": tags}}
    (wrong,) = judge(resource(typ, props=props))
    assert wrong.what.endswith(f"ags.{missing}")
    assert wrong.cure == f"tag it {missing}={MINE[missing]}"


@pytest.mark.parametrize("props", [{}, {"tags": None}])
def test_no_tags_at_all_are_two_wrongs(props: dict[str, Any]) -> None:
    assert len(list(judge(resource("ec2/eip:Eip", props=props)))) == 2


@pytest.mark.parametrize("kind", LAUNCHED)
def test_what_a_template_launches_carries_them_too(kind: str) -> None:
    props = launching([other for other in LAUNCHED if other != kind])
    wrong = list(judge(resource(TEMPLATE, props=props)))
    assert {w.what for w in wrong} == {
        f"it tagSpecifications {kind}.project",
        f"it tagSpecifications {kind}.stack",
    }
