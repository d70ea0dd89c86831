"""Routes to network interfaces.

moto: a route to an interface is always `active`, names no instance, and CreateRoute puts it in the
place of one that is there.
AWS: a route whose target is gone is `blackhole`; the instance is told beside the interface; a
second route to the same destination is refused (EC2 API reference, Route and CreateRoute:
"RouteAlreadyExists").
Here: as on AWS. A stopped instance's route is `active`, as its interface is still there.
"""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from moto.ec2.exceptions import RouteAlreadyExistsError
from moto.ec2.models.route_tables import Route, RouteBackend

if TYPE_CHECKING:
    from collections.abc import Callable

_create = RouteBackend.create_route


def install(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Replace what moto says of a route; `replace` is for tests that put it back."""
    for owner, name, ours in (
        (RouteBackend, "create_route", _create_once),
        (Route, "state", property(_state)),
        (Route, "instance_id", property(_instance_id)),
    ):
        replace(owner, name, ours)


def _create_once(
    self: Any, route_table_id: str, destination_cidr_block: str | None, *rest: Any, **more: Any
) -> Any:
    if destination_cidr_block and not more.get("local"):
        wanted = IPv4Network(destination_cidr_block, strict=False)
        for one in self.get_route_table(route_table_id).routes:
            there = one.destination_cidr_block
            if there and IPv4Network(there, strict=False) == wanted:
                raise RouteAlreadyExistsError(destination_cidr_block)
    return _create(self, route_table_id, destination_cidr_block, *rest, **more)


def _state(self: Any) -> str:
    if self.interface is None and self.instance is None:
        return "active"
    return "active" if _target(self) is not None else "blackhole"


def _instance_id(self: Any) -> str | None:
    found = _target(self)
    return found.id if found is not None else None


def _target(route: Any) -> Any:
    """The instance that a route leads to; None if there is none (any more)."""
    found = route.instance
    if route.interface is not None:
        there = route.interface.id in route.route_table.ec2_backend.enis
        found = route.interface.instance if there else None
    return found if found is not None and found.state != "terminated" else None
