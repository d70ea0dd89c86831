"""Who else is a gateway, and what Auto Scaling wants with this one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING, Any

from gateway.messages import GatewaysSeen, IdentityFound, LifecycleSeen
from registry.items import SERVING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.environment import LifecycleHooks
    from gateway.messages import Message
    from gateway.metadata import Metadata
    from gateway.status import Board
    from registry.items import GatewayRecord
    from registry.store import Registry

log = logging.getLogger(__name__)

INTERVAL = 10.0
SOON = 2.0
"""Seconds between looks while the instance enters or leaves the group."""

METADATA_INTERVAL = 3.0

LAUNCHING, TERMINATING = "Pending:Wait", "Terminating:Wait"
IN_SERVICE = "InService"
ENDING = ("Terminated", "Detached")


@dataclass(frozen=True)
class Membership:
    """This instance's Auto Scaling group; an empty group: it is in none."""

    group: str = ""
    lifecycle_state: str = ""
    members: Mapping[str, str] = field(default_factory=dict)
    """Instance id -> lifecycle state; this one's is among them."""
    target_groups: tuple[str, ...] = ()
    """ARNs of the load balancer's target groups that the members are registered with."""


def look_up(autoscaling: Any, instance_id: str) -> Membership:
    """The group's members, from Auto Scaling: a gateway that cannot write is one all the same."""
    own = autoscaling.describe_auto_scaling_instances(InstanceIds=[instance_id])
    for instance in own["AutoScalingInstances"]:
        group = instance["AutoScalingGroupName"]
        found = autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])
        members = {
            member["InstanceId"]: member["LifecycleState"]
            for entry in found["AutoScalingGroups"]
            for member in entry["Instances"]
        }
        targets = [
            arn for entry in found["AutoScalingGroups"] for arn in entry.get("TargetGroupARNs", ())
        ]
        return Membership(group, instance["LifecycleState"], members, tuple(targets))
    return Membership()


def hook_to_complete(
    lifecycle_state: str, hooks: LifecycleHooks, *, healthy: bool, drained: bool
) -> str:
    """The name of the hook that has nothing to wait for any more; empty if there is none. Pure."""
    if lifecycle_state == LAUNCHING and healthy:
        return hooks.launch
    if lifecycle_state == TERMINATING and drained:
        return hooks.terminate
    return ""


def serving(membership: Membership, records: Iterable[GatewayRecord], own: str) -> dict[str, int]:
    """The others that clients can be left to: instance id -> when it said so, epoch seconds. Pure.

    One that Auto Scaling has not brought into service yet, or takes out of it, has no clients from
    the load balancer, however well it is.
    """
    return {
        record.instance_id: record.updated
        for record in records
        if record.instance_id != own
        and record.state == SERVING
        and membership.members.get(record.instance_id) == IN_SERVICE
    }


class MembershipWatch:
    """One step of the membership's poller."""

    def __init__(
        self,
        autoscaling: Any,
        registry: Registry,
        hooks: LifecycleHooks,
        board: Board,
        post: Callable[[Message], None],
    ) -> None:
        self._autoscaling, self._registry, self._hooks = autoscaling, registry, hooks
        self._board, self._post = board, post

    def step(self) -> float:
        """Look, tell, and complete a hook that is due; returns the seconds until the next look."""
        status = self._board.status
        identity = status.state.identity
        if identity is None:
            return 0.5
        membership = look_up(self._autoscaling, identity.instance_id)
        records = self._registry.gateways(map(identity.arn_of, membership.members))
        addresses = frozenset(_addresses(record.address for record in records))
        self._post(
            GatewaysSeen(
                addresses,
                serving(membership, records, identity.instance_id),
                membership.members,
                membership.target_groups,
            )
        )
        hook = hook_to_complete(
            membership.lifecycle_state,
            self._hooks,
            healthy=status.healthy,
            drained=status.drained,
        )
        if hook:
            self._autoscaling.complete_lifecycle_action(
                LifecycleHookName=hook,
                AutoScalingGroupName=membership.group,
                InstanceId=identity.instance_id,
                LifecycleActionResult="CONTINUE",
            )
            log.info("lifecycle hook %s: completed", hook)
        changing = membership.lifecycle_state.startswith(("Pending", "Terminating"))
        return SOON if changing or status.drain.why else INTERVAL


def _addresses(texts: Iterable[str]) -> list[IPv4Address]:
    found: list[IPv4Address] = []
    for text in texts:
        try:
            found.append(IPv4Address(text))
        except AddressValueError:
            log.warning("a gateway's item has the address %r", text)
    return found


class MetadataWatch:
    """One step of the metadata's poller: who we are, then whether we are to end."""

    def __init__(self, metadata: Metadata, board: Board, post: Callable[[Message], None]) -> None:
        self._metadata, self._board, self._post = metadata, board, post

    def step(self) -> float:
        """Ask once; returns the seconds until the next time."""
        if self._board.status.state.identity is None:
            self._post(IdentityFound(self._metadata.identity()))
        target = self._metadata.target_lifecycle_state()
        self._post(LifecycleSeen(target in ENDING))
        return METADATA_INTERVAL
