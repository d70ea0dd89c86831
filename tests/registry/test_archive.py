"""The copy of the audit items: complete, written ahead, and honest about what never happened."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from fake_registry import BUCKET, CALLER, CONTROL, TABLE, Fake, key_of

from effects import Refusal
from registry.archive import Archive
from registry.items import Audit
from registry.operators import NewPeer, OperatorRegistry
from registry.records import Illegible, Record, credible, from_audit, gaps, retired_by


def record(generation: int, token: str, previous: str = "", name: str = "anna") -> Record:
    audit = Audit(generation, "2026-01-01T00:00:00Z", "revoke", name, CALLER, {"n": 1})
    return Record(audit, token, previous, "epoch", {key_of(generation): name})


def cut_off(client: Any, *names: str) -> Any:
    """The client, whose machine dies when it calls one of these."""

    class CutOff:
        def __getattr__(self, name: str) -> Any:
            if name in names:
                raise EndpointConnectionError(endpoint_url="https://s3")
            return getattr(client, name)

    return CutOff()


# ------------------------------------------------------------------ write-ahead


def test_every_audit_item_has_its_record_with_the_same_words(fake: Fake) -> None:
    for number in range(1, 4):
        fake.add(f"p-{number}", number)
    fake.registry.revoke_peer("p-1", caller=CALLER)
    fake.registry.alter_peer("p-2", lambda p: p, action="extend", caller=CALLER)  # changes nothing
    found = fake.archive.records()
    said, _ = fake.registry.audit()
    assert [json.loads(r.to_json())["audit"] for r in found] == [
        json.loads(Record(audit).to_json())["audit"] for audit in said
    ]
    assert [r.generation for r in found] == [1, 2, 3, 4]
    assert found[-1].retired == {key_of(1): "p-1"}
    assert found[-1].epoch == fake.registry.head().epoch
    assert [r.previous for r in found] == ["", *(r.token for r in found[:-1])]
    assert fake.registry.head().token == found[-1].token


def test_a_change_whose_record_cannot_be_written_does_not_happen(fake: Fake) -> None:
    fake.add("anna", 1)
    before = fake.items()
    no_archive = Archive(lambda: cut_off(fake.s3, "put_object"), BUCKET)
    registry = OperatorRegistry(fake.client, TABLE, no_archive)
    with pytest.raises(EndpointConnectionError):
        registry.revoke_peer("anna", caller=CALLER)
    assert fake.items() == before


def test_a_revocation_whose_writer_died_before_the_table_knew_is_in_the_archive(
    fake: Fake,
) -> None:
    fake.add("anna", 1)
    with pytest.raises(EndpointConnectionError):
        fake.with_client(cut_off(fake.client, "transact_write_items")).revoke_peer(
            "anna", caller=CALLER
        )
    assert fake.registry.peer("anna") is not None
    (last,) = credible(fake.archive.records(after=1))
    assert (last.audit.action, last.retired) == ("revoke", {key_of(1): "anna"})


def test_an_emptied_table_takes_no_first_change(fake: Fake) -> None:
    fake.add("anna", 1)
    fake.add("bert", 2)
    for item in fake.items():
        fake.client.delete_item(TableName=TABLE, Key={"pk": item["pk"], "sk": item["sk"]})
    fake.client.put_item(TableName=TABLE, Item=CONTROL.to_item())
    with pytest.raises(Refusal, match="it was emptied; restore it"):
        fake.add("carl", 3)
    assert fake.registry.head().epoch == ""


def test_a_first_change_that_failed_may_be_tried_again(fake: Fake) -> None:
    with pytest.raises(EndpointConnectionError):
        fake.with_client(cut_off(fake.client, "transact_write_items")).add_peer(
            NewPeer("anna", key_of(1)), pool=CONTROL.client_pool, caller=CALLER
        )
    assert fake.add("anna", 1).generation == 1


# ------------------------------------------------------------------ objects


def test_a_record_is_written_once_and_again_is_no_harm(fake: Fake) -> None:
    fake.archive.write(record(1, "t-1"))
    fake.archive.write(record(1, "t-1", name="bert"))
    versions = fake.s3.list_object_versions(Bucket=BUCKET)["Versions"]
    assert len(versions) == 1
    assert fake.archive.records() == [record(1, "t-1")]


def test_of_a_record_that_was_overwritten_or_deleted_the_first_version_counts(fake: Fake) -> None:
    first, other = record(1, "t-1"), record(2, "t-2")
    fake.archive.write(first)
    fake.archive.write(other)
    forged = record(1, "t-1", name="bert").to_json().encode()
    fake.s3.put_object(Bucket=BUCKET, Key=first.key, Body=forged)
    fake.s3.delete_object(Bucket=BUCKET, Key=other.key)
    assert fake.archive.records() == [first, other]


def test_records_are_read_from_a_number_on(fake: Fake) -> None:
    for number in (1, 2, 9, 10, 11):
        fake.archive.write(record(number, f"t-{number}"))
    assert [r.generation for r in fake.archive.records(after=9)] == [10, 11]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", record(7, "t-7").to_json().encode()])
def test_a_record_that_cannot_be_read_stops_whoever_relies_on_it(fake: Fake, body: bytes) -> None:
    fake.s3.put_object(Bucket=BUCKET, Key=record(1, "t-1").key, Body=body)
    with pytest.raises(Illegible, match="nobody knows what it took away"):
        fake.archive.records()


@pytest.mark.parametrize(("answers", "tries"), [(["409"], 2), (["409"] * 4, 5)])
def test_a_write_in_conflict_with_another_is_tried_again(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, answers: list[str], tries: int
) -> None:
    calls: list[str] = []
    monkeypatch.setattr("registry.archive.time.sleep", lambda _seconds: None)

    class Busy:
        def put_object(self, **request: Any) -> Any:
            calls.append(request["Key"])
            if len(calls) <= len(answers):
                code = {"Code": "ConditionalRequestConflict"}
                raise ClientError({"Error": code}, "PutObject")
            return fake.s3.put_object(**request)

    Archive(Busy, BUCKET).write(record(1, "t-1"))
    assert len(calls) == tries
    assert fake.archive.records() == [record(1, "t-1")]


# ------------------------------------------------------------------ what may have happened


def test_a_try_that_lost_its_race_is_told_by_the_one_that_came_after() -> None:
    won, lost, retried = record(2, "won"), record(2, "lost"), record(3, "again", previous="won")
    assert credible([lost, retried, won]) == [won, retried]


def test_what_nobody_can_disprove_may_have_happened() -> None:
    one, other = record(2, "one", previous="t-1"), record(2, "other", previous="t-1")
    assert credible([record(1, "t-1"), one, other]) == [record(1, "t-1"), one, other]


def test_the_tries_of_writers_at_once_are_told_apart(fake: Fake) -> None:
    """Each loses one race: its first try is in the archive, and was never made."""

    class Rival:
        struck = False

        def __getattr__(self, name: str) -> Any:
            return getattr(fake.client, name)

        def transact_write_items(self, **request: Any) -> Any:
            if not self.struck:
                self.struck = True
                fake.add("bert", 2)
            return fake.client.transact_write_items(**request)

    fake.add("anna", 1)
    fake.with_client(Rival()).revoke_peer("anna", caller=CALLER)
    fake.add("carl", 3)
    found = fake.archive.records()
    assert [(r.generation, r.audit.action) for r in found if r.audit.name == "anna"] == [
        (1, "add"),
        (2, "revoke"),
        (3, "revoke"),
    ]
    said, _ = fake.registry.audit()
    assert [(r.generation, r.audit.name) for r in credible(found)] == [
        (audit.generation, audit.name) for audit in said
    ]


def test_gaps_are_the_numbers_without_a_record() -> None:
    assert gaps([record(2, "a"), record(4, "b")], 1, 5) == [3, 5]
    assert gaps([record(2, "a")], 1, 2) == []


def audit(action: str, **details: Any) -> Audit:
    return Audit(1, "2026-01-01T00:00:00Z", action, "anna", CALLER, details)


@pytest.mark.parametrize(
    ("said", "retired"),
    [
        (audit("add", public_key="K"), {}),
        (audit("revoke", public_key="K"), {"K": "anna"}),
        (audit("rotate", public_key="N", before={"public_key": "K"}), {"K": "anna"}),
        (audit("change", public_key="N", before={"public_key": "K"}), {"K": "anna"}),
        (audit("extend", expires=5, before={"expires": "none"}), {}),
        (audit("restore", to="2026-01-01T00:00:00Z"), {}),
    ],
)
def test_what_a_change_takes_away_is_in_its_audit_item(
    said: Audit, retired: dict[str, str]
) -> None:
    assert retired_by(said) == retired
    assert from_audit([said])[0].retired == retired
