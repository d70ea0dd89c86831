"""Whether a change is in force on every gateway. Pure.

Who is a gateway is Auto Scaling's word: one that is cut off from the registry looks dead and still
serves. It has confirmed when its own item says so, or when another member's item relays its own
acknowledgement, heard by gossip, from the boot that its own item last showed (or from a later one,
which it could not write down any more).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registry.items import Ack, GatewayRecord

GONE = ("Terminated", "Detached")
"""Auto Scaling's lifecycle states in which an instance is no gateway any more."""


@dataclass(frozen=True)
class Member:
    """An instance of the Auto Scaling group."""

    instance_id: str
    zone: str = ""
    lifecycle: str = "InService"
    """Auto Scaling's word: `Pending:Wait`, `InService`, `Terminating:Wait` ..."""

    @property
    def gone(self) -> bool:
        """Whether it can serve nobody any more."""
        return self.lifecycle.startswith(GONE)

    @property
    def leaving(self) -> bool:
        """Whether it is gone or on its way: clients that it still has come to the others."""
        return self.gone or self.lifecycle.startswith("Terminating")


@dataclass(frozen=True)
class Awaited:
    """A change, and what must be newer than what to confirm it."""

    generation: int
    epoch: str
    seen: Mapping[str, GatewayRecord] = field(default_factory=dict)
    """Instance id -> what it said before the wait began, which counts no more: it may have started
    anew since, from an older copy. Empty for a change that was made just now: nobody can have
    confirmed it before, so no clock has to be compared."""


@dataclass(frozen=True)
class Confirmed:
    """One gateway's confirmation."""

    instance_id: str
    relayed_by: str = ""
    """Instance id of the gateway that passed it on; empty: it wrote it itself."""


def confirmed_by(
    member: str, awaited: Awaited, records: Mapping[str, GatewayRecord]
) -> Confirmed | None:
    """How this member has confirmed, by the items of all members; None if it has not."""
    own = records.get(member)
    if own is None:
        return None  # it has never said anything, also no boot that a relayed word could be of
    if _has(own.epoch, own.applied, awaited) and _own_is_newer(own, awaited):
        return Confirmed(member)
    for relay, record in sorted(records.items()):
        ack = record.acks.get(member)
        if relay == member or ack is None or not _has(ack.epoch, ack.generation, awaited):
            continue
        if _of_this_boot(ack, own) and _ack_is_newer(ack, relay, member, awaited):
            return Confirmed(member, relay)
    return None


def _has(epoch: str, generation: int, awaited: Awaited) -> bool:
    return epoch == awaited.epoch and generation >= awaited.generation


def _own_is_newer(own: GatewayRecord, awaited: Awaited) -> bool:
    before = awaited.seen.get(own.instance_id)
    return before is None or (own.updated, own.boot_id) != (before.updated, before.boot_id)


def _of_this_boot(ack: Ack, own: GatewayRecord) -> bool:
    return ack.boot_id == own.boot_id or ack.at > own.updated


def _ack_is_newer(ack: Ack, relay: str, member: str, awaited: Awaited) -> bool:
    before = awaited.seen.get(relay)
    said = None if before is None else before.acks.get(member)
    return said is None or ack.at > said.at


def unconfirmed(
    members: Iterable[Member], awaited: Awaited, records: Mapping[str, GatewayRecord]
) -> list[Member]:
    """The members that have still to confirm."""
    return [
        member
        for member in members
        if not member.gone and confirmed_by(member.instance_id, awaited, records) is None
    ]


def reached(members: Iterable[Member], epoch: str, records: Mapping[str, GatewayRecord]) -> int:
    """The generation that every member has applied, by its own item; 0 if one has said nothing."""
    said = [
        records[member.instance_id].applied
        if member.instance_id in records and records[member.instance_id].epoch == epoch
        else 0
        for member in members
        if not member.gone
    ]
    return min(said, default=0)
