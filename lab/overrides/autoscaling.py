"""Auto Scaling: even spread, health, whole launch templates; hooks and refreshes put to work.

moto: all instances of a group in its first subnet, in service at once, without the launch
template's version, instance profile and metadata options; an unhealthy instance stays; scaling in
deregisters no target.
AWS (Auto Scaling user guide, "How lifecycle hooks work in Amazon EC2 Auto Scaling groups", steps 1
to 6): an instance is registered with its target groups after its launch hooks and before it is
`InService`. A leaving one is deregistered first, then waits for its hooks, then is terminated.
While it leaves, its replacement is launched ("Health checks for instances in an Auto Scaling
group"). An abandoned launch is terminated and another one tried. New instances go to the zone with
the fewest ("Distribute instances across Availability Zones"); the first to go is one of the fullest
zone, the one with the oldest launch template version ("Default termination policy").
Here: the same, but what AWS finds out within minutes (an instance somebody terminated, one that was
set unhealthy) is acted on at once.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import wraps
from typing import TYPE_CHECKING, Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import (
    ASG_NAME_TAG,
    AutoScalingBackend,
    FakeAutoScalingGroup,
    InstanceState,
    TerminateInstanceActivity,
    autoscaling_backends,
)
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult, EmptyResult

from lab.overrides import instance_refresh, lifecycle_hooks
from lab.overrides.instance_refresh import Hands
from lab.overrides.lifecycle_hooks import ABANDON, LAUNCHING, TERMINATING

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNTED = frozenset({"Pending", "Pending:Wait", "InService"})
"""What makes up a group's capacity; a leaving instance is no part of it any more."""
_TICK = 0.5
"""Seconds between looks at what time has done."""

_LOG = logging.getLogger(__name__)
_LOCK = threading.RLock()
"""moto's server has a thread per request; a group is changed by one of them at a time."""
_call_action = AutoScalingResponse.call_action
_create_group = AutoScalingResponse.create_auto_scaling_group
_update_group = AutoScalingResponse.update_auto_scaling_group
_started = threading.Event()


def install(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Replace moto's life of a group's instances; `replace` is for tests that put it back."""
    for owner, name, ours in (
        (AutoScalingResponse, "call_action", _locked(_call_action)),
        (AutoScalingResponse, "create_auto_scaling_group", _keeping_policy(_create_group)),
        (AutoScalingResponse, "update_auto_scaling_group", _keeping_policy(_update_group)),
        (AutoScalingResponse, "complete_lifecycle_action", _answer_complete),
        (
            AutoScalingResponse,
            "record_lifecycle_action_heartbeat",
            lifecycle_hooks.answer_heartbeat,
        ),
        (AutoScalingResponse, "start_instance_refresh", _answer_start),
        (AutoScalingResponse, "cancel_instance_refresh", _answer_cancel),
        (AutoScalingResponse, "describe_instance_refreshes", instance_refresh.answer_describe),
        (AutoScalingBackend, "delete_auto_scaling_group", _delete_group),
        (AutoScalingBackend, "notify_terminate_instances", _locked(_notify_terminated)),
        (AutoScalingBackend, "set_instance_health", _set_health),
        (AutoScalingBackend, "terminate_instance", _terminate_instance),
        (AutoScalingBackend, "update_attached_target_groups", _register_all),
        (FakeAutoScalingGroup, "active_instances", _counted),
        (FakeAutoScalingGroup, "set_desired_capacity", _set_desired),
        (InstanceState, "launch_template", property(_template_of)),
    ):
        replace(owner, name, ours)


def expire(now: float | None = None) -> None:
    """End the waits whose time is up, each with its hook's default result; go on with refreshes."""
    moment = time.monotonic() if now is None else now
    with _LOCK:
        for group in list(_groups()):
            for state, wait in list(lifecycle_hooks.expired(group, moment)):
                _complete(group, state, wait, wait.default_result)
            try:
                instance_refresh.advance(group, _HANDS, moment)
            except Exception as err:  # noqa: BLE001 - the thread has the other groups to see to
                # As on AWS, where a replacement that cannot be launched fails the refresh
                _LOG.exception("instance refresh of %s", group.name)
                instance_refresh.fail(group, str(err) or type(err).__name__)


def watch() -> None:
    """Let time do its work from a thread of this process, from now on."""
    if not _started.is_set():
        _started.set()
        threading.Thread(target=_watch, name="lifecycle", daemon=True).start()


def _watch() -> None:
    while True:
        time.sleep(_TICK)
        expire()


def _groups() -> Any:
    for account in autoscaling_backends.values():
        for backend in account.values():
            yield from backend.autoscaling_groups.values()


def _locked(function: Any) -> Any:
    @wraps(function)
    def locked(*arguments: Any, **more: Any) -> Any:
        with _LOCK:
            return function(*arguments, **more)

    return locked


def _keeping_policy(function: Any) -> Any:
    """Keep what moto drops of a group: its warmup and its maintenance policy."""

    @wraps(function)
    def keeping(self: Any) -> Any:
        answer = function(self)
        group = instance_refresh.asked_group(self)
        for name, attribute in (
            ("DefaultInstanceWarmup", "default_instance_warmup"),
            ("InstanceMaintenancePolicy", "instance_maintenance_policy"),
        ):
            given = self._get_param(name)
            if given is not None:
                setattr(group, attribute, given)
        return answer

    return keeping


# Capacity


def _counted(self: Any) -> list[Any]:
    return [state for state in self.instance_states if state.lifecycle_state in _COUNTED]


def _set_desired(self: Any, new_capacity: int | None) -> None:
    self.desired_capacity = self.min_size if new_capacity is None else new_capacity
    _balance(self)


def _balance(group: Any) -> None:
    """Launch what is missing, let go what is too much."""
    wanted = int(group.desired_capacity or 0) + instance_refresh.surge(group)
    surplus = len(_counted(group)) - wanted
    suspended = group._suspended_processes  # noqa: SLF001 - the names alone are kept there
    if surplus < 0 and "Launch" not in suspended:
        for _ in range(-surplus):
            _launch(group, instance_refresh.outgoing(group))
    elif surplus > 0 and "Terminate" not in suspended:
        for _ in range(surplus):
            free = [state for state in _counted(group) if not state.protected_from_scale_in]
            if not free:
                return
            _retire(group, max(free, key=lambda state: _expendable(group, state)))


def _expendable(group: Any, state: Any) -> tuple[int, int]:
    """By the default termination policy: the fullest zone, then the oldest template version."""
    return _in_zone(group, state.availability_zone), -int(_version_of(state) or 0)


def _in_zone(group: Any, zone: str, without: frozenset[str] = frozenset()) -> int:
    return sum(
        state.availability_zone == zone and state.instance.id not in without
        for state in _counted(group)
    )


# Into service


def _launch(group: Any, leaving: frozenset[str] = frozenset()) -> None:
    """One more instance, in the zone that has the fewest that are not `leaving`."""
    subnets = group.ec2_backend.describe_subnets(subnet_ids=group.vpc_zone_identifier.split(","))
    subnet = min(subnets, key=lambda one: _in_zone(group, one.availability_zone, leaving))
    instance = _run_instance(group, subnet)
    instance.autoscaling_group = group
    state = InstanceState(
        instance,
        lifecycle_state="Pending",
        protected_from_scale_in=group.new_instances_protected_from_scale_in,
    )
    version = group.ec2_launch_template.get_version(group.launch_template_version)
    shown: Any = state
    shown.lab_template = {
        "LaunchTemplateId": group.ec2_launch_template.id,
        "LaunchTemplateName": group.ec2_launch_template.name,
        "Version": str(version.number),
    }
    group.instance_states.append(state)
    if not lifecycle_hooks.begin(group, state, LAUNCHING):
        _into_service(group, state)


def _run_instance(group: Any, subnet: Any) -> Any:
    template = group.ec2_launch_template
    version = template.get_version(group.launch_template_version)
    data = version.data
    first = next(iter(data.get("NetworkInterfaces", [])), {})
    tags = {**group.get_propagated_tags(), **group.instance_tags, ASG_NAME_TAG: group.name}
    instance = group.ec2_backend.run_instances(
        version.image_id,
        1,
        version.user_data,
        version.security_groups,
        instance_type=version.instance_type,
        is_instance_type_default=False,
        tags={"instance": tags},
        launch_template={"LaunchTemplateId": template.id, "Version": str(version.number)},
        subnet_id=subnet.id,
        region_name=group.region,
        associate_public_ip=first.get("AssociatePublicIpAddress"),
        metadata_options=data.get("MetadataOptions", {}),
        **({"security_group_ids": first["Groups"]} if first.get("Groups") else {}),
    ).instances[0]
    profile = data.get("IamInstanceProfile")
    if profile:
        group.ec2_backend.associate_iam_instance_profile(
            instance.id,
            iam_instance_profile_name=profile.get("Name"),
            iam_instance_profile_arn=profile.get("Arn"),
        )
    return instance


def _into_service(group: Any, state: Any) -> None:
    for arn in group.target_group_arns:
        _register(group, arn, [state])
    state.lifecycle_state = "InService"
    state.lab_in_service = time.monotonic()


def _register(group: Any, arn: str, states: list[Any]) -> None:
    balancing = group.autoscaling_backend.elbv2_backend
    (target_group,) = balancing.describe_target_groups(
        target_group_arns=[arn], load_balancer_arn=None, names=None
    )
    targets = [{"Id": state.instance.id, "Port": target_group.port} for state in states]
    balancing.register_targets(arn, targets)


def _register_all(self: Any, group_name: str) -> None:
    group = self.autoscaling_groups[group_name]
    serving = [state for state in group.instance_states if state.lifecycle_state == "InService"]
    for arn in group.target_group_arns if serving else []:
        _register(group, arn, serving)


# Out of service


def _retire(group: Any, state: Any) -> None:
    """Begin the end of an instance: out of the target groups, then its hooks, then terminated."""
    if state.lifecycle_state.startswith("Terminating"):
        return
    _deregister(group, state)
    state.lifecycle_state = "Terminating"
    if not lifecycle_hooks.begin(group, state, TERMINATING):
        _terminate(group, state)


def _deregister(group: Any, state: Any) -> None:
    groups = group.autoscaling_backend.elbv2_backend.target_groups
    for arn in group.target_group_arns:
        if arn in groups and state.instance.id in groups[arn].targets:
            groups[arn].deregister([{"Id": state.instance.id}])


def _terminate(group: Any, state: Any) -> None:
    group.instance_states = [other for other in group.instance_states if other is not state]
    group.ec2_backend.terminate_instances([state.instance.id])


# Hooks and refreshes


def _complete(group: Any, state: Any, wait: Any, result: str) -> None:
    if not lifecycle_hooks.end(state, wait, result):
        return
    if wait.transition == TERMINATING:
        _terminate(group, state)
    elif result == ABANDON:
        _terminate(group, state)
        _balance(group)
    else:
        _into_service(group, state)


def _answer_complete(self: Any) -> EmptyResult:
    result = lifecycle_hooks.asked_result(self)
    _complete(*lifecycle_hooks.asked(self), result)
    return EmptyResult()


def _answer_start(self: Any) -> ActionResult:
    strange = [name for name in ("DesiredConfiguration",) if self._get_param(name)]
    if strange or self._get_param("Strategy") not in {None, "Rolling"}:
        raise ValidationError(
            f"the lab knows rolling refreshes of the group's own template: {strange}"
        )
    group = instance_refresh.asked_group(self)
    refresh = instance_refresh.start(group, self._get_param("Preferences") or {}, _HANDS)
    return ActionResult({"InstanceRefreshId": refresh.id})


def _answer_cancel(self: Any) -> ActionResult:
    refresh = instance_refresh.cancel(instance_refresh.asked_group(self))
    return ActionResult({"InstanceRefreshId": refresh.id})


# The rest of moto's calls that touch instances


def _version_of(state: Any) -> str:
    return (_template_of(state) or {}).get("Version", "")


_HANDS = Hands(
    launch=_launch, retire=_retire, counted=_counted, balance=_balance, version_of=_version_of
)


def _template_of(self: Any) -> dict[str, str] | None:
    return getattr(self, "lab_template", None)


def _delete_group(self: Any, group_name: str) -> None:
    group = self.autoscaling_groups.pop(group_name, None)
    if group is None:
        message = f"AutoScalingGroup name not found - AutoScalingGroup '{group_name}' not found"
        raise ValidationError(message)
    # As with ForceDelete: no hooks
    for state in list(group.instance_states):
        _deregister(group, state)
        _terminate(group, state)
    for key, hook in list(self.lifecycle_hooks.items()):
        if hook.auto_scaling_group_name == group_name:
            del self.lifecycle_hooks[key]


def _notify_terminated(self: Any, instance_ids: list[str]) -> None:
    for group in self.autoscaling_groups.values():
        left = [state for state in group.instance_states if state.instance.id not in instance_ids]
        if len(left) != len(group.instance_states):
            group.instance_states = left
            _balance(group)


def _set_health(self: Any, instance_id: str, health_status: str) -> None:
    group, state = _member(self, instance_id)
    state.health_status = health_status
    if health_status == "Unhealthy" and "ReplaceUnhealthy" not in group._suspended_processes:  # noqa: SLF001
        _retire(group, state)
        _balance(group)


def _terminate_instance(self: Any, instance_id: str, should_decrement: bool) -> Any:
    group, state = _member(self, instance_id)
    before = group.desired_capacity
    if should_decrement:
        group.desired_capacity -= 1
    _retire(group, state)
    _balance(group)
    return TerminateInstanceActivity(state.instance, before)


def _member(backend: Any, instance_id: str) -> tuple[Any, Any]:
    for group in backend.autoscaling_groups.values():
        for state in group.instance_states:
            if state.instance.id == instance_id:
                return group, state
    raise ValidationError(f"Instance Id not found - {instance_id}")
