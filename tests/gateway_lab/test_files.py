"""The gateway's files, checked by the programs that will read them; and its sockets, for real."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import socket
import urllib.error
import urllib.request
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest

from effects import run
from gateway import keys, metrics, notify, web
from gateway.chrony import Clock
from gateway.firewall import Filter, render, render_anew
from gateway.health import Verdict
from gateway.paths import UNITS
from gateway.status import Status

if TYPE_CHECKING:
    from pathlib import Path

SERVICES = sorted(UNITS.glob("*.service"))
MOST_EXPOSED = 2.5
"""systemd's own measure, 0 (safe) to 10; a service without any hardening has 9.6."""

FILTER = Filter(
    port=51820,
    health_port=9585,
    metrics_port=9586,
    gossip_port=9588,
    client_pool=IPv4Network("100.96.0.0/16"),
    reach=(IPv4Network("10.20.0.0/16"), IPv4Network("10.30.0.0/16")),
    gateways=frozenset({IPv4Address("10.20.0.10")}),
    peer_to_peer=False,
)


@pytest.mark.lab
@pytest.mark.parametrize(
    "filter_",
    [
        FILTER,
        replace(FILTER, peer_to_peer=True),
        replace(FILTER, reach=(), gateways=frozenset()),
        replace(FILTER, client_pool=IPv4Network("100.64.0.0/10")),
    ],
)
def test_nft_takes_the_text_twice_and_anew(filter_: Filter) -> None:
    assert shutil.which("nft")
    assert os.geteuid() == 0
    script = 'for part in "$0" "$0" "$1" "$0"; do printf %s "$part" | nft -f - || exit 1; done'
    run(["unshare", "--net", "bash", "-c", script, render(filter_), render_anew(filter_)])


@pytest.mark.lab
def test_loading_again_keeps_return_paths_and_the_listing_shows_a_rule_too_many() -> None:
    script = """
        set -e
        list() { nft --terse --stateless list table inet gatepair; }
        printf %s "$0" | nft -f -
        before=$(list)
        nft add element inet gatepair via_wg1 '{ 100.96.0.9 }'
        printf %s "$0" | nft -f -
        nft get element inet gatepair via_wg1 '{ 100.96.0.9 }' >/dev/null
        [ "$(list)" = "$before" ]
        nft insert rule inet gatepair through accept
        [ "$(list)" != "$before" ]
    """
    run(["unshare", "--net", "bash", "-c", script, render(FILTER)])


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", SERVICES, ids=lambda path: path.name)
def test_systemd_understands_every_unit_and_finds_it_tight(unit: Path, tmp_path: Path) -> None:
    # the programs it names are not all on the machine that tests: they are looked up here
    text = re.sub(r"(?m)^(ExecStart(?:Post)?)=\S+", r"\1=/bin/true", unit.read_text())
    copy = tmp_path / unit.name
    copy.write_text(text)
    checked = run(["systemd-analyze", "verify", "--man=no", str(copy)], check=False)
    assert (checked.status, checked.stderr) == (0, "")
    secure = run(["systemd-analyze", "security", "--offline=true", "--no-pager", str(copy)])
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", secure.stdout)
    assert exposure
    assert float(exposure[1]) <= MOST_EXPOSED


def test_keys_are_the_ones_wireguard_makes() -> None:
    private = keys.generate_private_key()
    assert len(base64.b64decode(private)) == 32
    assert keys.public_key_of(private) == run(["wg", "pubkey"], stdin=private).stdout.strip()


def test_systemd_is_told_by_a_plain_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = str(tmp_path / "notify")
        manager.bind(address)
        manager.settimeout(5)
        notify.notify(notify.READY, notify.ALIVE, address=address)
        assert manager.recv(100) == b"READY=1\nWATCHDOG=1"
    notify.notify(notify.READY, address=str(tmp_path / "nobody"))
    notify.notify(notify.READY, address="")


def fetch(port: int, path: str) -> tuple[int, str]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as err:
        with err:
            return err.code, err.read().decode()


def test_the_two_servers_answer_and_close() -> None:
    status = Status(
        verdicts={0: Verdict(), 1: Verdict(("no key",))}, clock=Clock(synchronised=True)
    )
    health = web.health_server(0, lambda: status).start()
    numbers = web.metrics_server(0, metrics.pages(lambda: status)).start()
    try:
        assert fetch(health.server_port, "/healthz/0")[0] == 200
        code, text = fetch(health.server_port, "/healthz/1?x")
        assert (code, json.loads(text)["reasons"]) == (503, ["no key"])
        code, text = fetch(numbers.server_port, "/metrics")
        assert code == 200
        assert "gatepair_clock_synchronised 1.0" in text
        assert "wireguard_sent_bytes_total" in text
        code, text = fetch(numbers.server_port, "/metrics/totals")
        assert code == 200
        assert "gatepair_clock_synchronised 1.0" in text
        assert "wireguard_sent_bytes_total" not in text
        assert fetch(numbers.server_port, "/")[0] == 404
    finally:
        health.stop()
        numbers.stop()


@pytest.mark.parametrize(
    ("error", "said"), [(BrokenPipeError(), ""), (ConnectionResetError(), ""), (KeyError(), "Key")]
)
def test_who_has_hung_up_is_not_complained_of_and_another_error_is(
    error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = web.Server(0, lambda _: (200, "text/plain", b""))
    try:
        raise error
    except type(error):
        server.handle_error(None, ("10.20.0.30", 42179))
    finally:
        server.server_close()
    text = capsys.readouterr().err
    assert said in text
    assert bool(text) is bool(said)
