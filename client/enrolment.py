"""Letting a peer in, in the order that loses no key and leaves no half behind.

The config is complete on disk before the registry knows the peer, and gets its name after; whatever
fails in between, either both are there or neither is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from client import config, qr
from client.delivery import StagedFile, Unplaced, Unsettled
from registry.transactions import Unconfirmed

if TYPE_CHECKING:
    from pathlib import Path

    from client.interrupts import Hold
    from registry.environment import Environment
    from registry.items import Peer
    from registry.operators import NewPeer, OperatorRegistry


@dataclass(frozen=True)
class Outputs:
    """The files a config is wanted in."""

    conf: Path | None = None
    png: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """Those that are wanted."""
        return [path for path in (self.conf, self.png) if path is not None]


def enrol(
    registry: OperatorRegistry,
    environment: Environment,
    new: NewPeer,
    *,
    caller: str,
    key_generation: int,
    server_public_key: str,
    private_key: str | None,
    outputs: Outputs,
    hold: Hold,
) -> tuple[Peer, config.Tunnel]:
    """Register `new` and write its config to `outputs`, which must not exist.

    Called with interrupts on `hold`: they stop it only where nothing is left behind.

    Raises `Refusal` and leaves nothing when the registry or a path says no. Raises `Unsettled` and
    keeps the files when the registry's answer was lost, or a second Ctrl-C did not wait for it (the
    peer may be there, and nobody else has its key), and when a file could not get its name.
    """
    files = [StagedFile(path) for path in outputs.paths]

    def tunnel_of(peer: Peer) -> config.Tunnel:
        return config.tunnel(
            environment, peer, key_generation=key_generation, server_public_key=server_public_key
        )

    def contents(peer: Peer) -> list[bytes]:
        to = tunnel_of(peer)
        text = [config.render(to, private_key).encode()] if outputs.conf else []
        image = [qr.png(config.render(to, private_key, comments=False))] if outputs.png else []
        return text + image

    writing = False

    def stage(peer: Peer) -> None:
        nonlocal writing
        writing = False
        hold.stop_here()
        for file, content in zip(files, contents(peer), strict=True):
            file.write(content)
        writing = True

    try:
        peer = registry.add_peer(new, pool=environment.client_pool, caller=caller, stage=stage)
    except BaseException as err:
        if isinstance(err, Unconfirmed) or (writing and isinstance(err, KeyboardInterrupt)):
            raise Unsettled(_unknown(new.name, files, private_key)) from err
        for file in files:
            file.discard()
        raise
    misplaced = _keep(files)
    if misplaced:
        raise Unsettled([f"{peer.name} may enter as {peer.address}", *misplaced])
    return peer, tunnel_of(peer)


def _keep(files: list[StagedFile]) -> list[str]:
    """Give every file its name; what to say about those that did not get it."""
    said = []
    for file in files:
        try:
            file.keep()
        except Unplaced as err:
            said.append(str(err))
    return said


def _unknown(name: str, files: list[StagedFile], private_key: str | None) -> list[str]:
    """What to say when nobody knows whether the peer is there; the files are kept."""
    misplaced = _keep(files)
    paths = " and ".join(str(file.path) for file in files)
    there = f"{paths} holds its private key" if files else "add another: its private key is lost"
    if private_key is None:
        there = f"`peers config {name}` prints its config"
    absent = f"remove {paths} and call again" if files else "call again"
    return [
        f"the registry's answer was lost; `peers show {name}` tells whether {name} is there",
        f"if it is, {there}; if not, {absent}",
        *misplaced,
    ]
