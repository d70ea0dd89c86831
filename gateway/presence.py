"""Which other gateways are there: how long each has been silent, and its word of itself.

Whoever has something to say to the others says it anyway; but that they may rely on a silence of a
few seconds, each gateway says twice a second that it is there. That costs two datagrams of some 130
bytes a second for each other gateway. One whose main thread hangs says nothing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import wire
from gateway.circle import others
from gateway.gossip import REMEMBER, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address

    from gateway.gossip import Frame
    from gateway.gossip_link import Link
    from gateway.status import Board, Status

SILENT = 3.0
"""Seconds without a word, after which a gateway may be dead."""

EVERY = 0.5
"""Seconds between two words when nothing has changed: six of them fit into the silence that counts,
so that one may be lost, or two."""


@dataclass(frozen=True)
class Other:
    """Another gateway, as far as gossip says."""

    silent: float
    """Seconds since its last authenticated datagram, of any kind; while nothing has come, since
    this gateway could hear."""
    word: str = ""
    """What it does for clients (registry.items.SERVING and the like); empty if it does not say."""


def word_of(status: Status) -> str:
    """This gateway's word of itself; empty before it knows who it is."""
    return status.record.state if status.record is not None else ""


class Presence:
    """One step of the poller that speaks; and what was heard. Kept by the link's thread."""

    def __init__(
        self, link: Link, board: Board, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._link, self._board, self._monotonic = link, board, monotonic
        self._words: dict[str, tuple[str, int, str]] = {}
        self._hears_since: float | None = None
        self._said = ""
        link.on(Kind.PRESENCE, self._on_presence)

    def _on_presence(self, frame: Frame, _source: IPv4Address) -> None:
        word = wire.Reader(frame.body).text()  # what a later version adds is passed over
        boot, newest, _ = self._words.get(frame.sender, ("", 0, ""))
        if boot != frame.boot or frame.number > newest:
            self._words[frame.sender] = frame.boot, frame.number, word

    def step(self) -> float:
        """Say it, and wait until it is to be said again: at once if the word has changed."""
        now, status = self._monotonic(), self._board.status
        if self._link.ready and self._hears_since is None:
            self._hears_since = now
        self._said = word_of(status)
        if not status.stuck(now):
            self._link.send(Kind.PRESENCE, wire.text(self._said), others(status.state))
        self._board.wait_until(lambda latest: word_of(latest) != self._said, EVERY)
        return 0.0

    def others(self, names: frozenset[str]) -> Mapping[str, Other]:
        """These, and all others that were heard lately, by instance id.

        While this gateway itself cannot hear, nobody is silent.
        """
        now, since, heard = self._monotonic(), self._hears_since, dict(self._link.heard_at)
        known = names.union(name for name, at in heard.items() if now - at < REMEMBER)
        words = dict(self._words)
        return {
            name: Other(
                0.0 if since is None else max(0.0, now - max(since, heard.get(name, since))),
                words.get(name, ("", 0, ""))[2],
            )
            for name in known
        }
