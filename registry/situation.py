"""The gateways at one moment, as Auto Scaling, the load balancer and they themselves say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from registry.confirmation import Awaited, Confirmed, Member, confirmed_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.items import GatewayRecord
    from registry.stack import Stack

IN_SERVICE, HEALTHY = "InService", "healthy"


@dataclass(frozen=True)
class Gateway:
    """A member and all that is known of it."""

    member: Member
    health: tuple[str, ...]
    """The load balancer's word for each key slot."""
    record: GatewayRecord | None
    """What it says of itself; None if it never has."""
    confirmed: Confirmed | None
    """How it has confirmed the registry's latest change, if it has."""
    routes: tuple[str, ...] = ()
    """Ids of the route tables whose route to the clients it holds."""

    @property
    def healthy(self) -> bool:
        """Whether it is in service, and the load balancer sends it clients of every key slot."""
        words = set(self.health)
        return self.member.lifecycle == IN_SERVICE and words == {HEALTHY}

    @property
    def well(self) -> bool:
        """Whether there is nothing to wait for."""
        return self.healthy and self.confirmed is not None


@dataclass(frozen=True)
class Situation:
    """The gateways at one moment."""

    generation: int
    """The registry's latest change."""
    desired: int
    gateways: tuple[Gateway, ...]
    holders: Mapping[str, str] = field(default_factory=dict)
    """Route table -> instance id of who holds its route; empty where it was given up."""

    @property
    def well(self) -> bool:
        """Whether as many as there should be are there, and all of them well."""
        return len(self.gateways) >= max(1, self.desired) and all(
            gateway.well for gateway in self.gateways
        )


def look(stack: Stack) -> Situation:
    """Ask everybody."""
    group = stack.fleet.group()
    head = stack.registry.head()
    records = stack.fleet.records(group.members)
    health = stack.fleet.health()
    holders = {table: hold.holder for table, hold in stack.route_holds.read()[0].items()}
    latest = Awaited(head.generation, head.epoch)
    return Situation(
        head.generation,
        group.desired,
        tuple(
            Gateway(
                member,
                health.get(member.instance_id, ()),
                records.get(member.instance_id),
                confirmed_by(member.instance_id, latest, records),
                tuple(sorted(one for one, who in holders.items() if who == member.instance_id)),
            )
            for member in group.members
            if not member.gone
        ),
        holders,
    )
