"""A dead gateway is noticed in 10 s by the load balancer, and by nobody else. Pure.

The numbers are the design's, and the benches measure with them: another value is a change that
wants its measurements anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from policy.demands import Demand, unmet_by_type
from policy.model import Gap, find, violation

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from policy.model import Resource, Violation

BALANCER = "aws:lb/loadBalancer:LoadBalancer"
GROUP = "aws:autoscaling/group:Group"
TARGETS = "aws:lb/targetGroup:TargetGroup"

_FAST = "a dead gateway must be out of the load balancer after 10 s"
_MOVES = "a flow must leave a gateway that goes, or its client stays with it"
_PATH = r"/healthz/\d+"

DEMANDS = {
    BALANCER: (
        Demand(
            "enableCrossZoneLoadBalancing",
            True,
            "a client dials one zone's address for ever, and its zone may lose its gateway",
        ),
    ),
    GROUP: (
        Demand(
            "healthCheckType",
            "EC2",
            "when AWS's checks fail everywhere, replacing every gateway cuts every client",
        ),
    ),
    TARGETS: (
        Demand("healthCheck.enabled", True, _FAST),
        Demand(
            "healthCheck.protocol", "HTTP", "an open port does not say that a gateway can serve"
        ),
        Demand("healthCheck.matcher", "200", "503 is how a gateway says that it cannot serve"),
        Demand("healthCheck.interval", 5, _FAST),
        Demand("healthCheck.timeout", 2, _FAST),
        Demand("healthCheck.healthyThreshold", 2, "a gateway that is back must serve after 10 s"),
        Demand("healthCheck.unhealthyThreshold", 2, _FAST),
        Demand("deregistrationDelay", 0, _MOVES),
        Demand("connectionTermination", True, _MOVES),
        Demand(
            "preserveClientIp",
            True,
            "WireGuard answers the address that it sees, and peers' limits go by it",
        ),
    ),
}


def judge(resource: Resource) -> Iterator[Violation]:
    """Everything explicit: the provider's defaults are not AWS's, nor ours."""
    yield from unmet_by_type(resource, DEMANDS)
    if resource.type != TARGETS:
        return
    path, port = (find(resource.props, f"healthCheck.{name}") for name in ("path", "port"))
    if path is not Gap.UNKNOWN and not re.fullmatch(_PATH, str(path)):
        why = "no gateway answers for a key slot there"
        yield violation(resource, "healthCheck.path", why, "use /healthz/ and the slot's number")
    if port is not Gap.UNKNOWN and not str(port).isdecimal():
        why = "the traffic's port is UDP and answers no HTTP"
        yield violation(resource, "healthCheck.port", why, "give the health port's number")


def judge_slots(resources: Sequence[Resource]) -> Iterator[Violation]:
    """Each key slot has a check of its own, so that a bad new key leaves the old one serving."""
    first: dict[str, Resource] = {}
    for resource in resources:
        path = find(resource.props, "healthCheck.path")
        if resource.type != TARGETS or not isinstance(path, str):
            continue
        if path in first:
            why = f"is the check of {first[path].name} too: one bad key would take out both"
            yield violation(resource, "healthCheck.path", why, "check this slot's own key")
        first.setdefault(path, resource)
