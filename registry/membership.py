"""Which gateways there are, as an operator asks AWS: members, what they say, what serves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from registry import targets
from registry.confirmation import Member
from registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registry.environment import Cloud, Environment
    from registry.items import GatewayRecord
    from registry.store import Registry

HEALTHY = "healthy"
TERMINATED = "terminated"


class Missing(RegistryError):  # noqa: N818 - named as a sentence: the group is missing
    """AWS does not know the group that the environment names: its members are unknown, not none."""

    def __init__(self, group: str) -> None:
        super().__init__(f"Auto Scaling group {group}: not found; deploy the stack again")


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group at one moment."""

    desired: int
    """How many gateways there should be."""
    members: tuple[Member, ...]
    """All that it lists, whatever their state."""
    least: int = 0
    """How many there should be when nothing is being replaced."""
    most: int = 0


@dataclass(frozen=True)
class Fleet:
    """The gateways of one environment. Clients are made when they are first needed."""

    cloud: Cloud
    environment: Environment
    registry: Registry

    @cached_property
    def _autoscaling(self) -> Any:
        return self.cloud.client("autoscaling")

    @cached_property
    def _ec2(self) -> Any:
        return self.cloud.client("ec2")

    @cached_property
    def _balancing(self) -> Any:
        return self.cloud.client("elbv2")

    def group(self) -> Group:
        """The Auto Scaling group. Raises `Missing`."""
        name = self.environment.auto_scaling_group
        answer = self._autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[name])
        if not answer["AutoScalingGroups"]:
            raise Missing(name)
        (group,) = answer["AutoScalingGroups"]
        members = [
            Member(one["InstanceId"], one["AvailabilityZone"], one["LifecycleState"])
            for one in group["Instances"]
        ]
        members.sort(key=lambda member: (member.zone, member.instance_id))
        return Group(group["DesiredCapacity"], tuple(members), group["MinSize"], group["MaxSize"])

    def without_terminated(self, members: Iterable[Member]) -> list[Member]:
        """The members, with those marked that are terminated: Auto Scaling takes a while to see."""
        return [
            replace(member, lifecycle="Terminated")
            if self.power(member.instance_id) == TERMINATED
            else member
            for member in members
        ]

    def power(self, instance_id: str) -> str:
        """EC2's state of an instance; one that EC2 has forgotten is terminated."""
        try:
            answer = self._ec2.describe_instances(InstanceIds=[instance_id])
        except ClientError as err:
            if err.response.get("Error", {}).get("Code") == "InvalidInstanceID.NotFound":
                return TERMINATED
            raise
        states = [
            one["State"]["Name"] for part in answer["Reservations"] for one in part["Instances"]
        ]
        return states[0] if states else TERMINATED

    def records(self, members: Iterable[Member]) -> Mapping[str, GatewayRecord]:
        """Instance id -> what each member says of itself, as far as it has."""
        arns = [self.environment.instance_arn(member.instance_id) for member in members]
        return {record.instance_id: record for record in self.registry.gateways(arns)}

    def health(self) -> Mapping[str, tuple[str, ...]]:
        """Instance id -> the load balancer's word for each key slot; empty where it has none."""
        return targets.health(self._balancing, self.environment.target_group_arns)
