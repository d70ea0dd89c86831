"""The load balancer's checks, and nobody else's."""

from __future__ import annotations

from typing import Any

import pytest

from judging import resource, violations
from policy.health_checks import judge, judge_slots
from policy.model import Gap

CHECK = {
    "enabled": True,
    "protocol": "HTTP",
    "path": "/healthz/0",
    "port": "9585",
    "interval": 5,
    "timeout": 2,
    "healthyThreshold": 2,
    "unhealthyThreshold": 2,
    "matcher": "200",
}
TARGETS = {
    "healthCheck": CHECK,
    "deregistrationDelay": 0,
    "connectionTermination": True,
    "preserveClientIp": "true",
}
GROUP = "lb/targetGroup:TargetGroup"


def targets(name: str, path: str) -> Any:
    return resource(GROUP, name, props={**TARGETS, "healthCheck": {**CHECK, "path": path}})


@pytest.mark.parametrize("kind", ["health-checks", "health-check-slots"])
def test_no_stack_breaks_it(stack: str, kind: str) -> None:
    assert violations(stack, kind) == []


@pytest.mark.parametrize(
    ("typ", "props"),
    [
        (GROUP, TARGETS),
        (GROUP, {**TARGETS, "deregistrationDelay": "0"}),
        (GROUP, {**TARGETS, "healthCheck": Gap.UNKNOWN}),
        ("lb/loadBalancer:LoadBalancer", {"enableCrossZoneLoadBalancing": True}),
        ("autoscaling/group:Group", {"healthCheckType": "EC2"}),
    ],
)
def test_the_designs_own_checks_pass(typ: str, props: dict[str, Any]) -> None:
    assert list(judge(resource(typ, props=props))) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enabled", False),
        ("protocol", "TCP"),
        ("path", "/"),
        ("path", None),
        ("port", "traffic-port"),
        ("port", None),
        ("interval", 10),
        ("interval", None),
        ("timeout", 6),
        ("healthyThreshold", 3),
        ("unhealthyThreshold", 5),
        ("matcher", "200-503"),
    ],
)
def test_another_check_is_refused(name: str, value: Any) -> None:
    props = {**TARGETS, "healthCheck": {**CHECK, name: value}}
    (wrong,) = judge(resource(GROUP, props=props))
    assert wrong.what == f"it healthCheck.{name}"


@pytest.mark.parametrize(
    ("typ", "name", "value"),
    [
        (GROUP, "deregistrationDelay", 300),
        (GROUP, "deregistrationDelay", None),
        (GROUP, "connectionTermination", False),
        (GROUP, "preserveClientIp", "false"),
        ("lb/loadBalancer:LoadBalancer", "enableCrossZoneLoadBalancing", None),
        ("autoscaling/group:Group", "healthCheckType", "ELB"),
    ],
)
def test_a_provider_default_that_is_not_the_designs_is_refused(
    typ: str, name: str, value: Any
) -> None:
    given = TARGETS if typ == GROUP else {}
    (wrong,) = judge(resource(typ, props={**given, name: value}))
    assert wrong.what == f"it {name}"


def test_each_slot_has_its_own_check() -> None:
    assert list(judge_slots([targets("a", "/healthz/0"), targets("b", "/healthz/1")])) == []
    (wrong,) = judge_slots([targets("a", "/healthz/0"), targets("b", "/healthz/0")])
    assert wrong.what == "b healthCheck.path"
    assert "a too" in wrong.why
