"""Whether the load balancer should send clients here, per slot. Pure.

Only what is wrong with this machine counts. That AWS does not answer is no reason: both gateways
would fail at once, and what they serve still works.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.drain import Drain
from gateway.generations import interface_of
from gateway.sysctl import FORWARDING
from registry.key_slots import slot_of

if TYPE_CHECKING:
    from gateway.chrony import Clock
    from gateway.decide import Desired, Observed
    from gateway.state import State


@dataclass(frozen=True)
class Verdict:
    """The answer of /healthz/SLOT; healthy when there is no reason against it."""

    reasons: tuple[str, ...] = ()

    @property
    def healthy(self) -> bool:
        """Whether to answer 200."""
        return not self.reasons


BOOTING = Verdict(("starting",))
SERVES = Drain()


def serves(generation: int, desired: Desired, observed: Observed) -> str:
    """Why this generation is not served; empty when its interface is as planned."""
    name = interface_of(slot_of(generation))
    plan, link = desired.plan_of(name), observed.links.get(name)
    device = observed.devices.get(name)
    if plan is None or plan.generation != generation:
        return f"key generation {generation} is not available"
    if link is None or device is None:
        return f"{name} is missing"
    if not link.up:
        return f"{name} is down"
    if device.public_key != plan.public_key:
        return f"{name} has not the key of generation {generation}"
    if device.port != plan.port:
        return f"{name} listens on port {device.port}, not {plan.port}"
    return ""


def complete(state: State, desired: Desired, observed: Observed) -> bool:
    """Whether every generation that is to be served is."""
    return bool(state.served) and not any(
        serves(generation, desired, observed) for generation in state.served
    )


def unready(state: State) -> tuple[str, ...]:
    """What else keeps a gateway from taking clients that has never been healthy.

    Later it is no reason: that it is not known may just mean that AWS is away.
    """
    if state.control is None or not state.control.routed or state.routes.forwards:
        return ()
    return ("the source/destination check of the instance is not off yet",)


def verdict(
    slot: int,
    state: State,
    desired: Desired,
    observed: Observed,
    clock: Clock,
    *,
    drain: Drain = SERVES,
    more: tuple[str, ...] = (),
) -> Verdict:
    """Of one slot. A slot without a generation is as healthy as the machine.

    `more`: reasons that are others' to know.
    """
    reasons: list[str] = list(more)
    if drain.begun:
        reasons.append(f"draining: {drain.why}")
    if not state.served:
        reasons.append(state.served_fault or "the control item has not been read yet")
    if state.known is None:
        reasons.append("the peers have not been loaded yet")
    if observed.sysctl.get(FORWARDING) != "1":
        reasons.append("forwarding is off")
    if observed.filter is None or observed.filter != desired.filter:
        reasons.append("the packet filter is not in place")
    if not clock.synchronised:
        reasons.append(f"the clock is not synchronised: {clock.why}")
    for generation in state.served:
        # Before it has taken any traffic a gateway has to serve all; later a bad key costs its slot
        if slot_of(generation) == slot or not state.complete:
            why = serves(generation, desired, observed)
            fault = state.key_faults.get(generation)
            if why:
                reasons.append(f"{why}: {fault.why}" if fault else why)
    return Verdict(tuple(reasons))
