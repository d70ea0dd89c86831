"""Gateways with the real deciding and the real thread's steps, around route tables made of data.

One clock; each gateway steps twice a second, in its own phase. What AWS would say is in `World`:
items with their condition, route tables, target health that takes its time, refusals.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from unit.gateway.samples import control, stands_in

from gateway.gossip import Applied, Heard
from gateway.messages import RoutesSeen, Trouble
from gateway.metadata import Identity
from gateway.peers import KnownPeers
from gateway.presence import Other
from gateway.routes.decide import Route
from gateway.routes.view import RoutesView
from gateway.routes.watch import PAUSE, RouteWatch
from gateway.state import State
from gateway.status import Board, Status
from gateway.takeover.hub import SessionsView
from registry.items import SERVING, GatewayRecord, RouteHold, Unreadable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

TICK = 0.1
NOTICE = 10.0
"""Seconds until the load balancer calls a dead gateway unhealthy."""

NEAR = 1e-6


@dataclass
class World:
    """The VPC, the registry, the group and the load balancer."""

    directory: Path
    tables: tuple[str, ...]
    egress: str = "routed"
    now: float = 1000.0
    routes: dict[str, Route | None] = field(default_factory=dict)
    holds: dict[str, RouteHold] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    check: dict[str, bool] = field(default_factory=dict)
    members: dict[str, str] = field(default_factory=dict)
    ill: dict[str, tuple[float, tuple[str, ...]]] = field(default_factory=dict)
    """From when on the load balancer calls a gateway what."""
    cut: set[frozenset[str]] = field(default_factory=set)
    """Pairs whose gossip does not arrive."""
    refused: dict[str, set[str]] = field(default_factory=dict)
    """Call -> the gateways whose calls are refused."""
    before: dict[tuple[str, str], Callable[[], None]] = field(default_factory=dict)
    """(Gateway, call) -> what happens just before it, once."""
    calls: list[tuple[float, str, str]] = field(default_factory=list)
    """When, who, what."""
    gateways: dict[str, Sim] = field(default_factory=dict)
    dice: random.Random = field(default_factory=lambda: random.Random(7))  # noqa: S311

    WRITES = frozenset({"take", "give_up", "delete", "create", "replace", "delete_route", "check!"})

    def called(self, who: str, what: str) -> None:
        """Note a call; it may be refused, or something may happen before it."""
        happens = self.before.pop((who, what), None)
        if happens is not None:
            happens()
        self.calls.append((self.now, who, what))
        if who in self.refused.get(what, ()):
            raise ClientError({"Error": {"Code": "Refused", "Message": "no"}}, what)

    def made(self, *what: str, since: float = 0.0, by: str = "") -> int:
        """How many such calls there were."""
        return sum(call in what and at >= since and by in ("", who) for at, who, call in self.calls)

    def writes(self, since: float) -> list[tuple[float, str, str]]:
        """Everything that was written."""
        return [one for one in self.calls if one[0] >= since and one[2] in self.WRITES]

    # -------------------------------------------------------------- the fleet

    def launch(self, *names: str, word: str = SERVING) -> None:
        for name in names:
            self.members[name] = "InService"
            self.check.setdefault(name, True)
            self.gateways[name] = Sim(self, name, word)
        for one in self.gateways.values():
            one.publish()

    def die(self, name: str) -> None:
        """The machine is gone; the load balancer notices later."""
        del self.gateways[name]
        self.ill[name] = self.now + NOTICE, ("unhealthy", "unhealthy")

    def sever(self, one: str, *others: str) -> None:
        self.cut |= {frozenset({one, other}) for other in others}

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            for one in list(self.gateways.values()):
                one.tick()

    def led(self) -> dict[str, str]:
        """Route table -> the gateway its route leads to."""
        return {
            table: route.interface.removeprefix("eni-") if route else ""
            for table, route in self.routes.items()
        }

    def agreed(self) -> bool:
        """Whether every route leads to its living holder."""
        holders = {table: hold.holder for table, hold in self.holds.items()}
        return holders == self.led() and set(holders.values()) <= self.gateways.keys()


class Sim:
    """One gateway: the thread's steps, with everything around them replaced."""

    def __init__(self, world: World, name: str, word: str) -> None:
        self.world, self.name, self.word, self.ending = world, name, word, False
        self.working = True
        self.view, self.trouble = RoutesView(), ""
        self.board, self.started = Board(), world.now
        self.last: dict[str, float] = {}
        """When each other was heard."""
        self.next = world.now + world.dice.uniform(0, PAUSE)
        self.restart()

    def restart(self) -> None:
        """The agent begins anew on the same machine."""
        self.started, self.last = self.world.now, {}
        self.watch = RouteWatch(
            stands_in(self),
            stands_in(Cloud(self)),
            self.board,
            self.hear,
            presence=stands_in(Gossip(self)),
            circle=stands_in(self),
            interface=lambda: f"eni-{self.name}",
            marker=self.world.directory / f"routed-{self.name}",
            monotonic=lambda: self.world.now,
        )

    def hear(self, message: object) -> None:
        match message:
            case RoutesSeen(view):
                self.view = view
            case Trouble("VPC routes", why):
                self.trouble = why

    def publish(self) -> None:
        world = self.world
        address = f"10.20.0.{10 + sorted(world.check).index(self.name)}"
        state = State(
            identity=Identity(self.name, "1", "eu-west-1", "eu-west-1a", address),
            known=KnownPeers("e", 5),
            control=replace(
                control(1),
                egress=world.egress,
                route_tables=world.tables if world.egress == "routed" else (),
            ),
            members=dict(world.members),
            target_groups=("arn:0", "arn:1"),
            ending=self.ending,
        )
        record = GatewayRecord("arn", self.name, "z", address, "b", 5, "e", state=self.word)
        self.board.publish(
            Status(
                state=state,
                applied=5,
                record=record if self.word else None,
                sessions=SessionsView(working=self.working),
            )
        )

    def tick(self) -> None:
        world = self.world
        for other in world.gateways:
            if other != self.name and frozenset({self.name, other}) not in world.cut:
                self.last[other] = world.now
        if world.now >= self.next - NEAR:
            self.publish()
            self.next = world.now + self.watch.step()

    @property
    def heard(self) -> dict[str, Heard]:
        """As the circle has it."""
        return {name: Heard("b", Applied("e", 5), 0.0) for name in self.last}

    # -------------------------------------------------------------- the items

    def read(self) -> tuple[dict[str, RouteHold], list[Unreadable]]:
        self.world.called(self.name, "read")
        return dict(self.world.holds), list(self.world.unreadable)

    def take(
        self, table: str, before: RouteHold | None, holder: str, interface: str
    ) -> RouteHold | None:
        self.world.called(self.name, "take")
        version = 1 if before is None else before.version + 1
        return self._swap(table, before, RouteHold(table, holder, interface, version))

    def give_up(self, hold: RouteHold) -> RouteHold | None:
        self.world.called(self.name, "give_up")
        return self._swap(hold.table, hold, replace(hold, holder="", version=hold.version + 1))

    def delete(self, hold: RouteHold) -> bool:
        self.world.called(self.name, "delete")
        if self.world.holds.get(hold.table) != hold:
            return False
        del self.world.holds[hold.table]
        return True

    def _swap(self, table: str, before: RouteHold | None, after: RouteHold) -> RouteHold | None:
        if self.world.holds.get(table) != before:
            return None
        self.world.holds[table] = after
        return after


@dataclass
class Cloud:
    """EC2 and the load balancer."""

    sim: Sim

    def routes(self, tables: Iterable[str], pool: IPv4Network) -> dict[str, Route | None]:
        self._called("look", pool)
        return {name: self.sim.world.routes[name] for name in tables if name in self._there}

    def create_route(self, table: str, pool: IPv4Network, interface: str) -> None:
        self._called("create", pool)
        assert self.sim.world.routes[table] is None, "RouteAlreadyExists"
        self.sim.world.routes[table] = Route(interface)

    def replace_route(self, table: str, pool: IPv4Network, interface: str) -> None:
        self._called("replace", pool)
        assert self.sim.world.routes[table] is not None, "InvalidParameterValue"
        assert not self.sim.world.check[self.sim.name], "EC2 would forward nothing"
        self.sim.world.routes[table] = Route(interface)

    def delete_route(self, table: str, pool: IPv4Network) -> None:
        self._called("delete_route", pool)
        assert self.sim.world.routes[table] is not None, "InvalidRoute.NotFound"
        self.sim.world.routes[table] = None

    def check(self, instance_id: str) -> bool:
        self.sim.world.called(instance_id, "check")
        return self.sim.world.check[instance_id]

    def set_check(self, instance_id: str, *, on: bool) -> None:
        self.sim.world.called(instance_id, "check!")
        self.sim.world.check[instance_id] = on

    def health(self, groups: Iterable[str]) -> dict[str, tuple[str, ...]]:
        self.sim.world.called(self.sim.name, "health")
        world, found = self.sim.world, dict[str, tuple[str, ...]]()
        for name in world.members:
            since, words = world.ill.get(name, (float("inf"), ()))
            found[name] = words if world.now >= since else ("healthy",) * len(list(groups))
        return found

    @property
    def _there(self) -> Any:
        return self.sim.world.routes

    def _called(self, what: str, pool: IPv4Network) -> None:
        assert pool == IPv4Network("100.96.0.0/16")
        self.sim.world.called(self.sim.name, what)


@dataclass
class Gossip:
    """What presence says."""

    sim: Sim

    def others(self, names: frozenset[str]) -> dict[str, Other]:
        sim, everybody = self.sim, self.sim.world.gateways
        found = {}
        for name in names | set(sim.last):
            word = everybody[name].word if name in everybody else SERVING
            found[name] = Other(sim.world.now - sim.last.get(name, sim.started), word)
        return found
