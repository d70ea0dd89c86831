"""The rules name types and properties that the provider has: a rule with a typo never fires."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import pytest

from policy import (
    buckets,
    encryption,
    health_checks,
    iam_wildcards,
    instance_metadata,
    open_ingress,
    protection,
    required_tags,
)

TABLES = [encryption.DEMANDS, health_checks.DEMANDS, instance_metadata.DEMANDS, protection.DEMANDS]
DEMANDED = {
    *((typ, demand.path) for table in TABLES for typ, found in table.items() for demand in found),
    *((buckets.PUBLIC_ACCESS, demand.path) for demand in buckets._CLOSED),
    *iam_wildcards.OF_IDENTITIES.items(),
    *iam_wildcards.OF_RESOURCES.items(),
    (iam_wildcards.ROLE, "inlinePolicies"),
    (iam_wildcards.ROLE, "managedPolicyArns"),
    (open_ingress.FUNCTION_URL, "authorizationType"),
    (open_ingress.PERMISSION, "principal"),
    (open_ingress.RULE, "cidrIpv4"),
    (open_ingress.RULE, "cidrIpv6"),
    (open_ingress.RULE, "prefixListId"),
    (open_ingress.RULE, "ipProtocol"),
    (open_ingress.OLD_RULE, "cidrBlocks"),
    (open_ingress.OLD_RULE, "prefixListIds"),
    (open_ingress.BALANCER, "securityGroups"),
    (open_ingress.LISTENER, "loadBalancerArn"),
    (encryption.TEMPLATE, "blockDeviceMappings"),
    (encryption.INSTANCE, "ebsBlockDevices"),
    (required_tags.TEMPLATE, "tagSpecifications"),
    (buckets.BUCKET, "objectLockEnabled"),
    (buckets.ENCRYPTION, "rules"),
    *((group, "ingress") for group in open_ingress.GROUPS),
}


def inputs(typ: str) -> dict[str, Any]:
    """What the provider's class of this token takes, with the types."""
    _, module, name = typ.split(":")
    module = {"lambda": "lambda_"}.get(module.split("/")[0], module.split("/")[0])
    found = getattr(importlib.import_module(f"pulumi_aws.{module}"), name)
    assert found.pulumi_type == typ
    parameters = inspect.signature(found._internal_init).parameters
    return {key: (found, parameter.annotation) for key, parameter in parameters.items()}


def snake(name: str) -> str:
    """A property's name as Python has it."""
    return re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower()


@pytest.mark.parametrize(("typ", "path"), sorted(DEMANDED))
def test_the_provider_has_the_property(typ: str, path: str) -> None:
    if not typ.startswith("aws:"):
        return
    first, *rest = path.split(".")
    owner, annotation = inputs(typ)[snake(first)]
    for name in rest:
        (output,) = set(re.findall(r"outputs\.(\w+)", str(annotation)))
        module = importlib.import_module(f"{owner.__module__.rpartition('.')[0]}.outputs")
        assert hasattr(getattr(module, output), snake(name))


@pytest.mark.parametrize("typ", sorted(required_tags.UNTAGGABLE))
def test_what_needs_no_tags_cannot_have_them(typ: str) -> None:
    assert "tags" not in inputs(typ)


@pytest.mark.parametrize("typ", sorted(t for t in protection.KEPT if t.startswith("aws:")))
def test_what_is_kept_exists(typ: str) -> None:
    assert inputs(typ)
