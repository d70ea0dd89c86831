"""Gateways that obey orders, in a group that Auto Scaling renews: in a fake AWS only."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lab.overrides import autoscaling
from registry.items import DRAINED, DRAINING, SERVING
from registry.orders import Orders

if TYPE_CHECKING:
    from fake_fleet import FakeFleet

DELAY = 300
"""Seconds until the fake's time is up for everything: warmups, too."""


class World:
    """The gateways' side: with each look of a command it goes a step on."""

    def __init__(self, fleet: FakeFleet) -> None:
        self.fleet, self.ill = fleet, set[str]()
        self.deaf, self.interrupt_at, self.looks = False, -1, 0
        self.now = time.monotonic()
        self.orders = Orders(fleet.fake.client, fleet.environment.table)
        self.seen: list[set[str]] = []
        """Which gateways were in service at each step."""

    def step(self, _seconds: float = 0) -> None:
        """Orders are obeyed, one word a step; waits and warmups end."""
        self.looks += 1
        if self.looks == self.interrupt_at:
            raise KeyboardInterrupt
        self.now += DELAY
        autoscaling.expire(self.now)
        drains = self.orders.read().drain
        members = self.fleet.fleet.group().members
        self.seen.append({one.instance_id for one in members if one.lifecycle == "InService"})
        for name in self.fleet.ids:
            was = self.fleet.sent.get(name)
            word = SERVING
            if name in drains and not self.deaf:
                word = DRAINED if was is not None and was.state == DRAINING else DRAINING
            self.fleet.says(name, state=word)

    @property
    def ordered(self) -> list[str]:
        return list(self.orders.read().drain)
