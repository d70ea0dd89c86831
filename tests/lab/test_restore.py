"""The registry is restored while gateways serve: who stays notices nothing, who is out stays."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from lab_driver import HOST, LabDriver, eventually

from client import keys

if TYPE_CHECKING:
    from collections.abc import Iterator


def moment() -> str:
    """A second that is over: what was done before it is in it, what will be done is not."""
    at = int(time.time()) + 1
    eventually("the second is over", lambda: time.time() > at + 0.1, within=5, every=0.05)
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def served(lab: LabDriver, gateway: str) -> set[str]:
    """The public keys that a gateway lets in."""
    return set(lab.on(gateway, "wg", "show", "wg0", "peers").stdout.split())


@pytest.fixture
def story(lab: LabDriver) -> Iterator[dict[str, str]]:
    """Peers of which one is revoked, one let in and one re-keyed after the moment `to`."""
    key = {name: keys.generate().public for name in ("anna", "bert", "bert-new", "carl")}

    def change(word: str, name: str, key_of: str) -> None:
        lab.peers(word, name, "--public-key", key[key_of], "--json")

    change("add", "anna", "anna")
    change("add", "bert", "bert")
    key["to"] = moment()
    lab.peers("revoke", "anna")
    change("add", "carl", "carl")
    change("rotate", "bert", "bert-new")
    yield key
    for name in ("anna", "bert", "carl"):
        lab.peers("revoke", name, check=False)


def restored(lab: LabDriver, story: dict[str, str], *words: str) -> dict[str, Any]:
    """Restore to `to` while alice sends ten packets a second, all of which are answered."""
    ping = ("ping", "-i", "0.1", "-c", "120", "-q", "-W", "2", HOST)
    with ThreadPoolExecutor() as pool:
        alice = pool.submit(lab.on, "alice", *ping)
        told = json.loads(lab.peers("restore", "--to", story["to"], "--json", *words).stdout)
        assert not alice.done(), "it went on all the time"
        said = alice.result().stdout
    assert " 0% packet loss" in said, said
    return told


def is_as_it_should_be(lab: LabDriver, story: dict[str, str], told: dict[str, Any]) -> None:
    assert told["confirmed"] is True
    gateways = lab.gateways()
    assert sorted(gateway["id"] for gateway in told["gateways"]) == sorted(gateways)
    head = lab.registry.head()
    arns = [lab.stack.instance_arn(gateway) for gateway in gateways]
    assert {record.epoch for record in lab.registry.gateways(arns)} == {head.epoch}
    for gateway in gateways:
        there = served(lab, gateway)
        assert story["bert-new"] in there
        assert not there & {story["anna"], story["bert"], story["carl"]}
    for name in ("anna", "bert", "carl"):
        again = lab.peers("add", "again", "--public-key", story[name], "--json", check=False)
        assert again.status == 2, f"the key of {name} was let in again"


@pytest.mark.timeout(180)
def test_a_restore_takes_nothing_from_who_stays_and_gives_nothing_back_to_who_was_cut_off(
    lab: LabDriver, story: dict[str, str]
) -> None:
    lab.both_healthy()
    lab.answered("alice")
    before = lab.registry.head()
    plan = lab.peers("restore", "--to", story["to"], "--plan", check=False)
    assert plan.status == 3
    assert "- remove carl" in plan.stdout
    assert "anna stays out" in plan.stdout
    told = restored(lab, story)
    is_as_it_should_be(lab, story, told)
    assert lab.registry.head().epoch != before.epoch
    assert lab.registry.head().generation > before.generation


@pytest.mark.timeout(180)
def test_an_emptied_registry_cuts_nobody_off_and_comes_back_from_the_archive(
    lab: LabDriver, story: dict[str, str]
) -> None:
    gateways = lab.both_healthy()
    lab.answered("alice")
    before = lab.registry.head()
    assert before.control is not None
    for page in lab.dynamodb.get_paginator("scan").paginate(TableName=lab.stack.table):
        for item in page["Items"]:
            where = {"pk": item["pk"], "sk": item["sk"]}
            lab.dynamodb.delete_item(TableName=lab.stack.table, Key=where)
    # what `pulumi up --refresh` would do
    lab.dynamodb.put_item(TableName=lab.stack.table, Item=before.control.to_item())

    def say_so() -> bool:
        return all("its counter is gone" in lab.faults(gateway) for gateway in gateways)

    eventually("both gateways say that the registry is lost", say_so, within=30)
    assert all(story["bert-new"] in served(lab, gateway) for gateway in gateways)
    refused = lab.peers("add", "first", "--public-key", keys.generate().public, check=False)
    assert refused.status == 2, "a first change would be all that the registry has"
    assert lab.registry.head().epoch == ""
    told = restored(lab, story, "--from-archive")
    is_as_it_should_be(lab, story, told)
    assert lab.registry.head().generation > before.generation
    assert lab.registry.server_key(1) is not None
    assert lab.registry.audit("anna")[0][-1].action == "revoke"
