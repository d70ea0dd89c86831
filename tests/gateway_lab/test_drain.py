"""A gateway hands its clients over: ordered, taken back, terminated."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import await_true
from gateway_lab.second import record

from registry.items import DRAINED, DRAINING, SERVING, DrainOrder
from registry.orders import Orders

if TYPE_CHECKING:
    from gateway_lab.bed import Bed
    from gateway_lab.second import Second

pytestmark = [pytest.mark.lab, pytest.mark.timeout(150)]


def says(bed: Bed, instance: str) -> str:
    found = record(bed, instance)
    return found.state if found else ""


def order(bed: Bed, *names: str) -> None:
    """Order these gateways to drain for two minutes, and no others."""
    until = int(time.time()) + 120
    orders = {name: DrainOrder(until, "arn:test", "now") for name in names}
    with bed.aws("dynamodb") as dynamodb:
        Orders(dynamodb, "registry").change(lambda command: replace(command, drain=orders))


def test_an_order_drains_one_gateway_and_its_withdrawal_brings_it_back(
    pair: tuple[Bed, Second, str],
) -> None:
    bed, second, first = pair
    await_true("both serve", lambda: says(bed, first) == says(bed, second.instance) == SERVING)
    key = bed.wg("show", "wg0", "public-key")
    order(bed, first)
    await_true("draining", lambda: says(bed, first) == DRAINING, timeout=30)
    assert not bed.healthy()
    assert bed.interfaces(), "clients are served until the load balancer has noticed"
    await_true("drained", lambda: says(bed, first) == DRAINED, timeout=40)
    assert not bed.interfaces()
    assert second.healthy()
    assert second.wg("show", "wg0", "public-key") == key
    order(bed)
    await_true("it serves again", lambda: says(bed, first) == SERVING, timeout=30)
    assert bed.wg("show", "wg0", "public-key") == key


def test_of_two_that_are_ordered_to_drain_none_does(pair: tuple[Bed, Second, str]) -> None:
    bed, second, first = pair
    await_true("both serve", lambda: says(bed, first) == says(bed, second.instance) == SERVING)
    order(bed, first, second.instance)
    await_true("alarm", lambda: bed.metric("gatepair_drain_held_up") == 1)
    await_true("alarm", lambda: bed.metric("gatepair_drain_held_up", "gpx-g2") == 1)
    assert bed.healthy()
    assert second.healthy()


def test_an_instance_that_is_to_end_drains_and_takes_its_interfaces_down(
    pair: tuple[Bed, Second, str],
) -> None:
    bed, second, first = pair
    await_true("the other serves", lambda: says(bed, second.instance) == SERVING)
    (bed.directory / "target-lifecycle-state").write_text("Terminated")
    await_true("draining", lambda: bed.get(9585, "/healthz/0")[0] == 503, timeout=30)
    assert "draining" in bed.get(9585, "/healthz/1")[1]
    await_true("interfaces down", lambda: not bed.interfaces(), timeout=40)
    await_true("it says so", lambda: says(bed, first) == DRAINED)
