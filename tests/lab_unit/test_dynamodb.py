"""The lab's DynamoDB, through boto3: what the registry relies on, as AWS documents it."""

from __future__ import annotations

import importlib.metadata
import itertools
import random
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends

from effects import Refusal
from lab import dynamodb, dynamodb_items
from lab import dynamodb_history as history

if TYPE_CHECKING:
    from collections.abc import Iterator

REGION = "eu-west-1"
TABLE = "registry"
PEERS = 10_000
ROOT = Path(__file__).parents[2]


def make_client() -> Any:
    return boto3.client(
        "dynamodb",
        region_name=REGION,
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(retries={"total_max_attempts": 1}),
    )


def make_table(client: Any, sort_type: str = "S", name: str = TABLE) -> None:
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": sort_type},
        ],
    )


@pytest.fixture
def client() -> Iterator[Any]:
    dynamodb.install()
    with mock_aws():
        made = make_client()
        make_table(made)
        yield made


def backend() -> Any:
    return dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION]


def item(name: str, value: int = 0, pk: str = "peer", **more: Any) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": name}, "value": {"N": str(value)}, **more}


def key(name: str, pk: str = "peer") -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": name}}


def put(name: str, value: int = 0, **more: Any) -> dict[str, Any]:
    """A Put that wants the item new."""
    condition = {"ConditionExpression": "attribute_not_exists(pk)"}
    return {"Put": {"TableName": TABLE, "Item": item(name, value), **condition, **more}}


def count(name: str, old: int) -> dict[str, Any]:
    """An Update from `old` to `old` + 1; a missing item counts as 0."""
    condition = "#v = :old" if old else "attribute_not_exists(#v)"
    values = {":new": {"N": str(old + 1)}} | ({":old": {"N": str(old)}} if old else {})
    return {
        "Update": {
            "TableName": TABLE,
            "Key": key(name),
            "UpdateExpression": "SET #v = :new",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#v": "value"},
            "ExpressionAttributeValues": values,
        }
    }


def read(client: Any, name: str, pk: str = "peer") -> int | None:
    found = client.get_item(TableName=TABLE, Key=key(name, pk), ConsistentRead=True).get("Item")
    return int(found["value"]["N"]) if found else None


def refused(call: Any, **request: Any) -> ClientError:
    with pytest.raises(ClientError) as caught:
        call(**request)
    return caught.value


def code(error: ClientError) -> str:
    return error.response["Error"]["Code"]


def reasons(error: ClientError) -> list[str]:
    assert code(error) == "TransactionCanceledException"
    return [reason["Code"] for reason in error.response["CancellationReasons"]]


# ---- Transactions --------------------------------------------------------------------------------


def test_a_transaction_writes_all_its_items(client):
    client.put_item(TableName=TABLE, Item=item("gone", 1))
    client.transact_write_items(
        TransactItems=[
            put("anna", 1),
            count("counter", 0),
            {"Delete": {"TableName": TABLE, "Key": key("gone")}},
            {
                "ConditionCheck": {
                    "TableName": TABLE,
                    "Key": key("other"),
                    "ConditionExpression": "attribute_not_exists(pk)",
                }
            },
        ]
    )
    assert [read(client, n) for n in ("anna", "counter", "gone", "other")] == [1, 1, None, None]


def test_a_failed_condition_names_itself_and_nothing_is_written(client):
    client.put_item(TableName=TABLE, Item=item("bert", 7))
    error = refused(
        client.transact_write_items,
        TransactItems=[
            put("anna"),
            put("bert", ReturnValuesOnConditionCheckFailure="ALL_OLD"),
            count("counter", 0),
        ],
    )
    assert reasons(error) == ["None", "ConditionalCheckFailed", "None"]
    assert error.response["CancellationReasons"][1]["Item"] == item("bert", 7)
    assert "[None, ConditionalCheckFailed, None]" in str(error)
    assert [read(client, n) for n in ("anna", "bert", "counter")] == [None, 7, None]


def test_every_failed_condition_is_reported(client):
    for name in ("anna", "bert"):
        client.put_item(TableName=TABLE, Item=item(name))
    error = refused(client.transact_write_items, TransactItems=[put("anna"), put("bert")])
    assert reasons(error) == ["ConditionalCheckFailed", "ConditionalCheckFailed"]


def test_undoing_a_transaction_keeps_what_others_wrote_meanwhile(client, monkeypatch):
    client.put_item(TableName=TABLE, Item=item("counter", 4))
    change = dynamodb._change

    def fail_late(on: Any, kind: str, request: dict[str, Any]) -> None:
        if kind == "Delete":
            on.put_item(TABLE, item("by-another", 9))
            raise RuntimeError("accident")
        change(on, kind, request)

    monkeypatch.setattr(dynamodb, "_change", fail_late)
    with pytest.raises(RuntimeError, match="accident"):
        client.transact_write_items(
            TransactItems=[
                put("anna"),
                count("counter", 4),
                {"Delete": {"TableName": TABLE, "Key": key("bert")}},
            ]
        )
    assert [read(client, n) for n in ("anna", "counter", "by-another")] == [None, 4, 9]
    monkeypatch.undo()
    client.transact_write_items(TransactItems=[put("anna", 1), count("counter", 4)])
    assert [read(client, n) for n in ("anna", "counter")] == [1, 5]


@pytest.mark.parametrize(
    "actions",
    [
        pytest.param([put("anna"), count("anna", 0)], id="one item twice"),
        pytest.param([put(f"p{n}") for n in range(101)], id="101 actions"),
    ],
)
def test_a_malformed_transaction_is_refused_whole(client, actions):
    assert code(refused(client.transact_write_items, TransactItems=actions)) == (
        "ValidationException"
    )
    assert client.scan(TableName=TABLE)["Count"] == 0


@pytest.fixture
def under_way(client, monkeypatch) -> Iterator[SimpleNamespace]:
    """A transaction that has `counter` and `anna` and goes on when told to."""
    claimed, go_on = threading.Event(), threading.Event()

    def wait(_seconds: float) -> None:
        claimed.set()
        assert go_on.wait(20)

    client.put_item(TableName=TABLE, Item=item("counter", 1))
    monkeypatch.setattr(dynamodb, "time", SimpleNamespace(sleep=wait))
    request = {"TransactItems": [count("counter", 1), put("anna")], "ClientRequestToken": "first"}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(make_client().transact_write_items, **request)
        assert claimed.wait(20)
        monkeypatch.setattr(dynamodb, "time", SimpleNamespace(sleep=lambda _seconds: None))
        try:
            yield SimpleNamespace(request=request, go_on=go_on, answer=answer)
        finally:
            go_on.set()


@pytest.mark.timeout(30)
def test_a_second_transaction_on_the_item_is_cancelled_with_transaction_conflict(client, under_way):
    error = refused(
        client.transact_write_items, TransactItems=[put("bert"), count("counter", 1), put("carl")]
    )
    assert reasons(error) == ["None", "TransactionConflict", "None"]
    under_way.go_on.set()
    under_way.answer.result(20)
    assert [read(client, n) for n in ("counter", "anna", "bert")] == [2, 0, None]
    client.transact_write_items(TransactItems=[count("counter", 2)])


@pytest.mark.timeout(30)
def test_single_writes_conflict_with_a_transaction_on_their_item_only(client, under_way):
    for call, request in (
        (client.put_item, {"Item": item("anna")}),
        (client.delete_item, {"Key": key("counter")}),
        (
            client.update_item,
            {
                "Key": key("counter"),
                "UpdateExpression": "SET a = :a",
                "ExpressionAttributeValues": {":a": {"N": "1"}},
            },
        ),
    ):
        assert code(refused(call, TableName=TABLE, **request)) == "TransactionConflictException"
    client.put_item(TableName=TABLE, Item=item("bert", 3))
    assert read(client, "bert") == 3
    under_way.go_on.set()
    under_way.answer.result(20)
    assert read(client, "counter") == 2


@pytest.mark.timeout(30)
def test_readers_see_the_state_before_until_a_transaction_is_done(client, under_way):
    assert (read(client, "counter"), read(client, "anna")) == (1, None)
    under_way.go_on.set()
    under_way.answer.result(20)
    assert (read(client, "counter"), read(client, "anna")) == (2, 0)


# ---- ClientRequestToken --------------------------------------------------------------------------


def test_the_same_request_under_the_same_token_has_one_effect(client):
    request = {"TransactItems": [put("anna", 1)], "ClientRequestToken": "once"}
    client.transact_write_items(**request)
    client.put_item(TableName=TABLE, Item=item("anna", 2))
    client.transact_write_items(**request)
    turned = put("anna", 1)["Put"]
    turned["Item"] = dict(reversed(turned["Item"].items()))
    client.transact_write_items(TransactItems=[{"Put": turned}], ClientRequestToken="once")
    assert read(client, "anna") == 2


def test_another_request_under_the_same_token_is_refused(client):
    client.transact_write_items(TransactItems=[put("anna")], ClientRequestToken="once")
    error = refused(
        client.transact_write_items, TransactItems=[put("bert")], ClientRequestToken="once"
    )
    assert code(error) == "IdempotentParameterMismatchException"
    assert read(client, "bert") is None


def test_a_token_is_forgotten_after_ten_minutes(client, monkeypatch):
    request = {"TransactItems": [put("anna")], "ClientRequestToken": "once"}
    client.transact_write_items(**request)
    now = time.monotonic()
    monkeypatch.setattr(dynamodb, "clock", lambda: now + 599)
    client.transact_write_items(**request)
    monkeypatch.setattr(dynamodb, "clock", lambda: now + 601)
    assert reasons(refused(client.transact_write_items, **request)) == ["ConditionalCheckFailed"]


def test_a_failed_request_may_be_repeated_under_its_token(client):
    client.put_item(TableName=TABLE, Item=item("anna", 1))
    request = {"TransactItems": [put("anna", 2)], "ClientRequestToken": "again"}
    assert reasons(refused(client.transact_write_items, **request)) == ["ConditionalCheckFailed"]
    client.delete_item(TableName=TABLE, Key=key("anna"))
    client.transact_write_items(**request)
    assert read(client, "anna") == 2


@pytest.mark.timeout(30)
def test_a_repeat_while_the_first_is_under_way_is_told_so(client, under_way):
    error = refused(client.transact_write_items, **under_way.request)
    assert code(error) == "TransactionInProgressException"
    under_way.go_on.set()
    under_way.answer.result(20)
    client.transact_write_items(**under_way.request)
    assert read(client, "counter") == 2


# ---- Concurrency ---------------------------------------------------------------------------------


@pytest.mark.timeout(60)
def test_eight_writers_with_25_increments_each_make_exactly_200(client):
    def write(writer: int) -> None:
        own = make_client()
        for step in range(25):
            name = f"writer-{writer}-{step}"
            while True:
                now = read(own, "counter") or 0
                try:
                    own.transact_write_items(TransactItems=[count("counter", now), put(name, now)])
                    break
                except own.exceptions.TransactionCanceledException:
                    time.sleep(random.uniform(0, 0.08))  # noqa: S311 - spreads retries

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert read(client, "counter") == 200
    found = client.query(
        TableName=TABLE,
        KeyConditionExpression="pk = :p AND begins_with(sk, :w)",
        ExpressionAttributeValues={":p": {"S": "peer"}, ":w": {"S": "writer-"}},
    )["Items"]
    assert sorted(int(i["value"]["N"]) for i in found) == list(range(200))


def test_an_update_does_not_reach_into_what_a_reader_holds(client):
    client.put_item(TableName=TABLE, Item=item("anna", 1))
    held = backend().get_item(TABLE, key("anna"))
    client.transact_write_items(TransactItems=[count("anna", 1)])
    assert held.attrs["value"].value == "1"
    assert read(client, "anna") == 2


@pytest.mark.parametrize("name", ["anna", "new"])
@pytest.mark.parametrize("wrong", [{"N": "1"}, {"S": "x" * 400_000}], ids=["type", "size"])
def test_a_refused_update_leaves_no_trace(client, name, wrong):
    client.put_item(TableName=TABLE, Item=item("anna", 1, text={"S": "x" * 10_000}))
    error = refused(
        client.update_item,
        TableName=TABLE,
        Key=key(name),
        UpdateExpression="SET a = :small, b = list_append(:wrong, :wrong)"
        if "N" in wrong
        else "SET a = :small, b = :wrong",
        ExpressionAttributeValues={":small": {"S": "y" * 10_000}, ":wrong": wrong},
    )
    assert code(error) == "ValidationException"
    assert [i["sk"]["S"] for i in client.scan(TableName=TABLE)["Items"]] == ["anna"]
    assert "a" not in client.get_item(TableName=TABLE, Key=key("anna"))["Item"]


@pytest.mark.timeout(60)
def test_each_single_write_is_told_the_value_that_it_replaced(client):
    client.put_item(TableName=TABLE, Item=item("counter", 0))

    def write(_writer: int) -> list[int]:
        own = make_client()
        request = {
            "TableName": TABLE,
            "Key": key("counter"),
            "UpdateExpression": "ADD #v :one",
            "ExpressionAttributeNames": {"#v": "value"},
            "ExpressionAttributeValues": {":one": {"N": "1"}},
            "ReturnValues": "ALL_OLD",
        }
        answers = [own.update_item(**request)["Attributes"] for _ in range(25)]
        return [int(old["value"]["N"]) for old in answers]

    often = 1e-5
    usual = sys.getswitchinterval()
    sys.setswitchinterval(often)
    try:
        with ThreadPoolExecutor(4) as pool:
            replaced = [value for values in pool.map(write, range(4)) for value in values]
    finally:
        sys.setswitchinterval(usual)
    assert sorted(replaced) == list(range(100))


# ---- Reading -------------------------------------------------------------------------------------

NAMES = ["a", "ab", "abc", "b", "ba", "bb", "c", "é", "\U0001f600"]


@pytest.mark.parametrize(
    ("condition", "values", "expected"),
    [
        ("", [], NAMES),
        (" AND sk = :x", ["b"], ["b"]),
        (" AND sk = :x", ["bx"], []),
        (" AND sk < :x", ["b"], ["a", "ab", "abc"]),
        (" AND sk <= :x", ["b"], ["a", "ab", "abc", "b"]),
        (" AND sk > :x", ["ba"], ["bb", "c", "é", "\U0001f600"]),
        (" AND sk >= :x", ["bb"], ["bb", "c", "é", "\U0001f600"]),
        (" AND sk BETWEEN :x AND :y", ["ab", "b"], ["ab", "abc", "b"]),
        (" AND begins_with(sk, :x)", ["ab"], ["ab", "abc"]),
        (" AND begins_with(sk, :x)", ["d"], []),
    ],
)
def test_query_returns_the_span_in_order(client, condition, values, expected):
    for name in (*reversed(NAMES), "gone"):
        client.put_item(TableName=TABLE, Item=item(name))
        client.put_item(TableName=TABLE, Item=item(name, pk="other"))
    client.delete_item(TableName=TABLE, Key=key("gone"))
    client.put_item(TableName=TABLE, Item=item("b", 5))
    request = {
        "TableName": TABLE,
        "KeyConditionExpression": f"pk = :p{condition}",
        "ExpressionAttributeValues": {
            ":p": {"S": "peer"},
            **dict(zip((":x", ":y"), ({"S": v} for v in values), strict=False)),
        },
    }
    for forward, ordered in ((True, expected), (False, expected[::-1])):
        request["ScanIndexForward"] = forward
        whole = client.query(**request)
        assert [i["sk"]["S"] for i in whole["Items"]] == ordered
        assert "LastEvaluatedKey" not in whole
        pages = client.get_paginator("query").paginate(**request, PaginationConfig={"PageSize": 2})
        assert [i["sk"]["S"] for page in pages for i in page["Items"]] == ordered


def test_number_sort_keys_are_in_numeric_order(client):
    make_table(client, "N", "numbers")
    for n in ("10", "9", "-1", "2.5"):
        client.put_item(TableName="numbers", Item={"pk": {"S": "p"}, "sk": {"N": n}})
    found = client.query(
        TableName="numbers",
        KeyConditionExpression="pk = :p AND sk > :n",
        ExpressionAttributeValues={":p": {"S": "p"}, ":n": {"N": "2"}},
    )["Items"]
    assert [i["sk"]["N"] for i in found] == ["2.5", "9", "10"]


def test_a_filter_applies_after_the_limit_and_a_projection_last(client):
    for n in range(6):
        client.put_item(TableName=TABLE, Item=item(f"p{n}", n))
    page = client.query(
        TableName=TABLE,
        KeyConditionExpression="pk = :p",
        FilterExpression="#v >= :two",
        ProjectionExpression="sk",
        ExpressionAttributeNames={"#v": "value"},
        ExpressionAttributeValues={":p": {"S": "peer"}, ":two": {"N": "2"}},
        Limit=3,
    )
    assert page["Items"] == [{"sk": {"S": "p2"}}]
    assert (page["Count"], page["ScannedCount"]) == (1, 3)
    assert page["LastEvaluatedKey"] == key("p2")


def test_every_type_of_value_comes_back_as_it_went_in(client):
    whole = item(
        "anna",
        text={"S": 'é\n"'},
        none={"NULL": True},
        flag={"BOOL": False},
        raw={"B": b"\x00\xff"},
        names={"SS": ["a"]},
        numbers={"NS": ["1"]},
        raws={"BS": [b"\x01"]},
        many={"L": [{"S": "x"}, {"M": {"deep": {"L": [{"N": "1"}]}}}]},
        empty={"M": {}},
    )
    client.put_item(TableName=TABLE, Item=whole)
    where = {"TableName": TABLE}
    keys = {"Keys": [key("anna")], "ConsistentRead": True}
    assert client.get_item(**where, Key=key("anna"))["Item"] == whole
    assert client.batch_get_item(RequestItems={TABLE: keys})["Responses"][TABLE] == [whole]
    assert client.scan(**where)["Items"] == [whole]
    got = client.transact_get_items(TransactItems=[{"Get": {**where, "Key": key("anna")}}])
    assert got["Responses"] == [{"Item": whole}]


# ---- Point in time recovery ----------------------------------------------------------------------


@pytest.fixture
def at(client: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A clock that is set by hand, for a table that can be restored."""
    now = [1_800_000_000.0]
    monkeypatch.setattr(history, "clock", lambda: now[0])
    client.update_continuous_backups(
        TableName=TABLE, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    described = backend().get_table(TABLE).continuous_backups["PointInTimeRecoveryDescription"]
    described["EarliestRestorableDateTime"] = now[0]

    def set_to(seconds: float) -> datetime:
        now[0] = 1_800_000_000.0 + seconds
        return datetime.fromtimestamp(now[0], UTC)

    return set_to


def restored(client: Any, to: datetime, name: str = "restored") -> list[dict[str, Any]]:
    client.restore_table_to_point_in_time(
        SourceTableName=TABLE, TargetTableName=name, RestoreDateTime=to
    )
    return client.scan(TableName=name)["Items"]


def test_a_restored_table_is_a_copy_of_its_own(client, at):
    at(1)
    for name in ("bert", "anna"):
        client.put_item(TableName=TABLE, Item=item(name, 1))
    client.restore_table_to_point_in_time(
        SourceTableName=TABLE, TargetTableName="restored", UseLatestRestorableTime=True
    )
    client.transact_write_items(TransactItems=[count("anna", 1), put("carl")])
    client.put_item(TableName="restored", Item=item("dora", 1))
    found = client.scan(TableName="restored")["Items"]
    assert found == [item("anna", 1), item("bert", 1), item("dora", 1)]
    assert [read(client, n) for n in ("anna", "bert", "carl", "dora")] == [2, 1, 0, None]


def test_a_restore_knows_what_was_put_changed_and_deleted_since(client, at):
    at(1)
    for name in ("anna", "bert", "carl"):
        client.put_item(TableName=TABLE, Item=item(name, 1))
    then = at(2)
    at(3)
    client.put_item(TableName=TABLE, Item=item("anna", 2))
    client.update_item(
        TableName=TABLE,
        Key=key("bert"),
        UpdateExpression="SET extra = :x",
        ExpressionAttributeValues={":x": {"S": "x"}},
    )
    client.delete_item(TableName=TABLE, Key=key("carl"))
    client.put_item(TableName=TABLE, Item=item("dora", 1))
    client.transact_write_items(TransactItems=[count("anna", 2), count("emil", 0)])
    assert restored(client, then) == [item("anna", 1), item("bert", 1), item("carl", 1)]
    assert [read(client, n) for n in ("anna", "carl", "dora", "emil")] == [3, None, 1, 1]


def test_each_second_can_be_restored_and_a_transaction_is_in_one_of_them(client, at, monkeypatch):
    moments = [at(second) for second in range(1, 6)]
    for number, moment in enumerate(moments):
        begin = moment.timestamp()
        over_the_second = itertools.chain([begin + 0.95] * 2, itertools.repeat(begin + 1.05))
        monkeypatch.setattr(history, "clock", lambda clock=over_the_second: next(clock))
        client.transact_write_items(TransactItems=[count("anna", number), count("bert", number)])
    monkeypatch.setattr(history, "clock", lambda: 1_800_000_010.0)
    for number, moment in enumerate(moments):
        found = {i["sk"]["S"]: i["value"]["N"] for i in restored(client, moment, f"t-{number}")}
        assert found.get("anna") == found.get("bert"), "half a transaction"


def test_what_a_failed_transaction_undid_is_in_no_restore(client, at):
    at(1)
    client.put_item(TableName=TABLE, Item=item("anna", 1))
    at(2)
    refused(client.transact_write_items, TransactItems=[put("bert"), put("anna")])
    at(3)
    assert restored(client, at(3)) == [item("anna", 1)]


def test_a_table_is_restored_within_its_window_only(client, at, monkeypatch):
    monkeypatch.setattr(history, "KEPT", 3)
    for second in range(1, 6):
        at(second)
        client.put_item(TableName=TABLE, Item=item("anna", second))
    described = client.describe_continuous_backups(TableName=TABLE)
    window = described["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert window["EarliestRestorableDateTime"].timestamp() == at(2).timestamp()
    assert window["LatestRestorableDateTime"].timestamp() == at(5).timestamp()
    at(6)
    for outside in (1_800_000_001, 1_800_000_007):
        error = refused(
            client.restore_table_to_point_in_time,
            SourceTableName=TABLE,
            TargetTableName="restored",
            RestoreDateTime=outside,
        )
        assert code(error) == "InvalidRestoreTimeException"
    assert client.list_tables()["TableNames"] == [TABLE], "nothing is left of a refused restore"
    assert restored(client, datetime.fromtimestamp(1_800_000_002, UTC)) == [item("anna", 2)]


def test_what_is_older_than_two_hours_is_forgotten(client, at):
    for seconds in (1, 2, 7201.5):
        at(seconds)
        client.put_item(TableName=TABLE, Item=item("anna", int(seconds)))
    notes = backend().get_table(TABLE).items.notes
    assert (len(notes.kept), notes.forgotten) == (2, at(1).timestamp())


def test_without_point_in_time_recovery_there_is_no_restore(client):
    error = refused(
        client.restore_table_to_point_in_time,
        SourceTableName=TABLE,
        TargetTableName="restored",
        UseLatestRestorableTime=True,
    )
    assert code(error) == "PointInTimeRecoveryUnavailableException"


# ---- Installing ----------------------------------------------------------------------------------


def test_installing_twice_changes_nothing():
    dynamodb.install()
    before = [vars(owner)[name] for owner, name, _ in (*dynamodb.REPLACED, *dynamodb.WRAPPED)]
    dynamodb.install()
    after = [vars(owner)[name] for owner, name, _ in (*dynamodb.REPLACED, *dynamodb.WRAPPED)]
    assert all(a is b for a, b in zip(before, after, strict=True))
    assert dynamodb_items.query in after


def test_another_moto_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "5.3.0")
    with pytest.raises(Refusal, match=r"moto 5\.3\.0: .*requirements\.lock"):
        dynamodb.install()


def test_the_lock_file_has_the_moto_that_is_replaced():
    assert f"\nmoto=={dynamodb.MOTO} " in (ROOT / "requirements.lock").read_text()


# ---- At 10,000 peers -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full() -> Iterator[Any]:
    """A table with four items for each of 10,000 peers."""
    dynamodb.install()
    with mock_aws():
        made = make_client()
        make_table(made)
        filling = backend()
        for n in range(PEERS):
            name = f"peer-{n:05}"
            peer = item(name, n, public_key={"S": "A" * 44}, owner={"S": f"{n}@example.org"})
            filling.put_item(TABLE, peer, overwrite=True)
            for pk in ("address", "key", "change"):
                filling.put_item(TABLE, item(name, n, pk), overwrite=True)
        yield made


def milliseconds(call: Any, times: int) -> list[float]:
    taken = []
    for n in range(times):
        before = time.perf_counter()
        call(n)
        taken.append((time.perf_counter() - before) * 1000)
    return taken


@pytest.mark.timeout(60)
def test_a_transaction_takes_at_most_50_milliseconds_beside_40000_items(full):
    def transact(n: int) -> None:
        new = [put(f"new-{n}-{part}") for part in range(5)]
        full.transact_write_items(TransactItems=[count("counter", n), *new])

    assert statistics.median(milliseconds(transact, 50)) <= 50
    assert read(full, "counter") == 50


@pytest.mark.timeout(60)
def test_the_newest_changes_are_read_without_the_others(full):
    def newest(_n: int) -> None:
        page = full.query(
            TableName=TABLE,
            ConsistentRead=True,
            KeyConditionExpression="pk = :p AND sk > :s",
            ExpressionAttributeValues={":p": {"S": "change"}, ":s": {"S": "peer-09997"}},
        )
        assert [i["value"]["N"] for i in page["Items"]] == ["9998", "9999"]

    assert statistics.median(milliseconds(newest, 50)) <= 25


@pytest.mark.timeout(60)
def test_all_peers_are_read_once_in_pages_of_one_megabyte(full):
    pages = list(
        full.get_paginator("query").paginate(
            TableName=TABLE,
            ConsistentRead=True,
            KeyConditionExpression="pk = :p AND begins_with(sk, :s)",
            ExpressionAttributeValues={":p": {"S": "peer"}, ":s": {"S": "peer-"}},
        )
    )
    names = [i["sk"]["S"] for page in pages for i in page["Items"]]
    assert names == [f"peer-{n:05}" for n in range(PEERS)]
    assert len(pages) > 1


@pytest.mark.timeout(60)
def test_a_scan_reads_every_item_once(full):
    pages = full.get_paginator("scan").paginate(TableName=TABLE)
    found = [(i["pk"]["S"], i["sk"]["S"]) for page in pages for i in page["Items"]]
    assert len(found) == len(set(found)) >= 4 * PEERS
