"""What the load balancer remembers between two looks: health, checks that are due, ended flows.

No effect and no clock of its own: `now` is handed in, in seconds of one clock that never jumps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab import flows, health
from lab.health import Health, State

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from lab.flows import Balancer, Flows, Group, Key, Target
    from lab.health import Outcome

FORGET = 300.0
"""Seconds for which the flows of an ended registration are watched."""


class Ledger:
    """The registrations of one load balancer, each with its health."""

    def __init__(self, remembered: Mapping[str, Mapping[str, Mapping[str, str]]] | None = None):
        """`remembered` is what `report()` gave before a restart: healthy stays healthy."""
        self.health: dict[Key, Health] = {}
        self._remembered = remembered or {}
        self._next: dict[Key, float] = {}
        self._flows: dict[Key, tuple[Flows, ...]] = {}
        self._ends: dict[Key, tuple[float, bool]] = {}
        self._gone: dict[Key, tuple[float, tuple[Flows, ...]]] = {}

    def observe(self, balancer: Balancer | None, now: float) -> None:
        """Take in what the control plane says now."""
        registered: set[Key] = set()
        if balancer is not None:
            for group in balancer.groups:
                for target in group.targets:
                    registered.add(flows.key(group, target))
                    self._register(balancer, group, target, now)
        for name in [n for n, one in self.health.items() if n not in registered]:
            self._drain(name, now)
        for name in [n for n, (at, _) in self._gone.items() if now >= at + FORGET]:
            del self._gone[name]

    def due(self, balancer: Balancer, now: float) -> list[tuple[Group, Target]]:
        """The checks to start now; each is due again an interval later."""
        found = []
        for group in balancer.groups:
            for target in group.targets:
                name = flows.key(group, target)
                one = self.health.get(name)
                if one is None or one.state in (State.UNUSED, State.DRAINING):
                    continue
                if self._next.get(name, now) <= now:
                    self._next[name] = now + group.check.interval
                    found.append((group, target))
        return found

    def record(self, group: Group, target: Target, outcome: Outcome, now: float) -> bool:
        """Take in a check's outcome; whether the target's state changed."""
        name = flows.key(group, target)
        before = self.health.get(name)
        if before is None:
            return False
        self.health[name] = health.after(before, outcome, group.check, now)
        return self.health[name].state is not before.state

    def gone(self) -> dict[Key, tuple[Flows, ...]]:
        """The flows of registrations that ended, with connection termination."""
        return {name: ended for name, (_, ended) in self._gone.items()}

    def report(self, lost: Collection[str] = ()) -> dict[str, dict[str, dict[str, str]]]:
        """Group ARN -> target id -> `{"state", "reason", "description"}`, empty ones left out.

        Healthy targets whose ids are in `lost` are told to be unhealthy, as the data plane has it.
        """
        answer: dict[str, dict[str, dict[str, str]]] = {}
        for (group, target, _), known in sorted(self.health.items()):
            one = known
            if target in lost and known.state is State.HEALTHY:
                one = Health(State.UNHEALTHY, known.since, health.FAILED)
            words = {"state": str(one.state), "reason": one.reason, "description": one.detail}
            answer.setdefault(group, {})[target] = {k: v for k, v in words.items() if v}
        return answer

    def _register(self, balancer: Balancer, group: Group, target: Target, now: float) -> None:
        name = flows.key(group, target)
        reason = _unused(balancer, group, target)
        before = self.health.get(name)
        self._gone.pop(name, None)
        self._ends[name] = (group.deregistration_delay, group.connection_termination)
        self._flows[name] = flows.flows_to(balancer, group, target) or self._flows.get(name, ())
        if reason:
            if before is None or before.reason != reason:
                self.health[name] = health.unused(now, reason)
        elif before is None or before.state in (State.UNUSED, State.DRAINING):
            self.health[name] = self._first(group, target, now)
            self._next.pop(name, None)

    def _first(self, group: Group, target: Target, now: float) -> Health:
        was = self._remembered.get(group.arn, {}).get(target.id, {})
        self._remembered = {
            arn: {t: v for t, v in one.items() if (arn, t) != (group.arn, target.id)}
            for arn, one in self._remembered.items()
        }
        if was.get("state") == State.HEALTHY:
            return Health(State.HEALTHY, now)
        if was.get("state") == State.UNHEALTHY:
            return Health(State.UNHEALTHY, now, was.get("reason", health.FAILED))
        return health.first(now)

    def _drain(self, name: Key, now: float) -> None:
        delay, termination = self._ends.get(name, (0.0, True))
        one = self.health[name]
        if one.state is not State.DRAINING:
            one = self.health[name] = health.draining(now)
        if now < one.since + delay:
            return
        del self.health[name]
        self._next.pop(name, None)
        ended = self._flows.pop(name, ())
        if termination:
            self._gone[name] = (now, ended)


def _unused(balancer: Balancer, group: Group, target: Target) -> str:
    if not target.running or target.address is None:
        return health.INVALID_STATE
    listened = any(listener.group == group.arn for listener in balancer.listeners)
    if not listened or target.zone not in {node.zone for node in balancer.nodes}:
        return health.NOT_IN_USE
    return ""
