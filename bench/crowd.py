"""Clients that ping at the pace of people's work while something is done to their gateways.

Twenty of them, a ping every 0.1 s each, unless a bench says otherwise. What each of them felt of it
is asked for afterwards, for any span of time.
"""

from __future__ import annotations

import time
from itertools import cycle
from typing import TYPE_CHECKING, Any

from bench import tunnels
from bench.traffic import Flow, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import ExitStack

    from bench.echoes import Echoes
    from bench.ground import Ground
    from bench.tunnels import Client, Server

COUNT = 20
PING_EVERY = 0.1
LIVE_WITHIN = 30.0
SETTLE = 2.0
"""Seconds after which a ping that has no answer is lost."""


def gathered(ground: Ground, to: Server, names: Sequence[str]) -> dict[str, Client]:
    """Clients of these names, spread evenly over the gateways, which may not know them yet."""
    gateways = list(ground.gateways().values())
    clients: dict[str, Client] = {}
    for name, at in zip(names, cycle(gateways), strict=False):
        # Before it is there: whoever interrupts does not wait until it is written down
        ground.undo(tunnels.delete, ground.stack, name)
        clients[name] = tunnels.create(ground.stack, to, name, gateways, at)
    return clients


class Crowd:
    """The clients and their traffic, until `exits` are taken."""

    def __init__(
        self, ground: Ground, exits: ExitStack, to: Server, names: Sequence[str], record: str
    ) -> None:
        """Every name a client, spread evenly over the gateways; returns once all are answered."""
        self.clients = gathered(ground, to, names)
        ground.await_applied()
        flows = [
            Flow(one.name, one.namespace, str(ground.host), PING_EVERY)
            for one in self.clients.values()
        ]
        self.traffic = exits.enter_context(Traffic(flows, ground.directory / f"{record}.pings"))
        self.await_answers(within=LIVE_WITHIN)

    def of(self, name: str) -> Echoes:
        """A client's pings up to now."""
        return self.traffic.of(name)

    def await_answers(self, names: Iterable[str] = (), *, within: float) -> None:
        """Return once these (none: all) have an answer to a ping sent from now on."""
        wanted = tuple(names) or tuple(self.clients)
        self.traffic.await_answers(wanted, since=time.monotonic(), within=within)


def felt(echoes: Echoes, began: float, ended: float) -> dict[str, Any]:
    """What a client felt between these moments, `SETTLE` seconds ago by now. Pure."""
    return {
        "sent": len(echoes.probes(began, ended)),
        "lost": len(echoes.lost(began, ended)),
        "longest_gap": echoes.longest_silence(began, ended),
    }
