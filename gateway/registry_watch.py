"""Follows the registry: the head once a second, then only the changes after ours.

It reads and posts; what is applied is the main thread's. Which changes are "after ours" it takes
from the published status, so that changes heard from other gateways are not read again.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from gateway.messages import ChangesSeen, HeadSeen, PeersRead
from gateway.peers import KnownPeers, advance, why_held
from registry.items import Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.messages import Message
    from gateway.status import Board, Status
    from registry.items import Head
    from registry.store import Registry

log = logging.getLogger(__name__)

INTERVAL = 1.0
FULL_EVERY = 600.0
"""Seconds between full readings when nothing asks for one earlier."""

LOG_AGAIN = 600.0
"""Seconds before the same unreadable item is logged again."""

TAKEN_OVER_WITHIN = 10.0
"""Seconds the main thread is given to apply what was posted before it is read again."""

FULL_TRIES = 5


class HeldError(ValueError):
    """The registry must not be read now: it is half restored, or it was emptied."""


class BusyError(ValueError):
    """The registry changed faster than it could be read in full; tried again."""


def read_in_full(
    registry: Registry, head: Head, before: KnownPeers | None = None
) -> tuple[KnownPeers, tuple[Unreadable, ...]]:
    """All peers as of one generation: a full query, then the changes made during it.

    Peers that are as they were `before` are the same objects, so that thousands of them are in
    memory once.

    The query is not a snapshot: it may hold a change but not the one before it. Once all changes up
    to a later head are applied on top, the result is the state at that head, whatever was mixed.
    """
    for _attempt in range(FULL_TRIES):
        found, bad = registry.peers()
        old = before.peers if before else {}
        peers = {
            peer.name: old[peer.name] if old.get(peer.name) == peer else peer for peer in found
        }
        found.clear()
        known = KnownPeers(head.epoch, head.generation, peers, len(bad))
        latest = registry.head()
        refuse_half(latest, before)
        if latest.epoch == head.epoch:
            while known.generation < latest.generation:
                step = advance(known, registry.changes_after(known.generation))
                if step.known is known or step.gap:
                    break
                known = step.known
            else:
                return known, tuple(bad)
        head = latest
    raise BusyError("the registry changes faster than it can be read in full")


def refuse_half(head: Head, known: KnownPeers | None) -> None:
    """Raise `HeldError` when what the table says is not who may enter."""
    if why := why_held(head, known):
        raise HeldError(why)


class RegistryWatch:
    """One step of the registry's poller."""

    def __init__(
        self,
        registry: Registry,
        board: Board,
        post: Callable[[Message], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry, self._board, self._post, self._now = registry, board, post, now
        self._full_at = float("-inf")
        self._logged: dict[str, float] = {}

    def step(self) -> float:
        """Read what there is to read; returns the seconds until the next time."""
        head = self._registry.head()
        self._post(HeadSeen(head, self._now()))
        self._note(head.unreadable)
        state = self._board.status.state
        refuse_half(head, state.known)
        known, due = state.known, self._now() - self._full_at >= FULL_EVERY
        if known is None or state.needs_full or head.epoch != known.epoch or due:
            self._read_in_full(head)
        elif head.generation > known.generation:
            self._read_changes(known, head)
        return INTERVAL

    def _read_changes(self, known: KnownPeers, head: Head) -> None:
        changes = self._registry.changes_after(known.generation)
        self._note(change for change in changes if isinstance(change, Unreadable))
        if not changes or changes[0].generation != known.generation + 1:
            self._read_in_full(head)  # the log has been trimmed: it no longer leads here
            return
        self._post(ChangesSeen(head.epoch, tuple(changes)))
        self._await(head.epoch, known.generation + 1)

    def _read_in_full(self, head: Head) -> None:
        before = self._board.status.state.known
        known, unreadable = read_in_full(self._registry, head, before)
        self._full_at = self._now()
        self._note(unreadable)
        log.info("registry: %d peers at generation %d", len(known.peers), known.generation)
        self._post(PeersRead(known, unreadable))
        self._await(known.epoch, known.generation)

    def _await(self, epoch: str, generation: int) -> None:
        def taken_over(status: Status) -> bool:
            known = status.state.known
            return known is not None and known.epoch == epoch and known.generation >= generation

        self._board.wait_until(taken_over, TAKEN_OVER_WITHIN)

    def _note(self, unreadable: Iterable[Unreadable]) -> None:
        """A line in the log for each, not more often than every few minutes."""
        now = self._now()
        for item in unreadable:
            if now - self._logged.get(item.key, float("-inf")) >= LOG_AGAIN:
                self._logged[item.key] = now
                log.warning("registry item %s is skipped: %s", item.key, item.why)
