"""Security groups and source/destination check of an interface: what was set last, as on AWS.

moto: an attached interface is in its own groups and in the instance's, so that the instance's can
never be taken away from it; instance and interface each have a source/destination check; the
interface that an instance was made with outlives it.
AWS: an instance's groups are those of its primary interface, and "the new set of groups overrides
the current set" (EC2 API reference, ModifyNetworkInterfaceAttribute). The check is the interface's;
of the instance it is asked and set where it has one interface (EC2 API reference, Instance). The
interface goes with its instance unless its specification says otherwise.
Here: to set either at an interface sets its instance's too, if it is the primary one, and the check
set at an instance is its primary interface's; that interface goes when its instance does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moto.ec2.models.elastic_network_interfaces import NetworkInterfaceBackend
from moto.ec2.models.instances import Instance, InstanceBackend

if TYPE_CHECKING:
    from collections.abc import Callable

_modify = NetworkInterfaceBackend.modify_network_interface_attribute
_modify_instance = InstanceBackend.modify_instance_attribute
_prepare = Instance.prep_nics
_CHECK = "source_dest_check"


def install(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Replace moto's setting of them; `replace` is for tests that put it back."""
    replace(Instance, "prep_nics", _prepare_to_go)
    replace(NetworkInterfaceBackend, "modify_network_interface_attribute", _modify_both)
    replace(InstanceBackend, "modify_instance_attribute", _modify_instance_and_interface)


def _prepare_to_go(self: Any, nic_spec: list[dict[str, Any]], *rest: Any, **more: Any) -> None:
    stays = any(
        one.get("NetworkInterfaceId") or one.get("DeleteOnTermination") is False
        for one in nic_spec
        if int(one["DeviceIndex"]) == 0
    )
    _prepare(self, nic_spec, *rest, **more)
    if 0 in self.nics and not stays:
        self.nics[0].delete_on_termination = True


def _modify_both(
    self: Any,
    eni_id: str,
    group_ids: list[str],
    source_dest_check: bool | None = None,
    description: str | None = None,
) -> None:
    _modify(self, eni_id, group_ids, source_dest_check, description)
    interface = self.get_network_interface(eni_id)
    if not interface.instance or interface.device_index != 0:
        return
    if group_ids:
        interface.instance.security_groups = [
            self.get_security_group_from_id(group_id) for group_id in group_ids
        ]
    if source_dest_check is not None:
        interface.instance.source_dest_check = interface.source_dest_check


def _modify_instance_and_interface(self: Any, instance_id: str, key: str, value: Any) -> Any:
    instance = _modify_instance(self, instance_id, key, value)
    if key == _CHECK:
        for interface in instance.nics.values():
            if interface.device_index == 0:
                interface.source_dest_check = value
    return instance
