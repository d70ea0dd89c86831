"""What CloudWatch is told, and when."""

from __future__ import annotations

import struct
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from exposition import kernel, status

from gateway import ethtool
from gateway.chrony import Clock
from gateway.cloudwatch import CloudWatchTeller, ConnectionLog, Kernel, points, request
from gateway.connections.counts import Counts
from gateway.drain import Drain
from gateway.health import Verdict
from gateway.kernel_counts import REFUSED_BY_EC2, KernelCounts
from gateway.peers import KnownPeers
from gateway.poller import JITTER
from gateway.status import STALLED_AFTER, Board, Status

WELL = replace(
    status(),
    state=replace(status().state, known=KnownPeers("e", 10, {}), complete=True, contact=95.0),
    verdicts={0: Verdict(), 1: Verdict()},
    faults=(),
)
NOTHING = Kernel()
NOON = 1_800_000_000
"""A whole minute, in epoch seconds."""


def told(now: Status, kernel: Kernel = NOTHING, known: int = 12, **at: float) -> dict[str, float]:
    log = ConnectionLog(working=True, left_out=4, queued=0.5)
    found = points(now, kernel, log, known, **{"wall": 2000.0, "monotonic": 101.0, **at})
    return {point.name: point.value for point in found}


def changed(**state: Any) -> Status:
    return replace(WELL, state=replace(WELL.state, **state))


def test_a_gateway_that_is_well_tells_exactly_this() -> None:
    assert told(WELL, Kernel(tracked=12.5, refused=3)) == {
        "Serving": 1,
        "Faults": 0,
        "OnlineClients": 1,
        "OnlineClientsHalfAnHourAgo": 1,
        "ChangesKnownAMinuteAgo": 12,
        "ChangesInForce": 10,
        "RegistryAge": 6.0,
        "KeyAge": 1000.0,
        "ClockOffset": 0.000012,
        "TrackedFlows": 12.5,
        "PacketsOverAllowance": 3,
        "RecordsConnections": 1,
        "ConnectionsLeftOut": 4,
        "ConnectionQueue": 0.5,
    }


@pytest.mark.parametrize(
    "ill",
    [
        replace(WELL, verdicts={0: Verdict(), 1: Verdict(("no key",))}),
        replace(WELL, drain=Drain(since=90.0)),
        replace(WELL, at=101.0 - STALLED_AFTER - 1),
        changed(complete=False),
    ],
)
def test_who_takes_no_clients_does_not_serve(ill: Status) -> None:
    assert told(ill)["Serving"] == 0


def test_what_is_not_known_is_left_out() -> None:
    nothing = told(Status())
    assert set(nothing) == {
        "Serving",
        "Faults",
        "OnlineClients",
        "OnlineClientsHalfAnHourAgo",
        "RegistryAge",
        "ClockOffset",
        "RecordsConnections",
        "ConnectionsLeftOut",
        "ConnectionQueue",
    }
    assert "ChangesInForce" not in told(replace(WELL, drained=True))


def test_a_registry_that_never_answered_is_a_day_away_and_no_infinite_time() -> None:
    assert told(changed(contact=None))["RegistryAge"] == 86400
    assert told(changed(contact=-1e9))["RegistryAge"] == 86400
    assert told(changed(contact=500.0))["RegistryAge"] == 0


def test_the_keys_age_is_that_of_the_newest_which_is_served() -> None:
    dates = {7: 1000, 8: 1700, 6: 1999}
    assert told(changed(key_dates=dates, served=(7, 8)))["KeyAge"] == 300
    assert told(changed(key_dates=dates, served=(8, 7)))["KeyAge"] == 300


@pytest.mark.parametrize(
    ("clock", "offset"),
    [
        (Clock(synchronised=True, offset=-0.25), 0.25),
        (Clock(synchronised=False, offset=-0.25), 1.0),
        (Clock(synchronised=False, offset=7.0), 7.0),
    ],
)
def test_a_clock_that_follows_nothing_is_off_by_a_second_at_least(
    clock: Clock, offset: float
) -> None:
    assert told(replace(WELL, clock=clock))["ClockOffset"] == offset


def test_aws_takes_the_request() -> None:
    now = points(WELL, Kernel(1.0, 2), ConnectionLog(), 12, wall=2000.0, monotonic=101.0)
    sent = request("prod", NOON, now)
    client = boto3.Session("none", "none", region_name="eu-west-1").client("cloudwatch")
    with Stubber(client) as stub:
        stub.add_response("put_metric_data", {}, sent)
        client.put_metric_data(**sent)
    assert sent["Namespace"] == "gatepair"
    for point in sent["MetricData"]:
        assert point["Dimensions"] == [{"Name": "stack", "Value": "prod"}]
        ahead = 1800 if point["MetricName"] == "OnlineClientsHalfAnHourAgo" else 0
        assert point["Timestamp"] == datetime.fromtimestamp(NOON + ahead, UTC)
    assert len({point["MetricName"] for point in sent["MetricData"]}) == len(sent["MetricData"])


class FakeCloudWatch:
    """Remembers what it was told, unless it is away."""

    def __init__(self) -> None:
        self.away = False
        self.told: list[dict[str, Any]] = []

    def put_metric_data(self, **sent: Any) -> None:
        if self.away:
            raise EndpointConnectionError(endpoint_url="https://monitoring")
        self.told.append(sent)

    @property
    def times(self) -> list[float]:
        return [sent["MetricData"][0]["Timestamp"].timestamp() - NOON for sent in self.told]

    def values(self, name: str) -> list[float]:
        return [
            point["Value"]
            for sent in self.told
            for point in sent["MetricData"]
            if point["MetricName"] == name
        ]


class Scene:
    """A teller whose clock the test sets."""

    def __init__(self, counts: KernelCounts) -> None:
        self.log: Counts | None = None
        self.now = NOON + 17.0
        self.cloud, self.board = FakeCloudWatch(), Board()
        self.board.publish(WELL)
        self.teller = CloudWatchTeller(
            self.cloud,
            "prod",
            self.board,
            counts,
            recorded=lambda: self.log,
            wall=lambda: self.now,
            monotonic=lambda: 101.0,
        )

    def step(self, jitter: float = 1.0) -> float:
        """One step, and the wait after it; the second of the minute at which it was."""
        at = self.now
        self.now += self.teller.step() * jitter
        return at % 60


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(kernel(tmp_path))


@pytest.mark.parametrize("jitter", [1 - JITTER, 1.0, 1 + JITTER])
def test_each_minute_is_told_once_in_its_middle(scene: Scene, jitter: float) -> None:
    scene.step(jitter)
    moments = [scene.step(jitter) for _ in range(200)]
    assert scene.cloud.times == [60.0 * n for n in range(1, 201)]
    assert all(15 < moment < 45 for moment in moments)


def test_the_minute_of_the_start_is_not_told(scene: Scene) -> None:
    scene.step()
    assert scene.cloud.told == []


def test_the_same_minute_is_not_told_twice(scene: Scene) -> None:
    scene.step()
    scene.now = NOON + 70.0
    scene.teller.step()
    scene.now = NOON + 100.0
    scene.teller.step()
    assert scene.cloud.times == [60.0]


def test_a_minute_in_which_aws_was_away_is_lost_and_the_next_is_told(scene: Scene) -> None:
    scene.step()
    scene.cloud.away = True
    with pytest.raises(EndpointConnectionError):
        scene.step()
    scene.cloud.away, scene.now = False, scene.now + 60
    scene.step()
    assert scene.cloud.times == [120.0]


def test_a_change_is_due_a_minute_after_it_was_known(scene: Scene) -> None:
    scene.step()
    scene.step()
    scene.board.publish(changed(head_generation=15))
    scene.step()
    scene.step()
    assert scene.cloud.values("ChangesKnownAMinuteAgo") == [0, 12, 15]


def test_dropped_packets_are_those_since_the_last_minute(tmp_path: Path) -> None:
    kernel(tmp_path)  # its files
    counted = iter([100, 140, 140, 7])
    counts = KernelCounts(
        tmp_path, tmp_path, statistics=lambda _device: {REFUSED_BY_EC2: next(counted)}
    )
    scene = Scene(counts)
    for _ in range(5):
        scene.step()
    assert scene.cloud.values("PacketsOverAllowance") == [0, 40, 0, 0]
    assert scene.cloud.values("TrackedFlows") == [100 * 17 / 262144] * 4


def test_connections_without_a_record_are_those_since_the_last_minute(scene: Scene) -> None:
    scene.step()
    scene.step()
    # two reasons; none more; the process was started anew, and has left out three since
    for limit, queue in ((0, 0), (5, 2), (5, 2), (3, 0)):
        scene.log = Counts(at=90.0, left_out={"limit": limit, "queue": queue})
        scene.step()
    assert scene.cloud.values("ConnectionsLeftOut") == [0, 0, 7, 0, 3]


def test_what_was_left_out_before_the_agent_started_is_not_told(scene: Scene) -> None:
    scene.step()
    scene.log = Counts(at=90.0, left_out={"limit": 12})
    scene.step()
    assert scene.cloud.values("ConnectionsLeftOut") == [0]


def test_a_process_that_is_silent_or_was_never_there_records_nothing(scene: Scene) -> None:
    scene.step()
    for log in (None, Counts(at=60.0), Counts(at=90.0)):
        scene.log = log
        scene.step()
    assert scene.cloud.values("RecordsConnections") == [0, 0, 1]


def test_the_queue_is_told_in_percent_of_what_it_may_hold(scene: Scene) -> None:
    scene.step()
    scene.log = Counts(at=90.0, queue_bytes=48 << 20)
    scene.step()
    assert scene.cloud.values("ConnectionQueue") == [75.0]


def test_a_machine_without_such_counters_tells_none(tmp_path: Path) -> None:
    for number, answer in enumerate(({"rx_packets": 1}, {})):
        place = tmp_path / str(number)
        kernel(place)
        counts = KernelCounts(place, place, statistics=lambda _device, answer=answer: answer)
        assert counts.refused_by_ec2() is None
    assert KernelCounts(tmp_path / "none", tmp_path / "none").refused_by_ec2() is None


def test_every_network_card_counts_and_one_that_goes_away_does_not(tmp_path: Path) -> None:
    for name in ("ens5", "ens6", "ens7"):
        (tmp_path / name / "device").mkdir(parents=True)
    (tmp_path / "wg0").mkdir()

    def statistics(device: str) -> dict[str, int]:
        assert device != "wg0"
        if device == "ens7":
            raise OSError(19, "No such device")
        return {REFUSED_BY_EC2: 20 if device == "ens5" else 3}

    assert KernelCounts(tmp_path, tmp_path, statistics=statistics).refused_by_ec2() == 23


def test_a_drivers_counters_are_read_by_name() -> None:
    names = struct.pack("=III", 0x1B, 1, 2) + b"tx_timeout".ljust(32, b"\0") + b"x" * 32
    values = struct.pack("=IIQQ", 0x1D, 2, 7, 2**40)
    assert ethtool.parse(names, values) == {"tx_timeout": 7, "x" * 32: 2**40}
    assert ethtool.parse(struct.pack("=III", 0x1B, 1, 0), struct.pack("=II", 0x1D, 0)) == {}


def test_the_kernel_answers_for_every_device_that_this_machine_has() -> None:
    assert ethtool.statistics("lo") == {}
    for device in Path("/sys/class/net").glob("*/operstate"):
        found = ethtool.statistics(device.parent.name)
        assert all(key.isprintable() and key for key in found), device
    with pytest.raises(OSError, match="No such device"):
        ethtool.statistics("gatepair-none")
