"""Clients: a namespace behind the NAT, the config that `scripts/peers` wrote, plain `wg-quick`.

Nothing is done to the config or to the tunnel that an engineer with a laptop would not do. Where
the kernel has no WireGuard, wg-quick itself falls back to wireguard-go; its process is found by the
namespace it runs in, and by the mark in its environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effects import Failed, Refusal, run, write_atomic
from lab import edge, netns, paths, process

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from effects import Ran

PEERS = paths.CHECKOUT / "scripts" / "peers"
KNOWN_DEADLINE = 10.0
"""Seconds for every gateway to apply a new peer; a handshake before that is lost and costs five."""

_PEERS_DEADLINE = 60.0

# wireguard-go's control sockets are files, and `wg` shows whatever is there: each client has a
# directory of its own. `ip netns exec` has just made the mount namespace in which this happens.
_AT_HOME = 'mkdir -p /run/wireguard && mount --bind "$0" /run/wireguard && exec "$@"'


@dataclass(frozen=True)
class Tunnel:
    """A client with its config file."""

    client: edge.Client
    config: Path

    @property
    def interface(self) -> str:
        """wg-quick names it for the file."""
        return self.config.stem

    def command(self, words: Sequence[str]) -> list[str]:
        """The command that runs `words` as the client does: its network, resolver and sockets."""
        sockets = paths.run() / "clients" / f"{self.client.name}.wireguard"
        sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        within = ["ip", "netns", "exec", self.client.namespace]
        return [*within, "sh", "-c", _AT_HOME, str(sockets), *words]

    def run(
        self,
        words: Sequence[str],
        *,
        stdin: str | None = None,
        timeout: float = 30.0,
        check: bool = True,
    ) -> Ran:
        """Run `words` as the client, and wait."""
        env = process.mark(f"client-{self.client.name}")
        return run(self.command(words), stdin=stdin, timeout=timeout, check=check, env=env)


def find(name: str) -> Tunnel | None:
    """The client of that name, whether its tunnel is up or not."""
    client = next((one for one in edge.clients() if one.name == name), None)
    return None if client is None else Tunnel(client, config_file(name))


def everyone() -> list[Tunnel]:
    """Every client there is."""
    return [Tunnel(client, config_file(client.name)) for client in edge.clients()]


def up(name: str, known: Callable[[], bool]) -> Tunnel:
    """Make a client, its peer and its tunnel; what is there already stays as it is.

    `known` says whether every gateway has applied what is in the registry. Raises `Refusal` when
    the name cannot be used, `Failed` when a command fails.
    """
    edge.client_name(name)
    config = config_file(name)
    config.parent.mkdir(mode=0o700, exist_ok=True)
    process.outlast(f"peers-{name}", timeout=_PEERS_DEADLINE)
    if not config.exists():
        _add_peer(name, config)
        # The clients that the caller waits for should not begin with a lost handshake
        with contextlib.suppress(TimeoutError):
            process.await_condition(
                "every gateway knows the peer", known, timeout=KNOWN_DEADLINE, interval=0.1
            )
    if not _record(config).exists():
        write_atomic(_record(config), json.dumps({"sha256": _digest(config)}))
    tunnel = Tunnel(edge.create_client(name), config)
    if not is_up(tunnel):
        tunnel.run(["wg-quick", "up", str(config)])
    return tunnel


def renew(tunnel: Tunnel, served: Collection[str]) -> bool:
    """Give a client whose server key is not among the `served` a new config; whether it needed one.

    What its owner would do after a rotation: ask for the config anew, with the private key of the
    old one, and take the tunnel down and up.
    """
    if any(f"PublicKey = {key}\n" in tunnel.config.read_text() for key in served):
        return False
    name, fresh = tunnel.client.name, tunnel.config.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    words = ["config", name, "--private-key", str(tunnel.config), "--out", str(fresh)]
    run(
        [sys.executable, str(PEERS), "--stack", "lab", *words],
        timeout=_PEERS_DEADLINE,
        env=process.mark(f"peers-{name}"),
    )
    tunnel.run(["wg-quick", "down", str(tunnel.config)], check=False)
    fresh.replace(tunnel.config)
    write_atomic(_record(tunnel.config), json.dumps({"sha256": _digest(tunnel.config)}))
    tunnel.run(["wg-quick", "up", str(tunnel.config)])
    return True


def down(name: str) -> None:
    """End a client: tunnel, processes, namespace. Its peer and its config file stay."""
    tunnel = find(name)
    if tunnel is not None:
        if is_up(tunnel):
            tunnel.run(["wg-quick", "down", str(tunnel.config)], check=False)
        end_processes(tunnel.client.namespace)
    edge.delete_client(name)


def end_processes(namespace: str) -> None:
    """End whatever still runs in a namespace, wireguard-go among it."""
    for pid in netns.pids(namespace):
        found = process.look(namespace, pid)
        if found is not None:
            process.end_process(found)


def is_up(tunnel: Tunnel) -> bool:
    """Whether the client's interface is there and its WireGuard answers."""
    return tunnel.run(["wg", "show", tunnel.interface], check=False).status == 0


def config_file(name: str) -> Path:
    """Where a client's config is."""
    return paths.run() / "clients" / f"{name}.conf"


def unchanged(tunnel: Tunnel) -> bool:
    """Whether the config is, byte for byte, what `scripts/peers --out` wrote."""
    try:
        written = json.loads(_record(tunnel.config).read_text())["sha256"]
    except (OSError, ValueError, KeyError):
        return False
    return written == _digest(tunnel.config)


def _add_peer(name: str, config: Path) -> None:
    command = [sys.executable, str(PEERS), "--stack", "lab", "add", name, "--out", str(config)]
    try:
        run(command, timeout=_PEERS_DEADLINE, env=process.mark(f"peers-{name}"))
    except Failed as err:
        raise Refusal(
            f"client {name}", err.stderr.strip().removeprefix("peers: "), "take another name"
        ) from err


def _record(config: Path) -> Path:
    return config.with_suffix(".json")


def _digest(config: Path) -> str:
    return hashlib.sha256(config.read_bytes()).hexdigest()
