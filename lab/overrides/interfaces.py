"""Security groups of an instance's interface: what was set last, as on AWS.

moto: an attached interface is in its own groups and in the instance's, so that the instance's can
never be taken away from it.
AWS: an instance's groups are those of its primary interface, and "the new set of groups overrides
the current set" (EC2 API reference, ModifyNetworkInterfaceAttribute).
Here: to set an interface's groups sets its instance's too, if it is the primary one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend

if TYPE_CHECKING:
    from collections.abc import Callable

_modify = NetworkInterfaceBackend.modify_network_interface_attribute


def install(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Replace moto's setting of an interface's groups; `replace` is for tests that put it back."""
    replace(NetworkInterfaceBackend, "modify_network_interface_attribute", _modify_both)


def _modify_both(self: Any, eni_id: str, group_ids: list[str], *rest: Any) -> None:
    _modify(self, eni_id, group_ids, *rest)
    interface = self.get_network_interface(eni_id)
    if group_ids and interface.instance and interface.device_index == 0:
        interface.instance.security_groups = [
            self.get_security_group_from_id(group_id) for group_id in group_ids
        ]
