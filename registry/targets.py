"""What the load balancer says of the gateways behind it. An effect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def health(elbv2: Any, target_groups: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Instance id -> each target group's word for it, in their order; empty where it is no target.

    `elbv2` is boto3's client; its errors pass through.
    """
    found: dict[str, list[str]] = {}
    for number, arn in enumerate(target_groups):
        answer = elbv2.describe_target_health(TargetGroupArn=arn)
        for one in answer["TargetHealthDescriptions"]:
            words = found.setdefault(one["Target"]["Id"], [""] * len(target_groups))
            words[number] = one["TargetHealth"]["State"]
    return {name: tuple(words) for name, words in found.items()}
