"""What the policy pack says of a plan, and of resources made up for a test."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import plan as plans
from policy.model import Resource
from policy.rules import RULES, STACK_RULES
from policy.wiring import plain

if TYPE_CHECKING:
    from policy.model import Violation
    from recorder import Declared


def resource(typ: str, name: str = "it", *, stack: str = "dev", **given: Any) -> Resource:
    """One of a type as its token ends (`ec2/eip:Eip`); `given` are `Resource`'s fields."""
    token = typ if ":" in typ.partition("/")[0] else f"aws:{typ}"
    urn = f"urn:pulumi:{stack}::gatepair::{token}::{name}"
    return replace(Resource(urn=urn, type=token, name=name, props={}), **given)


def as_judged(declared: Declared) -> Resource:
    """A recorded registration as the pack sees it."""
    request = declared.request
    return Resource(
        urn=declared.urn,
        type=declared.typ,
        name=declared.name,
        props=plain(declared.inputs),
        protect=bool(request.protect),
        references={
            name: frozenset(found.urns) for name, found in request.propertyDependencies.items()
        },
    )


@cache
def resources(stack: str) -> tuple[Resource, ...]:
    """All that the program declares for a stack."""
    return tuple(map(as_judged, plans.built(stack).declared.values()))


def violations(stack: str, rule: str) -> list[Violation]:
    """What the rule of this name finds in a stack."""
    declared = resources(stack)
    for of_stack in STACK_RULES:
        if of_stack.name == rule:
            return list(of_stack.judge(declared))
    (alone,) = [known for known in RULES if known.name == rule]
    return [wrong for one in declared for wrong in alone.judge(one)]
