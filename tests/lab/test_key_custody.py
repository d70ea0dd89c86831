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

TRIES = 20
ENVIRONMENT = "/etc/gatepair/environment.json"
AGENT = "gatepair-agent.service"


def public_keys(lab: LabDriver) -> list[dict[str, str]]:
    """For each gateway, generation to public key, as it says of itself."""
    return [gateway["public_key"] for gateway in lab.status()["gateways"]]


def restarts(lab: LabDriver, gateway: str) -> int:
    """How often systemd had to start the agent again by itself."""
    shown = lab.on(gateway, "systemctl", "show", AGENT, "-p", "NRestarts", "--value").stdout
    return int(shown)


def rewritten(lab: LabDriver, gateway: str, **change: str) -> str:
    """Put other values into a gateway's environment file; the text it had."""
    before = lab.on(gateway, "cat", ENVIRONMENT).stdout
    after = json.dumps(json.loads(before) | change)
    write(lab, gateway, after)
    return before


def write(lab: LabDriver, gateway: str, text: str) -> None:
    """Write a gateway's environment file."""
    code = f"import pathlib, sys; pathlib.Path('{ENVIRONMENT}').write_text(sys.argv[1])"
    lab.on(gateway, "python3", "-c", code, text)


def forget_keys(lab: LabDriver, gateway: str) -> None:
    """Stop the agent and leave the machine as one that never had a key."""
    lab.on(gateway, "systemctl", "stop", AGENT, "gatepair-wireguard-go@wg0.service")
    lab.on(gateway, "sh", "-c", "rm -rf /var/lib/gatepair/keys; ip link del wg0 2>/dev/null; true")


def delete_published(lab: LabDriver) -> None:
    """Take back what the registry says of generation 1."""
    lab.dynamodb.delete_item(
        TableName=lab.stack.table, Key={"pk": {"S": "server-key"}, "sk": {"S": "1"}}
    )


def one_key(lab: LabDriver, gateways: list[str], versions: set[str]) -> str | None:
    """The key that all gateways serve and the registry names, if the secret has just these."""
    if set(lab.secret_versions()) != versions:
        return None
    keys = {lab.on(g, "wg", "show", "wg0", "public-key", check=False).stdout for g in gateways}
    (one, *more) = keys
    return one.strip() if not more and one == f"{lab.registry.server_key(1)}\n" else None


@pytest.mark.timeout(600)
def test_two_gateways_that_start_at_once_without_a_key_make_one(lab: LabDriver) -> None:
    gateways = lab.both_healthy()
    at_first = [restarts(lab, gateway) for gateway in gateways]
    texts = {gateway: lab.on(gateway, "cat", ENVIRONMENT).stdout for gateway in gateways}
    made = []
    try:
        for _ in range(TRIES):
            seed = str(uuid.uuid4())
            for gateway in gateways:
                forget_keys(lab, gateway)
                rewritten(lab, gateway, key_seed=seed)
            delete_published(lab)
            versions = set(lab.secret_versions())
            with ThreadPoolExecutor() as pool:
                list(pool.map(lambda g: lab.on(g, "systemctl", "start", AGENT), gateways))

            ours = {str(uuid.uuid5(uuid.UUID(seed), name)) for name in ("1", "gossip")}
            same = partial(one_key, lab, gateways, versions | ours)
            made.append(eventually("one key on both gateways", same, within=30))
        assert len(set(made)) == TRIES, "each try made a key of its own"
        assert [restarts(lab, gateway) for gateway in gateways] == at_first
    finally:
        for gateway, text in texts.items():
            forget_keys(lab, gateway)
            write(lab, gateway, text)
        delete_published(lab)
        for gateway in gateways:
            lab.on(gateway, "systemctl", "start", AGENT)
    lab.both_healthy()


@pytest.mark.timeout(300)
def test_the_key_outlives_both_gateways(lab: LabDriver) -> None:
    (first, second) = lab.both_healthy()
    before = public_keys(lab)
    assert before[0] == before[1]
    for gateway in (first, second):
        lab.lab("kill", gateway)
        lab.both_healthy(but=gateway)
    assert not {first, second} & set(lab.gateways()), "these are other machines"
    assert public_keys(lab) == before


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
    text = lab.on(gateway, "cat", ENVIRONMENT).stdout
    try:
        forget_keys(lab, gateway)
        rewritten(lab, gateway, **change)
        lab.on(gateway, "systemctl", "start", AGENT)

        def refused() -> str | None:
            status, reasons = lab.health(gateway)
            return reasons if status == 503 and "key" in reasons else None

        reasons = eventually(f"503 with the reason: {why}", refused, within=60)
        assert "generation 1" in reasons
        series = lab.metrics(gateway)
        assert any(value for name, value in series.items() if name.startswith("gatepair_fault")), (
            "an alarm metric is up"
        )
        assert lab.on(gateway, "wg", "show", "wg0", check=False).status != 0, "nothing is served"
        seed = uuid.UUID(change.get("key_seed") or json.loads(text)["key_seed"])
        gossip = {str(uuid.uuid5(seed, "gossip"))}
        assert set(lab.secret_versions()) - gossip == versions - gossip, "no new key was made"
        assert lab.registry.server_key(1) == published
        eventually("the balancer leaves it alone", lambda: lab.healthy() == [other], within=30)
    finally:
        lab.on(gateway, "systemctl", "stop", AGENT)
        write(lab, gateway, text)
        lab.on(gateway, "systemctl", "start", AGENT)
    lab.both_healthy()
