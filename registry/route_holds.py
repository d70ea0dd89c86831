"""Who holds which route table's route: the `route` items of one table. Plain boto3.

Every write is on the condition that the item is as it was read, so that of two gateways that want
the same route at the same moment exactly one has it. It writes nothing but the leading key `route`:
UpdateItem and DeleteItem; reading is one Query.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from registry import items
from registry.items import ItemError, RouteHold, Unreadable
from registry.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable


class RouteHolds:
    """The items. `client` is a boto3 DynamoDB client; its errors pass through."""

    def __init__(self, client: Any, table: str, now: Callable[[], str]) -> None:
        """`now` is this moment as items have it (registry.store.now)."""
        self._table, self._now = Table(client, table), now

    def read(self) -> tuple[dict[str, RouteHold], list[Unreadable]]:
        """By route table, strongly consistent; and what does not parse.

        One read unit for 4 KB (DynamoDB developer guide, "Read consumption"), and an item has about
        150 bytes: one for up to 25 route tables.
        """
        good: dict[str, RouteHold] = {}
        bad: list[Unreadable] = []
        for item in self._table.query(items.ROUTES):
            try:
                hold = RouteHold.from_item(item)
            except ItemError as err:
                bad.append(Unreadable(err.key, err.why))
            else:
                good[hold.table] = hold
        return good, bad

    def take(
        self, table: str, before: RouteHold | None, holder: str, interface: str
    ) -> RouteHold | None:
        """Hold a table's route from now on; None if the item is no longer as it was `before`."""
        version = 1 if before is None else before.version + 1
        hold = RouteHold(table, holder, interface, version, self._now())
        return hold if self._swap(before, hold) else None

    def give_up(self, hold: RouteHold) -> RouteHold | None:
        """Leave it to whoever takes it; None if the item is no longer as it was."""
        free = replace(hold, holder="", version=hold.version + 1, at=self._now())
        return free if self._swap(hold, free) else None

    def delete(self, hold: RouteHold) -> bool:
        """Take the item away; whether it was still as it was."""
        return self._table.delete_if(items.route_key(hold.table), "version", hold.version)

    def _swap(self, before: RouteHold | None, after: RouteHold) -> bool:
        old = {} if before is None else before.to_attributes()
        return self._table.swap(items.route_key(after.table), old, after.to_attributes())
