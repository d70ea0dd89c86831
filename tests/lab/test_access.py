"""What a client may reach is the gateways' decision, whatever the client writes into its config."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import pytest
from lab_driver import HOST, eventually

if TYPE_CHECKING:
    from lab_driver import LabDriver

GREEDY = "mallory"
INTERNET = "192.0.2.53"
"""The lab's public resolver: it answers anybody on the lab's internet on port 53."""
METADATA = "169.254.169.254"


@pytest.fixture(scope="module")
def greedy(lab: LabDriver) -> str:
    """A client that sends everything it is asked about into the tunnel."""
    lab.lab("client", GREEDY, timeout=60)
    gateways = [gateway_address(lab, gateway) for gateway in lab.gateways()]
    key = lab.on(GREEDY, "wg", "show", GREEDY, "peers").stdout.strip()
    lab.on(GREEDY, "wg", "set", GREEDY, "peer", key, "allowed-ips", "0.0.0.0/0")
    for target in (INTERNET, METADATA, *gateways, tunnel_address(lab, "alice")):
        lab.on(GREEDY, "ip", "route", "replace", f"{target}/32", "dev", GREEDY)
    return GREEDY


def gateway_address(lab: LabDriver, gateway: str) -> str:
    """A gateway's private address, as it sees it itself."""
    (link,) = json.loads(lab.on(gateway, "ip", "-j", "-4", "addr", "show", "eth0").stdout)
    return link["addr_info"][0]["local"]


def tunnel_address(lab: LabDriver, client: str) -> str:
    """A client's tunnel address."""
    return json.loads(lab.peers("show", client, "--json").stdout)["peer"]["address"]


def open_ports(lab: LabDriver, client: str, ports: str, *targets: str) -> list[str]:
    """TCP ports of `targets` that answer the client at all, with a connection or a refusal."""
    scan = lab.on(
        client,
        *("nmap", "-n", "-Pn", "-sS", "-p", ports, "--min-rate", "5000", "--max-retries", "0"),
        *("--host-timeout", "120s", "-oG", "-", *targets),
        timeout=150,
    ).stdout
    assert "Skipping host" not in scan, "the scan ran out of time and would prove nothing"
    return re.findall(r"(\d+)/(?:open|closed)/", scan)


def test_the_scan_finds_what_is_open(lab: LabDriver, greedy: str) -> None:
    assert "80" in open_ports(lab, greedy, "1-200", HOST)


@pytest.mark.timeout(400)
def test_one_port_of_the_gateways_tunnel_address_answers_a_client_and_no_other(
    lab: LabDriver, greedy: str
) -> None:
    gateways = [gateway_address(lab, gateway) for gateway in lab.gateways()]
    assert open_ports(lab, greedy, "1-65535", *gateways) == []
    assert open_ports(lab, greedy, "1-65535", str(lab.stack.client_pool[1])) == ["9587"]


LISTEN = """
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 9999))
end = time.monotonic() + 8
while (left := end - time.monotonic()) > 0:
    s.settimeout(left)
    try:
        print(s.recvfrom(99)[0].decode())
    except TimeoutError:
        pass
"""
SEND = """
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for target in sys.argv[2:]:
    s.sendto(sys.argv[1].encode(), (target, 9999))
"""


def listening(lab: LabDriver, gateway: str) -> str:
    """The listener on a gateway, as `ss` shows it; nothing until it is there."""
    return lab.on(gateway, "ss", "-Hlun", "sport = :9999").stdout


def test_no_datagram_of_a_client_reaches_a_gateway(lab: LabDriver, greedy: str) -> None:
    own = str(lab.stack.client_pool[1])
    gateways = {gateway: gateway_address(lab, gateway) for gateway in lab.gateways()}
    with ThreadPoolExecutor() as pool:
        heard = [pool.submit(lab.on, g, "python3", "-c", LISTEN) for g in gateways]
        for gateway in gateways:
            eventually("the listener is there", partial(listening, lab, gateway), within=10)
        lab.on(greedy, "python3", "-c", SEND, "client", own, *gateways.values())
        for gateway, address in gateways.items():
            lab.on(gateway, "python3", "-c", SEND, "itself", address)
        assert [one.result().stdout.split() for one in heard] == [["itself"], ["itself"]]


@pytest.mark.parametrize(
    ("target", "port"), [(INTERNET, "53"), (METADATA, "80")], ids=["the internet", "the metadata"]
)
def test_a_client_does_not_get_out(lab: LabDriver, greedy: str, target: str, port: str) -> None:
    assert open_ports(lab, greedy, port, target) == []
    ping = lab.on(greedy, "ping", "-c", "1", "-W", "2", target, check=False)
    assert ping.status != 0


def test_clients_do_not_reach_each_other(lab: LabDriver, greedy: str) -> None:
    address = tunnel_address(lab, "alice")
    assert open_ports(lab, greedy, "1-100", address) == []
    assert lab.on(greedy, "ping", "-c", "1", "-W", "2", address, check=False).status != 0


def test_a_client_reaches_the_private_host(lab: LabDriver, greedy: str) -> None:
    assert lab.on(greedy, "ping", "-c", "1", "-W", "2", HOST).status == 0
