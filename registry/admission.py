"""Which address and which key a peer may have: one that nobody else has, and no key that was used.

What is said here is true as of the reads it was made from; the transaction that follows holds only
if the counter has not moved since.
"""

from __future__ import annotations

import random
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from effects import Refusal
from registry import addresses, items
from registry.items import ItemError, Resting
from registry.refusals import Taken
from registry.store import server_key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv4Network

    from registry.items import Control, Item
    from registry.table import Table

NEW_KEY = "make a new pair with `wg genkey`: a key is never used twice"


class Admission:
    """Finds addresses and judges keys in one table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._random = random.SystemRandom()

    def draw(self, pool: IPv4Network) -> list[IPv4Address]:
        """Addresses to try first."""
        return addresses.candidates(pool, self._random)

    def address(
        self,
        pool: IPv4Network,
        drawn: Sequence[IPv4Address],
        taken: Sequence[Item | None],
        confirmed: Callable[[], int] | None,
    ) -> IPv4Address:
        """A free address: of those `drawn`, whose items are `taken`, or else any of the pool.

        In a full pool those that rest are freed, up to the generation that `confirmed()` says every
        gateway has confirmed. Raises `Refusal` when there is none.
        """
        for address, item in zip(drawn, taken, strict=True):
            if item is None:
                return address
        owned, resting = self._owned()
        try:
            return addresses.choose(pool, owned, self._random)
        except Refusal:
            if confirmed is None or not resting:
                raise
        reached = confirmed()
        freed = {rest.address for rest in resting if rest.generation <= reached and self.free(rest)}
        return addresses.choose(pool, owned - freed, self._random)

    def free(self, rest: Resting) -> bool:
        """End an address's rest; False when somebody has, or it is another revocation's by now."""
        return self._table.delete_if(items.address_key(rest.address), "resting", rest.generation)

    def _owned(self) -> tuple[set[IPv4Address], list[Resting]]:
        """Every address that is somebody's or rests; and those that rest."""
        owned: set[IPv4Address] = set()
        resting: list[Resting] = []
        for item in self._table.query("address"):
            try:
                owned.add(IPv4Address(item["sk"]["S"]))
                rest = Resting.from_item(item)
            except (ValueError, ItemError):
                continue  # whatever it is, it is no address that could be handed out or freed
            if rest is not None:
                resting.append(rest)
        return owned, resting

    def refuse_used(self, public_key: str, used: Item | None, control: Control | None) -> None:
        """Refuse a key that `used`, its item, says is or was somebody's, or that is a gateway's."""
        what = f"public key {public_key!r}"
        if used is not None:
            by = used.get("name", {}).get("S", "another peer")
            raise Taken(what, f"is or was the key of {by}", NEW_KEY)
        generations = () if control is None else control.key_generations
        for item in self._table.get([items.server_key_key(number) for number in generations]):
            if item is not None and server_key_of(item) == public_key:
                raise Taken(what, "is the gateways' own", NEW_KEY)
