"""From a failover's samples to the figures that the design names."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from bench import failover, rounds
from bench.death import rules

DESIGN = {
    *("takeover_minus_detection_p50", "takeover_minus_detection_p99"),
    *("takeover_minus_detection_max", "stock_gap_p50", "stock_gap_p99"),
    *("idle_resume_p99", "idle_stock_p50", "roaming_takeover_p99", "roaming_stock_p50"),
    *("failback_takeover_p99", "failback_stock_p50", "second_outages"),
    *(f"takeover_gap_p99_d{delay}" for delay in (0, 2, 10, 30)),
}
"""Design, section 7."""


def death(gap: float, *, forced: float | None = None, takeover: bool = True, **other: Any) -> Any:
    return {
        "kind": "death",
        "takeover": takeover,
        "forced": forced,
        "gap": gap,
        "resumed": True,
        "detection": gap - 0.25,
        "minus_detection": 0.25,
        **other,
    }


def other(kind: str, value: float, *, takeover: bool = True, resumed: bool = True) -> Any:
    name = "seconds" if kind == "idle" else "gap"
    return {"kind": kind, "takeover": takeover, name: value, "resumed": resumed}


def everything() -> list[Any]:
    many = range(100)
    return [
        *(death(8 + n / 100) for n in many),
        *(death(d + n / 100, forced=float(d)) for d in (0, 2, 10, 30) for n in many),
        *(death(15 + n / 100, takeover=False) for n in many),
        *(other(kind, n / 100) for kind in ("idle", "roaming", "failback") for n in many),
        other("idle", 132, takeover=False),
        other("roaming", 15.2, takeover=False),
        other("failback", 15.3, takeover=False),
    ]


def figures(samples: list[Any]) -> dict[str, float]:
    return failover.named(failover.figures_of(samples))


def test_every_figure_of_the_design_is_there_under_its_name() -> None:
    assert DESIGN - figures(everything()).keys() == set()


def test_each_figure_is_made_of_its_own_samples() -> None:
    found = figures(everything())
    wanted = {
        "takeover_minus_detection_p99": 0.25,
        "stock_gap_p50": 15.49,
        "idle_resume_p99": 0.98,
        "idle_stock_p50": 132,
        "roaming_takeover_p99": 0.98,
        "roaming_stock_p50": 15.2,
        "failback_stock_p50": 15.3,
        "takeover_gap_p99_d0": 0.98,
        "takeover_gap_p99_d30": 30.98,
        "takeover_gap_p99_checks": 8.98,
        "detection_p50_d2": 2.24,
        "takeover_gap_max_d10": 10.99,
        "second_outages": 0,
    }
    assert {name: found[name] for name in wanted} == pytest.approx(wanted)


def test_a_p99_of_fewer_than_a_hundred_samples_is_left_out() -> None:
    found = figures([*(death(n / 100, forced=0.0) for n in range(99)), other("idle", 1)])
    assert "takeover_gap_p99_d0" not in found
    assert found["takeover_gap_p50_d0"] == 0.49
    assert "idle_resume_p99" not in found
    assert found["takeover_minus_detection_max"] == 0.25


def test_a_silence_of_more_than_a_second_after_a_client_had_resumed_is_a_second_outage() -> None:
    samples = [death(1, longest_silence_after=s) for s in (0.2, 1.0, 1.1, 7.0)]
    samples.append(death(15, takeover=False, longest_silence_after=9.0))
    found = figures(samples)
    assert found["second_outages"] == 2, "stock's are not counted"
    assert found["longest_silence_after_max"] == 7.0


def test_who_does_not_resume_is_counted_and_not_left_out() -> None:
    samples = [death(40, resumed=False), death(1), other("idle", 8, resumed=False)]
    samples.append(other("roaming", 45, takeover=False, resumed=False))
    found = figures(samples)
    assert (found["not_resumed_takeover"], found["not_resumed_stock"]) == (2, 1)
    assert found["takeover_gap_max_checks"] == 40


def test_a_death_of_which_the_detection_is_not_known_has_a_gap_all_the_same() -> None:
    sample = death(9)
    del sample["detection"], sample["minus_detection"]
    found = figures([sample])
    assert found["takeover_gap_p50_checks"] == 9
    assert "takeover_minus_detection_p50" not in found


def test_a_round_is_told_in_a_line() -> None:
    told = rounds.summary([death(8.25), death(8.35, minus_detection=0.35), None])
    assert told == "2 clients, p50 0.25 s, max 0.35 s, after a detection of 8.00 s"
    assert rounds.summary([other("roaming", 0.2)]) == "1 clients, p50 0.20 s, max 0.20 s"
    assert rounds.summary([None]) == "nobody was there"


def test_delays_are_seconds_with_commas() -> None:
    assert failover.delays("10,0,2") == (0.0, 2.0, 10.0)
    with pytest.raises(argparse.ArgumentTypeError):
        failover.delays("0,soon")


def test_a_gateway_that_is_cut_off_neither_sends_nor_gets_and_it_alone() -> None:
    text = rules("i-0123abcd")
    assert 'hook prerouting priority -350; policy accept;\n    iifname "i-0123abcd" drop' in text
    assert 'hook postrouting priority 400; policy accept;\n    oifname "i-0123abcd" drop' in text
    assert text.count("drop") == 2
