"""What is done to a deployed stack's gateways, and what its clients felt of it.

Samples have the kinds, and figures the names, that bench/failover.py and bench/drain.py give them,
as far as they can be had from outside. What cannot: when the load balancer let go of a flow, so
that a client's gap is detection and takeover in one; and which gateway a client is on. To know it
all the same, all gateways but one are drained before one is terminated or drained: then everybody
is on that one. Where a client arrives that roams is the load balancer's hash; those that stay on
their gateway are among the samples, and make the median better than that of those who moved.
"""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import drain as drain_bench
from bench import failover as failover_bench
from bench.command import NotMeasured
from bench.crowd import PING_EVERY, SETTLE, felt
from bench.live_clients import LiveClients
from bench.outages import SECOND_WITHIN, Outage, aftermath, outage
from bench.report import Report
from bench.traffic import Flow, Traffic
from commands import draining
from lab import process
from registry.confirmation import Awaited
from registry.items import DRAINED
from registry.situation import look
from registry.waiting import wait

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from bench.command import Say
    from bench.echoes import Echoes
    from registry.situation import Situation
    from registry.stack import Stack

    Sample = dict[str, Any]

APPLIED_WITHIN = 60.0
LIVE_WITHIN = 60.0
DRAINED_WITHIN = 300.0
"""Seconds; a gateway's own deadline is shorter."""
GONE_WITHIN = 600.0
"""Seconds until a terminated gateway is no member any more, which Auto Scaling has to notice."""
WELL_WITHIN = 1200.0
"""Seconds until all gateways serve: a boot, two health checks, the load balancer's own time."""
RESUMED_WITHIN = 120.0
LOOK_EVERY = 1.0
BREATH = 5.0
"""Seconds of pings before each round, so that everybody has had an answer."""


class Scene:
    """The clients and their traffic, and the gateways as AWS tells."""

    def __init__(self, stack: Stack, args: argparse.Namespace, say: Say, exits: ExitStack) -> None:
        self.stack, self.args, self.say, self._exits = stack, args, say, exits
        control = stack.registry.head().control
        self.takeover = control is None or control.takeover
        self.clients = LiveClients(stack, exits, args.target, say)
        for number in range(args.clients):
            self.clients.add(number)
        self._await_applied()
        flows = [
            Flow(one.name, one.namespace, str(args.target), PING_EVERY)
            for one in self.clients.everyone
        ]
        place = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="live-check-")))
        self.traffic = exits.enter_context(Traffic(flows, place / "pings"))
        self.await_answers(LIVE_WITHIN)
        say(f"{len(flows)} clients are answered")

    def _await_applied(self) -> None:
        head, began = self.stack.registry.head(), time.monotonic()
        awaited = Awaited(head.generation, head.epoch)
        waited = wait(
            self.stack.fleet, awaited, began=began, timeout=APPLIED_WITHIN, tell=lambda *_: None
        )
        if not waited.complete:
            silent = ", ".join(one.instance_id for one in waited.silent)
            raise NotMeasured(f"{silent or 'no gateway'} did not apply change {head.generation}")

    # -------------------------------------------------------------- waiting

    def await_answers(self, within: float) -> None:
        """Return once every client has an answer to a ping sent from now on."""
        names = [one.name for one in self.clients.everyone]
        self.traffic.await_answers(names, since=time.monotonic(), within=within)

    def await_resumed(self) -> None:
        """The same; who is not answered by then has its gap all the same."""
        try:
            self.await_answers(RESUMED_WITHIN)
        except TimeoutError as err:
            self.say(str(err))

    def await_situation(
        self, what: str, so: Callable[[Situation], bool], within: float
    ) -> Situation:
        """The gateways, once that is so."""
        found: list[Situation] = []

        def seen() -> bool:
            found[:] = [look(self.stack)]
            return so(found[0])

        process.await_condition(what, seen, timeout=within, interval=LOOK_EVERY)
        return found[0]

    def await_well(self) -> list[str]:
        """The ids of the gateways, once as many as there should be serve."""
        found = self.await_situation("all gateways serve", all_well, WELL_WITHIN)
        return [one.member.instance_id for one in found.gateways]

    # -------------------------------------------------------------- gateways

    def drain(self, gateway: str) -> float:
        """Have a gateway hand its clients over; the seconds that it took."""
        began = time.monotonic()
        # Of an order whose command was killed nobody else would know
        self._exits.callback(self._take_back, gateway)
        draining.order(self.stack, gateway, look(self.stack))
        record = draining.await_drained(self.stack, gateway, timeout=DRAINED_WITHIN)
        seconds = time.monotonic() - began
        if record is None or record.state != DRAINED:
            raise NotMeasured(f"{gateway} did not drain: {draining.described(record)}")
        return seconds

    def _take_back(self, gateway: str) -> None:
        try:
            draining.take_back(self.stack, gateway)
        except Exception as err:  # noqa: BLE001 - the rest has to be undone too
            self.say(f"not undone: the order to drain {gateway}: {err}")

    def gather(self) -> str:
        """Have everybody on one gateway, with all of them serving; its id."""
        *others, last = self.await_well()
        for gateway in others:
            self.drain(gateway)
        self.await_resumed()
        for gateway in others:
            draining.take_back(self.stack, gateway)
        self.await_well()
        time.sleep(BREATH)
        return last

    # -------------------------------------------------------------- rounds

    def failover(self, number: int) -> list[Sample]:
        """The gateway that everybody is on is terminated; another one comes in its place."""
        victim = self.gather()
        began = time.monotonic()
        # Like a machine that lost its power: without a shutdown, which the agent would see
        self.stack.cloud.client("ec2").terminate_instances(
            InstanceIds=[victim], SkipOsShutdown=True
        )
        self.await_situation(
            f"{victim} has left the group",
            lambda found: all(one.member.instance_id != victim for one in found.gateways),
            GONE_WITHIN,
        )
        self.await_well()
        self.await_resumed()
        time.sleep(max(0.0, began + SECOND_WITHIN - time.monotonic()))
        ended = time.monotonic()
        samples = []
        for one in self.clients.everyone:
            echoes = self.traffic.of(one.name)
            found = longest_outage(echoes, began, ended)
            sample = self._sample("death", number, one.name, found) | {
                "how": "terminated without an OS shutdown",
                "forced": None,
            }
            if found.resumed is not None:
                after = aftermath(echoes, found.resumed, ended)
                sample["watched"] = after.watched
                sample["longest_silence_after"] = after.longest_silence
            samples.append(sample)
        return samples

    def drain_once(self, number: int) -> list[Sample]:
        """The gateway that everybody is on is drained, and serves again."""
        gateway = self.gather()
        began = time.monotonic()
        seconds = self.drain(gateway)
        self.await_resumed()
        draining.take_back(self.stack, gateway)
        self.await_well()
        ended = time.monotonic()
        time.sleep(SETTLE)
        return [
            {"kind": "drain", "round": number, "client": one.name, "moved": True}
            | felt(self.traffic.of(one.name), began, ended)
            | {"gateway": gateway, "seconds": seconds}
            for one in self.clients.everyone
        ]

    def roaming(self, number: int) -> list[Sample]:
        """Every client has another port from now on."""
        time.sleep(BREATH)
        events = {one.name: self.clients.move(one) for one in self.clients.everyone}
        self.await_resumed()
        samples = []
        for name, event in events.items():
            found = outage(self.traffic.of(name), event, time.monotonic())
            if found is None:
                self.say(f"round {number}: {name} was silent before")
            else:
                samples.append(self._sample("roaming", number, name, found) | {"by": "port"})
        return samples

    def _sample(self, kind: str, number: int, name: str, found: Outage) -> Sample:
        return {
            "kind": kind,
            "takeover": self.takeover,
            "round": number,
            "client": name,
            "gap": found.gap,
            "resumed": found.resumed is not None,
        }


# ------------------------------------------------------------------ pure


def all_well(found: Situation) -> bool:
    """Whether as many gateways as there should be serve, and none comes or goes. Pure."""
    return found.well and len(found.gateways) == found.desired


def longest_outage(echoes: Echoes, began: float, ended: float) -> Outage:
    """The longest time without an answer between these moments, which was when nobody knows. Pure.

    It began with the last answer before it; a client that is silent at the end has not resumed.
    """
    last = echoes.last(began)
    heard = [at for at in echoes.heard if began < at <= ended]
    moments = [began if last is None else last, *heard, ended]
    gap, place = max((later - one, n) for n, (one, later) in enumerate(pairwise(moments)))
    begin = moments[place]
    return Outage(begin, None if place == len(moments) - 2 and gap > SETTLE else begin + gap, ended)


def figures_of(measurement: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures, by the functions of the benches that have them. Pure."""
    if measurement == "drain":
        figures = drain_bench.figures_of(samples)
        # Everybody was on that gateway: there are no others
        del figures["others_lost"]
        return figures
    figures = failover_bench.named(failover_bench.figures_of(samples))
    if measurement == "roaming":
        # Not looked for
        del figures["second_outages"]
    return figures


# ------------------------------------------------------------------ the whole


def measure(stack: Stack, args: argparse.Namespace, say: Say) -> Report:
    """Measure once; what was made for it is taken back, whatever way it ends."""
    process.end_as_if_interrupted()
    with ExitStack() as exits:
        scene = Scene(stack, args, say, exits)
        once = {
            "failover": scene.failover,
            "drain": scene.drain_once,
            "roaming": scene.roaming,
        }[args.measurement]
        gateways = len(scene.await_well())
        began = time.monotonic()
        samples: list[Sample] = []
        for number in range(1, args.rounds + 1):
            made = once(number)
            samples += made
            gaps = [one.get("gap", one.get("longest_gap", 0.0)) for one in made]
            say(f"round {number}: longest gap {max(gaps, default=0.0):.2f} s")
        if not samples:
            raise NotMeasured("no client was answered before any of the rounds")
        conditions = {
            "stack": stack.name,
            "region": stack.environment.region,
            "cloud": "the lab's" if stack.cloud.endpoint else "AWS",
            "gateways": gateways,
            "takeover": scene.takeover,
            "clients": args.clients,
            "clients_wireguard": "kernel" if scene.clients.kernel else "wireguard-go (user space)",
            "rounds": args.rounds,
            "ping_every": PING_EVERY,
            "target": str(args.target),
            "measured_for": time.monotonic() - began,
            "sender_late_max": scene.traffic.sender_late_max(),
        }
        say("taking back what was made for it")
    return Report(args.measurement, figures_of(args.measurement, samples), conditions, samples)
