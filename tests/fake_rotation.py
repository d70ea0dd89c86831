"""What a rotation is seen by: the generations that are asked for, and who used which."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from fake_registry import CONTROL, TABLE

from registry.sessions import Sessions, Use

if TYPE_CHECKING:
    from fake_fleet import FakeFleet
    from fake_registry import Fake


def wanted(fake: Fake, *generations: int) -> None:
    control = replace(CONTROL, key_generations=generations)
    fake.client.put_item(TableName=TABLE, Item=control.to_item())


def tell(fleet: FakeFleet, name: str, age: int = 0, **uses: tuple[int, int]) -> None:
    """Have a gateway say who used which generation how many seconds ago."""
    now = int(time.time())
    found = {}
    for who, (generation, ago) in uses.items():
        peer = fleet.fake.registry.peer(who)
        assert peer is not None
        found[int(peer.address) & 0xFFFF] = Use(now - ago, generation)
    arn = fleet.environment.instance_arn(name)
    fleet.fake.registry.put_sessions(Sessions(arn, (1, 2), now - age, found))


def people(fake: Fake, *names: str, days: int = 30) -> None:
    """Peers, registered a while ago."""
    for number, name in enumerate(names, start=1):
        peer = fake.add(name, number)
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - days * 86400))
        fake.client.put_item(TableName=TABLE, Item=replace(peer, created=created).to_item())
