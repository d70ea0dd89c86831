"""Lifecycle hooks: the waits of an instance that enters or leaves a group.

moto: hooks are stored and never run; no CompleteLifecycleAction.
AWS (Auto Scaling user guide, "How lifecycle hooks work in Amazon EC2 Auto Scaling groups", steps 1
to 6): a launched instance waits in `Pending:Wait`, a leaving one in `Terminating:Wait`, until all
hooks of the transition are completed, or each one's time is up and its default result holds. A
heartbeat begins the time anew, within a limit. Hooks that are put after a launch do not touch it.
What follows a wait is the group's (lab/overrides/autoscaling.py).
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moto.autoscaling.exceptions import ValidationError
from moto.core.responses import EmptyResult

if TYPE_CHECKING:
    from collections.abc import Iterator

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
CONTINUE, ABANDON = "CONTINUE", "ABANDON"

_LIMIT_BEATS = 100
_LIMIT_SECONDS = 48 * 3600
"""A wait ends after 48 hours or 100 heartbeat timeouts, whichever is sooner (user guide)."""


@dataclass
class Wait:
    """One hook an instance waits for. Times are on the monotonic clock, in seconds."""

    hook: str
    transition: str
    default_result: str
    heartbeat: float
    until: float
    limit: float
    token: str


def begin(group: Any, state: Any, transition: str) -> bool:
    """Put an instance into its wait state; False if there is no hook to wait for."""
    hooks = [
        hook
        for hook in group.autoscaling_backend.describe_lifecycle_hooks(group.name)
        if hook.lifecycle_transition == transition
    ]
    now = time.monotonic()
    state.lab_waits = [
        Wait(
            hook=hook.name,
            transition=transition,
            default_result=hook.default_result,
            heartbeat=hook.heartbeat_timeout,
            until=now + hook.heartbeat_timeout,
            limit=now + min(_LIMIT_SECONDS, _LIMIT_BEATS * hook.heartbeat_timeout),
            token=str(uuid.uuid4()),
        )
        for hook in hooks
    ]
    if hooks:
        state.lifecycle_state = f"{state.lifecycle_state}:Wait"
    return bool(hooks)


def expired(group: Any, now: float) -> Iterator[tuple[Any, Wait]]:
    """The instances and waits of a group whose time is up."""
    for state in list(group.instance_states):
        for wait in _waits(state):
            if now >= min(wait.until, wait.limit):
                yield state, wait


def end(state: Any, wait: Wait, result: str) -> bool:
    """End one wait of an instance; whether it has nothing more to wait for."""
    # ABANDON stops the other hooks of this transition; CONTINUE lets them finish (user guide)
    state.lab_waits = [] if result == ABANDON else [w for w in _waits(state) if w is not wait]
    return not state.lab_waits


def asked(response: Any) -> tuple[Any, Any, Wait]:
    """Group, instance and wait that a request is about, by instance id or by token."""
    name, hook, instance, token = (
        response._get_param(parameter)  # noqa: SLF001 - moto's way to read a request
        for parameter in (
            "AutoScalingGroupName",
            "LifecycleHookName",
            "InstanceId",
            "LifecycleActionToken",
        )
    )
    group = response.autoscaling_backend.autoscaling_groups.get(name)
    for state in group.instance_states if group else []:
        for wait in _waits(state):
            if wait.hook == hook and (state.instance.id == instance or wait.token == token):
                return group, state, wait
    # The message AWS gives, also after the action was completed
    raise ValidationError(f"No active Lifecycle Action found with instance ID {instance}")


def asked_result(response: Any) -> str:
    """The result that a CompleteLifecycleAction gives."""
    result = response._get_param("LifecycleActionResult")  # noqa: SLF001 - as above
    if result not in {CONTINUE, ABANDON}:
        raise ValidationError(f"Lifecycle action result must be CONTINUE or ABANDON, not {result}")
    return result


def answer_heartbeat(self: Any) -> EmptyResult:
    """RecordLifecycleActionHeartbeat."""
    _, __, wait = asked(self)
    wait.until = time.monotonic() + wait.heartbeat
    return EmptyResult()


def _waits(state: Any) -> list[Wait]:
    return list(getattr(state, "lab_waits", []))
