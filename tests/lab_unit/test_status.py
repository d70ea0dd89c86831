"""What counts as a lab that is well, and how it is told."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lab import status
from lab.status import Client, Gateway, Status, Target


def gateway(name: str, **changes: object) -> Gateway:
    """A gateway that is well."""
    made = Gateway(
        id=name,
        az="eu-west-1a",
        address="10.20.0.132",
        lifecycle="InService",
        power=True,
        healthy=True,
        public_key={1: "key-of-1"},
        applied=7,
    )
    return replace(made, **changes)


def lab(*gateways: Gateway, generations: tuple[int, ...] = (1,)) -> Status:
    """A lab with these gateways, the registry at generation 7."""
    return Status(
        endpoint="nlb.example:51820",
        generation=7,
        key_generations=generations,
        gateways=gateways,
        leaving=("i-old",),
        targets=(Target(id="i-a", port=51820, slot=0, state="healthy"),),
        addresses=("203.0.113.10",),
        clients=(Client("alice", "192.168.77.10", "/run/alice.conf", up=True),),
    )


def test_a_lab_whose_gateways_are_healthy_and_up_to_date_is_well() -> None:
    """All of them."""
    assert lab(gateway("i-a"), gateway("i-b")).well


@pytest.mark.parametrize(
    "change",
    [{"healthy": False}, {"applied": 6}, {"applied": None}, {"public_key": {}}],
    ids=["unhealthy", "behind", "silent", "without a key"],
)
def test_one_gateway_that_is_not_is_enough(change: dict[str, object]) -> None:
    """A client may be sent to it."""
    assert not lab(gateway("i-a"), gateway("i-b", **change)).well


def test_a_key_that_is_to_be_served_no_more_is_not_among_the_served_ones() -> None:
    """Its gateways may not have said so yet."""
    both = {1: "key-of-1", 2: "key-of-2"}
    found = lab(gateway("i-a", public_key=both), gateway("i-b", public_key=both), generations=(2,))
    assert found.public_keys == {"key-of-2"}


def test_a_lab_without_gateways_is_not_well() -> None:
    """All of none would be."""
    assert not lab().well


def test_during_a_rotation_every_generation_has_to_be_served() -> None:
    """An idle slot is healthy too: the load balancer does not see that a key is missing."""
    both = gateway("i-a", public_key={1: "x", 2: "y"})
    assert lab(both, generations=(1, 2)).well
    assert not lab(both, gateway("i-b"), generations=(1, 2)).well


def test_a_gateway_is_healthy_in_the_slot_of_every_generation() -> None:
    targets = (
        Target(id="i-a", port=51820, slot=0, state="healthy"),
        Target(id="i-a", port=51821, slot=1, state="healthy"),
        Target(id="i-b", port=51820, slot=0, state="healthy"),
        Target(id="i-b", port=51821, slot=1, state="unhealthy"),
    )
    assert status._healthy(targets, (1,)) == {"i-a", "i-b"}
    assert status._healthy(targets, (1, 2)) == {"i-a"}
    assert status._healthy(targets, ()) == set()


def test_programs_get_names_that_stay() -> None:
    """`gateways`, `clients`, `load_balancer`; a generation is a string in JSON."""
    told = json.loads(json.dumps(lab(gateway("i-a")).as_json()))
    assert (
        told["gateways"][0].items()
        >= {
            "id": "i-a",
            "az": "eu-west-1a",
            "healthy": True,
            "applied": 7,
            "public_key": {"1": "key-of-1"},
        }.items()
    )
    assert told["load_balancer"]["addresses"] == ["203.0.113.10"]
    assert told["load_balancer"]["targets"][0]["state"] == "healthy"
    assert told["clients"][0]["name"] == "alice"
    assert told["leaving"] == ["i-old"]


def test_people_are_told_what_is_wrong() -> None:
    """In the line of the gateway it concerns."""
    sick = gateway("i-b", healthy=False, power=False, applied=None, faults=("clock: no source",))
    text = "\n".join(status.lines(lab(gateway("i-a"), sick)))
    assert "i-b  eu-west-1a  10.20.0.132  not healthy, no power, InService" in text
    assert "fault: clock: no source" in text
    assert "i-old is leaving" in text
