"""A preview, read from event logs that Pulumi 3.260 wrote of this program."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import plan
from pipeline import changes, reports

EVENTS = Path(__file__).parent / "events"


def logged(name: str) -> changes.Preview:
    return changes.read((EVENTS / f"{name}.jsonl").read_text().splitlines())


def step(operation: str, kind: str, name: str = "x", **metadata: Any) -> str:
    urn = f"urn:pulumi:prod::gatepair::gatepair:a:A${kind}::{name}"
    said = {"op": operation, "urn": urn, "type": kind, "logical": True, **metadata}
    return json.dumps({"resourcePreEvent": {"metadata": said, "planning": True}})


def summary(result: str = "succeeded", **counts: int) -> str:
    return json.dumps({"summaryEvent": {"resourceChanges": counts, "result": result}})


def policy(level: str) -> str:
    said = {"message": "<{%bold%}>no\nway<{%reset%}>\n", "policyName": "p", "resourceUrn": "a::b"}
    return json.dumps({"policyEvent": {**said, "enforcementLevel": level}})


def test_a_rotation_is_one_update_of_the_control_item() -> None:
    found = logged("rotation")
    assert found.good
    assert [(one.operation, one.name, one.properties) for one in found.changes] == [
        ("update", "peer-registry-control", ("item",))
    ]
    assert found.unchanged == 71
    assert not found.losses
    assert reports.headline(found) == "1 to update, 71 unchanged"


def test_a_replaced_table_and_a_deleted_secret_are_flagged_and_counted_once() -> None:
    found = logged("losses")
    assert found.good, "a loss is flagged, the person who approves decides"
    assert [(one.operation, one.name) for one in found.losses] == [
        ("delete", "gateway-key-secret"),
        ("replace", "peer-registry-table"),
    ]
    assert found.counts() == {"create": 1, "delete": 1, "replace": 1, "update": 10}


def test_what_the_policy_pack_forbids_is_no_good_preview() -> None:
    found = logged("violations")
    assert not found.good
    assert found.violations[0].startswith("no-eip: load-balancer-address-eu-west-1b: no addresses")
    assert reports.headline(found) == "the policy forbids it (2 violations)"


def test_a_program_that_refuses_its_settings_says_why() -> None:
    found = logged("refused")
    assert not found.good
    assert "keyGenerations: [1, 5]: is not one positive number" in found.errors[0]
    assert reports.headline(found) == "it failed"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [step("update", "aws:ec2/vpc:Vpc")],
        [step("update", "aws:ec2/vpc:Vpc"), '{"summaryEv'],
        [summary("failed", same=3)],
    ],
)
def test_a_preview_that_did_not_come_to_its_end_is_no_good_one(lines: list[str]) -> None:
    assert not changes.read(lines).good


@pytest.mark.parametrize("level", ["mandatory", "unheard-of", ""])
def test_a_policy_of_an_unknown_level_forbids(level: str) -> None:
    found = changes.read([policy(level), summary()])
    assert found.violations == ("p: b: no way",)
    assert not found.good


@pytest.mark.parametrize("level", ["advisory", "remediate", "disabled"])
def test_advice_forbids_nothing(level: str) -> None:
    found = changes.read([policy(level), summary()])
    assert found.good
    assert found.advice == ("p: b: no way",)


@pytest.mark.parametrize("kind", changes.LOSSES)
@pytest.mark.parametrize("operation", ["delete", "replace"])
def test_what_cannot_be_made_again_is_flagged(kind: str, operation: str) -> None:
    assert changes.read([step(operation, kind), summary()]).losses


@pytest.mark.parametrize("kind", changes.LOSSES)
@pytest.mark.parametrize("operation", ["create", "update", "import"])
def test_what_stays_what_it_is_is_not_flagged(kind: str, operation: str) -> None:
    found = changes.read([step(operation, kind), summary()])
    assert found.changes
    assert not found.losses


@pytest.mark.parametrize("operation", ["same", "read", "refresh"])
def test_looking_is_no_change(operation: str) -> None:
    assert not changes.read([step(operation, "aws:ec2/vpc:Vpc"), summary()]).changes


def test_all_that_production_protects_is_flagged() -> None:
    protected = {one.typ for one in plan.built("prod").declared.values() if one.request.protect}
    assert protected
    assert protected <= set(changes.LOSSES)


def test_the_issues_four_are_flagged_where_the_program_has_them() -> None:
    used = {one.typ for one in plan.built("prod").declared.values()}
    for kind in ("lb/loadBalancer:LoadBalancer", "ec2/eip:Eip", "secretsmanager/secret:Secret"):
        assert f"aws:{kind}" in used & set(changes.LOSSES)
    assert "aws:dynamodb/table:Table" in used & set(changes.LOSSES)


def test_the_digest_is_of_the_changes_and_not_of_their_order() -> None:
    one, two = step("update", "aws:ec2/vpc:Vpc", "a"), step("create", "aws:ec2/eip:Eip", "b")
    found = changes.read([one, two, summary(same=1)])
    assert changes.read([two, one, summary(same=2)]).digest == found.digest
    for other in (
        [one],
        [one, step("delete", "aws:ec2/eip:Eip", "b")],
        [one, step("create", "aws:ec2/eip:Eip", "c")],
        [step("update", "aws:ec2/vpc:Vpc", "a", diffs=["tags"]), two],
    ):
        assert changes.read([*other, summary()]).digest != found.digest


# ------------------------------------------------------------------ as Markdown


def test_a_report_says_first_what_cannot_be_undone() -> None:
    text = reports.markdown(logged("losses"), stack="prod", diff="+-table")
    head, _, rest = text.partition("\n\n")
    assert head.startswith("### Stack `prod`: 1 to create, 1 to delete, 1 to replace, 10 to update")
    caution, _, rest = rest.partition("\n\n")
    assert caution.startswith("> [!CAUTION]")
    assert "delete `gateway-key-secret`" in caution
    assert "replace `peer-registry-table`" in caution
    assert "+-table" in rest


def test_a_report_without_losses_cautions_nobody() -> None:
    assert "CAUTION" not in reports.markdown(logged("rotation"), stack="prod", diff="")


def test_nothing_in_a_diff_ends_its_block() -> None:
    diff = "before\n````\n</details> **bold**\n```\nafter"
    text = reports.markdown(logged("rotation"), stack="prod", diff=diff)
    block = text[text.index("`````diff") :]
    assert block.index("after") < block.index("`````\n\n</details>")


def test_a_name_cannot_leave_its_code_span() -> None:
    found = changes.read([step("delete", "aws:ec2/vpc:Vpc", "a` @all\n#"), summary()])
    assert "delete `a' @all #` (" in reports.markdown(found, stack="prod", diff="")


def test_a_long_diff_is_cut_to_what_github_takes() -> None:
    text = reports.markdown(logged("rotation"), stack="prod", diff="x" * 100_000)
    assert len(text) < 65_536
    assert "cut off here" in text


def test_many_changes_are_counted_and_not_all_listed() -> None:
    many = [step("create", "aws:ec2/eip:Eip", f"e{number:03}") for number in range(60)]
    found = changes.read([*many, summary()])
    text = reports.markdown(found, stack="prod", diff="")
    assert "create e049" in text
    assert "create e050" not in text
    assert "and 10 more" in text
    assert list(reports.listed(found))[-1] == "and 10 more"
