"""The pack as Pulumi's engine talks to it: its requests in, its diagnostics out."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
import yaml
from google.protobuf.json_format import MessageToDict
from pulumi.runtime.proto import analyzer_pb2 as engine
from pulumi_policy import EnforcementLevel
from pulumi_policy.policy import _PolicyAnalyzerServicer
from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, unknown_checking_proxy

import plan as plans
from judging import violations
from policy.model import File, Gap
from policy.rules import RULES, STACK_RULES
from policy.wiring import HERE, plain, policies

if TYPE_CHECKING:
    from recorder import Declared

MADE_UP = re.compile(r".*(-id|arn:aws:mock|\.example|-allocation|203\.0\.113\.).*", re.DOTALL)
"""What the recorder's cloud made up: nobody knows it in the first preview."""


@pytest.fixture
def pack() -> _PolicyAnalyzerServicer:
    """The pack without the process and the port around it."""
    return _PolicyAnalyzerServicer("gatepair", "0", policies(), EnforcementLevel.ADVISORY)


def forgotten(value: Any) -> Any:
    """Properties as a first preview has them."""
    if isinstance(value, dict):
        return {key: forgotten(item) for key, item in value.items()}
    if isinstance(value, list):
        return [forgotten(item) for item in value]
    unknown = isinstance(value, str) and MADE_UP.match(value)
    return UNKNOWN_STRING_VALUE if unknown else value


def properties(declared: Declared, *, known: bool) -> dict[str, Any]:
    """What a registration asked for, assets and all, with what is known of it."""
    asked = MessageToDict(declared.request.object)
    return asked if known else forgotten(asked)


def request_about(declared: Declared, *, known: bool = True) -> engine.AnalyzeRequest:
    """What the engine asks about one resource alone."""
    asked = engine.AnalyzeRequest(
        type=declared.typ,
        urn=declared.urn,
        name=declared.name,
        options=engine.AnalyzerResourceOptions(protect=declared.request.protect),
    )
    asked.properties.update(properties(declared, known=known))
    return asked


def part_of_stack(declared: Declared, *, known: bool = True) -> engine.AnalyzerResource:
    """The same as a part of what the engine asks about the whole stack."""
    alone = request_about(declared, known=known)
    made_from = declared.request.propertyDependencies.items()
    return engine.AnalyzerResource(
        type=alone.type,
        urn=alone.urn,
        name=alone.name,
        options=alone.options,
        properties=alone.properties,
        propertyDependencies={
            name: engine.AnalyzerPropertyDependencies(urns=list(found.urns))
            for name, found in made_from
        },
    )


def said_of_stack(pack: _PolicyAnalyzerServicer, stack: str, *, known: bool) -> list[Any]:
    """All diagnostics of an update's requests, or of a first preview's."""
    declared = plans.built(stack).declared.values()
    found: list[Any] = []
    for one in declared:
        found += pack.Analyze(request_about(one, known=known), None).diagnostics
    whole = [part_of_stack(one, known=known) for one in declared]
    found += pack.AnalyzeStack(engine.AnalyzeStackRequest(resources=whole), None).diagnostics
    return found


@pytest.mark.parametrize("known", [True, False], ids=["update", "preview"])
def test_the_engine_hears_of_nothing_wrong(
    pack: _PolicyAnalyzerServicer, stack: str, *, known: bool
) -> None:
    assert said_of_stack(pack, stack, known=known) == []


def test_a_preview_knows_less() -> None:
    policy = plans.built("mine").named("gateway-policy")
    assert properties(policy, known=False) == dict.fromkeys(
        properties(policy, known=True), UNKNOWN_STRING_VALUE
    )


def test_a_violation_reaches_the_engine_as_mandatory_and_with_its_rule(
    pack: _PolicyAnalyzerServicer,
) -> None:
    asked = request_about(plans.built("prod").named("gateways-template"), known=False)
    asked.properties["metadataOptions"]["httpTokens"] = "optional"
    (told,) = pack.Analyze(asked, None).diagnostics
    assert told.policyName == "instance-metadata"
    assert told.enforcementLevel == engine.MANDATORY
    assert "gateways-template metadataOptions.httpTokens: optional: " in told.message


def test_a_violation_of_the_whole_stack_names_its_resource(pack: _PolicyAnalyzerServicer) -> None:
    table = part_of_stack(plans.built("prod").one("dynamodb/table:Table"))
    table.options.protect = False
    request = engine.AnalyzeStackRequest(resources=[table])
    (told,) = pack.AnalyzeStack(request, None).diagnostics
    assert (told.policyName, told.urn) == ("protection", table.urn)
    assert told.enforcementLevel == engine.MANDATORY


def test_what_is_not_known_is_told_from_what_is_missing() -> None:
    given = {"a": UNKNOWN_STRING_VALUE, "b": {"c": [UNKNOWN_STRING_VALUE, "x"]}}
    assert plain(unknown_checking_proxy(given)) == {
        "a": Gap.UNKNOWN,
        "b": {"c": [Gap.UNKNOWN, "x"]},
    }


def test_what_is_uploaded_is_read(tmp_path: Path) -> None:
    path = tmp_path / "code.tar"
    path.write_bytes(b"code")
    gone = str(tmp_path / "gone")
    for asset in (pulumi.FileAsset(str(path)), pulumi.FileArchive(str(path))):
        assert plain({"source": asset}) == {"source": File(str(path), b"code")}
    assert plain(pulumi.FileAsset(gone)) == File(gone, None)
    assert plain(pulumi.FileAsset("settings.py")).data == (HERE / "settings.py").read_bytes()
    assert plain(pulumi.StringAsset("text")) == "text"
    assert plain(pulumi.AssetArchive({"a": pulumi.StringAsset("b")})) == {"a": "b"}


def test_the_code_that_gateways_run_is_searched(stack: str) -> None:
    code = plain(plans.built(stack).named("artifact-code").inputs)["source"]
    assert isinstance(code, File)
    assert b"gateway/agent.py" in (code.data or b"")
    assert violations(stack, "key-material") == []


def test_every_rule_is_in_the_pack_under_a_name_of_its_own() -> None:
    names = [policy.name for policy in policies()]
    assert names == [rule.name for rule in (*RULES, *STACK_RULES)]
    assert len(set(names)) == len(names)


def test_the_engine_finds_the_pack_and_its_python() -> None:
    folder = plans.ROOT / "policy"
    said = yaml.safe_load((folder / "PulumiPolicy.yaml").read_text())
    program = yaml.safe_load((plans.ROOT / "Pulumi.yaml").read_text())
    assert said["runtime"]["name"] == "python"
    options = said["runtime"]["options"]
    assert (
        Path(folder, options["virtualenv"]).resolve()
        == Path(plans.ROOT, program["runtime"]["options"]["virtualenv"]).resolve()
    )
    assert (folder / "__main__.py").exists()


def test_every_rule_is_in_the_docs() -> None:
    text = (plans.ROOT / "docs" / "policy.md").read_text()
    for rule in (*RULES, *STACK_RULES):
        assert f"`{rule.name}`" in text, rule.name


def test_every_rule_has_a_break_of_the_program_that_it_catches() -> None:
    """That it does catch it is for `make mutants` to show."""
    listed = tomllib.loads((plans.ROOT / "tests" / "mutants" / "policy.toml").read_text())
    broken = {entry["what"].partition(":")[0] for entry in listed["mutant"]}
    assert broken == {rule.name for rule in (*RULES, *STACK_RULES)}
    for entry in listed["mutant"]:
        assert entry["file"] == "__main__.py" or entry["file"].startswith("components/")
