"""The connection log: events in, records out, never too many, none lost on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from fake_registry import key_of
from unit.gateway import flows
from unit.gateway.samples import ALICE, BOB, POOL, stands_in

from gateway import held_clients
from gateway.connections import counts, events, shipper
from gateway.connections.holders import Holders, Known
from gateway.connections.limits import GATEWAY, LeftOut, Limits, Rate
from gateway.connections.recorder import (
    LOOK_AT_MOST_EVERY,
    LOOK_EVERY,
    SAY_EVERY,
    SEAL_EVERY,
    Recorder,
)
from gateway.connections.records import Describer, Line
from gateway.connections.shipper import Shipper, batches, rejected
from gateway.connections.spool import Spool, read
from gateway.peer_cache import PeerCache
from gateway.peers import Admitted, KnownPeers
from gateway.status import Board, Status
from gateway.takeover.hub import SessionsView
from registry.items import Change, Peer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

NOW = flows.STOP / 1e9
WEB = "10.20.3.4"


class Clock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def named(address: IPv4Address, _moment: float) -> str:
    return {ALICE: "alice", BOB: "bob"}.get(address, "")


DESCRIBER = Describer(pool=POOL, name=named, lingering={"time_wait": 2.0, "close": 0.5})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "queue")
    yield made
    made.seal()


class Bench:
    """A recorder with the kernel's part played by hand."""

    def __init__(self, spool: Spool, clock: Clock, limits: Limits | None = None) -> None:
        self.dropped, self.tracked = 0, list[bytes]()
        self.held = frozenset({ALICE, BOB})
        self.clock, self.spool = clock, spool
        self.recorder = Recorder(
            DESCRIBER,
            spool,
            dropped=lambda: self.dropped,
            listing=lambda: list(self.tracked),
            held=lambda: self.held,
            limits=limits,
            wall=clock,
            monotonic=clock,
        )

    def after(self, seconds: float) -> None:
        self.clock.now += seconds
        self.recorder.tick()

    def written(self) -> list[dict[str, Any]]:
        self.spool.seal()
        return [json.loads(line.text) for path in self.spool.sealed() for line in read(path)]


@pytest.fixture
def bench(spool: Spool, clock: Clock) -> Bench:
    return Bench(spool, clock)


def said(body: bytes, event: str = "end") -> dict[str, Any]:
    flow = events.flow(body, POOL)
    assert flow is not None
    client = DESCRIBER.client(flow)
    assert client is not None
    return json.loads(DESCRIBER.line(flow, client, event, NOW).text)


# ------------------------------------------------------------------ what the kernel says


def test_an_event_is_read_whole() -> None:
    ((kind, body),) = events.messages(flows.message(events.DESTROYED, flows.body(state=7)))
    assert kind == events.DESTROYED
    assert events.flow(body, POOL) == events.Flow(
        number=7,
        protocol=flows.TCP,
        source=ALICE,
        destination=IPv4Address(WEB),
        source_port=40000,
        destination_port=443,
        there_packets=5,
        there_bytes=500,
        back_packets=4,
        back_bytes=4000,
        start=flows.START,
        stop=flows.STOP,
        closing="time_wait",
    )


def test_several_messages_in_one_read_are_all_found() -> None:
    data = b"".join(flows.message(events.DESTROYED, flows.body(number=n)) for n in range(3))
    found = [events.flow(body, POOL) for _, body in events.messages(data)]
    assert [flow.number for flow in found if flow] == [0, 1, 2]


def test_what_is_no_clients_is_passed_over() -> None:
    assert events.flow(flows.body("10.20.0.10", WEB), POOL) is None
    assert events.flow(flows.body(WEB, "100.96.0.5"), POOL) is not None


@pytest.mark.parametrize("length", range(0, 161, 7))
def test_a_message_that_is_cut_off_is_passed_over(length: int) -> None:
    whole = flows.body()
    flow = events.flow(whole[:length], POOL)
    assert flow is None or flow.source == ALICE
    assert list(events.messages(flows.message(2, whole)[:length])) == []


# ------------------------------------------------------------------ records


def test_a_record_says_who_reached_what_and_how_much() -> None:
    assert said(flows.body(state=7)) == {
        "event": "end",
        "id": "00000007-1a3185c5000",
        "peer": "alice",
        "client": "100.96.0.5",
        "protocol": "tcp",
        "source": "100.96.0.5",
        "source_port": 40000,
        "destination": WEB,
        "port": 443,
        "sent": 500,
        "received": 4000,
        "sent_packets": 5,
        "received_packets": 4,
        "start": "2027-01-15T08:00:00.000Z",
        "seconds": 0.5,  # of 2.5: the kernel kept it for 2 more once it was closed
        "closed": True,
    }


def test_a_connection_that_was_cut_lasted_until_then() -> None:
    record = said(flows.body(state=3))
    assert (record["seconds"], record["closed"]) == (2.5, False)
    assert said(flows.body(protocol=flows.UDP))["seconds"] == 2.5


def test_a_connection_never_ends_before_it_began() -> None:
    record = said(flows.body(state=7, stop=flows.START + 1_000_000))
    assert record["seconds"] == 0.0


def test_bytes_are_counted_from_the_client_whoever_opened() -> None:
    record = said(flows.body(WEB, "100.96.0.6", there=(9, 900), back=(1, 100)))
    assert (record["peer"], record["client"]) == ("bob", "100.96.0.6")
    assert (record["sent"], record["received"]) == (100, 900)
    assert (record["source"], record["destination"]) == (WEB, "100.96.0.6")


def test_between_two_clients_both_are_named() -> None:
    record = said(flows.body("100.96.0.5", "100.96.0.6"))
    assert (record["peer"], record["other_peer"]) == ("alice", "bob")


def test_what_has_no_ports_says_so() -> None:
    record = said(flows.body(protocol=flows.ICMP))
    assert (record["protocol"], record["port"], record["source_port"]) == ("icmp", None, None)


def test_the_gateways_own_service_is_not_recorded(bench: Bench) -> None:
    bench.recorder.take([flows.body("100.96.0.5", "100.96.0.1"), flows.body()])
    assert [record["destination"] for record in bench.written()] == [WEB]


# ------------------------------------------------------------------ who it was


def peer(name: str, address: IPv4Address = ALICE, created: str = "") -> Peer:
    return Peer(name, key_of(sum(map(ord, name))), address, created=created)


def test_a_revoked_peers_last_connections_still_have_its_name() -> None:
    holders = Holders()
    holders.learn([peer("alice")], 100)
    holders.learn([], 200)
    assert holders.at(ALICE, 150) == "alice"
    assert holders.at(BOB, 150) == ""


def test_an_address_that_changed_hands_is_each_ones_in_his_time() -> None:
    holders = Holders()
    holders.learn([peer("alice")], 100)
    holders.learn([peer("carol", created="1970-01-01T00:05:00+00:00")], 305)
    assert [holders.at(ALICE, at) for at in (50, 299, 300, 400)] == [
        *("alice", "alice"),
        *("carol", "carol"),
    ]


def test_names_come_from_what_the_agent_keeps_on_disk(tmp_path: Path, clock: Clock) -> None:
    cache = PeerCache(tmp_path)
    cache.replace(KnownPeers("e", 1, {"alice": peer("alice")}))
    known = Known(tmp_path, wall=clock, monotonic=clock)
    assert known.name(ALICE, NOW) == "alice"
    later = KnownPeers("e", 2, {"alice": peer("alice"), "bob": peer("bob", BOB)})
    cache.append(later, [Change(2, "put", peer("bob", BOB))])
    assert known.name(BOB, NOW) == "", "not read twice within a second"
    clock.now += 10
    assert known.name(BOB, NOW) == "bob"


def test_a_gateway_that_knows_nobody_yet_names_nobody(tmp_path: Path) -> None:
    assert Known(tmp_path).name(ALICE, NOW) == ""


# ------------------------------------------------------------------ limits


def test_a_client_over_its_limit_takes_nothing_from_the_others(spool: Spool, clock: Clock) -> None:
    limits = Limits(clock(), Rate(1, 3), Rate(100, 100))
    bench = Bench(spool, clock, limits)
    bench.recorder.take([flows.body(number=n) for n in range(10)])
    bench.recorder.take([flows.body("100.96.0.6", number=20 + n) for n in range(3)])
    assert [record["peer"] for record in bench.written()] == [*["alice"] * 3, *["bob"] * 3]
    assert bench.recorder.left_out.totals["limit"] == 7
    clock.now += 2
    bench.recorder.take([flows.body(number=40 + n) for n in range(10)])
    assert bench.recorder.recorded == 8


def test_all_together_have_a_limit_too(spool: Spool, clock: Clock) -> None:
    bench = Bench(spool, clock, Limits(clock(), Rate(1, 3), Rate(1, 4)))
    clients = [f"100.96.1.{number}" for number in range(10)]
    bench.recorder.take([flows.body(client) for client in clients])
    assert bench.recorder.recorded == 4


def test_buckets_of_the_past_are_thrown_away(clock: Clock, monkeypatch: Any) -> None:
    monkeypatch.setattr("gateway.connections.limits.MOST_BUCKETS", 8)
    limits = Limits(clock(), Rate(1, 3), GATEWAY)
    for number in range(100):
        clock.now += 10
        assert limits.allow(POOL[number + 2], clock())
    assert len(limits._clients) <= 9


def test_what_was_left_out_is_said_once_with_whose_and_why(spool: Spool, clock: Clock) -> None:
    bench = Bench(spool, clock, Limits(clock(), Rate(0, 1), Rate(0, 100)))
    bench.recorder.take([flows.body(number=n) for n in range(5)])
    bench.dropped = 11
    bench.after(SAY_EVERY)
    bench.after(SAY_EVERY)
    left = [record for record in bench.written() if record["event"] == "left-out"]
    assert {(one.get("peer"), one["why"], one["count"]) for one in left} == {
        ("alice", "limit", 4),
        (None, "kernel", 11),
    }
    assert len(left) == 2


def test_a_full_queue_keeps_what_it_has_and_counts_what_it_refuses(
    tmp_path: Path, clock: Clock
) -> None:
    spool = Spool(tmp_path / "queue", limit=1000)
    bench = Bench(spool, clock)
    bench.recorder.take([flows.body(number=n) for n in range(10)])
    bench.after(SAY_EVERY)
    kept = bench.written()
    assert spool.size <= 1000
    assert [record["event"] for record in kept] == ["end"] * len(kept)
    assert len(kept) + bench.recorder.left_out.totals["queue"] == 10
    for path in spool.sealed():
        spool.done(path)
    bench.after(SAY_EVERY)
    (said_later,) = bench.written()
    assert (said_later["why"], said_later["count"]) == ("queue", 10 - len(kept))


# ------------------------------------------------------------------ connections that go on


def test_what_goes_on_for_hours_is_told_of_each_hour(bench: Bench) -> None:
    bench.tracked = [
        flows.body(stop=0),
        flows.body(number=8, stop=0, start=flows.START + 6 * 10**12),
    ]
    bench.after(LOOK_EVERY)
    bench.after(60)
    assert [(one["event"], one["id"][:8]) for one in bench.written()] == [("open", "00000007")]
    bench.after(LOOK_EVERY - 60)
    bench.after(LOOK_EVERY)
    assert [one["id"][:8] for one in bench.written()] == [
        *["00000007"] * 3,
        "00000008",
    ]


def test_what_a_client_leaves_behind_on_this_gateway_is_told_of_at_once(bench: Bench) -> None:
    bench.tracked = [flows.body(stop=0), flows.body("100.96.0.6", number=8, stop=0)]
    bench.after(1)
    assert bench.written() == []
    bench.held = frozenset({BOB})
    bench.after(1)
    assert [(one["event"], one["peer"]) for one in bench.written()] == [("open", "alice")]
    bench.held = frozenset({ALICE})
    bench.after(1)
    bench.held = frozenset({ALICE, BOB})
    bench.after(LOOK_AT_MOST_EVERY)
    assert len(bench.written()) == 1, "bob was away for a moment"


def test_looks_for_clients_that_go_come_not_more_often_than_is_cheap(bench: Bench) -> None:
    bench.tracked = [flows.body(stop=0), flows.body("100.96.0.6", number=8, stop=0)]
    bench.held = frozenset({BOB})
    bench.after(1)
    bench.held = frozenset()
    bench.after(1)
    assert [one["peer"] for one in bench.written()] == ["alice"]
    bench.after(LOOK_AT_MOST_EVERY)
    assert [one["peer"] for one in bench.written()] == ["alice", "bob"]


def test_the_agent_says_whose_sessions_are_here(tmp_path: Path) -> None:
    board, path = Board(), tmp_path / "held.json"
    assert held_clients.read(path) == frozenset()
    step = held_clients.HeldClients(board, path).step
    step()
    assert held_clients.read(path) == frozenset()
    holding = frozenset({("wg0", "KEY-alice"), ("wg1", "KEY-alice"), ("wg0", "KEY-gone")})
    admitted = Admitted({"KEY-alice": ALICE, "KEY-bob": BOB}, {})
    board.publish(Status(admitted=admitted, sessions=SessionsView(holding=holding)))
    step()
    assert held_clients.read(path) == frozenset({ALICE})
    written = path.stat().st_mtime_ns
    step()
    assert path.stat().st_mtime_ns == written, "nothing has changed"


def test_all_that_goes_on_is_told_of_when_the_process_ends(bench: Bench) -> None:
    bench.tracked = [flows.body(stop=0), flows.body("10.20.0.10", WEB, stop=0)]
    bench.recorder.finish()
    ((path),) = bench.spool.sealed()
    (record,) = [json.loads(line.text) for line in read(path)]
    assert (record["event"], record["sent"], record["closed"]) == ("open", 500, False)


# ------------------------------------------------------------------ on disk


def test_what_waits_is_there_after_a_restart_but_for_a_line_that_was_cut_off(
    tmp_path: Path,
) -> None:
    spool = Spool(tmp_path)
    spool.add(Line(1, '{"a":1}'))
    spool.add(Line(2, '{"a":2}'))
    spool.flush()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    again = Spool(tmp_path)
    assert [read(path) for path in again.sealed()] == [[Line(1, '{"a":1}')]]
    assert again.size == path.stat().st_size
    again.add(Line(3, '{"a":3}'))
    again.seal()
    assert [line.at for path in again.sealed() for line in read(path)] == [1, 3]
    spool.seal()


def test_records_may_be_shipped_after_seconds(bench: Bench) -> None:
    bench.recorder.take([flows.body()])
    bench.after(1)
    assert bench.spool.sealed() == []
    bench.after(SEAL_EVERY)
    assert len(bench.spool.sealed()) == 1


def test_a_file_is_never_larger_than_a_request(tmp_path: Path) -> None:
    spool = Spool(tmp_path, segment=1000)
    for number in range(100):
        spool.add(Line(number, '{"x":"' + "y" * 50 + '"}'))
    spool.seal()
    assert all(path.stat().st_size < 1100 for path in spool.sealed())
    assert len(spool.sealed()) > 5


# ------------------------------------------------------------------ to AWS


class Logs:
    """CloudWatch Logs: a group without streams; `answers` are what it fails with first."""

    def __init__(self, *answers: Exception) -> None:
        self.errors = list(answers)
        self.answer: dict[str, Any] = {}
        self.streams: dict[str, list[dict[str, Any]]] = {}

    def create_log_stream(self, *, logGroupName: str, logStreamName: str) -> None:  # noqa: N803
        assert logGroupName == "group"
        self.streams[logStreamName] = []

    def put_log_events(
        self,
        *,
        logGroupName: str,  # noqa: N803
        logStreamName: str,  # noqa: N803
        logEvents: list[dict[str, Any]],  # noqa: N803
    ) -> dict[str, Any]:
        assert logGroupName == "group"
        if self.errors:
            raise self.errors.pop(0)
        if logStreamName not in self.streams:
            raise refusal("ResourceNotFoundException")
        self.streams[logStreamName] += logEvents
        return self.answer


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "PutLogEvents")


AWAY = EndpointConnectionError(endpoint_url="https://logs")


def shipping(spool: Spool, logs: Logs, left: LeftOut | None = None) -> Shipper:
    return Shipper(
        spool,
        lambda: stands_in(logs),
        group="group",
        stream=lambda: "i-1",
        left_out=(left or LeftOut()).add,
    )


def filled(spool: Spool, numbers: Iterable[int]) -> None:
    for number in numbers:
        spool.add(Line(number, json.dumps({"n": number})))
    spool.seal()


def test_records_that_waited_for_aws_are_shipped_once_after_it(spool: Spool) -> None:
    logs = Logs(*[AWAY] * 5)
    ship = shipping(spool, logs)
    filled(spool, range(10))
    for _ in range(3):
        assert not ship.turn()
    filled(spool, range(10, 20))
    for _ in range(2):
        assert not ship.turn()
    assert spool.size > 0
    restarted = shipping(Spool(spool._directory), logs)
    assert restarted.turn()
    assert restarted.turn()
    assert [event["timestamp"] for event in logs.streams["i-1"]] == list(range(20))
    assert [json.loads(event["message"])["n"] for event in logs.streams["i-1"]] == list(range(20))
    assert restarted.shipped == 20
    assert Spool(spool._directory).size == 0


def test_tries_come_slower_while_aws_is_away(spool: Spool) -> None:
    ship = shipping(spool, Logs(*[AWAY] * 20))
    filled(spool, [1])
    pauses = []
    for _ in range(9):
        ship.turn()
        pauses.append(ship._pause)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60, 60]


def test_a_stream_that_another_has_made_is_used(spool: Spool) -> None:
    logs = Logs(refusal("ResourceNotFoundException"))
    logs.streams["i-1"] = []
    logs.create_log_stream = stands_in(raising(refusal("ResourceAlreadyExistsException")))
    filled(spool, [1])
    assert shipping(spool, logs).turn()
    assert len(logs.streams["i-1"]) == 1


def raising(err: Exception) -> Any:
    def call(**_: Any) -> None:
        raise err

    return call


def test_what_aws_did_not_keep_is_counted(spool: Spool) -> None:
    logs = Logs()
    logs.answer = {"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 2}}
    logs.streams["i-1"] = []
    left = LeftOut()
    ship = shipping(spool, logs, left)
    filled(spool, range(5))
    ship.turn()
    assert (ship.shipped, left.totals["refused"]) == (3, 2)


@pytest.mark.parametrize(
    ("info", "lost"),
    [
        (None, 0),
        ({}, 0),
        ({"tooOldLogEventEndIndex": 3}, 3),
        ({"expiredLogEventEndIndex": 4, "tooOldLogEventEndIndex": 3}, 4),
        ({"tooNewLogEventStartIndex": 8}, 2),
        ({"tooNewLogEventStartIndex": 8, "tooOldLogEventEndIndex": 1}, 3),
    ],
)
def test_an_answer_says_how_many_were_not_kept(info: Any, lost: int) -> None:
    assert rejected({"rejectedLogEventsInfo": info}, 10) == lost


def test_a_request_is_in_order_of_time_and_as_large_as_aws_takes() -> None:
    lines = [Line(number, "x" * 1000) for number in (5, 3, 4)]
    assert [[line.at for line in batch] for batch in batches(lines)] == [[3, 4, 5]]
    many = [Line(number, "{}") for number in range(shipper.MOST_EVENTS + 1)]
    assert [len(batch) for batch in batches(many)] == [shipper.MOST_EVENTS, 1]
    large = [Line(number, "ä" * 100_000) for number in range(8)]
    sizes = [sum(len(line.text.encode()) + 26 for line in batch) for batch in batches(large)]
    assert len(sizes) == 2
    assert max(sizes) <= 1_048_576
    days = [Line(day * shipper.SPAN, "{}") for day in range(3)]
    assert [len(batch) for batch in batches(days)] == [1, 1, 1]


# ------------------------------------------------------------------ what is counted


def test_counts_are_read_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "counts.json"
    assert counts.read(path) is None
    written = counts.Counts(at=100.0, recorded=5, shipped=4, left_out={"limit": 3}, queue_bytes=9)
    counts.write(path, written)
    assert counts.read(path) == written
    assert written.working(110.0)
    assert not written.working(140.0)
    assert not replace(written, at=200.0).working(110.0), "of before the boot"
    path.write_text("{}")
    assert counts.read(path) is None
