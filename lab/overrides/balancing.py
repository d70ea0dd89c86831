"""Load balancer addresses and target health.

moto: `SubnetMappings` lose their allocation ids, so DescribeLoadBalancers shows no addresses; every
registered target is healthy at once.
AWS: a network load balancer's `AvailabilityZones` have `LoadBalancerAddresses` with address and
allocation id (elbv2 API reference, LoadBalancerAddress); a target is `initial` until its checks
have passed, and `draining` while it is deregistered (elbv2 API reference, TargetHealth).
Here: the addresses are kept, and health is what the lab's balancer has measured and written to
`run/target-health.json`. Before it has, a target is `initial`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from moto.elbv2.models import (
    AvailabilityZone,
    ELBv2Backend,
    FakeHealthStatus,
    FakeLoadBalancer,
    FakeTargetGroup,
)

from lab import paths

if TYPE_CHECKING:
    from collections.abc import Callable

_create = ELBv2Backend.create_load_balancer
_health_for = FakeTargetGroup.health_for

_INITIAL = {"state": "initial", "reason": "Elb.RegistrationInProgress"}


def install(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Replace what moto knows of addresses and health; `replace` is for tests that put it back."""
    for owner, name, ours in (
        (ELBv2Backend, "create_load_balancer", _create_load_balancer),
        (FakeLoadBalancer, "availability_zones", property(_zones)),
        (FakeTargetGroup, "health_for", _health),
    ):
        replace(owner, name, ours)


def _create_load_balancer(
    self: Any, *arguments: Any, subnet_mappings: list[dict[str, str]] | None = None, **more: Any
) -> Any:
    made: Any = _create(self, *arguments, subnet_mappings=subnet_mappings, **more)
    by_id = {elastic.allocation_id: elastic for elastic in self.ec2_backend.addresses}
    made.lab_addresses = {
        mapping["SubnetId"]: by_id[mapping["AllocationId"]]
        for mapping in subnet_mappings or []
        if mapping.get("AllocationId") in by_id
    }
    return made


def _zones(self: Any) -> list[AvailabilityZone]:
    zones = [AvailabilityZone(subnet) for subnet in self.subnets]
    addresses = getattr(self, "lab_addresses", {})
    for zone in zones:
        elastic = addresses.get(zone.subnet_id)
        shown: Any = zone
        shown.load_balancer_addresses = (
            [{"IpAddress": elastic.public_ip, "AllocationId": elastic.allocation_id}]
            if elastic
            else []
        )
    return zones


def _health(self: Any, target: dict[str, Any], ec2_backend: Any) -> Any:
    known = _health_for(self, target, ec2_backend)
    if known.status not in {"healthy", "draining"}:
        return known
    found = _measured().get(self.arn, {}).get(target["Id"])
    if found is None and known.status == "draining":
        return known
    found = found or _INITIAL
    # AWS gives a reason for every state but `healthy`
    why = (None, None)
    if found["state"] != "healthy":
        why = (found.get("reason") or None, found.get("description") or None)
    return FakeHealthStatus(
        known.instance_id, known.port, known.health_check_port, found["state"], *why
    )


def _measured() -> dict[str, Any]:
    try:
        return json.loads(paths.target_health().read_text())
    except (OSError, ValueError):
        return {}
