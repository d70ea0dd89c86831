"""The rounds of a failover bench: a gateway dies, or clients come to the other one and back.

A scene has clients, their traffic, the two gateways, and what has been measured so far. A round
begins when the gateway that will have to serve is well and knows of the others' sessions; what goes
wrong in it voids it, and the next one begins.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import death, flows, roaming, tunnels
from bench.answers import shaken
from bench.command import NotMeasured
from bench.outages import SECOND_WITHIN, aftermath, outage
from bench.pair import Pair, busiest
from bench.report import percentile
from bench.traffic import Flow, Traffic
from effects import Failed
from lab import process

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import ExitStack
    from ipaddress import IPv4Address

    from bench.ground import Ground
    from bench.outages import Outage
    from bench.roaming import Roamer

    Sample = dict[str, Any]

PING_EVERY = 0.1
LIVE_WITHIN = 30.0
SETTLE = 4.0
"""Seconds after a round in which the next one is not begun."""
DETECTED_LIMIT = 20.0
"""Seconds for the checks to find a dead gateway: interval 5, timeout 2, threshold 2 make 12."""
TAKEOVER_LIMIT = 20.0
STOCK_LIMIT = 45.0
"""Seconds after detection from which on a client is taken not to resume."""
IDLE_AFTER = 2.0
"""Seconds after the others have resumed until the idle ones send: one thing at a time."""
IDLE_LIMIT = 8.0
IDLE_UP_TO = 5.0
"""Seconds of forced detection up to which the idle take part: a keepalive comes every 25."""
KEPT_ALIVE = 35.0
"""Seconds in which an idle client sends something: its keepalive is due every 25."""
LOOK_AT_IDLE_EVERY = 1.0
"""Seconds; WireGuard says in whole ones when it shook hands."""
IDLE_STOCK_LIMIT = 200.0
"""Seconds: a stock client makes a new session once the last is 120 s old, at its next keepalive."""
LOOK_EVERY = 0.1
BAD_ROUNDS = 5


@dataclass(frozen=True)
class Strike:
    """A gateway's death, and the client flows that went to it."""

    victim: IPv4Address
    survivor: IPv4Address
    at: float
    on: tuple[Roamer, ...]
    idle: tuple[Roamer, ...]


class Scene:
    """Clients, their traffic, the two gateways, and what has been measured so far."""

    def __init__(self, ground: Ground, exits: ExitStack, options: argparse.Namespace) -> None:
        self.ground, self.say, self.options = ground, ground.say, options
        self.pair = Pair(ground)
        self.server = tunnels.server(ground.stack)
        self.samples: list[Sample] = []
        self.void: Counter[str] = Counter()
        self._open: list[tuple[Sample, str, float]] = []
        ground.undo(death.heal)
        to = (self.server.address, self.server.port)
        self.watch = exits.enter_context(flows.Watch(to))
        at = next(iter(self.pair.addresses.values()))
        self.active = [self._client(f"bench-a{n}", n, at) for n in range(options.clients)]
        self.idle = [self._client(f"bench-i{n}", 0, at) for n in range(options.idle)]
        ground.await_applied()
        target = str(ground.host)
        self._flows = [Flow(r.name, r.client.namespace, target, PING_EVERY) for r in self.active]
        self._idle_flows = [Flow(r.name, r.client.namespace, target, PING_EVERY) for r in self.idle]
        file = ground.directory / "failover.pings"
        self.traffic = exits.enter_context(Traffic(self._flows, file))
        names = [one.name for one in self.active]
        self.traffic.await_answers(names, since=time.monotonic(), within=LIVE_WITHIN)

    def _client(self, name: str, number: int, at: IPv4Address) -> Roamer:
        stack = self.ground.stack
        self.ground.undo(tunnels.delete, stack, name)
        addresses = self.pair.addresses.values()
        return roaming.create(
            stack, self.server, name, list(addresses), at, moves_house=bool(number % 2)
        )

    # -------------------------------------------------------------- before and after an event

    def steady(self) -> None:
        """Return once a gateway may die: the other one is well, knows all, and everybody talks."""
        began = time.monotonic()
        self.pair.await_well()
        time.sleep(max(0.0, SETTLE - (time.monotonic() - began)))
        names = [one.name for one in self.active]
        self.traffic.await_answers(names, since=time.monotonic(), within=STOCK_LIMIT)

    def close(self) -> None:
        """What is still watched ends here: something is about to happen."""
        now = time.monotonic()
        for sample, name, resumed in self._open:
            seen = aftermath(self.traffic.of(name), resumed, now)
            sample["watched"] = seen.watched
            sample["longest_silence_after"] = seen.longest_silence
        self._open = []

    def watch_on(self) -> None:
        """Watch all who have resumed for as long as a second outage would count."""
        time.sleep(min(self.options.watch, SECOND_WITHIN))
        self.close()

    def take(self, sample: Sample, found: Outage, name: str) -> None:
        """Keep a sample, and watch on."""
        sample |= {"gap": found.gap, "resumed": found.resumed is not None}
        self.samples.append(sample)
        if found.resumed is not None:
            self._open.append((sample, name, found.resumed))

    def await_resumed(self, events: Mapping[str, float], until: float) -> None:
        """Return once all these clients have an answer to what they sent after their event."""
        missing = dict(events)
        while missing and time.monotonic() < until:
            time.sleep(LOOK_EVERY)
            missing = {
                name: event
                for name, event in missing.items()
                if self.traffic.of(name).first_fresh(event) is None
            }
        if missing:
            self.say(f"not resumed: {', '.join(sorted(missing))}")

    def attempt(self, what: str, once: Callable[[], object]) -> None:
        """One round. What goes wrong in it is said, and the next one begins, up to a number."""
        if self.void["rounds"] > BAD_ROUNDS:
            self.void["rounds_left_out"] += 1
            return
        try:
            once()
        except (NotMeasured, TimeoutError, Failed, OSError) as err:
            self.say(f"{what}: void: {err}")
            self.void["rounds"] += 1
        finally:
            death.heal()
            self.pair.detect_by_checks()

    # -------------------------------------------------------------- a gateway dies

    def serving(self) -> str:
        """Id of the gateway to which most of the clients' flows go."""
        return busiest(flows.present(), (one.at for one in self.active), self.pair.addresses)

    def strike(self, forced: float | None, *, kill: bool = False) -> Strike:
        """Let the gateway that serves die, and the load balancer find out."""
        victim = self.serving()
        survivor = self.pair.other(victim)
        address = self.pair.addresses[victim]
        there = flows.present()
        on, idle = (
            tuple(one for one in some if there.get(one.at) == address)
            for some in (self.active, self.idle)
        )
        self.void["elsewhere"] += len(self.active) - len(on)
        if forced is None:
            self.pair.detect_by_checks()
        else:
            self.pair.detect_nothing()
        self.close()
        at = death.kill(victim) if kill else death.cut(victim)
        if forced is not None:
            time.sleep(max(0.0, at + forced - time.monotonic()))
            self.pair.detect_now(victim)
        return Strike(address, self.pair.addresses[survivor], at, on, idle)

    def die(
        self, number: int, forced: float | None, *, kill: bool = False, idle: bool = False
    ) -> None:
        """One round: a gateway dies, everybody resumes, it comes back."""
        self.steady()
        struck = self.strike(forced, kill=kill)
        limit = TAKEOVER_LIMIT if self.pair.takeover else STOCK_LIMIT
        until = struck.at + (DETECTED_LIMIT if forced is None else forced) + limit
        self.await_resumed({one.name: struck.at for one in struck.on}, until)
        made = [self._died(one, struck, forced, kill=kill, number=number) for one in struck.on]
        if idle:
            time.sleep(IDLE_AFTER)
            self._wake(struck, number)
        what = "stock" if not self.pair.takeover else "killed" if kill else "takeover"
        label = "the checks'" if forced is None else f"{forced:g} s"
        self.say(f"{what}, detection {label}, round {number}: {summary(made)}")

    def _died(
        self, one: Roamer, struck: Strike, forced: float | None, *, kill: bool, number: int
    ) -> Sample | None:
        found = outage(self.traffic.of(one.name), struck.at, time.monotonic())
        if found is None:
            self.void["silent_before"] += 1
            return None
        sample: Sample = {
            "kind": "death",
            "takeover": self.pair.takeover,
            "how": "killed" if kill else "cut",
            "forced": forced,
            "round": number,
            "client": one.name,
        }
        # The load balancer may have been told while the death was still being written down
        left = self.watch.left(one.at, struck.victim, struck.at - 1)
        came = self.watch.came(one.at, struck.survivor, struck.at - 1)
        if left is not None:
            sample["detection"] = left - struck.at
            sample["minus_detection"] = found.gap - (left - struck.at)
        if came is not None and found.resumed is not None:
            sample["first_packet_to_answer"] = found.resumed - came
        self.take(sample, found, one.name)
        return sample

    def _wake(self, struck: Strike, number: int) -> None:
        """The idle send again, while the gateway that had their sessions is dead."""
        chosen = {one.name: one for one in struck.idle}
        some = [flow for flow in self._idle_flows if flow.name in chosen]
        if not some:
            return
        with Traffic(some, self.ground.directory / "failover.idle-pings") as traffic:
            end = time.monotonic() + IDLE_LIMIT
            while time.monotonic() < end:
                time.sleep(LOOK_EVERY)
                if all(traffic.of(flow.name).heard for flow in some):
                    break
        for flow in some:
            one, echoes = chosen[flow.name], traffic.of(flow.name)
            first = echoes.sent[0]
            came = self.watch.came(one.at, struck.survivor, struck.at - 1)
            if came is None or came < first - PING_EVERY / 2:
                self.void["idle_kept_alive_before"] += 1
                continue
            heard = echoes.first(first)
            sample: Sample = {
                "kind": "idle",
                "takeover": True,
                "round": number,
                "client": one.name,
                "seconds": (end if heard is None else heard) - first,
                "resumed": heard is not None,
            }
            self.samples.append(sample)

    # -------------------------------------------------------------- a client comes to the other

    def move(self, kind: str, number: int, to: Mapping[str, flows.Source], there: str) -> None:
        """Let every client be at another place, which leads to the gateway `there`."""
        for one in self.active:
            roaming.prepare(one, to[one.name])
        self.close()
        before = {one.name: one.at for one in self.active}
        events = {one.name: roaming.roam(one, to[one.name]) for one in self.active}
        limit = TAKEOVER_LIMIT if self.pair.takeover else STOCK_LIMIT
        self.await_resumed(events, max(events.values()) + limit)
        landed = flows.present()
        made = []
        for one in self.active:
            found = outage(self.traffic.of(one.name), events[one.name], time.monotonic())
            if found is None or landed.get(one.at) != self.pair.addresses[there]:
                self.void["silent_before" if found is None else "not_landed"] += 1
                continue
            sample: Sample = {
                "kind": kind,
                "takeover": self.pair.takeover,
                "round": number,
                "client": one.name,
                "by": "port" if before[one.name].address == one.at.address else "address",
            }
            self.take(sample, found, one.name)
            made.append(sample)
        what = "takeover" if self.pair.takeover else "stock"
        self.say(f"{what}, {kind}, round {number}: {summary(made)}")

    def roam(self, number: int) -> None:
        """One round: all clients come to the other gateway, and back to the first."""
        self.steady()
        first = self.serving()
        other = self.pair.other(first)
        home, away = self.pair.addresses[first], self.pair.addresses[other]
        self.move("roaming", number, {one.name: one.away[away] for one in self.active}, other)
        self.steady()
        self.move("failback", number, {one.name: one.home[home] for one in self.active}, first)

    # -------------------------------------------------------------- as it is without

    def stock(self) -> None:
        """WireGuard alone."""
        self.pair.switch(takeover=False)
        self.attempt("stock, idle", self._stock_with_idle)
        for number in range(2, self.options.stock_rounds + 1):
            self.attempt("stock", lambda number=number: self.die(number, None))
        self.close()

    def _stock_with_idle(self) -> None:
        """The first round, with the idle; while they wait for a new session the others roam.

        The gateway that died is back by then: to the idle it is nothing, once a keepalive of each
        has gone to the survivor. (Were it back before, some would come to it with a session that it
        still has, as a gateway that was killed has not.)
        """
        self.steady()
        self._renew_idle()
        struck = self.strike(None)
        died = time.time()
        self.await_resumed(
            {one.name: struck.at for one in struck.on}, struck.at + DETECTED_LIMIT + STOCK_LIMIT
        )
        made = [self._died(one, struck, None, kill=False, number=1) for one in struck.on]
        self.say(f"stock, detection the checks', round 1: {summary(made)}")
        self._await_moved(struck)
        death.heal()
        self.attempt("stock, roaming", lambda: self.roam(1))
        self._await_idle(struck, died)

    def _renew_idle(self) -> None:
        """Sessions that are all as old, and that the clients began: only who began makes anew."""
        began, keys = int(time.time()), {one.client.identity.public_text for one in self.idle}
        for one in self.idle:
            tunnels.renew(one.client)

        def served() -> bool:
            found = shaken(self.serving())
            return all(found.get(key, 0) >= began for key in keys)

        process.await_condition("the idle have sessions", served, timeout=LIVE_WITHIN, interval=0.5)

    def _await_moved(self, struck: Strike) -> None:
        def moved() -> bool:
            there = flows.present()
            return all(there.get(one.at) == struck.survivor for one in struck.idle)

        process.await_condition(
            "the idle have come to the survivor", moved, timeout=KEPT_ALIVE, interval=0.5
        )

    def _await_idle(self, struck: Strike, died: float) -> None:
        (survivor,) = (n for n, a in self.pair.addresses.items() if a == struck.survivor)
        waiting = {one.client.identity.public_text: one for one in struck.idle}
        found: list[Sample] = []
        while waiting and time.time() < died + IDLE_STOCK_LIMIT:
            time.sleep(LOOK_AT_IDLE_EVERY)
            for key, at in shaken(survivor).items():
                if at > died and key in waiting:
                    found.append(self._idle_sample(waiting.pop(key), at - died, resumed=True))
        found += [
            self._idle_sample(one, time.time() - died, resumed=False) for one in waiting.values()
        ]
        self.samples += found
        self.say(f"stock, idle: {summary(found, 'seconds')}")

    def _idle_sample(self, one: Roamer, seconds: float, *, resumed: bool) -> Sample:
        made = {"kind": "idle", "takeover": False, "round": 1, "client": one.name}
        return {**made, "seconds": seconds, "resumed": resumed}

    # -------------------------------------------------------------- with takeover

    def takeover(self) -> None:
        """Everything again, with it."""
        rounds = range(1, self.options.rounds + 1)
        self.pair.switch(takeover=True)
        for forced in (None, *self.options.delays):
            idle = forced is not None and forced <= IDLE_UP_TO
            for number in rounds:
                self.attempt("takeover", lambda f=forced, n=number, i=idle: self.die(n, f, idle=i))
            if forced is None:
                self.watch_on()
        for number in rounds:
            self.attempt("takeover, roaming", lambda number=number: self.roam(number))
        self.watch_on()
        for number in range(1, self.options.kills + 1):
            self.attempt("kill", lambda number=number: self.die(number, None, kill=True))
            self.watch_on()
            self.attempt("kill", self._await_replaced)
        self.close()

    def _await_replaced(self) -> None:
        self.say("waiting for the gateway that takes the killed one's place")
        self.pair.await_serving()


def summary(samples: Iterable[Mapping[str, Any] | None], of: str = "") -> str:
    """One line about a round."""
    found = [one for one in samples if one is not None]
    if not found:
        return "nobody was there"
    name = of or ("minus_detection" if "minus_detection" in found[0] else "gap")
    values = sorted(one[name] for one in found if name in one)
    if not values:
        return f"{len(found)} clients, no detection"
    parts = [f"{len(found)} clients", f"p50 {percentile(values, 50):.2f} s, max {values[-1]:.2f} s"]
    if name == "minus_detection":
        detected = [one["detection"] for one in found if "detection" in one]
        parts.append(f"after a detection of {percentile(detected, 50):.2f} s")
    return ", ".join(parts)
