"""Changes to the VPC take hold at once.

moto: a call changes moto's own memory.
AWS: a route or a rule takes hold some time after the call, without a figure (EC2 API reference,
"Eventual consistency"); not yet measured on AWS.
Here: the daemon that keeps the VPC is told of each change, and has followed it within a second.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.models.route_tables import RouteBackend
from moto.ec2.models.security_groups import SecurityGroupBackend

from lab import bell

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = (
    *((RouteBackend, f"{word}_route") for word in ("create", "replace", "delete")),
    *((RouteBackend, f"{word}associate_route_table") for word in ("", "dis")),
    (RouteBackend, "replace_route_table_association"),
    (NetworkInterfaceBackend, "modify_network_interface_attribute"),
    (InstanceBackend, "modify_instance_attribute"),
    (InstanceBackend, "modify_instance_security_groups"),
    (InstanceBackend, "terminate_instances"),
    *(
        (SecurityGroupBackend, f"{word}_security_group_{way}")
        for word in ("authorize", "revoke")
        for way in ("ingress", "egress")
    ),
)


def install(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Ring after each of the calls; `replace` is for tests that put it back."""
    for owner, name in CALLS:
        call = getattr(owner, name)
        if not hasattr(call, "rings"):
            replace(owner, name, _ringing(call))


def _ringing(call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def then_ring(*arguments: Any, **named: Any) -> Any:
        answer = call(*arguments, **named)
        bell.ring()
        return answer

    then_ring.rings = True  # ty: ignore[missing-attribute] - a mark that it is in place
    return then_ring
