"""Handing out a peer's config, in the order that loses no key and leaves no half behind.

The config is complete on disk before the registry knows the key, and gets its name after; whatever
fails in between, either both are there or neither is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from client import config, qr
from client.delivery import StagedFile, Unplaced, Unsettled
from registry.transactions import Unconfirmed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from client.interrupts import Hold
    from registry.environment import Environment
    from registry.items import Peer


@dataclass(frozen=True)
class Outputs:
    """The files a config is wanted in."""

    conf: Path | None = None
    png: Path | None = None

    @property
    def paths(self) -> list[Path]:
        """Those that are wanted."""
        return [path for path in (self.conf, self.png) if path is not None]


@dataclass(frozen=True)
class Handover:
    """Whose config it is, and what is to be said when nobody knows how it ended."""

    name: str
    public_key: str
    secrets: config.Secrets
    """Without the private key when its owner has it."""
    rotated: bool = False
    """Whether the peer was there before, with another key."""


def enrol(
    write: Callable[[Callable[[Peer], None]], Peer],
    environment: Environment,
    handover: Handover,
    *,
    key_generation: int,
    server_public_key: str,
    outputs: Outputs,
    hold: Hold,
) -> tuple[Peer, config.Tunnel]:
    """Register a peer's key and write its config to `outputs`, which must not exist.

    `write` is the registry's change; it is given what to call with the peer before each try.
    Called with interrupts on `hold`: they stop it only where nothing is left behind.

    Raises `Refusal` and leaves nothing when the registry or a path says no. Raises `Unsettled` and
    keeps the files when the registry's answer was lost, or a second Ctrl-C did not wait for it (the
    peer may be there, and nobody else has its key), and when a file could not get its name.
    """
    files = [StagedFile(path) for path in outputs.paths]
    secrets = handover.secrets

    def tunnel_of(peer: Peer) -> config.Tunnel:
        return config.tunnel(
            environment, peer, key_generation=key_generation, server_public_key=server_public_key
        )

    def contents(peer: Peer) -> list[bytes]:
        to = tunnel_of(peer)
        text = [config.render(to, secrets).encode()] if outputs.conf else []
        image = [qr.png(config.render(to, secrets, comments=False))] if outputs.png else []
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
        peer = write(stage)
    except BaseException as err:
        if isinstance(err, Unconfirmed) or (writing and isinstance(err, KeyboardInterrupt)):
            raise Unsettled(_unknown(handover, files)) from err
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


def _unknown(handover: Handover, files: list[StagedFile]) -> list[str]:
    """What to say when nobody knows whether the key is registered; the files are kept."""
    misplaced = _keep(files)
    name, paths = handover.name, " and ".join(str(file.path) for file in files)
    anew = "call again" if handover.rotated else "add another"
    which = "private key" if handover.secrets.private else "pre-shared key"
    there = f"{paths} holds its {which}" if files else f"{anew}: its {which} is lost"
    if not handover.secrets:
        there = f"`peers config {name}` prints its config"
    absent = f"remove {paths} and call again" if files else "call again"
    if handover.rotated:
        question = f"`peers show {name}` tells which key {name} has"
        answer = f"if it is {handover.public_key}, {there}; if not, {absent}"
    else:
        question = f"`peers show {name}` tells whether {name} is there"
        answer = f"if it is, {there}; if not, {absent}"
    return [f"the registry's answer was lost; {question}", answer, *misplaced]
