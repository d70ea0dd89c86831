"""The HTTP API as its callers have it: the commands' operations and rules, every fault at once."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import iam_judge
import jsonschema
import permissions
import pytest
from fake_registry import BUCKET, CONTROL, PARAMETER, SERVER_KEY, STACK, TABLE, key_of
from http_call import CALLER, Answered, call, event

import plan
from api import handler, operations
from api.calls import Place
from api.openapi import document
from client.config import PLACEHOLDER, PRESHARED_PLACEHOLDER
from components import http_api
from registry import transactions, waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_fleet import FakeFleet
    from fake_registry import Fake

    from registry.environment import Cloud

SERVICES = ("dynamodb", "ssm", "sts", "autoscaling", "ec2", "elbv2", "s3", "kms")

Api = Any
"""`(method, target, body, **more) -> Answered`."""

KEY = {"idempotency-key": "0b9e6f70-55a1-4b7c-9d4e-6f4d1f6d0001"}


@pytest.fixture
def place(cloud: Cloud, fake: Fake) -> Place:
    del fake
    return Place(cloud, STACK)


@pytest.fixture
def api(place: Place) -> Callable[..., Answered]:
    return lambda *words, **more: documented(words, call(place, *words, **more))


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Let something happen at each pause between two looks at the gateways."""
    return lambda act: monkeypatch.setattr(waiting, "sleep", lambda _seconds: act())


def documented(words: tuple[Any, ...], answered: Answered) -> Answered:
    """Whatever is answered is what the OpenAPI document says may be."""
    whole = document()
    path = words[1].partition("?")[0]
    for template, methods in whole["paths"].items():
        form = re.sub(r"{\w+}", "[^/]+", template)
        described = methods.get(words[0].lower())
        if re.fullmatch(form, path) and described:
            said = described["responses"][str(answered.status)]["content"]
            ((kind, content),) = said.items()
            assert answered.headers["content-type"] == kind
            schema = {**content["schema"], "components": whole["components"]}
            jsonschema.validate(answered.json, schema)
    return answered


def added(api: Api, name: str = "alice", number: int = 1, **more: Any) -> Answered:
    answered = api("POST", "/peers", {"name": name, "public_key": key_of(number), **more})
    assert answered.status == 201, answered.json
    return answered


def config(answered: Answered) -> str:
    return answered.json["config"]


# ------------------------------------------------------------------ what it does


def test_a_peer_is_added_by_its_public_key_and_its_config_has_a_place_for_the_private_one(
    api: Api, fake: Fake
) -> None:
    rules = ["10.20.3.0/24:tcp/5432"]
    answered = added(api, owner="alice@example.com", expires="30d", allow=rules)
    assert answered.headers["location"] == "/peers/alice"
    peer = fake.registry.peer("alice")
    assert peer is not None
    assert (peer.public_key, peer.owner, peer.allow) == (
        key_of(1),
        "alice@example.com",
        ("10.20.3.0/24:tcp/5432",),
    )
    assert answered.json["peer"]["address"] == str(peer.address)
    assert f"PrivateKey = {PLACEHOLDER}" in config(answered)
    assert f"PublicKey = {SERVER_KEY}" in config(answered)
    assert answered.json["allowed_ips"] == ["10.20.3.0/24", "100.96.0.1/32"]


def test_the_audit_names_who_signed_the_request(api: Api, fake: Fake) -> None:
    added(api)
    api("POST", "/peers/alice/extend", {"expires": "never"})
    (entry,) = fake.registry.audit()[0]
    assert (entry.action, entry.name, entry.caller) == ("add", "alice", CALLER)
    other = "arn:aws:iam::123456789012:user/bob"
    api("POST", "/peers/alice/extend", {"expires": "12h"}, caller=other)
    trail = api("GET", "/audit?name=alice").json["audit"]
    assert [(each["action"], each["caller"]) for each in trail] == [
        ("add", CALLER),
        ("extend", other),
    ]


def test_what_is_read_is_what_is_there(api: Api, fake: Fake, fleet: FakeFleet) -> None:
    added(api)
    added(api, "bob", 2)
    everyone = api("GET", "/peers").json
    assert [peer["name"] for peer in everyone["peers"]] == ["alice", "bob"]
    assert everyone["stack"] == STACK
    assert api("GET", "/peers/bob").json["peer"] == everyone["peers"][1]
    shown = api("GET", "/peers/bob/config").json
    assert shown["peer"] == everyone["peers"][1]
    assert f"Address = {shown['peer']['address']}/32" in shown["config"]
    assert len(api("GET", "/audit").json["audit"]) == 2
    one, other = fleet.ids
    fleet.says(one)
    gateways = api("GET", "/gateways").json
    assert gateways["generation"] == fake.registry.head().generation
    assert {each["id"]: each["confirmed"] for each in gateways["gateways"]} == {
        one: True,
        other: False,
    }


def test_what_does_not_parse_is_named_and_hides_nobody(api: Api, fake: Fake) -> None:
    added(api)
    broken = {"pk": {"S": "peer"}, "sk": {"S": "broken"}, "name": {"S": "broken"}}
    fake.client.put_item(TableName=TABLE, Item=broken)
    answered = api("GET", "/peers").json
    assert [peer["name"] for peer in answered["peers"]] == ["alice"]
    assert [each["key"] for each in answered["unreadable"]] == ["peer/broken"]
    assert api("GET", "/peers/broken").status == 502


def test_access_is_given_an_end_another_one_and_none(api: Api, fake: Fake) -> None:
    added(api, expires="2h")
    before = fake.registry.peer("alice")
    answered = api("POST", "/peers/alice/extend", {"expires": "30d"})
    assert answered.status == 200
    end = datetime.fromisoformat(answered.json["peer"]["expires"])
    assert timedelta(days=29, hours=23) < end - datetime.now(UTC) <= timedelta(days=30)
    assert api("POST", "/peers/alice/extend", {"expires": "never"}).json["peer"]["expires"] is None
    after = fake.registry.peer("alice")
    assert before is not None
    assert after is not None
    assert (after.address, after.public_key) == (before.address, before.public_key)


def test_a_revocation_is_answered_when_every_gateway_has_confirmed(
    api: Api, fake: Fake, fleet: FakeFleet, between: Any
) -> None:
    added(api)
    answers = iter(fleet.ids)
    between(lambda: fleet.says(next(answers)))
    answered = api("DELETE", "/peers/alice")
    assert answered.status == 200
    assert answered.json["confirmed"] is True
    assert answered.json["missing"] == []
    assert [each["id"] for each in answered.json["gateways"]] == fleet.ids
    assert all(
        0 < each["seconds"] <= answered.json["seconds"] for each in answered.json["gateways"]
    )
    assert fake.registry.peer("alice") is None
    assert fake.registry.resting() == [], "its address is free again"
    assert api("DELETE", "/peers/alice").status == 404


def test_a_revocation_that_is_not_confirmed_names_who_is_missing_and_can_be_waited_for_again(
    api: Api, fake: Fake, fleet: FakeFleet, monkeypatch: pytest.MonkeyPatch, between: Any
) -> None:
    address = added(api).json["peer"]["address"]
    talking, silent = fleet.ids
    fleet.says(silent)
    monkeypatch.setattr(waiting, "PAUSE", 0.0)
    between(lambda: fleet.says(talking))
    answered = api("DELETE", "/peers/alice?wait=1")
    assert answered.status == 202
    assert answered.json["missing"] == [silent]
    assert [each["confirmed"] for each in answered.json["gateways"]] == [True, False]
    assert fake.registry.peer("alice") is None
    assert [str(rest.address) for rest in fake.registry.resting()] == [address], "it rests"
    between(lambda: [fleet.says(name, updated=1_700_000_001) for name in fleet.ids])
    again = api("DELETE", "/peers/alice")
    assert again.status == 200
    assert again.json["revoked_before"] is True
    assert again.json["generation"] == answered.json["generation"]


def test_nobody_need_wait(api: Api, fleet: FakeFleet) -> None:
    added(api)
    answered = api("DELETE", "/peers/alice?wait=0")
    assert answered.status == 202
    assert answered.json["missing"] == fleet.ids
    assert answered.json["seconds"] < 5


def test_the_change_itself_is_part_of_the_time_that_a_caller_waits(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    added(api)
    limits: list[float] = []

    def settle(*_: Any, timeout: float, **__: Any) -> Any:
        limits.append(timeout)
        return waiting.Waited((), {}, known=True)

    monkeypatch.setattr(operations, "settle", settle)
    api("DELETE", "/peers/alice")
    assert 20 < limits[0] < 25


def test_a_key_is_rotated_and_the_answer_says_that_the_old_one_is_refused(
    api: Api, fake: Fake, fleet: FakeFleet, between: Any
) -> None:
    before = added(api).json["peer"]
    between(lambda: [fleet.says(name) for name in fleet.ids])
    answered = api("POST", "/peers/alice/rotate", {"public_key": key_of(2)})
    assert answered.status == 200
    assert answered.json["confirmed"] is True
    assert answered.json["peer"]["public_key"] == key_of(2)
    assert answered.json["peer"]["address"] == before["address"]
    assert PLACEHOLDER in config(answered)
    assert fake.registry.used_keys([key_of(1), key_of(2)]).keys() == {key_of(1), key_of(2)}


def test_a_rotation_that_is_not_confirmed_says_so(api: Api, fleet: FakeFleet) -> None:
    added(api)
    answered = api("POST", "/peers/alice/rotate?wait=0", {"public_key": key_of(2)})
    assert answered.status == 202
    assert answered.json["missing"] == fleet.ids


# ------------------------------------------------------------------ a request is done once


def test_a_request_that_comes_twice_is_done_once(api: Api, fake: Fake) -> None:
    body = {"name": "alice", "public_key": key_of(1), "expires": "30d"}
    first = api("POST", "/peers", body, headers=KEY)
    second = api("POST", "/peers", body, headers=KEY)
    assert first.status == second.status == 201
    assert first.json == second.json
    assert fake.registry.head().generation == 1
    assert api("POST", "/peers", body).status == 409, "without its name it is another request"


def test_a_revocation_that_comes_twice_is_done_once_and_waited_for_twice(
    api: Api, fake: Fake, fleet: FakeFleet, between: Any
) -> None:
    added(api)
    times = iter(range(1_700_000_001, 1_800_000_000))
    between(lambda: [fleet.says(name, updated=next(times)) for name in fleet.ids])
    first = api("DELETE", "/peers/alice", headers=KEY)
    second = api("DELETE", "/peers/alice", headers=KEY)
    assert (first.status, second.status) == (200, 200)
    assert second.json["generation"] == first.json["generation"] == 2
    assert (first.json["revoked_before"], second.json["revoked_before"]) == (False, True)
    assert fake.registry.head().generation == 2


def test_an_extension_and_a_rotation_that_come_twice_are_done_once(
    api: Api, fake: Fake, fleet: FakeFleet
) -> None:
    del fleet
    added(api)
    for target, body in (
        ("/peers/alice/extend", {"expires": "30d"}),
        ("/peers/alice/rotate?wait=0", {"public_key": key_of(2)}),
    ):
        headers = {"Idempotency-Key": f'"{target[7:19]:.<12}"'.replace("/", "-")}
        first = api("POST", target, body, headers=headers)
        generation = fake.registry.head().generation
        second = api("POST", target, body, headers=headers)
        assert first.status == second.status < 300
        assert first.json["peer"] == second.json["peer"]
        assert fake.registry.head().generation == generation


def test_a_request_whose_answer_was_lost_is_found_to_be_done(
    api: Api, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DynamoDB wrote it and said nothing: the try that follows finds the note of the first."""
    write = fake.client.transact_write_items

    def lost(**request: Any) -> None:
        write(**request)
        monkeypatch.setattr(fake.client, "transact_write_items", write)
        raise transactions.HTTPClientError(error="the line was cut")

    monkeypatch.setattr(fake.client, "transact_write_items", lost)
    body = {"name": "alice", "public_key": key_of(1)}
    assert api("POST", "/peers", body, headers=KEY).status == 201
    assert fake.registry.head().generation == 1


def test_one_name_for_two_requests_is_refused(api: Api, fake: Fake) -> None:
    body = {"name": "alice", "public_key": key_of(1)}
    api("POST", "/peers", body, headers=KEY)
    answered = api("POST", "/peers", {**body, "name": "bob", "public_key": key_of(2)}, headers=KEY)
    assert answered.status == 422
    assert fake.registry.peer("bob") is None


def test_another_callers_request_of_the_same_name_is_another_request(api: Api, fake: Fake) -> None:
    api("POST", "/peers", {"name": "alice", "public_key": key_of(1)}, headers=KEY)
    other = {"name": "bob", "public_key": key_of(2)}
    assert api("POST", "/peers", other, headers=KEY, caller="arn:aws:iam::1:user/b").status == 201
    assert fake.registry.head().generation == 2


def test_a_note_of_another_epoch_counts_for_nothing(api: Api, fake: Fake) -> None:
    """After a restore the change that a note tells of may be gone."""
    added(api)
    body = {"name": "bob", "public_key": key_of(2)}
    api("POST", "/peers", body, headers=KEY)
    assert api("DELETE", "/peers/bob?wait=0").status == 202
    fake.client.update_item(
        TableName=TABLE,
        Key={"pk": {"S": "generation"}, "sk": {"S": "generation"}},
        UpdateExpression="SET epoch = :epoch",
        ExpressionAttributeValues={":epoch": {"S": "after-a-restore"}},
    )
    again = api("POST", "/peers", {**body, "public_key": key_of(2)}, headers=KEY)
    assert again.status == 409, "judged anew: its key was revoked meanwhile"
    # the very same request, now one that can be done
    fake.client.delete_item(TableName=TABLE, Key={"pk": {"S": "key"}, "sk": {"S": key_of(2)}})
    assert api("POST", "/peers", body, headers=KEY).status == 201


# ------------------------------------------------------------------ what it refuses


def test_every_fault_is_told_at_once_with_field_value_reason_and_cure(api: Api, fake: Fake) -> None:
    before = fake.items()
    answered = api(
        "POST",
        "/peers",
        {
            "name": "Alice Laptop",
            "public_key": "AAAA",
            "owner": "x" * 201,
            "expires": "yesterday",
            "allow": ["10.20.3.0/24", "10.20.3.1/24", 7],
            "colour": "red",
        },
        headers={"idempotency-key": "?"},
    )
    assert answered.status == 400
    assert set(answered.faults) == {
        *("name", "public_key", "owner", "expires", "allow[1]", "allow[2]", "colour"),
        "Idempotency-Key",
    }
    assert answered.faults["name"] == {
        "field": "name",
        "value": "Alice Laptop",
        "why": "not a usable name",
        "cure": "use 1 to 63 of a-z 0-9 . _ - and begin and end with a letter or digit, "
        "such as alice-laptop",
    }
    assert answered.faults["allow[1]"]["value"] == "10.20.3.1/24"
    assert all(each["why"] and each["cure"] for each in answered.json["errors"])
    assert len(answered.faults["owner"]["value"]) == 203, "a long value is said back in part"
    assert fake.items() == before


def test_no_secret_key_is_taken_or_said_back(api: Api, fake: Fake) -> None:
    secret = base64.b64encode(bytes(range(32))).decode()
    for name, why in (
        ("private_key", "no secret key"),
        ("PrivateKey", "no secret key"),
        ("PresharedKey", "no secret key"),
        ("preshared_key", "is no boolean"),
    ):
        body = {"name": "alice", "public_key": key_of(1), name: secret}
        answered = api("POST", "/peers", body)
        assert answered.status == 400
        assert why in answered.faults[name]["why"]
        assert secret not in json.dumps(answered.json)
    assert fake.registry.peer("alice") is None


GOOD: dict[str, Any] = {"name": "alice", "public_key": key_of(1)}
ZERO = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "about"),
    [
        ("POST", "/peers", {}, 400, "name"),
        ("POST", "/peers", {**GOOD, "name": ""}, 400, "name"),
        ("POST", "/peers", {**GOOD, "name": "../x"}, 400, "name"),
        ("POST", "/peers", {**GOOD, "name": "a" * 64}, 400, "name"),
        ("POST", "/peers", {**GOOD, "name": 7}, 400, "name"),
        ("POST", "/peers", {**GOOD, "name": None}, 400, "name"),
        ("POST", "/peers", {**GOOD, "name": "al\u00efce"}, 400, "name"),
        ("POST", "/peers", {**GOOD, "public_key": ZERO}, 400, "public_key"),
        ("POST", "/peers", {**GOOD, "public_key": "?" * 44}, 400, "public_key"),
        ("POST", "/peers", {**GOOD, "public_key": key_of(1) + "\n"}, 400, "public_key"),
        ("POST", "/peers", {**GOOD, "public_key": [key_of(1)]}, 400, "public_key"),
        ("POST", "/peers", {**GOOD, "public_key": True}, 400, "public_key"),
        ("POST", "/peers", {**GOOD, "expires": "2001-01-01"}, 400, "expires"),
        ("POST", "/peers", {**GOOD, "expires": "99999w"}, 400, "expires"),
        ("POST", "/peers", {**GOOD, "expires": 30}, 400, "expires"),
        ("POST", "/peers", {**GOOD, "owner": "a\u0000b"}, 400, "owner"),
        ("POST", "/peers", {**GOOD, "allow": "10.20.0.0/16"}, 400, "allow"),
        ("POST", "/peers", {**GOOD, "allow": [None]}, 400, "allow[0]"),
        ("POST", "/peers", {**GOOD, "allow": ["8.8.8.0/24"]}, 400, "allow"),
        ("POST", "/peers", {**GOOD, "allow": ["10.20.0.0/16:gre"]}, 400, "allow[0]"),
        ("POST", "/peers", {**GOOD, "allow": [f"10.20.0.{n}" for n in range(60)]}, 400, "allow"),
        ("POST", "/peers", {**GOOD, "address": "100.96.0.9"}, 400, "address"),
        ("POST", "/peers", "{", 400, "body"),
        ("POST", "/peers", "[]", 400, "body"),
        ("POST", "/peers", "null", 400, "body"),
        ("POST", "/peers", '{"name": NaN}', 400, "body"),
        ("POST", "/peers", '{"name": "a", "name": "b"}', 400, "body"),
        ("POST", "/peers", "[" * 60_000, 400, "body"),
        ("POST", "/peers", '{"name": "\ud800"}', 400, "name"),
        ("POST", "/peers", " " * 70_000, 413, None),
        ("POST", "/peers?name=alice", GOOD, 400, "name"),
        ("GET", "/peers", GOOD, 400, "body"),
        ("GET", "/peers?all=1", None, 400, "all"),
        ("GET", "/peers/", None, 400, "name"),
        ("GET", "/peers/..%2faudit", None, 400, "name"),
        ("GET", "/peers/nobody", None, 404, None),
        ("GET", "/peers/nobody/config", None, 404, None),
        ("DELETE", "/peers/nobody", None, 404, None),
        ("DELETE", "/peers/carol?wait=26", None, 400, "wait"),
        ("DELETE", "/peers/carol?wait=-1", None, 400, "wait"),
        ("DELETE", "/peers/carol?wait=soon", None, 400, "wait"),
        ("DELETE", "/peers/carol?wait=1&wait=2", None, 400, "wait"),
        ("DELETE", "/peers", None, 405, None),
        ("PUT", "/peers/carol", GOOD, 405, None),
        ("POST", "/peers/carol/extend", {}, 400, "expires"),
        ("POST", "/peers/carol/extend", {"expires": None}, 400, "expires"),
        ("POST", "/peers/nobody/extend", {"expires": "1d"}, 404, None),
        ("POST", "/peers/nobody/rotate", {"public_key": key_of(2)}, 404, None),
        ("POST", "/peers/carol/rotate", {"public_key": key_of(3)}, 409, None),
        ("POST", "/peers/carol/rotate", {"public_key": SERVER_KEY}, 409, None),
        ("POST", "/peers/carol/rotate", {"public_key": ZERO}, 400, "public_key"),
        ("POST", "/peers", {**GOOD, "name": "carol"}, 409, None),
        ("POST", "/peers", {**GOOD, "public_key": key_of(3)}, 409, None),
        ("POST", "/peers", {**GOOD, "public_key": SERVER_KEY}, 409, None),
        ("GET", "/audit?name=A", None, 400, "name"),
        ("GET", "/", None, 404, None),
        ("GET", "/peers/carol/private", None, 404, None),
        ("POST", "/openapi.json", {}, 405, None),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(  # noqa: PLR0917 - a table's columns
    api: Api, fake: Fake, method: str, target: str, body: Any, status: int, about: str | None
) -> None:
    fake.add("carol", 3)
    before = fake.items()
    answered = api(method, target, body)
    assert answered.status == status, answered.json
    assert answered.json["status"] == status
    if about is not None:
        assert about in answered.faults
    assert fake.items() == before


def test_the_key_that_a_peer_has_is_no_new_one(api: Api, fake: Fake) -> None:
    added(api)
    before = fake.items()
    for headers in ({}, KEY):
        answered = api("POST", "/peers/alice/rotate", {"public_key": key_of(1)}, headers=headers)
        assert answered.status == 409
    assert fake.items() == before


def test_a_body_of_another_kind_is_not_read(api: Api, fake: Fake) -> None:
    before = fake.items()
    for kind in ("text/plain", "application/x-www-form-urlencoded", ""):
        assert api("POST", "/peers", GOOD, headers={"content-type": kind}).status == 415
    assert fake.items() == before
    kind = {"content-type": "Application/JSON; charset=utf-8"}
    assert api("POST", "/peers", GOOD, headers=kind).status == 201


def test_a_body_in_base64_is_read_and_a_broken_one_refused(place: Place) -> None:
    made = event("POST", "/peers", GOOD)
    made |= {"isBase64Encoded": True, "body": base64.b64encode(json.dumps(GOOD).encode()).decode()}
    assert handler.serve(made, place, 0.0).status == 201
    assert handler.serve({**made, "body": "?"}, place, 0.0).status == 400


def test_a_path_that_is_there_says_by_which_methods(api: Api) -> None:
    assert api("PATCH", "/peers/alice").headers["allow"] == "DELETE, GET"


def test_without_a_caller_nothing_is_served(place: Place, fake: Fake) -> None:
    before = fake.items()
    for caller in (None, ""):
        for method, target in (("GET", "/peers"), ("POST", "/peers"), ("GET", "/openapi.json")):
            body = GOOD if method == "POST" else None
            assert call(place, method, target, body, caller=caller).status == 403
    assert fake.items() == before


# ------------------------------------------------------------------ when AWS is in trouble


def test_no_gateway_has_a_key_yet_and_nobody_is_added(api: Api, fake: Fake) -> None:
    fake.client.delete_item(TableName=TABLE, Key={"pk": {"S": "server-key"}, "sk": {"S": "1"}})
    assert api("POST", "/peers", GOOD).status == 409
    assert fake.registry.peer("alice") is None


def test_a_stack_that_is_not_there_is_our_trouble(cloud: Cloud, fake: Fake) -> None:
    del fake
    answered = call(Place(cloud, "elsewhere"), "GET", "/peers")
    assert answered.status == 503
    assert "elsewhere" in answered.json["detail"]


def test_what_aws_refuses_is_told_as_such(api: Api, fake: Fake, cloud: Cloud) -> None:
    text = json.dumps({**PARAMETER, "table": "gone"})
    cloud.client("ssm").put_parameter(
        Name=f"/gatepair/{STACK}", Type="String", Value=text, Overwrite=True
    )
    del fake
    answered = api("GET", "/peers")
    assert answered.status == 502
    assert answered.json["detail"].startswith("AWS: ")


def test_a_registry_without_room_for_the_change_says_when_to_come_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def contended(*_: Any) -> None:
        raise transactions.Contended

    monkeypatch.setattr("registry.operators.commit", contended)
    answered = api("POST", "/peers", GOOD)
    assert (answered.status, answered.headers["retry-after"]) == (503, "5")


def test_an_answer_that_was_lost_is_told_with_what_to_do(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unconfirmed(*_: Any) -> None:
        raise transactions.Unconfirmed

    monkeypatch.setattr("registry.operators.commit", unconfirmed)
    answered = api("POST", "/peers", GOOD)
    assert answered.status == 502
    assert "Idempotency-Key" in answered.json["detail"]


def test_what_nobody_foresaw_is_in_the_log_and_not_in_the_answer(
    api: Api, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("a secret of ours")

    monkeypatch.setattr("registry.operators.OperatorRegistry.peers", broken)
    answered = api("GET", "/peers")
    assert answered.status == 500
    assert "secret of ours" not in json.dumps(answered.json)
    assert "ZeroDivisionError: a secret of ours" in capsys.readouterr().out


# ------------------------------------------------------------------ as Lambda calls it


def test_lambdas_entry_serves_the_stack_of_its_environment_and_logs_a_line_without_the_body(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(handler, "place", lambda: place)
    answer = handler.handle(event("POST", "/peers", {**GOOD, "owner": "secret-owner"}), None)
    assert answer["statusCode"] == 201
    assert answer["isBase64Encoded"] is False
    assert json.loads(answer["body"])["peer"]["owner"] == "secret-owner"
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert 0 <= said.pop("seconds") < 10
    assert said == {
        "request": "request-1",
        "caller": CALLER,
        "method": "POST",
        "path": "/peers",
        "status": 201,
    }


def test_the_place_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEPAIR_STACK", "prod")
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    handler.place.cache_clear()
    found = handler.place()
    handler.place.cache_clear()
    assert (found.stack, found.cloud.region) == ("prod", "eu-north-1")
    assert isinstance(found.cloud, handler.WarmCloud)


def test_a_full_pool_takes_only_what_every_gateway_has_confirmed(
    api: Api, fake: Fake, fleet: FakeFleet, cloud: Cloud
) -> None:
    value = cloud.client("ssm").get_parameter(Name=f"/gatepair/{STACK}")["Parameter"]["Value"]
    small = json.dumps({**json.loads(value), "client_pool": "100.96.0.0/30"})
    cloud.client("ssm").put_parameter(
        Name=f"/gatepair/{STACK}", Type="String", Value=small, Overwrite=True
    )
    assert CONTROL.client_pool.prefixlen == 16
    added(api)
    assert api("DELETE", "/peers/alice?wait=0").status == 202
    assert api("POST", "/peers", {"name": "bob", "public_key": key_of(2)}).status == 409
    for name in fleet.ids:
        fleet.says(name)
    added(api, "bob", 2)
    assert [peer.name for peer in fake.registry.peers()[0]] == ["bob"]


# ------------------------------------------------------------------ pre-shared keys


def preshared_in(answered: Answered) -> list[str]:
    return re.findall(r"^PresharedKey = (.*)$", config(answered), re.MULTILINE)


def test_a_preshared_key_is_in_the_answer_that_made_it_and_nowhere_else(
    api: Api, fake: Fake, sealing_key: str
) -> None:
    del sealing_key
    answered = added(api, preshared_key=True)
    (clear,) = preshared_in(answered)
    assert len(base64.b64decode(clear)) == 32
    assert answered.json["peer"]["preshared_key"] is True
    assert clear not in json.dumps(fake.items())
    again = api("GET", "/peers/alice/config")
    assert preshared_in(again) == [PRESHARED_PLACEHOLDER]
    assert clear not in json.dumps(again.json)
    assert preshared_in(added(api, "bob", 2)) == []


def test_a_repeated_request_for_a_preshared_key_cannot_tell_it_again(
    api: Api, fake: Fake, sealing_key: str
) -> None:
    del sealing_key
    body = {"name": "alice", "public_key": key_of(1), "preshared_key": True}
    first = api("POST", "/peers", body, headers=KEY)
    before = fake.items()
    again = api("POST", "/peers", body, headers=KEY)
    assert (first.status, again.status) == (201, 201)
    assert preshared_in(again) == [PRESHARED_PLACEHOLDER]
    assert fake.items() == before


def test_with_a_new_key_comes_a_new_preshared_key(api: Api, fake: Fake, sealing_key: str) -> None:
    del sealing_key
    (first,) = preshared_in(added(api, preshared_key=True))
    sealed = fake.registry.peer("alice")
    body = {"public_key": key_of(2)}
    answered = api("POST", "/peers/alice/rotate?wait=0", body, headers=KEY)
    assert answered.status == 202
    (second,) = preshared_in(answered)
    assert len(base64.b64decode(second)) == 32
    assert second != first
    peer = fake.registry.peer("alice")
    assert sealed is not None
    assert peer is not None
    assert peer.preshared not in ("", sealed.preshared)
    again = api("POST", "/peers/alice/rotate?wait=0", body, headers=KEY)
    assert preshared_in(again) == [PRESHARED_PLACEHOLDER]


def test_a_stack_without_a_kms_key_makes_no_preshared_key(api: Api, fake: Fake) -> None:
    body = {"name": "alice", "public_key": key_of(1), "preshared_key": True}
    answered = api("POST", "/peers", body)
    assert answered.status == 400
    assert "gatepair:presharedKeys" in answered.faults["preshared_key"]["cure"]
    assert fake.registry.peer("alice") is None


# ------------------------------------------------------------------ what its role must allow


def test_the_functions_role_allows_exactly_what_its_operations_need(
    api: Api,
    fleet: FakeFleet,
    cloud: Cloud,
    monkeypatch: pytest.MonkeyPatch,
    sealing_key: str,
) -> None:
    """But for its log, which Lambda writes."""
    for name in fleet.ids:
        fleet.says(name)
    monkeypatch.setattr(waiting, "MEMBERSHIP_EVERY", 0.0)
    recorder = permissions.Recorder(cloud, SERVICES)
    with recorder.listening() as asked:
        added(api)
        for target in ("/peers", "/peers/alice", "/peers/alice/config", "/audit", "/gateways"):
            assert api("GET", target).status == 200
        body = {"name": "bob", "public_key": key_of(2), "preshared_key": True}
        assert api("POST", "/peers", body, headers=KEY).status == 201
        assert api("POST", "/peers/bob/extend", {"expires": "30d"}).status == 200
        rotated = {"public_key": key_of(3)}
        assert api("POST", "/peers/bob/rotate?wait=0", rotated).status == 202
        assert api("DELETE", "/peers/bob?wait=1").status == 202
    for name in fleet.ids:
        fleet.says(name, applied=1000, updated=1_700_000_009)
    with recorder.listening():
        assert api("DELETE", "/peers/alice").status == 200
    document = role(monkeypatch, sealing_key)
    assert [one for one in asked if not iam_judge.allowing(document, one)] == []
    used = {sid for one in asked for sid in iam_judge.allowing(document, one)}
    assert used == {one["Sid"] for one in document["Statement"]} - {"WriteLog"}
    written = {
        (one.action, key)
        for one in asked
        for key in one.leading_keys
        if one.action.rpartition(":")[2] in ("PutItem", "UpdateItem", "DeleteItem")
    }
    assert written == {
        (action, key)
        for one in document["Statement"]
        for action in one["Action"]
        for key in one.get("Condition", {})
        .get("ForAllValues:StringEquals", {})
        .get("dynamodb:LeadingKeys", [])
    }


def role(monkeypatch: pytest.MonkeyPatch, sealing_key: str) -> dict[str, Any]:
    """The role's policy, for the fake stack."""
    monkeypatch.setattr(http_api.pulumi, "get_stack", lambda: STACK)
    monkeypatch.setattr(http_api.pulumi.Output, "concat", lambda *parts: "".join(parts))
    archive = SimpleNamespace(
        bucket_arn=f"arn:aws:s3:::{BUCKET}", records_arn=f"arn:aws:s3:::{BUCKET}/*"
    )
    table: Any = SimpleNamespace(
        table_arn=permissions.arn("dynamodb", f"table/{TABLE}"), archive=archive
    )
    preshared: Any = SimpleNamespace(key_arn=sealing_key)
    args = http_api.HttpApiArgs(
        root=plan.ROOT,
        registry=table,
        store=table,
        region=permissions.REGION,
        preshared=preshared,
    )
    return http_api.policy(args, permissions.arn("logs", "log-group:log"))
