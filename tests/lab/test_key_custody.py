"""One private key a generation, made once, whoever comes first; never replaced in silence."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from lab_driver import eventually

if TYPE_CHECKING:
    from lab_driver import LabDriver

ENVIRONMENT = "/etc/gatepair/environment.json"
AGENT = "gatepair-agent.service"


def restarts(lab: LabDriver, gateway: str) -> int:
    """How often systemd had to start the agent again by itself."""
    shown = lab.on(gateway, "systemctl", "show", AGENT, "-p", "NRestarts", "--value").stdout
    return int(shown)


RESET = f"""
import json, pathlib, shutil, subprocess, sys
subprocess.run(["systemctl", "stop", "{AGENT}", "gatepair-wireguard-go@wg0.service"], check=True)
shutil.rmtree("/var/lib/gatepair/keys", ignore_errors=True)
subprocess.run(["ip", "link", "delete", "wg0"], stderr=subprocess.DEVNULL)
file = pathlib.Path("{ENVIRONMENT}")
file.write_text(json.dumps(json.loads(file.read_text()) | json.loads(sys.argv[1])))
"""


def reset(lab: LabDriver, gateway: str, **change: str) -> None:
    """Stop the agent, leave the machine as one that never had a key, change its environment."""
    lab.on(gateway, "python3", "-c", RESET, json.dumps(change))


def delete_published(lab: LabDriver) -> None:
    """Take back what the registry says of generation 1."""
    lab.dynamodb.delete_item(
        TableName=lab.stack.table, Key={"pk": {"S": "server-key"}, "sk": {"S": "1"}}
    )


def seed_of(lab: LabDriver, gateway: str) -> str:
    """What a gateway computes version ids from."""
    return json.loads(lab.on(gateway, "cat", ENVIRONMENT).stdout)["key_seed"]


def one_key(lab: LabDriver, gateways: list[str], versions: set[str]) -> str | None:
    """The key that all gateways serve and the registry names, if the secret has just these."""
    if set(lab.secret_versions()) != versions:
        return None
    keys = {lab.on(g, "wg", "show", "wg0", "public-key", check=False).stdout for g in gateways}
    (one, *more) = keys
    return one.strip() if not more and one == f"{lab.registry.server_key(1)}\n" else None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("tries", [3, pytest.param(20, marks=pytest.mark.long)])
def test_two_gateways_that_start_at_once_without_a_key_make_one(lab: LabDriver, tries: int) -> None:
    gateways = lab.both_healthy()
    at_first = [restarts(lab, gateway) for gateway in gateways]
    (seed_before,) = {seed_of(lab, gateway) for gateway in gateways}
    made = []

    def start_anew(seed: str) -> None:
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda g: reset(lab, g, key_seed=seed), gateways))
            delete_published(lab)
            list(pool.map(lambda g: lab.on(g, "systemctl", "start", AGENT), gateways))

    try:
        for _ in range(tries):
            seed = str(uuid.uuid4())
            ours = {str(uuid.uuid5(uuid.UUID(seed), name)) for name in ("1", "gossip")}
            versions = set(lab.secret_versions())
            start_anew(seed)
            same = partial(one_key, lab, gateways, versions | ours)
            made.append(eventually("one key on both gateways", same, within=30))
        assert len(set(made)) == tries, "each try made a key of its own"
        assert [restarts(lab, gateway) for gateway in gateways] == at_first
    finally:
        start_anew(seed_before)
    lab.both_healthy()


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"key_seed": str(uuid.uuid4())}, "the secret has no such version"),
        (
            {"secret_arn": "arn:aws:secretsmanager:eu-west-1:123456789012:secret:none-AAAAAA"},
            "no secret",
        ),
    ],
    ids=["its version is gone", "the secret cannot be read"],
)
def test_a_published_key_that_is_gone_is_not_replaced(
    lab: LabDriver, change: dict[str, str], why: str
) -> None:
    gateway, other = lab.both_healthy()
    versions = set(lab.secret_versions())
    published = lab.registry.server_key(1)
    before = json.loads(lab.on(gateway, "cat", ENVIRONMENT).stdout)
    try:
        reset(lab, gateway, **change)
        lab.on(gateway, "systemctl", "start", AGENT)

        def refused() -> str | None:
            status, reasons = lab.health(gateway)
            alarm = lab.metrics(gateway)["gatepair_faults"] > 0
            return reasons if status == 503 and alarm and "key" in reasons else None

        reasons = eventually(f"503 and an alarm metric: {why}", refused, within=60)
        assert "generation 1" in reasons
        assert lab.on(gateway, "wg", "show", "wg0", check=False).status != 0, "nothing is served"
        seed = uuid.UUID(change.get("key_seed") or before["key_seed"])
        gossip = {str(uuid.uuid5(seed, "gossip"))}
        assert set(lab.secret_versions()) - gossip == versions - gossip, "no new key was made"
        assert lab.registry.server_key(1) == published
        eventually("the balancer leaves it alone", lambda: lab.healthy() == [other], within=30)
    finally:
        reset(lab, gateway, **{name: before[name] for name in change})
        lab.on(gateway, "systemctl", "start", AGENT)
    lab.both_healthy()
