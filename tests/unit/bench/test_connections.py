"""What the connections bench makes of what became of the streams."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest

from bench import connections
from bench.courses import BEAT, HEARD, RECORD, Course
from bench.streams import Record
from bench.upheavals import Deployed, summary

if TYPE_CHECKING:
    from pathlib import Path

    from bench.stack_file import StackFile


def sample(mode: str, event: str, stall: float, broken: str = "", **facts: float) -> dict[str, Any]:
    return {"mode": mode, "event": event, "stall": stall, "broken": broken, **facts}


def test_each_mode_and_each_event_has_figures_of_its_own() -> None:
    found = connections.figures_of(
        [
            sample("snat", "failover", 12.0, "reset"),
            sample("snat", "failover", 31.0, "silent"),
            sample("snat", "rotation", 0.3),
            sample("routed", "failover", 13.0),
            sample("routed", "replace", 0.4),
            {"kind": "void", "why": "no"},
        ]
    )
    assert (found["snat_tcp_total"], found["routed_tcp_total"]) == (3, 2)
    assert (found["snat_tcp_broken_failover"], found["snat_tcp_hung_failover"]) == (2, 1)
    assert (found["snat_tcp_broken_rotation"], found["routed_tcp_broken_failover"]) == (0, 0)
    assert found["snat_tcp_stall_failover_max"] == 31.0
    assert found["routed_tcp_stall_replace_max"] == 0.4
    assert not any(name.startswith("routed") and "rotation" in name for name in found)


def test_a_hundred_streams_have_a_p99_and_fewer_have_none() -> None:
    many = [sample("snat", "rotation", float(number)) for number in range(100)]
    assert connections.figures_of(many)["snat_tcp_stall_rotation_p99"] == 98
    assert "snat_tcp_stall_rotation_p99" not in connections.figures_of(many[1:])


def test_detection_is_taken_off_each_streams_own_stall() -> None:
    found = connections.figures_of(
        [
            sample("routed", "failover", 13.0, detection=8.0),
            sample("routed", "failover", 13.5, detection=12.0),
            sample("routed", "failover", 99.0),
        ]
    )
    assert found["routed_tcp_stall_minus_detection_max"] == 5.0
    assert (found["routed_detection_p50"], found["routed_detection_max"]) == (8.0, 12.0)


def test_clients_without_the_helper_are_told_apart() -> None:
    found = connections.figures_of(
        [
            sample("routed", "failover", 13.0, detection=8.0),
            sample("routed", "plain_failover", 27.0, detection=9.0),
        ]
    )
    assert found["routed_tcp_stall_failover_max"] == 13.0
    assert found["routed_tcp_stall_plain_failover_max"] == 27.0
    assert found["routed_plain_tcp_stall_minus_detection_max"] == 18.0
    assert (found["routed_detection_max"], found["routed_plain_detection_max"]) == (8.0, 9.0)


def test_where_clients_pinged_it_is_said_how_long_the_path_was_gone() -> None:
    pinged = [sample("routed", "failover", 13.0, path_silence=8.5)]
    assert connections.figures_of(pinged)["routed_path_silence_failover_max"] == 8.5
    bare = connections.figures_of([sample("routed", "failover", 13.0)])
    assert not any("path" in name for name in bare)


def test_wrong_bytes_are_broken_and_counted_apart() -> None:
    found = connections.figures_of([sample("routed", "replace", 0.1, "wrong bytes")])
    assert (found["routed_tcp_broken_replace"], found["routed_tcp_wrong_bytes"]) == (1, 1)


def test_modes_are_named_once_each_and_no_others_are() -> None:
    assert connections.modes("routed,snat,routed") == ("routed", "snat")
    with pytest.raises(argparse.ArgumentTypeError, match="'bridged' is not one of snat, routed"):
        connections.modes("snat,bridged")


def test_a_download_is_not_faster_than_it_can_be_checked() -> None:
    assert connections.kbit(str(connections.MOST_KBIT)) == connections.MOST_KBIT
    with pytest.raises(argparse.ArgumentTypeError):
        connections.kbit(str(connections.MOST_KBIT + 1))


def test_a_round_is_told_in_a_line() -> None:
    told = summary(
        [sample("snat", "failover", 9.0, "reset", detection=8.0), sample("snat", "failover", 8.5)]
    )
    assert told == ("2 streams; 1 reset; stall p50 8.50 s, max 9.00 s; after a detection of 8.00 s")
    assert "none broken" in summary([sample("snat", "rotation", 0.2)])
    assert summary([]) == "no stream was at work"


class File:
    """Stands in for the stack file: notes what is deployed."""

    def __init__(self) -> None:
        self.deployed: list[dict[str, Any]] = []

    def deploy(self, values: dict[str, Any]) -> None:
        self.deployed.append(dict(values))


def test_what_is_deployed_stays_from_step_to_step_and_nothing_twice() -> None:
    file = File()
    as_file: StackFile = file  # ty: ignore[invalid-assignment]
    deployed = Deployed(as_file)
    deployed.put(egress=None)
    deployed.put(egress="routed")
    deployed.put(keyGenerations=[1, 2])
    deployed.put(keyGenerations=[1, 2])
    assert "egress" in deployed
    deployed.put(egress=None)
    assert "egress" not in deployed
    assert file.deployed == [
        {"egress": "routed"},
        {"egress": "routed", "keyGenerations": [1, 2]},
        {"keyGenerations": [1, 2]},
    ]


def test_both_ends_notes_are_put_together_by_the_connections_number(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    record = Record(near, far)
    record.courses[1] = Course(both_ways=True)
    near.write_bytes(RECORD.pack(0, BEAT, 1.0) + RECORD.pack(1, HEARD, 1.5))
    far.write_bytes(RECORD.pack(2, HEARD, 1.1) + RECORD.pack(1, HEARD, 1.25)[:-1])
    record.refresh()
    assert not record.awake, "the host's end has not said so"
    assert (record.courses[1].near, record.courses[1].far) == ([1.5], [])
    with far.open("ab") as file:
        file.write(RECORD.pack(1, HEARD, 1.25)[-1:] + RECORD.pack(0, BEAT, 1.3))
    with near.open("ab") as file:
        file.write(RECORD.pack(0, BEAT, 1.45))
    record.refresh()
    assert record.awake
    assert record.courses[1].far == [1.25]
    assert record.courses.keys() == {1}, "nobody has asked about the other"
    assert record.late_max() == pytest.approx(0.4)
