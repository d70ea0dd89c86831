"""Between Pulumi's engine and the rules: its resources as plain ones, violations as it wants them.

What is not known in a preview, like the ARN of what is not there yet, becomes `Gap.UNKNOWN`, so
that a rule still judges the rest; the engine asks again at the update, before the resource is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
    StackValidationArgs,
    StackValidationPolicy,
)
from pulumi_policy.proxy import UnknownValueError

from policy.model import File, Gap, Resource
from policy.rules import RULES, STACK_RULES

if TYPE_CHECKING:
    from pulumi_policy import PolicyResource

    from policy.rules import Rule, StackRule

HERE = Path(__file__).resolve().parent.parent
"""Where the program runs: the names of its files are relative to it."""


def start() -> None:
    """Serve the pack to the engine that started this process; does not return."""
    PolicyPack(name="gatepair", policies=policies())


def policies() -> list[Policy]:
    """The rules as Pulumi's SDK takes them."""
    return [*map(_of_resource, RULES), *map(_of_stack, STACK_RULES)]


def plain(value: Any) -> Any:
    """A property without proxies, unknown values and assets: lists, dicts, scalars, `File`."""
    if isinstance(value, Mapping):
        return {key: _taken(value, key) for key in value}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_taken(value, number) for number in range(len(value))]
    if isinstance(value, pulumi.FileAsset | pulumi.FileArchive):
        return _file(value.path)
    if isinstance(value, pulumi.AssetArchive):
        return plain(value.assets)
    return value.text if isinstance(value, pulumi.StringAsset) else value


def _taken(holder: Any, key: Any) -> Any:
    try:
        return plain(holder[key])
    except UnknownValueError:
        return Gap.UNKNOWN


def _file(path: str) -> File:
    try:
        return File(path, (HERE / path).read_bytes())
    except OSError:
        return File(path, None)


def _of_resource(rule: Rule) -> ResourceValidationPolicy:
    def validate(args: ResourceValidationArgs, report: ReportViolation) -> None:
        judged = Resource(
            urn=args.urn,
            type=args.resource_type,
            name=args.name,
            props=plain(args.props),
            protect=args.opts.protect,
        )
        for violation in rule.judge(judged):
            report(str(violation), None)

    return ResourceValidationPolicy(rule.name, rule.says, validate, EnforcementLevel.MANDATORY)


def _of_stack(rule: StackRule) -> StackValidationPolicy:
    def validate(args: StackValidationArgs, report: ReportViolation) -> None:
        for violation in rule.judge([_whole(resource) for resource in args.resources]):
            report(str(violation), violation.urn)

    return StackValidationPolicy(rule.name, rule.says, validate, EnforcementLevel.MANDATORY)


def _whole(resource: PolicyResource) -> Resource:
    made_from = resource.property_dependencies.items()
    return Resource(
        urn=resource.urn,
        type=resource.resource_type,
        name=resource.name,
        props=plain(resource.props),
        protect=resource.opts.protect,
        references={name: frozenset(r.urn for r in found) for name, found in made_from},
    )
