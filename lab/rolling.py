"""Waiting for a rolling replacement that a deployment has started."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from lab import aws
from registry import environment, local_cloud

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE = 360.0
"""Seconds: for each gateway its boot, the warmup, and the drain of the one it replaces."""
ACTIVE = frozenset({"Pending", "InProgress", "Cancelling"})
_PAUSE = 0.5


def await_replaced(say: Callable[[str], None], timeout: float = DEADLINE) -> None:
    """Wait until no instance refresh is under way; raises `TimeoutError`."""
    group = environment.find(local_cloud.STACK, environment.session(local_cloud.STACK))
    client = aws.client("autoscaling")
    end, before = time.monotonic() + timeout, ""
    while True:
        answer = client.describe_instance_refreshes(AutoScalingGroupName=group.auto_scaling_group)
        newest = next(iter(answer["InstanceRefreshes"]), None)
        if newest is None or newest["Status"] not in ACTIVE:
            if newest is not None and newest["Status"] == "Failed":
                say(f"the replacement of the gateways has failed: {newest['StatusReason']}")
            return
        words = f"{newest['PercentageComplete']} %, {newest['InstancesToUpdate']} to go"
        if words != before:
            say(f"replacing the gateways: {words}")
            before = words
        if time.monotonic() > end:
            raise TimeoutError(f"the gateways are not replaced after {timeout:g} s: {words}")
        time.sleep(_PAUSE)
