"""Clients: a namespace behind the NAT, the config that `scripts/peers` wrote, plain `wg-quick`.

Nothing is done to the config or to the tunnel that an engineer with a laptop would not do. Where
the kernel has no WireGuard, wg-quick itself falls back to wireguard-go; its process is found by the
namespace it runs in, and by the mark in its environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from effects import Failed, Refusal, run, write_atomic
from lab import edge, netns, paths, process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from effects import Ran

PEERS = paths.CHECKOUT / "scripts" / "peers"
_SOCKETS = Path("/var/run/wireguard")


@dataclass(frozen=True)
class Tunnel:
    """A client with its config file."""

    client: edge.Client
    config: Path

    @property
    def interface(self) -> str:
        """wg-quick names it for the file."""
        return self.config.stem

    def run(self, command: Sequence[str], *, timeout: float = 30.0, check: bool = True) -> Ran:
        """`command` as the client runs it: with its network and its resolver."""
        env = {**os.environ, process.MARK: f"{paths.root()}:client-{self.client.name}"}
        whole = ["ip", "netns", "exec", self.client.namespace, *command]
        return run(whole, timeout=timeout, check=check, env=env)


def find(name: str) -> Tunnel | None:
    """The client of that name, whether its tunnel is up or not."""
    client = next((one for one in edge.clients() if one.name == name), None)
    return None if client is None else Tunnel(client, config_file(name))


def everyone() -> list[Tunnel]:
    """Every client there is."""
    return [Tunnel(client, config_file(client.name)) for client in edge.clients()]


def up(name: str) -> Tunnel:
    """Make a client, its peer and its tunnel; what is there already stays as it is.

    Raises `Refusal` when the name cannot be used, `Failed` when a command fails.
    """
    edge.client_name(name)
    config = config_file(name)
    config.parent.mkdir(mode=0o700, exist_ok=True)
    if not config.exists():
        _add_peer(name, config)
    tunnel = Tunnel(edge.create_client(name), config)
    if not is_up(tunnel):
        tunnel.run(["wg-quick", "up", str(config)])
    return tunnel


def down(name: str) -> None:
    """End a client: tunnel, processes, namespace. Its peer and its config file stay."""
    tunnel = find(name)
    if tunnel is not None:
        if is_up(tunnel):
            tunnel.run(["wg-quick", "down", str(tunnel.config)], check=False)
        end_processes(tunnel.client.namespace)
    edge.delete_client(name)
    (_SOCKETS / f"{config_file(name).stem}.sock").unlink(missing_ok=True)


def end_processes(namespace: str) -> None:
    """End whatever still runs in a namespace, wireguard-go among it."""
    for pid in netns.pids(namespace):
        found = process.look(namespace, pid)
        if found is not None:
            process.end_process(found)


def is_up(tunnel: Tunnel) -> bool:
    """Whether the client's interface is there and its WireGuard answers."""
    show = netns.run_in(tunnel.client.namespace, ["wg", "show", tunnel.interface], check=False)
    return show.status == 0


def config_file(name: str) -> Path:
    """Where a client's config is."""
    return paths.run() / "clients" / f"{name}.conf"


def unchanged(tunnel: Tunnel) -> bool:
    """Whether the config is, byte for byte, what `scripts/peers add --out` wrote."""
    try:
        written = json.loads(_record(tunnel.config).read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        return False
    return written == _digest(tunnel.config)


def _add_peer(name: str, config: Path) -> None:
    command = [sys.executable, str(PEERS), "--stack", "lab", "add", name, "--out", str(config)]
    try:
        run(command)
    except Failed as err:
        raise Refusal(
            f"client {name}", err.stderr.strip().removeprefix("peers: "), "take another name"
        ) from err
    write_atomic(_record(config), json.dumps({"sha256": _digest(config)}))


def _record(config: Path) -> Path:
    return config.with_suffix(".json")


def _digest(config: Path) -> str:
    return hashlib.sha256(config.read_bytes()).hexdigest()
