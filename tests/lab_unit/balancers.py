"""A load balancer with two zones, two targets and two slots, for the tests of its parts."""

from __future__ import annotations

from dataclasses import replace

from lab.flows import Balancer, Group, Ingress, Listener, Node, Target, key
from lab.health import Check, State

CHECK = Check(
    protocol="HTTP",
    port=9585,
    path="/healthz/0",
    matcher="200",
    interval=5,
    timeout=2,
    healthy=2,
    unhealthy=2,
)
A = Target(id="i-a", port=51820, address="10.20.0.130", zone="a")
B = Target(id="i-b", port=51820, address="10.20.0.146", zone="b")


def group(slot: int, *targets: Target, **changes: object) -> Group:
    """The target group of a slot."""
    made = Group(
        arn=f"group-{slot}",
        check=CHECK,
        targets=tuple(replace(t, port=51820 + slot) for t in targets),
        deregistration_delay=0,
        connection_termination=True,
    )
    return replace(made, **changes)


def balancer(*groups: Group, cross_zone: bool = True) -> Balancer:
    """The whole, with cross-zone on unless told."""
    return Balancer(
        arn="nlb",
        dns_name="nlb.example",
        vpc_cidrs=("10.20.0.0/16",),
        nodes=(
            Node(zone="a", address="203.0.113.10", private_address="10.20.0.14"),
            Node(zone="b", address="203.0.113.11", private_address="10.20.0.30"),
        ),
        cross_zone=cross_zone,
        listeners=(
            Listener(port=51820, protocols=("udp",), group="group-0"),
            Listener(port=51821, protocols=("udp",), group="group-1"),
        ),
        groups=groups or (group(0, A, B), group(1, A, B)),
        ingress=(
            Ingress(protocol="udp", from_port=51820, to_port=51821, cidr="0.0.0.0/0"),
            Ingress(protocol="icmp", from_port=3, to_port=4, cidr="0.0.0.0/0"),
        ),
    )


def states(whole: Balancer, **by_name: State) -> dict:
    """Every registration's state: `i_a=...` of that instance in each group, healthy if not said."""
    return {
        key(one, target): by_name.get(target.id.replace("-", "_"), State.HEALTHY)
        for one in whole.groups
        for target in one.targets
    }
