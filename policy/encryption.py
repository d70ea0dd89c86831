"""What is kept is kept encrypted, and says so. Pure.

Buckets are in `buckets`, since theirs is a resource of its own. What AWS always encrypts has no
switch and no rule: Secrets Manager, CloudWatch's log groups, SSM's plain parameters, which hold
nothing secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from policy.demands import Demand, unmet_by_type
from policy.model import Gap, find, items, same, violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from policy.model import Resource, Violation

TEMPLATE = "aws:ec2/launchTemplate:LaunchTemplate"
INSTANCE = "aws:ec2/instance:Instance"

_DISK = "a gateway's disk holds the registry's last known state, and so does a copy of it"
_CURE = "set it to true"

DEMANDS = {
    "aws:dynamodb/table:Table": (
        Demand(
            "serverSideEncryption.enabled",
            True,
            "with AWS's own key nobody sees in CloudTrail who decrypts the table",
        ),
    ),
    "aws:ebs/volume:Volume": (Demand("encrypted", True, _DISK),),
    "aws:kms/key:Key": (
        Demand(
            "enableKeyRotation", True, "a key that stays for ever opens all that it ever sealed"
        ),
    ),
    INSTANCE: (Demand("rootBlockDevice.encrypted", True, _DISK),),
}


def judge(resource: Resource) -> Iterator[Violation]:
    """Disks, tables and keys."""
    yield from unmet_by_type(resource, DEMANDS)
    if resource.type == TEMPLATE:
        mappings = find(resource.props, "blockDeviceMappings")
        if mappings is Gap.MISSING or mappings == []:
            why = f"the image decides whether the disk is encrypted: {_DISK}"
            yield violation(resource, "blockDeviceMappings", why, "map the root device, encrypted")
        for number, mapping in enumerate(items(resource.props, "blockDeviceMappings")):
            found = find(mapping, "ebs.encrypted")
            if find(mapping, "ebs") is not Gap.MISSING and not _on(found):
                path = f"blockDeviceMappings.{number}.ebs.encrypted"
                yield violation(resource, path, _DISK, _CURE, value=found)
    if resource.type == INSTANCE:
        for number, device in enumerate(items(resource.props, "ebsBlockDevices")):
            found = find(device, "encrypted")
            if not _on(found):
                path = f"ebsBlockDevices.{number}.encrypted"
                yield violation(resource, path, _DISK, _CURE, value=found)


def _on(value: object) -> bool:
    return value is Gap.UNKNOWN or same(value, True)
