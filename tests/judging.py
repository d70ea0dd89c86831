"""What the policy pack says of a plan, and of resources made up for a test."""

from __future__ import annotations

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
    return Resource(urn=urn, type=token, name=name, **{"props": {}, **given})


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
def resources(stack: str, *, preview: bool = False) -> tuple[Resource, ...]:
    """All that the program declares for a stack."""
    return tuple(map(as_judged, plans.built(stack, preview=preview).declared.values()))


def violations(stack: str, rule: str, *, preview: bool = False) -> list[Violation]:
    """What the rule of this name finds in a stack."""
    (found,) = [known for known in (*RULES, *STACK_RULES) if known.name == rule]
    declared = resources(stack, preview=preview)
    if found in STACK_RULES:
        return list(found.judge(declared))
    return [wrong for one in declared for wrong in found.judge(one)]
