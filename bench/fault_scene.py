"""What a fault is tried on: two gateways with clients on each, and somebody who watches.

Clients ping all the time, through all faults; before each fault they are spread over the gateways
again. The load balancer's word about the gateways is taken down as it changes.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from bench import answers, harm, outcomes, tunnels
from bench.command import NotMeasured
from bench.outcomes import Check, Health, Outcome
from bench.traffic import Flow, Traffic
from effects import Failed, Refusal, run
from lab import machine, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import ExitStack
    from ipaddress import IPv4Address

    from bench.ground import Ground
    from bench.tunnels import Client

PING_EVERY = 0.05
CLIENTS = 6
"""Half of them on each gateway."""

LOOK_EVERY = 0.02
"""Seconds between two looks at what the load balancer says."""

ANSWER = 1.0
"""Seconds after which a ping that has no answer is lost."""

CALM_WITHIN = 60.0
LEFT_WITHIN = 40.0
TWO_WITHIN = 200.0
KNOWN_WITHIN = 20.0
LET_GO_WITHIN = 15.0


class Watch:
    """What the load balancer says of the gateways, with the time; while the context lasts."""

    def __init__(self) -> None:
        self.history: list[Health] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ended.set()
        self._thread.join()

    @property
    def now(self) -> frozenset[str]:
        """The gateways that are healthy."""
        return self.history[-1].gateways if self.history else frozenset()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_EVERY):
            with contextlib.suppress(OSError, ValueError):
                found = answers.healthy()
                if not self.history or found != self.now:
                    self.history.append(Health(time.monotonic(), found))


@dataclass
class Fault:
    """One fault while it happens."""

    scene: Scene
    name: str
    victim: str
    """The gateway that has it."""
    other: str
    addresses: Mapping[str, IPv4Address]
    there: list[Client]
    elsewhere: list[Client]
    exits: ExitStack
    begin: float
    ended: float | None = None
    """When what was done was undone, if it was."""
    everybody: bool = False
    """Both gateways have it."""
    served_after: float = 0.0
    checks: list[Check] = field(default_factory=list)

    def say(self, text: str) -> None:
        """A line of progress."""
        self.scene.say(f"{self.name}: {text}")

    def begins(self) -> None:
        """Now: what was before belongs to the preparations."""
        self.begin = time.monotonic()

    def ends(self) -> None:
        """Undo what was done; from now on nobody should lose anything."""
        self.exits.close()
        self.ended = time.monotonic()

    def check(self, what: str, so: bool) -> None:
        """Note whether something is so that has to be."""
        self.checks.append(Check(what, so))
        if not so:
            self.say(f"not so: {what}")

    def comes_true(self, what: str, seen: Callable[[], bool], within: float) -> None:
        """Note whether it becomes so in time."""
        began = time.monotonic()
        try:
            await_seen(what, seen, within)
        except TimeoutError:
            self.check(f"{what} within {within:g} s", so=False)
        else:
            self.say(f"{what}: after {time.monotonic() - began:.1f} s")
            self.check(f"{what} within {within:g} s", so=True)

    @property
    def ground(self) -> Ground:
        """Where it happens."""
        return self.scene.ground

    def served(self) -> None:
        """Now both gateways serve by their own word, whether or not anybody had noticed."""
        self.served_after = time.monotonic() - self.begin

    def until_left(self) -> None:
        """Until the load balancer has let go of the victim, and its clients are answered."""
        self.scene.await_left(self.victim, self.begin)
        moved = time.monotonic()
        names = [client.name for client in self.there]
        with contextlib.suppress(TimeoutError):  # then that is what they saw
            self.scene.traffic.await_answers(names, since=moved, within=LEFT_WITHIN)

    def until_two(self, within: float = TWO_WITHIN) -> None:
        """Until two gateways are healthy."""
        self.scene.await_two(within)

    def victim_lets_go(self) -> None:
        """Note whether the victim forgets the sessions that went elsewhere meanwhile."""
        keys = [client.identity.public_text for client in self.there]

        def gone() -> bool:
            listed = harm.sessions(self.victim)
            return all(harm.has_let_go(listed, key) for key in keys)

        self.comes_true("the gateway forgets the clients it has lost", gone, LET_GO_WITHIN)


def await_seen(what: str, seen: Callable[[], bool], within: float) -> None:
    """Return once `seen()`; what it asks of machines may fail meanwhile. Raises `TimeoutError`."""

    def looked() -> bool:
        try:
            return seen()
        except (OSError, Failed, Refusal, KeyError, ValueError):
            return False

    process.await_condition(what, looked, timeout=within, interval=0.2)


class Scene:
    """Gateways, clients, traffic, watch."""

    def __init__(self, ground: Ground, exits: ExitStack) -> None:
        self.ground, self.say = ground, ground.say
        self.server = tunnels.server(ground.stack)
        if self.server.generation != 1:
            raise NotMeasured(f"the lab serves server key {self.server.generation}, not 1")
        gateways = ground.gateways()
        places = list(gateways.values())
        self.clients = []
        for number in range(CLIENTS):
            name = f"bench-client{number}"
            ground.undo(tunnels.delete, ground.stack, name)
            at = places[number % len(places)]
            self.clients.append(tunnels.create(ground.stack, self.server, name, places, at))
        for gateway in gateways:
            self._await_admitted(gateway)
        flows = [
            Flow(one.name, one.namespace, str(ground.host), PING_EVERY) for one in self.clients
        ]
        self.traffic = exits.enter_context(Traffic(flows, ground.directory / "faults.pings"))
        self.watch = exits.enter_context(Watch())

    def _await_admitted(self, gateway: str) -> None:
        """Until it knows all clients. Not by their confirmation: a member that a former case has
        killed is asked for it until its hook's time is up."""
        keys = {client.identity.public_text for client in self.clients}

        def admitted() -> bool:
            return keys <= set(answers.inside(gateway, "wg", "show", "wg0", "peers").split())

        await_seen(f"{gateway} admits the clients", admitted, KNOWN_WITHIN)

    def settle(self, name: str, exits: ExitStack) -> Fault:
        """Two healthy gateways that know each other's sessions, half of the clients on each."""
        self.await_two(TWO_WITHIN)
        addresses = {one: at for one, at in self.ground.gateways().items() if one in self.watch.now}
        if len(addresses) != outcomes.TWO:
            raise NotMeasured(f"two gateways are wanted, there are {len(addresses)}")
        victim, other = addresses
        half = len(self.clients) // 2
        there, elsewhere = self.clients[:half], self.clients[half:]
        for clients, gateway in ((there, victim), (elsewhere, other)):
            for client in clients:
                tunnels.lead(client, self.server, addresses[gateway])
        self._await_calm(there, victim)
        self._await_calm(elsewhere, other)
        for gateway in addresses:
            self._await_known(gateway)
        return Fault(
            scene=self,
            name=name,
            victim=victim,
            other=other,
            addresses=addresses,
            there=there,
            elsewhere=elsewhere,
            exits=exits,
            begin=time.monotonic(),
        )

    def _await_calm(self, clients: Iterable[Client], gateway: str) -> None:
        names = [client.name for client in clients]
        self.traffic.await_answers(names, since=time.monotonic(), within=CALM_WITHIN)
        keys = [client.identity.public_text for client in clients]

        def shaken() -> bool:
            at = answers.shaken(gateway)
            return all(at.get(key) for key in keys)

        await_seen(f"{gateway} has its clients", shaken, CALM_WITHIN)

    def _await_known(self, gateway: str) -> None:
        """Until it knows of at least as many sessions elsewhere as there are clients there."""

        def known() -> bool:
            return answers.metrics(gateway)["gatepair_remote_sessions"] >= len(self.clients) // 2

        await_seen(f"{gateway} knows the other's sessions", known, KNOWN_WITHIN)

    def await_left(self, gateway: str, begin: float) -> float:
        """When the load balancer let go of a gateway."""
        process.await_condition(
            f"the load balancer lets go of {gateway}",
            lambda: outcomes.left(self.watch.history, gateway, begin) is not None,
            timeout=LEFT_WITHIN,
        )
        return outcomes.left(self.watch.history, gateway, begin) or begin

    def await_two(self, within: float) -> None:
        """Until two gateways are healthy."""
        process.await_condition(
            "two healthy gateways", lambda: len(self.watch.now) >= outcomes.TWO, timeout=within
        )

    def outcome(self, fault: Fault) -> Outcome:
        """What came of it; waits for the answers of the last pings."""
        end = time.monotonic()
        time.sleep(ANSWER)
        ends = end if fault.ended is None else min(fault.ended, end)
        groups = {
            True: [self.traffic.of(one.name) for one in fault.there],
            False: [self.traffic.of(one.name) for one in fault.elsewhere],
        }
        if fault.everybody:
            groups = {True: [*groups[True], *groups[False]], False: []}
        history = list(self.watch.history)
        moved = None if fault.everybody else outcomes.left(history, fault.victim, fault.begin)
        lost_after = None
        if fault.ended is not None:
            everyone = [*groups[True], *groups[False]]
            lost_after = sum(len(one.lost(ends, end)) for one in everyone)
        back = outcomes.redundant_after(history, fault.begin)
        return Outcome(
            name=fault.name,
            there=outcomes.seen(groups[True], fault.begin, end),
            others=outcomes.seen(groups[False], fault.begin, end),
            detection=None if moved is None else moved - fault.begin,
            resumed=None if moved is None else outcomes.resumed(groups[True], moved),
            back=None if back is None else max(back, fault.served_after),
            lost_after=lost_after,
            checks=tuple(fault.checks),
        )


def journal(gateway: str, unit: str) -> str:
    """What a unit on a gateway has said since it was booted."""
    return run(
        machine.command_in(gateway, ["journalctl", "-b", "-u", unit, "--no-pager", "-o", "cat"])
    ).stdout
