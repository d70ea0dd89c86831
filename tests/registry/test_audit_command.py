"""`peers audit`: who changed what and who reached what, in one list."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from command import Run
from fake_registry import CONNECTION_LOG, PARAMETER, STACK
from unit.gateway import flows
from unit.gateway.samples import ALICE, POOL

from commands.peers import main
from effects import Refusal
from gateway.connections import events, records
from registry import connections, validation
from registry.connections import Event, merged

if TYPE_CHECKING:
    from collections.abc import Callable

    from fake_registry import Fake

    from registry.environment import Cloud

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
GATEWAY = "i-0123456789abcdef0"


def record(name: str, number: int = 7, **changes: Any) -> dict[str, Any]:
    """As a gateway writes it, that moment."""
    now = time.time()
    flow = events.flow(
        flows.body(number=number, start=int((now - 5) * 1e9), stop=int((now - 1) * 1e9), **changes),
        POOL,
    )
    assert flow is not None
    describer = records.Describer(pool=POOL, name=lambda _address, _at: name)
    line = describer.line(flow, ALICE, "end", now)
    return {"timestamp": line.at, "message": line.text}


def left_out(why: str, count: int, name: str = "") -> dict[str, Any]:
    describer = records.Describer(pool=POOL, name=lambda _address, _at: name)
    line = describer.left_out(ALICE if name else None, why, count, time.time())
    return {"timestamp": line.at, "message": line.text}


@pytest.fixture
def peers(fake: Fake, capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    del fake
    return lambda *argv: Run(main, capfd, ("--stack", "dev", *argv))


@pytest.fixture
def log(cloud: Cloud, fake: Fake) -> Callable[..., None]:
    del fake

    def put(*found: dict[str, Any]) -> None:
        client = cloud.client("logs")
        client.create_log_stream(logGroupName=CONNECTION_LOG, logStreamName=GATEWAY)
        client.put_log_events(
            logGroupName=CONNECTION_LOG, logStreamName=GATEWAY, logEvents=list(found)
        )

    return put


def one(says: dict[str, Any], at: int = 1, gateway: str = GATEWAY) -> Event:
    return Event(at, gateway, says)


# ------------------------------------------------------------------ each connection once


def test_a_record_that_came_twice_counts_once() -> None:
    twice = [one({"event": "end", "id": "7"}, at) for at in (5, 5)]
    assert [found.at for found in merged(twice).ended] == [5]
    other = one({"event": "end", "id": "7"}, 5, "i-2")
    assert len(merged([*twice, other]).ended) == 2, "of another gateway it is another connection"


def test_an_end_stands_for_what_was_told_of_it_before_in_whatever_order() -> None:
    told = [
        one({"event": "end", "id": "7"}, 9),
        one({"event": "open", "id": "7"}, 10),
        one({"event": "open", "id": "8"}, 3),
        one({"event": "open", "id": "8"}, 6),
    ]
    for order in (told, told[::-1]):
        found = [(o.at, o.says["event"]) for o in merged(order).ended]
        assert found == [(6, "open"), (9, "end")]


def test_a_peer_sees_its_own_those_that_reached_it_and_what_may_be_missing() -> None:
    found = merged(
        [
            one({"event": "end", "id": "1", "peer": "alice"}),
            one({"event": "end", "id": "2", "peer": "bob", "other_peer": "alice"}),
            one({"event": "end", "id": "3", "peer": "bob"}),
            one({"event": "left-out", "peer": "bob", "why": "limit", "count": 2}),
            one({"event": "left-out", "why": "kernel", "count": 3}),
        ],
        "alice",
    )
    assert [o.says["id"] for o in found.ended] == ["1", "2"]
    assert [o.says["why"] for o in found.left_out] == ["kernel"]


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"event":"end"}', '{"event":"x","id":"1"}'])
def test_a_line_that_is_no_record_is_passed_over(text: str) -> None:
    assert connections.event({"timestamp": 1, "message": text, "logStreamName": "i"}) is None


def test_what_gateways_write_is_what_operators_read() -> None:
    written = {**record("alice"), "logStreamName": GATEWAY}
    found = connections.event(written)
    assert found is not None
    assert (found.gateway, found.says["peer"]) == (GATEWAY, "alice")
    assert {records.END, records.OPEN, records.LEFT_OUT} == {
        connections.END,
        connections.OPEN,
        connections.LEFT_OUT,
    }


# ------------------------------------------------------------------ bounded


class Pages:
    """A log that never ends: one event a page."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def filter_log_events(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        number = len(self.asked)
        says = {"event": "end", "id": str(number), "peer": "alice"}
        raw = {"timestamp": number, "message": json.dumps(says), "logStreamName": "i"}
        return {"events": [raw], "nextToken": str(number)}


def test_reading_ends_after_a_while_and_says_that_there_is_more() -> None:
    pages, told, clock = Pages(), list[str](), iter(range(10_000))
    found = connections.read(
        pages, "g", since=NOW, name="alice", tell=told.append, monotonic=lambda: float(next(clock))
    )
    assert found.complete is False
    assert len(pages.asked) == connections.LONGEST
    assert told[0] == "2 records of connections so far"
    assert pages.asked[0] == {
        "logGroupName": "g",
        "startTime": int(NOW.timestamp() * 1000),
        "filterPattern": '{ ($.peer = "alice") || ($.other_peer = "alice") '
        '|| ($.event = "left-out") }',
    }
    assert [request.get("nextToken") for request in pages.asked[:3]] == [None, "1", "2"]


def test_no_more_than_so_many_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST", 5)
    pages = Pages()
    found = connections.read(pages, "g", since=NOW, tell=print, monotonic=lambda: 0.0)
    assert (len(found.ended), found.complete) == (5, False)
    assert "filterPattern" not in pages.asked[0]


# ------------------------------------------------------------------ the command


def test_changes_and_connections_are_one_list_by_their_time(
    peers: Callable[..., Run], fake: Fake, log: Callable[..., None]
) -> None:
    fake.add("alice", 1)
    log(record("alice"), record("bob", 8), left_out("limit", 3, "alice"))
    head, connected, added, left = peers("audit", "alice").stdout.splitlines()
    assert head.split() == ["AT", "GENERATION", "ACTION", "NAME", "CALLER", "DETAILS"]
    assert connected.split()[1:5] == ["-", "connect", "alice", GATEWAY]
    assert connected.endswith(
        "100.96.0.5 to 10.20.3.4:443 tcp; sent 500, received 4000 bytes; 4.0 s"
    )
    assert added.split()[1:4] == ["1", "add", "alice"]
    assert left.endswith("3 connections: limit")


def test_json_has_every_field_of_a_record(
    peers: Callable[..., Run], fake: Fake, log: Callable[..., None]
) -> None:
    fake.add("alice", 1)
    log(record("alice"), left_out("kernel", 3))
    said = peers("audit", "--json").json
    (connection,) = said["connections"]
    assert (connection["gateway"], connection["peer"]) == (GATEWAY, "alice")
    assert (connection["sent_packets"], connection["received_packets"]) == (5, 4)
    assert connection["at"].endswith("Z")
    assert [one["count"] for one in said["left_out"]] == [3]
    assert said["complete"] is True
    assert [one["action"] for one in said["audit"]] == ["add"]


def test_since_goes_for_both(
    peers: Callable[..., Run], fake: Fake, log: Callable[..., None]
) -> None:
    fake.add("alice", 1)
    old = record("alice")
    log({**old, "timestamp": old["timestamp"] - 7_200_000}, record("alice", 8))
    assert len(peers("audit", "--since", "3h", "--json").json["connections"]) == 2
    said = peers("audit", "--since", "1h", "--json").json
    assert [one["id"][:8] for one in said["connections"]] == ["00000008"]
    assert len(said["audit"]) == 1
    time.sleep(1.1)  # moments are given to the second
    now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    assert peers("audit", "--since", now, "--json").json["audit"] == []


def test_who_may_not_read_connections_is_told_what_to_ask_for(
    peers: Callable[..., Run], fake: Fake, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add("alice", 1)

    def denied(**_: Any) -> None:
        error = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
        raise ClientError(error, "FilterLogEvents")

    monkeypatch.setattr(cloud.client("logs"), "filter_log_events", denied)
    run = peers("audit")
    assert (run.status, run.stdout) == (2, "")
    assert f"ask for the policy gatepair-{STACK}-auditor, or give --changes-only" in run.stderr
    assert "alice" in peers("audit", "--changes-only").stdout
    assert "connections" not in peers("audit", "--changes-only", "--json").json


def test_a_stack_of_before_has_its_changes(
    peers: Callable[..., Run], fake: Fake, cloud: Cloud
) -> None:
    fake.add("alice", 1)
    older = {name: value for name, value in PARAMETER.items() if name != "connection_log"}
    cloud.client("ssm").put_parameter(
        Name=f"/gatepair/{STACK}", Type="String", Value=json.dumps(older), Overwrite=True
    )
    run = peers("audit")
    assert "alice" in run.stdout
    assert "deploy it again" in run.stderr


# ------------------------------------------------------------------ since


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("12h", NOW - timedelta(hours=12)),
        ("2w", NOW - timedelta(weeks=2)),
        ("2027-01-30", datetime(2027, 1, 30, tzinfo=UTC)),
        ("2027-01-31T11:00:00Z", NOW - timedelta(hours=1)),
    ],
)
def test_since_is_a_length_a_day_or_a_moment(text: str, found: datetime) -> None:
    assert validation.since(text, NOW) == found


@pytest.mark.parametrize(
    "text", ["", "x", "12", "2027-02-01", "2027-13-01", "999999w", "2027-01-31T13:00:00Z"]
)
def test_a_since_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Refusal):
        validation.since(text, NOW)


def test_all_that_is_wrong_with_a_call_is_said_at_once(peers: Callable[..., Run]) -> None:
    run = peers("audit", "No!", "--since", "soon")
    assert run.status == 2
    assert "'No!'" in run.stderr
    assert "'soon'" in run.stderr
