"""Instance refresh: every instance of a group replaced, in turn, within the group's own limits.

moto: none of it.
AWS (Auto Scaling user guide, "How an instance refresh works in an Auto Scaling group" and
"Understand the default values for an instance refresh"; API reference, StartInstanceRefresh,
InstanceRefresh, RefreshPreferences): with a minimum healthy percentage of 100 and a maximum above
that, replacements are launched first, as many as the maximum leaves room for; an instance is ready
when it has been in service for the warmup; then as many of the old ones are terminated as the
minimum allows. The limits are percentages of the desired capacity. Replacement is an ordinary
launch and an ordinary termination, hooks included. Skip matching leaves alone what is of the
group's launch template version. What is not asked for is the group's own: its maintenance policy
and its default warmup. One refresh at a time; a cancelled one leaves what it has replaced.
Here, where AWS does not say: a replacement goes to the zone that will have the fewest once the old
instances are gone, and a refresh is over when the last of them is terminated. A preference that is
not in `_KNOWN` is refused, because nothing would come of it.
"""

from __future__ import annotations

import math
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.core.responses import ActionResult

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PENDING, RUNNING, DONE = "Pending", "InProgress", "Successful"
CANCELLING, CANCELLED, FAILED = "Cancelling", "Cancelled", "Failed"
_ACTIVE = frozenset({PENDING, RUNNING, CANCELLING})
_KNOWN = frozenset(
    {"MinHealthyPercentage", "MaxHealthyPercentage", "InstanceWarmup", "SkipMatching"}
)
_DEFAULT_MIN, _DEFAULT_MAX = 90, 100
_LARGEST_SPAN = 100
_PAGE = 50


class InProgressError(AutoscalingClientError):
    """InstanceRefreshInProgressFault."""

    code = "InstanceRefreshInProgress"
    message = (
        "An Instance Refresh is already in progress and blocks the execution of this Instance "
        "Refresh."
    )


class NotActiveError(AutoscalingClientError):
    """ActiveInstanceRefreshNotFoundFault."""

    code = "ActiveInstanceRefreshNotFound"
    message = "No in progress or pending Instance Refresh found for Auto Scaling group"


@dataclass
class Refresh:
    """One refresh of one group."""

    group: str
    minimum: int
    maximum: int
    """Percent of the desired capacity."""
    warmup: float
    """Seconds in service until an instance is ready."""
    skip_matching: bool
    old: set[str]
    """Instance ids that are still to be replaced."""
    leaving: set[str] = field(default_factory=set)
    """Those that it has told to go."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    total: int = 0
    status: str = PENDING
    reason: str = ""
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: datetime | None = None
    percent: int = 0

    def __post_init__(self) -> None:
        self.total = len(self.old)

    @property
    def active(self) -> bool:
        """Whether it still changes the group, or will."""
        return self.status in _ACTIVE

    def end(self, status: str, reason: str = "") -> None:
        """Be over."""
        self.status, self.reason, self.ended = status, reason, datetime.now(UTC)

    def described(self) -> dict[str, Any]:
        """As DescribeInstanceRefreshes shows it."""
        return {
            "InstanceRefreshId": self.id,
            "AutoScalingGroupName": self.group,
            "Status": self.status,
            "StartTime": self.began,
            "PercentageComplete": self.percent,
            "InstancesToUpdate": len(self.old),
            "Strategy": "Rolling",
            "Preferences": {
                "MinHealthyPercentage": self.minimum,
                "MaxHealthyPercentage": self.maximum,
                "InstanceWarmup": int(self.warmup),
                "SkipMatching": self.skip_matching,
            },
            **({"StatusReason": self.reason} if self.reason else {}),
            **({"EndTime": self.ended} if self.ended else {}),
        }


@dataclass(frozen=True)
class Hands:
    """What a refresh does to a group; the group's module lends them."""

    launch: Callable[[Any, frozenset[str]], None]
    """One more instance, placed as if those with these ids were gone."""
    retire: Callable[[Any, Any], None]
    counted: Callable[[Any], list[Any]]
    """The instances that make up the capacity."""
    balance: Callable[[Any], None]
    version_of: Callable[[Any], str]
    """The launch template version of an instance."""


def latest(group: Any) -> Refresh | None:
    """The newest refresh of a group."""
    found: list[Refresh] = getattr(group, "lab_refreshes", [])
    return found[-1] if found else None


def surge(group: Any) -> int:
    """How many instances more than desired the group has for its refresh."""
    return getattr(group, "lab_surge", 0)


def outgoing(group: Any) -> frozenset[str]:
    """The instances that a refresh under way has still to replace."""
    refresh = latest(group)
    return frozenset(refresh.old) if refresh is not None and refresh.active else frozenset()


def start(group: Any, asked: Mapping[str, Any], hands: Hands) -> Refresh:
    """Begin a refresh with the preferences `asked` for. Raises as AWS does."""
    before = latest(group)
    if before is not None and before.active:
        raise InProgressError
    strange = sorted(set(asked) - _KNOWN)
    if strange:
        raise ValidationError(f"the lab does not know the preference {', '.join(strange)}")
    policy = getattr(group, "instance_maintenance_policy", {})
    warmup = getattr(group, "default_instance_warmup", group.health_check_grace_period)
    minimum, maximum = (
        int(asked.get(name, policy.get(name, usual)))
        for name, usual in (
            ("MinHealthyPercentage", _DEFAULT_MIN),
            ("MaxHealthyPercentage", _DEFAULT_MAX),
        )
    )
    if "MaxHealthyPercentage" in asked and "MinHealthyPercentage" not in asked:
        raise ValidationError("MinHealthyPercentage is required with MaxHealthyPercentage")
    if not 0 <= minimum <= 100 <= maximum <= 200 or maximum - minimum > _LARGEST_SPAN:  # noqa: PLR2004 - percent
        raise ValidationError(f"MinHealthyPercentage {minimum}, MaxHealthyPercentage {maximum}")
    skip = asked.get("SkipMatching") in {True, "true"}
    wanted = str(group.ec2_launch_template.get_version(group.launch_template_version).number)
    refresh = Refresh(
        group=group.name,
        minimum=minimum,
        maximum=maximum,
        warmup=float(asked.get("InstanceWarmup", warmup)),
        skip_matching=skip,
        old={
            state.instance.id
            for state in hands.counted(group)
            if not skip or hands.version_of(state) != wanted
        },
    )
    group.lab_refreshes = [*getattr(group, "lab_refreshes", []), refresh]
    return refresh


def cancel(group: Any) -> Refresh:
    """Stop the refresh under way. Raises as AWS does when there is none."""
    refresh = latest(group)
    if refresh is None or refresh.status not in {PENDING, RUNNING}:
        raise NotActiveError
    refresh.status = CANCELLING
    return refresh


def fail(group: Any, why: str) -> None:
    """End the refresh under way, because it cannot go on."""
    refresh = latest(group)
    if refresh is not None and refresh.active:
        refresh.end(FAILED, why)


def advance(group: Any, hands: Hands, now: float | None = None) -> None:
    """Do what the group's refresh has to do at this moment (monotonic seconds)."""
    refresh = latest(group)
    if refresh is None or not refresh.active:
        return
    if refresh.status == CANCELLING:
        group.lab_surge = 0
        hands.balance(group)
        refresh.end(CANCELLED, "Cancelled due to user request.")
        return
    refresh.status = RUNNING
    moment = time.monotonic() if now is None else now
    members = hands.counted(group)
    refresh.old &= {state.instance.id for state in members}
    ready = [state for state in members if _ready(refresh, state, moment)]
    desired = int(group.desired_capacity or 0)
    spare = len(ready) - math.ceil(desired * refresh.minimum / 100)
    for state in _next(refresh, members)[: max(0, spare)]:
        refresh.old.discard(state.instance.id)
        refresh.leaving.add(state.instance.id)
        hands.retire(group, state)
    members = hands.counted(group)
    # Never more than there are old ones left: those on their way are for the first of them
    due = desired + len(refresh.old) - len(members)
    room = max(desired, math.floor(desired * refresh.maximum / 100)) - len(members)
    for _ in range(max(0, min(due, room))):
        hands.launch(group, frozenset(refresh.old))
    group.lab_surge = max(0, len(hands.counted(group)) - desired)
    fresh = [state for state in hands.counted(group) if state.instance.id not in refresh.old]
    warm = sum(_ready(refresh, state, moment) for state in fresh)
    waiting = len(fresh) - warm
    if refresh.total:
        left = max(len(refresh.old), waiting)
        refresh.percent = max(refresh.percent, 100 * (refresh.total - left) // refresh.total)
    refresh.leaving &= {state.instance.id for state in group.instance_states}
    if not (refresh.old or refresh.leaving or waiting) and len(fresh) == desired:
        refresh.percent = 100
        refresh.end(DONE)


def _ready(refresh: Refresh, state: Any, now: float) -> bool:
    if state.lifecycle_state != "InService" or state.health_status != "Healthy":
        return False
    since = getattr(state, "lab_in_service", 0.0)
    return state.instance.id in refresh.old or now - since >= refresh.warmup


def _next(refresh: Refresh, members: list[Any]) -> list[Any]:
    """The old instances, those of the fullest zone first."""
    zones = [state.availability_zone for state in members]
    old = [state for state in members if state.instance.id in refresh.old]
    return sorted(old, key=lambda state: -zones.count(state.availability_zone))


def answer_describe(self: Any) -> ActionResult:
    """DescribeInstanceRefreshes: the newest first."""
    group = asked_group(self)
    wanted = self._get_param("InstanceRefreshIds")
    found = list(reversed(getattr(group, "lab_refreshes", [])))[:_PAGE]
    return ActionResult(
        {"InstanceRefreshes": [one.described() for one in found if not wanted or one.id in wanted]}
    )


def asked_group(response: Any) -> Any:
    """The group that a request is about."""
    name = response._get_param("AutoScalingGroupName")  # noqa: SLF001 - as moto does
    group = response.autoscaling_backend.autoscaling_groups.get(name)
    if group is None:
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}'")
    return group
