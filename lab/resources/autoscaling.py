"""Auto Scaling groups and lifecycle hooks."""

from __future__ import annotations

import time
from typing import Any

from botocore.exceptions import ClientError

from effects import Refusal
from lab.resources.base import (
    Context,
    Handler,
    Made,
    Name,
    Properties,
    changed,
    flag,
    given,
    gone_is_fine,
)


def _scaling(context: Context) -> Any:
    return context.client("autoscaling")


_HOOK = {
    "LifecycleTransition": "lifecycleTransition",
    "DefaultResult": "defaultResult",
    "HeartbeatTimeout": "heartbeatTimeout",
    "NotificationMetadata": "notificationMetadata",
}
_NOT_SENT = frozenset(
    {
        # What the provider itself waits for, or how it deletes
        "waitForCapacityTimeout",
        "waitForElbCapacity",
        "minElbCapacity",
        "ignoreFailedScalingActivities",
        "forceDelete",
        # The provider acts on it by itself: `_refresh`
        "instanceRefresh",
        # moto has no use for these
        "availabilityZoneDistribution",
        "enabledMetrics",
        "metricsGranularity",
        "maxInstanceLifetime",
    }
)


def _group(inputs: Properties) -> dict[str, Any]:
    arguments = given(
        inputs,
        MinSize="minSize",
        MaxSize="maxSize",
        DesiredCapacity="desiredCapacity",
        HealthCheckType="healthCheckType",
        HealthCheckGracePeriod="healthCheckGracePeriod",
        DefaultCooldown="defaultCooldown",
        TerminationPolicies="terminationPolicies",
        CapacityRebalance="capacityRebalance",
        DefaultInstanceWarmup="defaultInstanceWarmup",
    )
    if "instanceMaintenancePolicy" in inputs:
        arguments["InstanceMaintenancePolicy"] = given(
            inputs["instanceMaintenancePolicy"],
            MinHealthyPercentage="minHealthyPercentage",
            MaxHealthyPercentage="maxHealthyPercentage",
        )
    arguments["VPCZoneIdentifier"] = ",".join(inputs["vpcZoneIdentifiers"])
    template = inputs["launchTemplate"]
    arguments["LaunchTemplate"] = {
        **given(template, LaunchTemplateId="id", LaunchTemplateName="name"),
        # Absent, the provider asks for `$Default`
        "Version": str(template.get("version", "$Default")),
    }
    if "protectFromScaleIn" in inputs:
        arguments["NewInstancesProtectedFromScaleIn"] = inputs["protectFromScaleIn"]
    return arguments


def _tags(inputs: Properties) -> list[dict[str, Any]]:
    return [
        {
            "ResourceId": inputs["name"],
            "ResourceType": "auto-scaling-group",
            "Key": tag["key"],
            "Value": tag["value"],
            "PropagateAtLaunch": flag(tag["propagateAtLaunch"]),
        }
        for tag in inputs.get("tags", [])
    ]


def _create_group(context: Context, inputs: Properties) -> Made:
    name = inputs["name"]
    arguments = _group(inputs)
    hooks = inputs.get("initialLifecycleHooks", [])
    final = given(arguments, MinSize="MinSize", MaxSize="MaxSize")
    final |= given(arguments, DesiredCapacity="DesiredCapacity")
    if hooks:
        # As the provider does it: hooks before the first instance, so the group begins empty
        arguments |= {"MinSize": 0, "MaxSize": 0, "DesiredCapacity": 0}
    _scaling(context).create_auto_scaling_group(
        AutoScalingGroupName=name,
        Tags=_tags(inputs),
        TargetGroupARNs=inputs.get("targetGroupArns", []),
        **arguments,
    )
    for hook in hooks:
        _scaling(context).put_lifecycle_hook(
            AutoScalingGroupName=name, LifecycleHookName=hook["name"], **given(hook, **_HOOK)
        )
    if hooks:
        _scaling(context).update_auto_scaling_group(AutoScalingGroupName=name, **final)
    if inputs.get("suspendedProcesses"):
        _scaling(context).suspend_processes(
            AutoScalingGroupName=name, ScalingProcesses=inputs["suspendedProcesses"]
        )
    made = _scaling(context).describe_auto_scaling_groups(AutoScalingGroupNames=[name])
    return name, {"arn": made["AutoScalingGroups"][0]["AutoScalingGroupARN"]}


_SEPARATE = frozenset({"tags", "targetGroupArns", "initialLifecycleHooks", "suspendedProcesses"})


def _update_group(context: Context, id_: str, old: Properties, new: Properties) -> Properties:
    client = _scaling(context)
    if changed(old, new, "tags"):
        dropped = [tag for tag in _tags(old) if tag["Key"] not in {t["Key"] for t in _tags(new)}]
        if dropped:
            client.delete_tags(Tags=dropped)
        client.create_or_update_tags(Tags=_tags(new))
    before, after = set(old.get("targetGroupArns", [])), set(new.get("targetGroupArns", []))
    if after - before:
        client.attach_load_balancer_target_groups(
            AutoScalingGroupName=id_, TargetGroupARNs=sorted(after - before)
        )
    if before - after:
        client.detach_load_balancer_target_groups(
            AutoScalingGroupName=id_, TargetGroupARNs=sorted(before - after)
        )
    suspended = set(old.get("suspendedProcesses", [])), set(new.get("suspendedProcesses", []))
    for call, names in (
        (client.suspend_processes, suspended[1] - suspended[0]),
        (client.resume_processes, suspended[0] - suspended[1]),
    ):
        if names:
            call(AutoScalingGroupName=id_, ScalingProcesses=sorted(names))
    if changed(old, new, *(_GROUP_PROPERTIES - _SEPARATE - _NOT_SENT)):
        client.update_auto_scaling_group(AutoScalingGroupName=id_, **_group(new))
    if "instanceRefresh" in new and changed(old, new, "launchTemplate", *_triggers(new)):
        _refresh(client, id_, new["instanceRefresh"])
    return {}


_PREFERENCES = {
    "MinHealthyPercentage": "minHealthyPercentage",
    "MaxHealthyPercentage": "maxHealthyPercentage",
    "InstanceWarmup": "instanceWarmup",
    "SkipMatching": "skipMatching",
}
_CANCELLED_WITHIN = 60.0
"""Seconds."""


def _triggers(inputs: Properties) -> list[str]:
    """What else the program wants a refresh for, under the engine's names."""
    named = inputs["instanceRefresh"].get("triggers", [])
    return [name.split("_")[0] + "".join(map(str.title, name.split("_")[1:])) for name in named]


def _refresh(client: Any, name: str, block: Properties) -> None:
    """Start a refresh and do not wait for it; one that is under way is cancelled for it.

    As the provider does (its documentation of `instance_refresh`).
    """
    asked = block.get("preferences", {})
    strange = sorted(set(asked) - set(_PREFERENCES.values()))
    if strange:
        why = "the lab's refresh does not know this preference"
        raise Refusal(f"instanceRefresh: {', '.join(strange)}", why, "teach it, or leave it out")
    preferences = given(asked, **_PREFERENCES)
    if "InstanceWarmup" in preferences:
        preferences["InstanceWarmup"] = int(preferences["InstanceWarmup"])
    deadline = time.monotonic() + _CANCELLED_WITHIN
    while True:
        try:
            client.start_instance_refresh(
                AutoScalingGroupName=name,
                Strategy=block.get("strategy", "Rolling"),
                Preferences=preferences,
            )
        except client.exceptions.InstanceRefreshInProgressFault:
            if time.monotonic() > deadline:
                raise
            with gone_is_fine("ActiveInstanceRefreshNotFound"):  # it is being cancelled already
                client.cancel_instance_refresh(AutoScalingGroupName=name)
            time.sleep(0.2)
        else:
            return


def _delete_group(context: Context, id_: str, _: Properties) -> None:
    try:
        _scaling(context).delete_auto_scaling_group(AutoScalingGroupName=id_, ForceDelete=True)
    except ClientError as err:
        # "not found" has no error code of its own here, on AWS neither
        if "not found" not in str(err):
            raise


def _groups(context: Context, inputs: Properties) -> list[str]:
    found = _scaling(context).describe_auto_scaling_groups(AutoScalingGroupNames=[inputs["name"]])
    return [group["AutoScalingGroupName"] for group in found["AutoScalingGroups"]]


def _put_hook(context: Context, inputs: Properties) -> Made:
    _scaling(context).put_lifecycle_hook(
        AutoScalingGroupName=inputs["autoscalingGroupName"],
        LifecycleHookName=inputs["name"],
        **given(inputs, **_HOOK),
    )
    return inputs["name"], {}


def _update_hook(context: Context, _: str, __: Properties, new: Properties) -> Properties:
    return _put_hook(context, new)[1]


def _delete_hook(context: Context, id_: str, properties: Properties) -> None:
    with gone_is_fine("ValidationError"):
        _scaling(context).delete_lifecycle_hook(
            AutoScalingGroupName=properties["autoscalingGroupName"], LifecycleHookName=id_
        )


_GROUP_PROPERTIES = (
    frozenset(
        {
            "minSize",
            "maxSize",
            "desiredCapacity",
            "healthCheckType",
            "healthCheckGracePeriod",
            "defaultCooldown",
            "terminationPolicies",
            "capacityRebalance",
            "defaultInstanceWarmup",
            "instanceMaintenancePolicy",
            "vpcZoneIdentifiers",
            "launchTemplate",
            "protectFromScaleIn",
        }
    )
    | _SEPARATE
    | _NOT_SENT
)

HANDLERS = {
    "aws:autoscaling/group:Group": Handler(
        create=_create_group,
        update=_update_group,
        delete=_delete_group,
        properties=_GROUP_PROPERTIES,
        replaces=frozenset({"name"}),
        name=Name(),
        leftovers=_groups,
    ),
    "aws:autoscaling/lifecycleHook:LifecycleHook": Handler(
        create=_put_hook,
        update=_update_hook,
        delete=_delete_hook,
        properties=frozenset({"autoscalingGroupName", *_HOOK.values()}),
        replaces=frozenset({"name", "autoscalingGroupName"}),
        name=Name(),
    ),
}
