"""Two agents that talk to each other; one loses DynamoDB, then its neighbour, then neither."""

from __future__ import annotations

import sys
import time
from ipaddress import IPv4Network

import pytest
from gateway_lab.bed import Bed, await_true
from gateway_lab.second import Second, await_acks, record

from effects import run
from gateway.presence import EVERY, SILENT

POOL = IPv4Network("100.96.0.0/16")

pytestmark = [pytest.mark.lab, pytest.mark.timeout(150)]


def new_peer(bed: Bed, name: str) -> str:
    private = run(["wg", "genkey"]).stdout
    public = run(["wg", "pubkey"], stdin=private).stdout.strip()
    bed.add_peer(name, public, POOL)
    return public


def test_a_gateway_without_dynamodb_hears_of_a_revocation_and_its_neighbour_says_so(
    pair: tuple[Bed, Second, str],
) -> None:
    bed, second, first = pair
    names = {name: new_peer(bed, name) for name in ("alice", "bob", "carol")}
    await_true("peers", lambda: set(second.wg("show", "wg0", "peers").split()) == {*names.values()})
    await_acks(bed, first, second.instance, 3)
    await_acks(bed, second.instance, first, 3)

    second.dynamodb.cut()
    time.sleep(1.5)  # what was under way is over: from now on it hears by gossip only
    began = time.monotonic()
    generation = bed.change_peer("bob")
    await_true("out", lambda: names["bob"] not in second.wg("show", "wg0", "peers"), timeout=5)
    ack = await_acks(bed, first, second.instance, generation)
    assert time.monotonic() - began < 5
    own = record(bed, second.instance)
    assert own is not None
    assert own.applied < generation, "its own item is as it was"
    assert ack.boot_id == own.boot_id
    assert ack.epoch == own.epoch
    assert second.healthy()

    second.link("down")
    generation = bed.change_peer("carol")
    await_true("out", lambda: names["carol"] not in bed.wg("show", "wg0", "peers"), timeout=5)
    time.sleep(3)
    assert names["carol"] in second.wg("show", "wg0", "peers")
    said = record(bed, first)
    assert said is not None
    assert said.acks[second.instance].generation < generation, "nobody vouches for it"

    second.link("up")
    await_true("out", lambda: names["carol"] not in second.wg("show", "wg0", "peers"), timeout=10)
    await_acks(bed, first, second.instance, generation)

    second.stop_agent()
    missed = bed.change_peer("alice")
    second.start_agent()
    await_true("all told", lambda: not second.wg("show", "wg0", "peers"), timeout=20)
    await_acks(bed, first, second.instance, missed)

    second.dynamodb.mend()
    await_true("its own item", lambda: applied(bed, second.instance) == missed)


def test_at_rest_gateways_are_heard_far_more_often_than_their_silence_counts(
    pair: tuple[Bed, Second, str], capsys: pytest.CaptureFixture[str]
) -> None:
    bed, second, _ = pair
    await_true("both", lambda: bed.healthy() and second.healthy())
    # the members are read every 10 s: until then a new one is not spoken to
    await_true("they speak", lambda: heard(bed) > 10, timeout=40)
    gaps, last, began = list[float](), time.monotonic(), time.monotonic()
    first = before = heard(bed)
    while time.monotonic() - began < SECONDS:
        time.sleep(0.05)
        now = heard(bed)
        if now > before:
            gaps.append(time.monotonic() - last)
            before, last = now, time.monotonic()
    rate = (before - first) / SECONDS
    with capsys.disabled():
        sys.stderr.write(f"\n{rate:.1f} datagrams a second, at most {max(gaps):.2f} s apart\n")
    assert rate >= 1 / EVERY
    assert max(gaps) < SILENT / 2


SECONDS = 15.0


def heard(bed: Bed) -> float:
    """Datagrams of the second gateway that count."""
    return bed.metric(r'gatepair_gossip_datagrams_total\{outcome="heard"\}')


def applied(bed: Bed, instance: str) -> int:
    said = record(bed, instance)
    return said.applied if said else -1
