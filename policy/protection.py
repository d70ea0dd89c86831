"""In production nothing goes by mistake that nobody can make again. Pure.

Production is a stack that is named so (`prod`, `eu-production`), or one that protects anything at
all: `gatepair:protect` is for the whole stack, and half of it would be worse than none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from policy.demands import AtLeast, Demand, unmet_by_type
from policy.model import find, same, violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy.model import Resource, Violation

BUCKET = "aws:s3/bucket:Bucket"

KEPT = {
    "aws:dynamodb/table:Table": "who may enter is in it",
    "aws:ec2/eip:Eip": "clients dial this address",
    "aws:ec2/vpc:Vpc": "everything stands in it",
    "aws:kms/key:Key": "what it sealed stays closed without it",
    "aws:lb/loadBalancer:LoadBalancer": "clients dial its name",
    "aws:secretsmanager/secret:Secret": "every client trusts the key in it",
    "random:index/randomUuid:RandomUuid": "gateways find their keys by it",
}
"""What nobody can make again as it was, and why that matters, by type."""

DEMANDS = {
    "aws:dynamodb/table:Table": (
        Demand("deletionProtectionEnabled", True, "a request to AWS alone could delete it"),
        Demand(
            "pointInTimeRecovery.enabled",
            True,
            "scripts/peers restore goes back to a past minute by it",
        ),
    ),
    "aws:kms/key:Key": (
        Demand("deletionWindowInDays", AtLeast(30), "until then a deleted key can be brought back"),
    ),
    "aws:lb/loadBalancer:LoadBalancer": (
        Demand("enableDeletionProtection", True, "a request to AWS alone could delete it"),
    ),
    BUCKET: (Demand("forceDestroy", False, "it would be deleted with all that is in it"),),
    "aws:secretsmanager/secret:Secret": (
        Demand(
            "recoveryWindowInDays",
            AtLeast(7),
            "until then a deleted secret can be brought back",
        ),
    ),
}

_NAMED_SO = re.compile(r"(?i)(^|[^a-z])prod(uction)?([^a-z]|$)")


def is_production(resources: Sequence[Resource]) -> bool:
    """Whether this is a stack that people depend on."""
    return any(r.protect or _NAMED_SO.search(r.stack) for r in resources)


def judge(resources: Sequence[Resource]) -> Iterator[Violation]:
    """Pulumi's `protect`, and AWS's own protections against everything but Pulumi."""
    if not is_production(resources):
        return
    for resource in resources:
        why = KEPT.get(resource.type)
        if resource.type == BUCKET and same(find(resource.props, "objectLockEnabled"), True):
            why = "its records outlive the registry"
        if why and not resource.protect:
            cure = "set gatepair:protect to true, and hand it to this resource"
            yield violation(resource, "protect", f"in production, {why}", cure, value=False)
        yield from unmet_by_type(resource, DEMANDS)
