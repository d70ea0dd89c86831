"""What bench/connections.py does to gateways while connections are open, in one egress mode.

A round begins when every stream talks, and ends when all is well again and it is known of every
stream what has become of it. So what the way back does to a connection belongs to its round, too.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import time
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from bench import death, flows, tunnels
from bench.command import NotMeasured
from bench.courses import BROKEN_AFTER, judge
from bench.crowd import PING_EVERY, gathered
from bench.flows import Source
from bench.helpers import Helpers
from bench.pair import busiest
from bench.report import percentile
from bench.rotation import await_known, await_served, next_generation
from bench.rounds import DETECTED_LIMIT
from bench.streams import Streams
from bench.traffic import Flow, Traffic
from lab import host, netns, process, rolling

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    from bench.ground import Ground
    from bench.pair import Pair
    from bench.stack_file import StackFile
    from bench.tunnels import Client

    Sample = dict[str, Any]

SNAT, ROUTED = "snat", "routed"
FAILOVER, PLAIN, ROTATION, REPLACE = "failover", "plain_failover", "rotation", "replace"

OTHER_TYPE = "t4g.medium"
FOLLOWED = 60.0
"""Seconds for the gateways, and for the VPC's routes, to follow a change of the mode."""
AFTER = 4.0
"""Seconds of a round after all is well again."""
SETTLED_WITHIN = BROKEN_AFTER + 5.0
_ASK_LIMIT = 3.0


class Deployed:
    """What of the lab's stack file is other than it was, and stays so from step to step."""

    def __init__(self, file: StackFile) -> None:
        self._file = file
        self._values: dict[str, Any] = {}

    def put(self, **values: Any) -> None:
        """Deploy these too; None is as it was. Without a difference nothing is done."""
        merged = {**self._values, **values}
        wanted = {key: value for key, value in merged.items() if value is not None}
        if wanted != self._values:
            self._values = wanted
            self._file.deploy(wanted)

    def __contains__(self, key: str) -> bool:
        """Whether that is other than it was."""
        return key in self._values


@dataclass(frozen=True)
class Basis:
    """What all modes have in common."""

    ground: Ground
    deployed: Deployed
    pair: Pair
    options: argparse.Namespace


class Scene:
    """Clients with open connections, and the two gateways they go through."""

    def __init__(self, basis: Basis, mode: str, exits: ExitStack) -> None:
        """The lab is in that mode from now on; returns once it is."""
        self.ground = ground = basis.ground
        self.stack, self.say, self.mode = ground.stack, ground.say, mode
        self.deployed, self.pair, self.options = basis.deployed, basis.pair, basis.options
        self.void: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        """Event -> rounds that measured."""
        self.clients: Mapping[str, Client] = {}
        self._helped = False
        """Whether helpers have run beside the tunnels."""
        # snat is what the program does by itself
        self.deployed.put(egress=None if mode == SNAT else mode)
        server = tunnels.server(self.stack)
        # Before there are flows: see there
        self.watch = exits.enter_context(flows.Watch((server.address, server.port)))
        exits.callback(self._leave)
        names = [f"bench-held{n}" for n in range(self.options.clients)]
        self.clients = gathered(ground, server, names)
        # Not by the registry's members: one that was killed is one for minutes, and says nothing
        self.pair.await_serving()
        self.say(f"{mode}: {len(names)} clients are there")
        namespaces = {name: one.namespace for name, one in self.clients.items()}
        rate = self.options.kbit * 1000 // 8
        self.streams = exits.enter_context(Streams(ground, namespaces, rate))
        self.streams.renew()
        self._await_mode()
        self.traffic: Traffic | None = None
        if self.options.pings:
            file = ground.directory / "connections.pings"
            pings = [
                Flow(n, place, str(ground.host), PING_EVERY) for n, place in namespaces.items()
            ]
            self.traffic = exits.enter_context(Traffic(pings, file))
        self.say(f"{mode}: {len(self.streams.present())} streams are open")

    def _leave(self) -> None:
        for one in self.clients.values():
            tunnels.delete(self.stack, one.name)
            # Or the next client at that place would find where this one went
            flows.forget([source(one)])

    def _await_mode(self) -> None:
        """Return once the private host sees every client as the mode has it."""

        def so() -> bool:
            return all(
                (seen := seen_as(one, self.ground.host)) is not None
                and (seen == one.peer.address) == (self.mode == ROUTED)
                for one in self.clients.values()
            )

        what = f"the private host sees clients as egress: {self.mode} has it"
        process.await_condition(what, so, timeout=FOLLOWED, interval=0.5)

    def recover(self) -> None:
        """After a round that went wrong: all gateways serve, and all streams talk."""
        death.heal()
        self.pair.await_serving()
        self.streams.renew()

    # -------------------------------------------------------------- what is done to gateways

    def fail(self, *, kill: bool, helped: bool) -> list[Sample]:
        """The gateway that everybody is on dies: its power is cut, or it is cut off and back.

        `helped`: the client helper runs beside each tunnel.
        """
        victim = self._gather()
        self.pair.await_well()
        with self._helpers() if helped else contextlib.nullcontext():
            self.streams.renew()
            address = self.pair.addresses[victim]
            try:
                at = death.kill(victim) if kill else death.cut(victim)
                detected = self._await_detected(address, at)
                self.streams.settle(SETTLED_WITHIN)
            finally:
                death.heal()
        if kill:
            self.pair.await_serving()
        self.pair.await_well()
        facts = {name: {"detection": seconds} for name, seconds in detected.items()}
        event = FAILOVER if helped else PLAIN
        return self._judged(event, at, facts, how="killed" if kill else "cut")

    def rotate(self) -> list[Sample]:
        """The server's key is rotated, and the helpers move their clients."""
        old, new = next_generation(self.stack.registry.head())
        with self._helpers() as helpers:
            self.streams.renew()
            began = time.monotonic()
            self.deployed.put(keyGenerations=[old, new])
            await_served(self.stack, old, new)
            helpers.await_moved(new)
            await_known(self.stack, self.clients, ())
            self.deployed.put(keyGenerations=[new])
            await_served(self.stack, new)
            return self._judged(ROTATION, began, {}, generation=new)

    def replace(self) -> list[Sample]:
        """Both gateways are replaced, one after the other: another launch template, or back."""
        before = set(self.ground.gateways())
        self.streams.renew()
        began = time.monotonic()
        other = None if "instanceType" in self.deployed else OTHER_TYPE
        self.deployed.put(instanceType=other)
        rolling.await_replaced(self.say)
        self.pair.await_serving()
        left = before & set(self.ground.gateways())
        if left:
            raise NotMeasured(f"{', '.join(left)} was not replaced")
        return self._judged(REPLACE, began, {})

    # -------------------------------------------------------------- around it

    def _helpers(self) -> Helpers:
        clients, before = list(self.clients.values()), self._helped
        self._helped = True
        return Helpers(clients, self.options.interval, self.ground.directory, follows=before)

    def _gather(self) -> str:
        """Let every client's flow go to the gateway that most go to; its id."""
        there, server = flows.present(), tunnels.server(self.stack)
        chosen = busiest(there, map(source, self.clients.values()), self.pair.addresses)
        address = self.pair.addresses[chosen]
        led = [one for one in self.clients.values() if there.get(source(one)) != address]
        for one in led:
            tunnels.lead(one, server, address)
        # Or what they have open would belong to the gateway that they are led away from
        self.streams.renew(anew={one.name for one in led})
        return chosen

    def _await_detected(self, victim: IPv4Address, at: float) -> dict[str, float]:
        """Client -> seconds until the load balancer let go of its flow, of those that it did."""
        found: dict[str, float] = {}

        def all_left() -> bool:
            for name, one in self.clients.items():
                # It may have been told while the death was still being written down
                left = self.watch.left(source(one), victim, at - 1)
                if left is not None:
                    found[name] = left - at
            return len(found) == len(self.clients)

        try:
            what = "the load balancer has moved every flow"
            process.await_condition(what, all_left, timeout=DETECTED_LIMIT, interval=0.1)
        except TimeoutError as err:
            self.say(str(err))
        return found

    def _judged(
        self,
        event: str,
        began: float,
        facts: Mapping[str, Mapping[str, float]],
        **common: Any,
    ) -> list[Sample]:
        """A sample for each stream, when it is known what has become of it. `facts`: by client."""
        time.sleep(AFTER)
        self.streams.settle(SETTLED_WITHIN)
        ended = time.monotonic()
        self.done[event] += 1
        samples: list[Sample] = []
        for place, course in self.streams.present().items():
            outcome = judge(course, began, ended)
            if outcome is None:
                self.void["silent_before"] += 1
                continue
            samples.append(
                {
                    "mode": self.mode,
                    "event": event,
                    "round": self.done[event],
                    "client": place.client,
                    "stream": place.kind,
                    "broken": outcome.broken,
                    "stall": outcome.stall,
                    **common,
                    **facts.get(place.client, {}),
                    **self._path(place.client, began, ended),
                }
            )
        self.say(f"{self.mode}, {event} {self.done[event]}: {summary(samples)}")
        return samples

    def _path(self, client: str, began: float, ended: float) -> dict[str, float]:
        """For how long a client's pings were not answered, if it has any."""
        if self.traffic is None:
            return {}
        return {"path_silence": self.traffic.of(client).longest_silence(began, ended)}


def source(client: Client) -> Source:
    """What the load balancer sees of a client."""
    return Source(client.tunnel.client.own_public_address, client.ports[client.gateway])


def seen_as(client: Client, target: IPv4Address) -> IPv4Address | None:
    """The address from which the private host sees a client come; None without an answer."""
    link = http.client.HTTPConnection(str(target), host.HTTP, timeout=_ASK_LIMIT)
    with contextlib.closing(link):
        try:
            with netns.inside(client.namespace):
                link.connect()
            link.request("GET", "/")
            said = json.loads(link.getresponse().read())
            return IPv4Address(said["you"].rpartition(":")[0])
        except (OSError, http.client.HTTPException, ValueError):
            return None


def summary(samples: Sequence[Mapping[str, Any]]) -> str:
    """One line about a round. Pure."""
    if not samples:
        return "no stream was at work"
    broken = Counter(one["broken"] for one in samples if one["broken"])
    stalls = [one["stall"] for one in samples]
    words = [
        f"{len(samples)} streams",
        ", ".join(f"{number} {how}" for how, number in sorted(broken.items())) or "none broken",
        f"stall p50 {percentile(stalls, 50):.2f} s, max {max(stalls):.2f} s",
    ]
    detected = [one["detection"] for one in samples if "detection" in one]
    if detected:
        words.append(f"after a detection of {percentile(detected, 50):.2f} s")
    return "; ".join(words)
