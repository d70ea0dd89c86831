"""What a gateway tells its clients."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from unit.gateway.samples import control, serving
from unit.gateway.test_agent import ENVIRONMENT

from gateway.announcement import answer
from gateway.state import State
from gateway.status import Status

CONTROL = replace(
    control(7, 8),
    endpoint="vpn.example.com",
    addresses=(IPv4Address("203.0.113.10"), IPv4Address("203.0.113.11")),
)


def status(*generations: int, **changes: Any) -> Status:
    """A gateway that serves these."""
    keys = {number: f"SERVER-{number}" for number in generations}
    state = State(control=CONTROL, served=generations, keys=keys)
    return replace(Status(state=state, devices=serving(*generations).devices), **changes)


def said(now: Status) -> dict[str, Any]:
    code, body = answer("GET", "/v1/server", now, ENVIRONMENT)
    assert code == 200
    return json.loads(body)


def test_it_names_the_keys_their_ports_and_where_to_dial() -> None:
    assert said(status(7, 8)) == {
        "version": 1,
        "stack": ENVIRONMENT.stack,
        "generations": [
            {"generation": 7, "public_key": "SERVER-7", "port": 51820},
            {"generation": 8, "public_key": "SERVER-8", "port": 51821},
        ],
        "newest": 8,
        "endpoint": "vpn.example.com",
        "addresses": ["203.0.113.10", "203.0.113.11"],
        "mtu": 1420,
    }


def test_the_way_back_makes_the_older_key_the_one_to_use() -> None:
    found = said(status(8, 7))
    assert found["newest"] == 7
    assert [one["generation"] for one in found["generations"]] == [8, 7]


def test_a_key_that_does_not_answer_here_is_not_named() -> None:
    now = status(7, 8)
    without_device = replace(now, devices=serving(7).devices)
    assert said(without_device)["newest"] == 7
    without_key = replace(now, state=replace(now.state, keys={8: "SERVER-8"}))
    assert [one["generation"] for one in said(without_key)["generations"]] == [8]
    another = replace(now, state=replace(now.state, keys={7: "SERVER-7", 8: "another"}))
    assert said(another)["newest"] == 7


def test_a_gateway_that_serves_nothing_says_so_and_before_control_is_read_names_no_address() -> (
    None
):
    assert answer("GET", "/v1/server", Status(), ENVIRONMENT)[0] == 503
    early = status(7)
    early = replace(early, state=replace(early.state, control=None))
    assert (said(early)["endpoint"], said(early)["addresses"]) == ("", [])


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/server/", 404),
        ("GET", "/metrics", 404),
        ("POST", "/v1/server", 405),
        ("DELETE", "/v1/server", 405),
        ("GET", "/v1/server?since=7", 200),
    ],
)
def test_there_is_one_thing_to_read_and_nothing_to_write(method: str, path: str, code: int) -> None:
    found, body = answer(method, path, status(7), ENVIRONMENT)
    assert found == code
    assert json.loads(body)
