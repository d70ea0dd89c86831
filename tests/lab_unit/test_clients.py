"""A client of the lab after a rotation of the server's key."""

from __future__ import annotations

import json
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from effects import Ran
from lab import clients, edge
from lab.clients import Tunnel

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXT = "[Interface]\nPrivateKey = p\n\n[Peer]\nPublicKey = {key}\nEndpoint = x:1\n"


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is run, in order; `peers config` writes the new config."""
    words: list[str] = []

    def run(command: Sequence[str], **_: Any) -> Ran:
        words.append(" ".join(command[command.index("config") :]))
        (out,) = [one for one in command if one.endswith(".new")]
        Path(out).write_text(TEXT.format(key="NEW"))
        return Ran(0, "", "")

    def inside(_: Tunnel, command: Sequence[str], **__: Any) -> Ran:
        words.append(" ".join(command))
        return Ran(0, "", "")

    monkeypatch.setattr(clients, "run", run)
    monkeypatch.setattr(Tunnel, "run", inside)
    return words


@pytest.fixture
def tunnel(tmp_path: Path) -> Tunnel:
    """Alice's, with the old server key."""
    path = tmp_path / "alice.conf"
    path.write_text(TEXT.format(key="OLD"))
    return Tunnel(edge.Client("alice", IPv4Address("192.168.77.10")), path)


def test_a_client_whose_key_is_served_keeps_its_config(tunnel: Tunnel, done: list[str]) -> None:
    assert not clients.renew(tunnel, {"OLD", "NEW"})
    assert done == []
    assert tunnel.config.read_text() == TEXT.format(key="OLD")


def test_a_client_whose_key_is_retired_gets_a_new_config_as_its_owner_would(
    tunnel: Tunnel, done: list[str]
) -> None:
    conf = tunnel.config
    assert clients.renew(tunnel, {"NEW"})
    assert done == [
        f"config alice --private-key {conf} --out {conf.with_suffix('.new')}",
        f"wg-quick down {conf}",
        f"wg-quick up {conf}",
    ]
    assert conf.read_text() == TEXT.format(key="NEW")
    assert clients.unchanged(tunnel), "the record is of the new one"
    assert json.loads(conf.with_suffix(".json").read_text())["sha256"]
    assert not conf.with_suffix(".new").exists()
    assert not clients.renew(tunnel, {"NEW"})
