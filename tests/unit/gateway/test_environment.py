"""What the launch template tells a gateway."""

from __future__ import annotations

import json
import uuid
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import pytest

from effects import Refusal
from gateway import environment

if TYPE_CHECKING:
    from pathlib import Path

SEED = "9b9f1f0e-8f57-4d5e-9df0-1a4b8a1a6c3e"


def document(**changes: Any) -> dict[str, Any]:
    return {
        "stack": "lab",
        "region": "eu-west-1",
        "table": "registry",
        "secret_arn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:x",
        "key_seed": SEED,
        "port": 51820,
        "health_port": 9585,
        "metrics_port": 9586,
        "mtu": 1420,
        "client_pool": "100.96.0.0/16",
        "vpc_cidrs": ["10.20.0.0/16"],
        "routed_cidrs": ["10.30.0.0/16"],
        "peer_to_peer": False,
        "artifact": {"bucket": "b", "key": "k", "sha256": "ab" * 32},
        **changes,
    }


def test_a_whole_document_is_read(tmp_path: Path) -> None:
    path = tmp_path / "environment.json"
    path.write_text(json.dumps(document(lifecycle_hooks={"launch": "l", "terminate": "t"})))
    read = environment.read(path)
    assert read.client_pool == IPv4Network("100.96.0.0/16")
    assert read.own_address == IPv4Address("100.96.0.1")
    assert read.version == "ab" * 32
    assert (read.lifecycle_hooks.launch, read.lifecycle_hooks.terminate) == ("l", "t")


def test_hooks_are_optional() -> None:
    assert environment.parse(document()).lifecycle_hooks == environment.LifecycleHooks()


def test_every_gateway_computes_the_same_version_id_for_a_generation() -> None:
    read = environment.parse(document())
    assert read.key_version(7) == str(uuid.uuid5(uuid.UUID(SEED), "7"))
    assert read.key_version(7) != read.key_version(8)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"client_pool": "100.96.0.1/16"}, "client_pool"),
        ({"client_pool": None}, "client_pool"),
        ({"port": 65535}, "port"),
        ({"port": "x"}, "port"),
        ({"key_seed": "none"}, "key_seed"),
        ({"vpc_cidrs": ["10.0.0.0/33"]}, "vpc_cidrs"),
        ({"mtu": "large"}, "mtu"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_value(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(Refusal) as refused:
        environment.parse(document(**changes))
    assert named in str(refused.value)
    assert repr(changes[named]) in str(refused.value)


@pytest.mark.parametrize("text", ["", "[]", "{", "{}"])
def test_a_damaged_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "environment.json"
    path.write_text(text)
    with pytest.raises(Refusal):
        environment.read(path)


def test_the_gossip_port_may_be_left_out_and_its_key_is_no_generations() -> None:
    assert environment.parse(document()).gossip_port == 9588
    read = environment.parse(document(gossip_port=9600))
    assert read.gossip_port == 9600
    assert read.gossip_version == str(uuid.uuid5(uuid.UUID(SEED), "gossip"))
    assert read.gossip_version not in {read.key_version(number) for number in range(10)}
