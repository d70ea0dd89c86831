"""A request that may come twice and must be done once: it names itself, and the change notes that.

The note is written in the change's own transaction, so there is never one without the other, and of
two that come at once the second finds it. (A transaction's own `ClientRequestToken` would not do:
each try is planned on a fresh read, so its content differs, and DynamoDB forgets a token after ten
minutes.)
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from effects import Refusal
from registry.items import Item, Key, Reader, attribute, attributes, key
from registry.refusals import Taken

if TYPE_CHECKING:
    from collections.abc import Mapping


class Repeated(Refusal):
    """The very request was done before: `generation` is its change."""

    def __init__(self, generation: int, name: str, address: IPv4Address) -> None:
        super().__init__(f"request on {name}", f"was done before, as change {generation}")
        self.generation, self.name, self.address = generation, name, address


class Reused(Taken):
    """The name that a request gave itself belongs to another request."""


@dataclass(frozen=True)
class Once:
    """What a request calls itself, and what it asks for. Digests: neither can be read back."""

    token: str
    content: str

    @classmethod
    def of(cls, caller: str, given: str, content: Mapping[str, Any]) -> Once:
        """`given` is the caller's own choice: another caller's same choice is another request."""
        asked = json.dumps(content, sort_keys=True)
        return cls(_digest(f"{caller}\n{given}"), _digest(asked))

    @property
    def key(self) -> Key:
        """The note's."""
        return key("request", self.token)

    def note(
        self, table: str, *, generation: int, epoch: str, name: str, address: IPv4Address
    ) -> dict[str, Any]:
        """The transaction's entry; in another epoch the note counts for nothing."""
        values = {
            "content": self.content,
            "generation": generation,
            "epoch": epoch,
            "name": name,
            "address": str(address),
        }
        return {
            "Put": {
                "TableName": table,
                "Item": {**self.key, **attributes(values)},
                "ConditionExpression": "attribute_not_exists(pk) OR epoch <> :epoch",
                "ExpressionAttributeValues": {":epoch": attribute(epoch)},
            }
        }

    def refuse_repeated(self, item: Item | None, epoch: str) -> None:
        """Raise `Repeated` or `Reused` if `item`, the note that is there, says so."""
        if item is None:
            return
        read = Reader(item)
        # the first change of all is planned before there is an epoch
        if read.text("epoch") not in ("", epoch):
            return
        if read.text("content") != self.content:
            raise Reused(
                "Idempotency-Key",
                "was used for another request",
                "give each request one of its own",
            )
        raise Repeated(
            read.number("generation"), read.text("name"), read.convert("address", IPv4Address)
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
