"""Sessions that change gateways: how long clients are silent, and what strangers can do to them."""

from __future__ import annotations

import time
from ipaddress import IPv4Network
from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import GATEWAY, Bed, await_true, standing
from gateway_lab.crowd import Crowd, crowd
from gateway_lab.second import SECOND, Second, beside, create_group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POOL = IPv4Network("100.96.0.0/16")
CLIENTS = 5
RESUMED = 0.5
"""Seconds; a client pings every 0.1 s, so that 0.2 s are one lost ping."""

pytestmark = [pytest.mark.lab, pytest.mark.timeout(200)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[Crowd, Second]]:
    """Both gateways, and clients that have sessions on the first one and ping through it."""
    ids: list[str] = []

    def first(bed: Bed) -> str:
        ids.extend(create_group(bed))
        return ids[0]

    with standing(tmp_path, first) as bed, beside(bed, ids[1]) as second:
        bed.control(7)
        bed.start_agent()
        second.start_agent()
        await_true("healthy", lambda: bed.healthy() and second.healthy(), timeout=30)
        with crowd(bed, CLIENTS, POOL) as clients:
            await_true(
                "admitted", lambda: admitted(bed, GATEWAY) == CLIENTS == admitted(bed, SECOND)
            )
            server_key = bed.wg("show", "wg0", "public-key")
            for client in clients.clients:
                client.connect(server_key)
                assert client.reaches_host()
                client.start_pings(tmp_path)
            await_true("known", lambda: sessions(bed, SECOND) >= CLIENTS)
            await_true("held", lambda: held(bed, GATEWAY) == CLIENTS)
            yield clients, second


def admitted(bed: Bed, gateway: str) -> float:
    return bed.metric("gatepair_applied_generation", gateway)


def sessions(bed: Bed, gateway: str) -> float:
    """Of the other gateway, known to this one."""
    return bed.metric("gatepair_remote_sessions", gateway)


def held(bed: Bed, gateway: str) -> float:
    return bed.metric("gatepair_held_peers", gateway)


def test_clients_that_move_go_on_at_once_and_are_let_go_where_they_were(
    stage: tuple[Crowd, Second],
) -> None:
    clients, _second = stage
    bed, everybody = clients.bed, clients.clients

    moved = time.time()
    clients.send(everybody, SECOND)
    await_true("held by the second", lambda: held(bed, SECOND) == CLIENTS, timeout=5)
    await_true("let go by the first", lambda: held(bed, GATEWAY) == 0, timeout=5)
    clients.await_answers(moved + 1)
    assert clients.gaps(moved)[-1] <= RESUMED

    back = time.time()
    clients.send(everybody, GATEWAY)
    await_true("held by the first", lambda: held(bed, GATEWAY) == CLIENTS, timeout=5)
    clients.await_answers(back + 2)
    assert clients.gaps(back)[-1] <= RESUMED
    assert bed.metric("gatepair_takeovers_total", SECOND) == CLIENTS


def test_the_sessions_of_a_gateway_that_dies_go_on_on_the_other_one(
    stage: tuple[Crowd, Second],
) -> None:
    clients, _second = stage
    died = time.time()
    clients.cut_off(GATEWAY)
    clients.send(clients.clients, SECOND)
    clients.await_answers(died + 1)
    assert clients.gaps(died)[-1] <= RESUMED
