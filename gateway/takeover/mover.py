"""The main thread's part: sessions change hands only where the peers are in force.

Whoever is not admitted at this moment, or not on the interface yet, is passed over. So no takeover
ever puts a peer back that has been revoked or has expired.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from effects import Failed, run
from gateway import flows, wireguard
from gateway.decide import Command
from gateway.takeover import moves as moving
from gateway.takeover.hub import Forgotten
from gateway.takeover.moves import Move, PointAt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv4Address

    from gateway.decide import Action, Desired, SlotPlan
    from gateway.takeover.hub import Hub
    from gateway.wireguard import DevicePeer

log = logging.getLogger(__name__)

CALM_AFTER = 1.0
"""Seconds from turning a keepalive on until it is turned off again."""

_TIMEOUT = 10.0


def _read(command: tuple[str, ...]) -> str:
    return run(command, timeout=_TIMEOUT).stdout


class Mover:
    """Carries moves out, and keeps what removing a peer would lose: its counters."""

    def __init__(
        self,
        hub: Hub,
        carry_out: Callable[[Iterable[Action]], dict[str, str]],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        read: Callable[[tuple[str, ...]], str] = _read,
        forget: Callable[[Iterable[flows.Outside]], None] = flows.forget,
    ) -> None:
        self._hub, self._carry_out, self._read, self._forget = hub, carry_out, read, forget
        self._wall, self._monotonic = wall, monotonic
        self._lively: dict[tuple[str, str], float] = {}
        self._carried: dict[tuple[str, str], tuple[int, int]] = {}

    @property
    def carried(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        """(interface, public key) -> bytes received and sent before its last removal."""
        return self._carried

    @property
    def next_due(self) -> float | None:
        """When a keepalive is to be turned off; monotonic seconds."""
        return min(self._lively.values(), default=None)

    def move(
        self, moves: Iterable[Move], desired: Desired, admitted: Mapping[str, IPv4Address]
    ) -> dict[str, frozenset[str]]:
        """Do what is still right of it; per interface the peers that were made anew.

        `desired` is what is in force on the machine, `admitted` who should be.
        """
        done: dict[str, frozenset[str]] = {}
        moves = list(moves)
        for plan in desired.slots:
            some = [
                move
                for move in moving.latest(moves, plan.interface)
                if move.public_key in desired.peers
                and admitted.get(move.public_key) == desired.peers[move.public_key]
            ]
            if some:
                done[plan.interface] = self._on(plan, some, desired)
        return {name: keys for name, keys in done.items() if keys}

    def _on(self, plan: SlotPlan, some: list[Move], desired: Desired) -> frozenset[str]:
        name = plan.interface
        anew = {move.public_key for move in some if moving.resets(move)}
        before: dict[str, DevicePeer] = {}
        if anew:
            try:
                before = wireguard.pick(self._read(wireguard.dump_one(name)), anew)
            except (Failed, ValueError) as err:
                log.warning("takeover: %s", err)
                return frozenset()
        some = [move for move in some if moving.due(move, before.get(move.public_key))]
        at = int(self._wall() * 1000)
        steps = [
            moving.words(move, desired.peers[move.public_key], desired.preshared) for move in some
        ]
        if self._carry_out([Command(argv, name) for argv in wireguard.set_peers(name, steps)]):
            return frozenset()  # said and counted; the next listing tells what has become of it
        reset = frozenset(move.public_key for move in some if moving.resets(move))
        self._note(name, some, before)
        if reset:
            self._hub.put(Forgotten(name, tuple(reset), at))
        self._cut(moving.left(some, before, plan.port))
        return reset

    def _note(self, name: str, some: list[Move], before: Mapping[str, DevicePeer]) -> None:
        until = self._monotonic() + CALM_AFTER
        for move in some:
            key = name, move.public_key
            self._lively.pop(key, None)
            if isinstance(move, PointAt):
                self._lively[key] = until
            if moving.resets(move) and (peer := before.get(move.public_key)) is not None:
                received, sent = self._carried.get(key, (0, 0))
                self._carried[key] = received + peer.received, sent + peer.sent

    def _cut(self, left: list[flows.Outside]) -> None:
        try:
            self._forget(left)
        except Failed as err:
            # its endpoint is gone, so nothing is sent there; the entry goes by itself
            log.warning("takeover: %s", err)

    def calm(self, desired: Desired, admitted: Mapping[str, IPv4Address]) -> None:
        """Turn off the keepalives whose time has come, of peers that are still in force.

        `wg set` would make a peer that is not there.
        """
        now = self._monotonic()
        over = [key for key, until in self._lively.items() if until <= now]
        for key in over:
            del self._lively[key]
        self._carried = {key: counts for key, counts in self._carried.items() if key[1] in admitted}
        for plan in desired.slots:
            steps = [
                moving.calm(public_key)
                for name, public_key in over
                if name == plan.interface and public_key in desired.peers and public_key in admitted
            ]
            self._carry_out(
                [
                    Command(argv, plan.interface)
                    for argv in wireguard.set_peers(plan.interface, steps)
                ]
            )
