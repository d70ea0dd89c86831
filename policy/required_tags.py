"""Whatever can carry tags says whose it is: commands, IAM conditions and bills go by that. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from policy.model import Gap, find, items, shown, violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.model import Resource, Violation

PROVIDER = "pulumi:providers:aws"
TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
LAUNCHED = ("instance", "network-interface", "volume")
"""What a launch template makes and the provider's default tags do not reach."""

UNTAGGABLE = frozenset(
    {
        "aws:autoscaling/lifecycleHook:LifecycleHook",
        "aws:cloudwatch/dashboard:Dashboard",
        "aws:cloudwatch/logMetricFilter:LogMetricFilter",
        "aws:dynamodb/tableItem:TableItem",
        "aws:ec2/route:Route",
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        "aws:iam/rolePolicy:RolePolicy",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        "aws:kms/alias:Alias",
        "aws:lambda/functionUrl:FunctionUrl",
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        "aws:s3/bucketObjectLockConfiguration:BucketObjectLockConfiguration",
        "aws:s3/bucketPolicy:BucketPolicy",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "aws:s3/bucketVersioning:BucketVersioning",
        "aws:sns/topicPolicy:TopicPolicy",
        "aws:sns/topicSubscription:TopicSubscription",
    }
)
"""Types without tags, of those that the program makes or may soon; any other must carry them."""


def judge(resource: Resource) -> Iterator[Violation]:
    """`project` and `stack` on each resource, on the provider's defaults, on what is launched."""
    if resource.type == PROVIDER:
        defaults = {"defaultTags": _decoded(find(resource.props, "defaultTags"))}
        yield from _lacking(resource, "defaultTags.tags", find(defaults, "defaultTags.tags"))
    elif resource.type.startswith("aws:") and resource.type not in UNTAGGABLE:
        yield from _lacking(resource, "tags", find(resource.props, "tags"))
    if resource.type == TEMPLATE:
        listed = items(resource.props, "tagSpecifications")
        said = {find(item, "resourceType"): item for item in listed}
        for kind in LAUNCHED:
            tags = find(said.get(kind, {}), "tags")
            yield from _lacking(resource, f"tagSpecifications {kind}", tags)


def _lacking(resource: Resource, path: str, given: Any) -> Iterator[Violation]:
    tags = _as_mapping(given)
    if tags is None:
        return
    for key, wanted in (("project", resource.project), ("stack", resource.stack)):
        found = tags.get(key, Gap.MISSING)
        if found is not Gap.UNKNOWN and found != wanted:
            why = "operators' commands and IAM conditions find what belongs to a stack by its tags"
            cure = f"tag it {key}={wanted}"
            yield violation(resource, f"{path}.{key}", why, cure, value=shown(found))


def _as_mapping(given: Any) -> Mapping[str, Any] | None:
    """Tags by key; an Auto Scaling group has a list of them. None while nobody knows them."""
    if given is Gap.UNKNOWN:
        return None
    if isinstance(given, Mapping):
        return given
    listed = given if isinstance(given, list) else []
    return {find(tag, "key"): find(tag, "value") for tag in listed}


def _decoded(given: Any) -> Any:
    """A provider's inputs are JSON inside strings."""
    return json.loads(given) if isinstance(given, str) else given
