"""What the two gateways say of themselves, and what the load balancer says of them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from bench.answers import healthy_in, series
from bench.command import NotMeasured
from bench.flows import Source
from bench.pair import busiest, know_each_other

WELL, ILL = {"state": "healthy"}, {"state": "unhealthy", "reason": "Target.Timeout"}


def test_a_gateway_is_healthy_if_it_is_so_in_every_group() -> None:
    assert healthy_in([{"i-a": WELL, "i-b": WELL}, {"i-a": WELL, "i-b": ILL}]) == {"i-a"}
    assert healthy_in([]) == frozenset()


def test_metrics_without_labels_are_read_by_name() -> None:
    text = '# HELP a Text\n# TYPE a gauge\na 3.0\nb{x="y"} 4.0\nc_total 1e+03\n'
    assert series(text) == {"a": 3.0, "c_total": 1000.0}


@pytest.mark.parametrize(
    ("ours", "theirs", "known"),
    [((2, 3), (3, 2), True), ((2, 3), (3, 1), False), ((2, 2), (3, 2), False)],
)
def test_two_gateways_know_each_other_if_neither_has_sessions_unknown_to_the_other(
    ours: tuple[int, int], theirs: tuple[int, int], *, known: bool
) -> None:
    one, other = (
        {"gatepair_own_sessions": float(own), "gatepair_remote_sessions": float(remote)}
        for own, remote in (ours, theirs)
    )
    assert know_each_other(one, other) is known
    assert know_each_other(other, one) is known


def test_a_gateway_that_says_nothing_knows_nothing() -> None:
    assert not know_each_other({}, {})


def test_the_busiest_gateway_is_the_one_to_which_most_of_the_clients_flows_go() -> None:
    away = IPv4Address("192.0.2.1")
    near, far, gone = (IPv4Address(f"10.0.0.{number}") for number in (4, 5, 6))
    sources = [Source(away, port) for port in range(7)]
    there = dict(zip(sources, (near, far, far, gone, gone, gone), strict=False))
    gateways = {"i-near": near, "i-far": far}
    assert busiest(there, sources, gateways) == "i-far"
    assert busiest(there, sources[:1], gateways) == "i-near"
    for nobody in (sources[3:], []):
        with pytest.raises(NotMeasured, match="no client has a flow"):
            busiest(there, nobody, gateways)
