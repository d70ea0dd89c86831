"""A revocation brought to its end: every gateway has confirmed, and the address is free again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.confirmation import Awaited
from registry.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.confirmation import Member
    from registry.operators import Revocation
    from registry.stack import Stack
    from registry.waiting import Answer, Waited


def settle(
    stack: Stack,
    revocation: Revocation,
    *,
    began: float,
    timeout: float,
    tell: Callable[[Member, Answer], None],
) -> Waited:
    """Wait until every gateway has confirmed, at most `timeout` seconds; then free the address.

    `began` is the monotonic moment the answers' seconds count from. Of a revocation made before,
    what the gateways said before this wait proves nothing about what they do now.
    """
    members = stack.fleet.group().members if revocation.again else ()
    seen = dict(stack.fleet.records(members)) if revocation.again else {}
    awaited = Awaited(revocation.generation, revocation.epoch, seen)
    waited = wait(stack.fleet, awaited, began=began, timeout=timeout, tell=tell)
    if waited.complete:
        stack.registry.free_address(revocation)
    return waited
