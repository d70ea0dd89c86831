"""What operators tell the gateways, in the one `command` item.

Each order is written on the condition that the part of the item it changes is as it was read: of
two operators who each drain "the other" gateway at the same moment, one reads again and is refused.
Orders whose time is up are taken out by the next one.
"""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from registry import items
from registry.errors import RegistryError
from registry.items import Command
from registry.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

TRIES = 20
"""How often an order is written anew when others were faster, up to 0.2 s apart."""


class Crowded(RegistryError):  # noqa: N818 - it is an outcome: nothing was written
    """Others kept changing the item."""

    def __init__(self) -> None:
        super().__init__("registry: the command item kept changing, nothing was written; try again")


class Orders:
    """The command item of one table. `client` is a boto3 DynamoDB client."""

    def __init__(self, client: Any, table: str, wall: Callable[[], float] = time.time) -> None:
        self._table, self._wall = Table(client, table), wall

    def read(self) -> Command:
        """What is ordered, without what is over. Raises `ItemError` when it does not parse."""
        return self._in_force(self._item())

    def change(self, alter: Callable[[Command], Command]) -> Command:
        """Change what is ordered; what was written is returned.

        `alter` gets what is in force and returns what should be. It is called anew when somebody
        else was faster, and may raise `Refusal`. Raises `ItemError` for an item that does not
        parse, and `Crowded`.
        """
        for _ in range(TRIES):
            item = self._item()
            wanted = alter(self._in_force(item))
            after = wanted.to_attributes()
            before = {name: value for name, value in item.items() if name in after}
            # Only what changes is written: orders of different kinds do not disturb each other
            after = {name: value for name, value in after.items() if before.get(name) != value}
            if not after or self._table.swap(items.COMMAND_KEY, before, after):
                return wanted
            time.sleep(random.uniform(0, 0.2))  # noqa: S311 - jitter, not a secret
        raise Crowded

    def _item(self) -> items.Item:
        (item,) = self._table.get((items.COMMAND_KEY,))
        return item or {}

    def _in_force(self, item: items.Item) -> Command:
        command = Command.from_item({**items.COMMAND_KEY, **item})
        return replace(command, drain=dict(command.draining(self._wall())))
