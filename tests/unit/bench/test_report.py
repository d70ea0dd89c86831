"""What a bench prints."""

from __future__ import annotations

import json

import pytest

from bench.report import Report, TooFew, percentile

NINETY_NINE = list(range(1, 100))
HUNDRED = list(range(1, 101))


@pytest.mark.parametrize(
    ("samples", "percent", "wanted"),
    [
        ([3.0], 50, 3.0),
        ([1.0, 2.0], 50, 1.0),
        ([1.0, 2.0, 3.0], 50, 2.0),
        (HUNDRED, 99, 99),
        ([*HUNDRED, 101], 99, 100),
        (HUNDRED, 100, 100),
        (HUNDRED, 0, 1),
        (list(reversed(HUNDRED)), 95, 95),
    ],
)
def test_a_percentile_is_the_sample_of_the_nearest_rank(
    samples: list[float], percent: float, wanted: float
) -> None:
    assert percentile(samples, percent) == wanted


@pytest.mark.parametrize(("samples", "percent"), [([], 50), (NINETY_NINE, 99), (NINETY_NINE, 96)])
def test_a_percentile_of_too_few_samples_is_refused(samples: list[float], percent: float) -> None:
    with pytest.raises(TooFew, match=f"p{percent} of {len(samples)} samples"):
        percentile(samples, percent)


def test_the_report_is_one_json_object_of_four_parts() -> None:
    report = Report("x", {"p50": 0.123456789, "lost": 0}, {"load": 1.5}, [{"seconds": 2 / 3}])
    assert json.loads(report.as_json()) == {
        "bench": "x",
        "figures": {"p50": 0.1235, "lost": 0},
        "conditions": {"load": 1.5},
        "samples": [{"seconds": 0.6667}],
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "3", None])
def test_a_figure_is_a_number(value: object) -> None:
    with pytest.raises(ValueError, match="figure p50"):
        Report("x", {"p50": value}, {}, [])  # ty: ignore[invalid-argument-type]


def test_the_table_names_the_bench_and_every_figure_and_condition() -> None:
    lines = Report("x", {"p50": 0.5}, {"cloud": "moto"}, []).table()
    assert lines == ["x", "  p50    0.5", "", "conditions", "  cloud  moto"]
