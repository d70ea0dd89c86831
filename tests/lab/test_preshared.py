"""A pre-shared key: with it a client enters, with another one never, and gateways come and go."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from lab_driver import HOST, eventually

from client import keys
from effects import write_atomic
from lab import paths

if TYPE_CHECKING:
    from lab_driver import LabDriver

NAME = "ivan"
CLOUD = "ip daddr 169.254.170.2"
"""AWS, as machines find it."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def client(lab: LabDriver) -> str:
    """One with a pre-shared key, whose tunnel is up."""
    lab.both_healthy()
    path = paths.run() / "clients" / f"{NAME}.conf"
    lab.peers("add", NAME, "--preshared-key", "--out", str(path))
    lab.lab("client", NAME, timeout=60)
    lab.answered(NAME)
    return NAME


def shared(lab: LabDriver, gateway: str) -> str:
    """The client's pre-shared key as a gateway has it in use; empty when it lacks the client."""
    peer = lab.registry.peer(NAME)
    assert peer is not None
    listed = lab.on(gateway, "wg", "show", "wg0", "preshared-keys").stdout.splitlines()
    found = dict(line.split("\t") for line in listed)
    return found.get(peer.public_key, "")


def in_config() -> str:
    text = (paths.run() / "clients" / f"{NAME}.conf").read_text()
    return re.findall(r"^PresharedKey = (\S+)$", text, re.MULTILINE)[0]


def test_both_gateways_use_the_key_that_the_config_has(lab: LabDriver, client: str) -> None:
    assert client == NAME
    for gateway in lab.gateways():
        same = shared(lab, gateway) == in_config()  # no key in a message
        assert same


def test_with_another_key_there_is_no_handshake(lab: LabDriver, client: str) -> None:
    path = paths.run() / "clients" / f"{client}.conf"
    text = path.read_text()
    lab.on(client, "wg-quick", "down", str(path))
    try:
        wrong = keys.generate().private  # 32 bytes, as a pre-shared key is
        write_atomic(path, text.replace(in_config(), wrong), mode=0o600)
        lab.on(client, "wg-quick", "up", str(path))
        ping = lab.on(client, "ping", "-c", "6", "-i", "1", "-W", "1", HOST, check=False)
        assert ping.status != 0
        shook = lab.on(client, "wg", "show", client, "latest-handshakes").stdout.split()
        assert shook[1] == "0"
        lab.on(client, "wg-quick", "down", str(path))
    finally:
        write_atomic(path, text, mode=0o600)
    lab.on(client, "wg-quick", "up", str(path))
    lab.answered(client)


@pytest.mark.long
def test_a_restart_without_aws_serves_it(lab: LabDriver, client: str) -> None:
    gateway = lab.serving(client)
    with lab.cutting(gateway) as drop:
        drop(CLOUD)
        before = shared(lab, gateway)
        # as after a reboot: nothing is left of WireGuard, and AWS does not answer
        lab.on(gateway, "systemctl", "stop", "gatepair-agent")
        lab.on(gateway, "ip", "link", "delete", "wg0")
        lab.on(gateway, "systemctl", "start", "gatepair-agent")
        same = eventually(
            "the key is in use again", lambda: shared(lab, gateway) == before, within=30
        )
        assert same
        lab.answered(client)
    lab.both_healthy()


@pytest.mark.long
def test_its_session_goes_on_when_its_gateway_dies_and_the_next_one_has_the_key(
    lab: LabDriver, client: str
) -> None:
    lab.both_healthy()
    gateway = lab.serving(client)
    (other,) = [one for one in lab.gateways() if one != gateway]
    eventually(
        "the other gateway knows of the session",
        lambda: lab.metrics(other)["gatepair_remote_sessions"] >= 1,
        within=20,
    )
    takeovers = lab.metrics(other)["gatepair_takeovers_total"]
    lab.lab("kill", gateway)
    lab.answered(client)
    assert lab.metrics(other)["gatepair_takeovers_total"] > takeovers
    same = shared(lab, other) == in_config()
    assert same, "it was removed and put back with its key"
    new = next(one for one in lab.both_healthy(but=gateway) if one != other)
    eventually("the new gateway has it too", lambda: shared(lab, new) == in_config(), within=30)
    assert lab.metrics(new)["gatepair_sealed_peers"] == 0
