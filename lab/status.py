"""What the lab is now, as `scripts/lab status` tells it: asked from the cloud, never remembered."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lab import aws, clients, machine
from registry import environment, local_cloud
from registry.key_slots import port_of, slot_of
from registry.store import Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.environment import Environment
    from registry.items import GatewayRecord

LEAVING = "Terminat"
"""How `Terminating`, `Terminating:Wait`, `Terminated` ... begin."""


@dataclass(frozen=True)
class Gateway:
    """A member of the Auto Scaling group."""

    id: str
    az: str
    address: str
    lifecycle: str
    power: bool
    """Whether its machine runs."""
    healthy: bool
    """The load balancer's word, for the slot of every generation that is to be served."""
    public_key: Mapping[int, str]
    """Key generation -> public key, as it says itself."""
    applied: int | None
    """The registry's generation it has applied; None before it said so."""
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """A target of one of the load balancer's groups."""

    id: str
    port: int
    slot: int
    state: str
    reason: str = ""
    description: str = ""


@dataclass(frozen=True)
class Client:
    """A client and whether its tunnel is up."""

    name: str
    address: str
    """At home, behind the NAT."""
    config: str
    up: bool


@dataclass(frozen=True)
class Status:
    """The whole lab."""

    endpoint: str
    """`NAME:PORT` as clients dial it now."""
    generation: int
    """The registry's."""
    key_generations: tuple[int, ...]
    gateways: tuple[Gateway, ...]
    leaving: tuple[str, ...]
    """Instances that Auto Scaling is terminating: no longer gateways, whatever they still do."""
    targets: tuple[Target, ...]
    addresses: tuple[str, ...]
    clients: tuple[Client, ...]

    @property
    def well(self) -> bool:
        """Whether every gateway is healthy, up to date and serves every key generation."""
        return bool(self.gateways) and all(
            one.healthy
            and one.applied is not None
            and one.applied >= self.generation
            and one.public_key.keys() >= set(self.key_generations)
            for one in self.gateways
        )

    @property
    def public_keys(self) -> frozenset[str]:
        """The server's public keys that are to be served, as far as a gateway serves them."""
        return frozenset(
            key
            for one in self.gateways
            for generation, key in one.public_key.items()
            if generation in self.key_generations
        )

    def as_json(self) -> dict[str, Any]:
        """For programs; key generations are strings there, as JSON wants it."""
        gateways = [
            {**asdict(one), "public_key": {str(g): k for g, k in sorted(one.public_key.items())}}
            for one in self.gateways
        ]
        return {
            "endpoint": self.endpoint,
            "generation": self.generation,
            "key_generations": list(self.key_generations),
            "gateways": gateways,
            "leaving": list(self.leaving),
            "load_balancer": {
                "addresses": list(self.addresses),
                "targets": [asdict(one) for one in self.targets],
            },
            "clients": [asdict(one) for one in self.clients],
        }


def read() -> Status:
    """Ask for it all. Raises `Refusal` when the lab is not up or has no stack yet."""
    stack = environment.find(local_cloud.STACK)
    registry = Registry(aws.client("dynamodb"), stack.table)
    head = registry.head()
    generations = tuple(head.control.key_generations) if head.control else ()
    members, leaving = _members(stack)
    arns = {
        f"arn:aws:ec2:{stack.region}:{aws.ACCOUNT}:instance/{one['InstanceId']}" for one in members
    }
    records = {one.instance_id: one for one in registry.gateways(sorted(arns))}
    targets = tuple(_targets(stack))
    healthy = _healthy(targets, generations)
    gateways = [_gateway(one, records.get(one["InstanceId"]), healthy) for one in members]
    return Status(
        endpoint=f"{stack.endpoint}:{port_of(generations[-1] if generations else 1, stack.port)}",
        generation=head.generation,
        key_generations=generations,
        gateways=tuple(sorted(gateways, key=lambda one: (one.az, one.id))),
        leaving=leaving,
        targets=targets,
        addresses=tuple(map(str, stack.addresses)),
        clients=tuple(
            Client(one.client.name, str(one.client.address), str(one.config), clients.is_up(one))
            for one in clients.everyone()
        ),
    )


def lines(status: Status) -> list[str]:
    """For people."""
    out = [f"{len(status.gateways)} gateways, registry generation {status.generation}"]
    for one in status.gateways:
        condition = "healthy" if one.healthy else "not healthy"
        keys = ", ".join(f"{g}: {k}" for g, k in sorted(one.public_key.items())) or "none yet"
        power = "" if one.power else ", no power"
        applied = "nothing" if one.applied is None else one.applied
        out.append(f"  {one.id}  {one.az}  {one.address}  {condition}{power}, {one.lifecycle}")
        out.append(f"    key {keys}; applied {applied}")
        out += [f"    fault: {fault}" for fault in one.faults]
    out += [f"  {one} is leaving" for one in status.leaving]
    out.append(f"load balancer {status.endpoint} at {', '.join(status.addresses)}")
    for target in status.targets:
        why = " ".join(word for word in (target.reason, target.description) if word)
        line = f"  slot {target.slot}  {target.id}:{target.port}  {target.state}  {why}"
        out.append(line.rstrip())
    out.append(f"{len(status.clients)} clients")
    out += [
        f"  {one.name}  {one.address}  {'up' if one.up else 'down'}  {one.config}"
        for one in status.clients
    ]
    return out


def _members(stack: Environment) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    groups = aws.client("autoscaling").describe_auto_scaling_groups(
        AutoScalingGroupNames=[stack.auto_scaling_group]
    )["AutoScalingGroups"]
    found = {one["InstanceId"]: one["LifecycleState"] for one in groups[0]["Instances"]}
    ids = {name: state for name, state in found.items() if not state.startswith(LEAVING)}
    leaving = tuple(sorted(found.keys() - ids.keys()))
    if not ids:
        return [], leaving
    reservations = aws.client("ec2").describe_instances(InstanceIds=sorted(ids))["Reservations"]
    members = [
        {**one, "LifecycleState": ids[one["InstanceId"]]}
        for reservation in reservations
        for one in reservation["Instances"]
    ]
    return members, leaving


def _targets(stack: Environment) -> list[Target]:
    found = []
    for number, arn in enumerate(stack.target_group_arns):
        answer = aws.client("elbv2").describe_target_health(TargetGroupArn=arn)
        for one in answer["TargetHealthDescriptions"]:
            health = one["TargetHealth"]
            found.append(
                Target(
                    id=one["Target"]["Id"],
                    port=one["Target"]["Port"],
                    slot=number,
                    state=health["State"],
                    reason=health.get("Reason", ""),
                    description=health.get("Description", ""),
                )
            )
    return sorted(found, key=lambda one: (one.slot, one.id))


def _healthy(targets: tuple[Target, ...], generations: tuple[int, ...]) -> set[str]:
    """The instances that are healthy in the slot of every served generation."""
    slots = {slot_of(generation) for generation in generations}
    passed = {(one.id, one.slot) for one in targets if one.state == "healthy"}
    return {name for name, _ in passed if slots and all((name, s) in passed for s in slots)}


def _gateway(member: Mapping[str, Any], record: GatewayRecord | None, healthy: set[str]) -> Gateway:
    name = member["InstanceId"]
    return Gateway(
        id=name,
        az=member["Placement"]["AvailabilityZone"],
        address=member.get("PrivateIpAddress", ""),
        lifecycle=member["LifecycleState"],
        power=machine.is_on(name),
        healthy=name in healthy,
        public_key=dict(record.keys) if record else {},
        applied=record.applied if record else None,
        faults=record.faults if record else (),
    )
