"""What operators have Auto Scaling do to the gateways' group."""

# ruff: noqa: PLC0415 - boto3 only once the arguments are good

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from commands.stacks import Stack

ACTIVE = frozenset(
    {"Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking"},
)
"""Of an instance refresh (API reference, InstanceRefresh): it still changes the group, or will."""

SUCCESSFUL = "Successful"


@dataclass(frozen=True)
class Refresh:
    """An instance refresh at one moment."""

    id: str
    status: str
    percent: int
    left: int
    """Gateways that are still to be replaced."""
    reason: str

    @property
    def active(self) -> bool:
        """Whether it goes on."""
        return self.status in ACTIVE


class Scaling:
    """The group of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._client: Any = stack.cloud.client("autoscaling")
        self._group = {"AutoScalingGroupName": stack.environment.auto_scaling_group}

    def refresh(self, id_: str = "") -> Refresh | None:
        """The newest refresh, or that one; None if there is none."""
        wanted = {"InstanceRefreshIds": [id_]} if id_ else {}
        answer = self._client.describe_instance_refreshes(**self._group, **wanted)
        for one in answer["InstanceRefreshes"]:
            return Refresh(
                one["InstanceRefreshId"],
                one["Status"],
                one.get("PercentageComplete", 0),
                one.get("InstancesToUpdate", 0),
                one.get("StatusReason", ""),
            )
        return None

    def start_refresh(self) -> str:
        """Have every gateway replaced, by the group's own policy and warmup; the refresh's id."""
        return self._client.start_instance_refresh(**self._group)["InstanceRefreshId"]

    def cancel_refresh(self) -> bool:
        """Stop the refresh under way; False if it has just ended."""
        from botocore.exceptions import ClientError

        try:
            self._client.cancel_instance_refresh(**self._group)
        except ClientError as err:
            if err.response.get("Error", {}).get("Code") != "ActiveInstanceRefreshNotFound":
                raise
            return False
        return True

    def resize(self, desired: int) -> None:
        """Have so many gateways."""
        self._client.set_desired_capacity(
            **self._group, DesiredCapacity=desired, HonorCooldown=False
        )

    def terminate(self, instance_id: str) -> None:
        """End a gateway, and have one less."""
        self._client.terminate_instance_in_auto_scaling_group(
            InstanceId=instance_id, ShouldDecrementDesiredCapacity=True
        )
