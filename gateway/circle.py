"""The gateways among themselves: each says how far it is, and hands on what others still lack.

So a gateway that has lost DynamoDB hears of revocations all the same, and its acknowledgement
stands in the items of those that have not. Everything that is sent is sent again until it is
acknowledged: datagrams may get lost, and a gateway may come back.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.gossip import Applied, Changes, Heard, Kind, lacking, pack_changes
from gateway.messages import ChangesSeen, Trouble
from registry.items import Ack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Address

    from gateway.gossip import Frame
    from gateway.gossip_link import Link
    from gateway.messages import Message
    from gateway.state import State
    from gateway.status import Board, Status

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between two acknowledgements when nothing has changed."""

AGAIN = 1.0
"""Seconds before the same changes are sent to the same gateway again."""

SILENT = 10.0
"""Seconds without a word, after which a gateway that is a member is reported."""

PART = "gossip with others"
"""What the silence of another gateway is a trouble of."""

FORGET = 600.0
"""Seconds without a word, after which an acknowledgement is no longer relayed."""


@dataclass(frozen=True)
class _Told:
    generation: int
    at: float


def others(state: State) -> frozenset[IPv4Address]:
    """The addresses of the other gateways."""
    own = state.identity.address if state.identity else ""
    return frozenset(address for address in state.gateways if str(address) != own)


def position(status: Status) -> Applied | None:
    """How far this gateway is; None while it has never read the peers."""
    known = status.state.known
    return None if known is None else Applied(known.epoch, status.applied)


class Circle:
    """Handlers for what is heard, and one step of the poller that speaks."""

    def __init__(
        self,
        link: Link,
        board: Board,
        post: Callable[[Message], None],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link, self._board, self._post = link, board, post
        self._wall, self._monotonic = wall, monotonic
        self._heard: dict[str, Heard] = {}
        self._newest: dict[str, tuple[str, int]] = {}
        self._addresses: dict[IPv4Address, str] = {}
        self._told: dict[str, _Told] = {}
        self._said: tuple[Applied | None, tuple] = (None, ())
        self._greeted: frozenset[IPv4Address] = frozenset()
        self._first_at: dict[IPv4Address, float] = {}
        self._spoke_at = float("-inf")
        self._trouble = ""
        link.on(Kind.HELLO, self._on_hello)
        link.on(Kind.APPLIED, self._on_applied)
        link.on(Kind.CHANGES, self._on_changes)

    # -------------------------------------------------------------- what others get to know

    @property
    def heard(self) -> Mapping[str, Heard]:
        """By instance id, the last of every other gateway."""
        return dict(self._heard)

    def acks(self) -> dict[str, Ack]:
        """The others' acknowledgements, to be relayed in this gateway's item."""
        oldest = self._wall() - FORGET
        return {
            name: Ack(heard.boot_id, heard.applied.generation, heard.applied.epoch, int(heard.at))
            for name, heard in self.heard.items()
            if heard.at >= oldest
        }

    # -------------------------------------------------------------- listening (the link's thread)

    def _on_hello(self, frame: Frame, source: IPv4Address) -> None:
        self._on_applied(frame, source)
        self._told.pop(frame.sender, None)
        if (mine := position(self._board.status)) is not None:
            self._link.send(Kind.APPLIED, mine.pack(), (source,))
        self._hand_on(frame.sender, source)

    def _on_applied(self, frame: Frame, source: IPv4Address) -> None:
        applied = Applied.unpack(frame.body)
        boot, newest = self._newest.get(frame.sender, ("", 0))
        if boot == frame.boot and frame.number < newest:
            return  # overtaken by a later word
        self._newest[frame.sender] = frame.boot, frame.number
        before = self._heard.get(frame.sender)
        self._heard[frame.sender] = Heard(frame.boot, applied, self._wall())
        self._addresses[source] = frame.sender
        if before is None or (before.boot_id, before.applied) != (frame.boot, applied):
            self._board.wake()
        self._hand_on(frame.sender, source)

    def _on_changes(self, frame: Frame, _source: IPv4Address) -> None:
        message = Changes.unpack(frame.body)
        known = self._board.status.state.known
        if (
            known is not None
            and known.epoch == message.epoch
            and message.changes
            and message.changes[-1].generation > known.generation
        ):
            self._post(ChangesSeen(message.epoch, message.changes, heard=True))

    # -------------------------------------------------------------- speaking

    def step(self) -> float:
        """Wait for something to say, or for the next second, and say it; no pause afterwards."""
        wait = self._spoke_at + EVERY - self._monotonic()
        self._board.wait_until(self._news, max(0.0, wait))
        status, now = self._board.status, self._monotonic()
        mine, circle = position(status), others(status.state)
        if mine is not None:
            fresh = circle - self._greeted
            moved = mine != self._said[0] or now - self._spoke_at >= EVERY
            self._link.send(Kind.HELLO, mine.pack(), fresh)
            if moved:
                self._link.send(Kind.APPLIED, mine.pack(), circle - fresh)
                self._spoke_at = now
            if self._link.ready:
                self._greeted = circle
        else:
            self._spoke_at = now
        self._said = mine, status.state.recent
        for address, name in list(self._addresses.items()):
            if address in circle:
                self._hand_on(name, address)
        self._report(circle, now)
        return 0.0

    def _news(self, status: Status) -> bool:
        return self._said != (position(status), status.state.recent) or bool(
            others(status.state) - self._greeted
        )

    def _hand_on(self, name: str, address: IPv4Address) -> None:
        """Send what this gateway still lacks of what we know, if it has not just been sent."""
        state, heard = self._board.status.state, self._heard.get(name)
        if state.known is None or heard is None:
            return
        changes = lacking(state.recent, state.known.epoch, heard.applied)
        told, now = self._told.get(name), self._monotonic()
        if told is not None and now - told.at < AGAIN:
            changes = [change for change in changes if change.generation > told.generation]
        if not changes:
            return
        self._told[name] = _Told(changes[-1].generation, now)
        for body in pack_changes(state.known.epoch, changes):
            self._link.send(Kind.CHANGES, body, (address,))

    def _report(self, circle: frozenset[IPv4Address], now: float) -> None:
        """Say which members are silent, once each time that changes."""
        self._first_at = {address: self._first_at.get(address, now) for address in circle}
        wall = self._wall()
        silent = sorted(
            address
            for address, since in self._first_at.items()
            if now - since > SILENT and wall - self._last_word(address) > SILENT
        )
        why = f"nothing is heard from {', '.join(map(str, silent))}" if silent else ""
        if why != self._trouble:
            log.log(logging.WARNING if why else logging.INFO, "gossip: %s", why or "well")
            self._trouble = why
            self._post(Trouble(PART, why))

    def _last_word(self, address: IPv4Address) -> float:
        heard = self._heard.get(self._addresses.get(address, ""))
        return float("-inf") if heard is None else heard.at
