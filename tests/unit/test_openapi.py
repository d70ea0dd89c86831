"""The OpenAPI document: valid, committed as it is made, and complete."""

from __future__ import annotations

import json
import re

import openapi_spec_validator
import pytest

import plan
from api import openapi
from api.operations import OPERATIONS
from api.schemas import SCHEMAS
from commands import peers

COMMITTED = plan.ROOT / "docs" / "openapi.json"


def test_the_committed_document_is_the_one_that_is_served() -> None:
    assert COMMITTED.read_text() == openapi.text(), "make -s openapi > docs/openapi.json"


def test_it_is_valid_openapi() -> None:
    openapi_spec_validator.validate(json.loads(COMMITTED.read_text()))


def test_every_operation_is_in_it_once_under_a_name_of_its_own() -> None:
    document = openapi.document()
    described = [
        (method.upper(), path, one["operationId"])
        for path, methods in document["paths"].items()
        for method, one in methods.items()
    ]
    table = [(one.method, one.path, one.id) for one in OPERATIONS]
    assert sorted(described) == sorted([*table, ("GET", "/openapi.json", "openapi")])
    assert len({name for *_, name in described}) == len(described)


def test_every_schema_is_used_and_every_reference_leads_somewhere() -> None:
    text = COMMITTED.read_text()
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) == set(SCHEMAS)


@pytest.mark.parametrize("one", OPERATIONS, ids=lambda one: one.id)
def test_what_changes_something_may_name_itself_and_what_reads_may_not(one: object) -> None:
    described = openapi.document()["paths"][one.path][one.method.lower()]  # ty: ignore
    names = {each["name"] for each in described.get("parameters", [])}
    assert ("Idempotency-Key" in names) == one.changes == (one.method != "GET")  # ty: ignore
    assert set(described["responses"]) >= {"400", "403", "500", "502", "503"}


def test_no_field_asks_for_a_secret() -> None:
    names = {field.name for one in OPERATIONS for field in (*one.body, *one.query)}
    yes_or_no = {"preshared_key"}
    assert names == {"name", "public_key", "owner", "expires", "allow", "wait", *yes_or_no}
    for field in (field for one in OPERATIONS for field in one.body if field.name in yes_or_no):
        assert field.schema["type"] == "boolean"


def test_what_scripts_peers_does_is_there_but_for_the_file_of_peers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        peers.parse(["--help"])
    commands = set(re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE))
    offered = {re.sub(r"Peers?|[A-Z]\w+$", "", one.id) for one in OPERATIONS}
    offered |= {"config"} if any(one.id == "showConfig" for one in OPERATIONS) else set()
    assert commands - offered == {"apply", "restore"}
