#!/usr/bin/env python3
"""How long a revoked peer's packets pass, on the slower gateway; and an expired one's.

A victim is a WireGuard client that pings the private host every 10 ms through one gateway. Beside
it the same key knocks at the other gateway, a handshake every 50 ms (bench/knocking.py): a key has
one session in a well-kept pair, so what the other gateway would still admit is asked that way. Who
has the session takes turns. A sample is one `scripts/peers revoke`, from the start of its process
to the later of the last ping answered and the last knock answered. Two commands run at once, each
for a victim of its own; they wait for each other's transactions and for the processor, so the
samples are not shorter for it.

Others ping every 10 ms all the while; a ping of theirs that is never answered is lost. Expiry is
measured in the same way, from the expiry's instant, with the cloud as it is and with it stopped.
"""

from __future__ import annotations

if not __package__:
    import start  # noqa: F401  # ty: ignore[import-not-found] - it does not return

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import filling, tunnels
from bench.command import NotMeasured, parser, positive, run
from bench.ground import Ground, load, operators_command, standing, surroundings
from bench.knocking import EVERY, Knocker
from bench.report import Report, percentile
from bench.traffic import Flow, Traffic
from effects import Failed
from lab import process

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address

    from bench.command import Say
    from bench.knocking import Door
    from bench.tunnels import Client, Server

PING_EVERY = 0.01
VICTIMS = 6
AT_ONCE = 2
"""Commands that run at the same time: as many as a small machine has processors. More would wait
for each other before they have done anything."""
OTHERS = 2
"""One on each gateway. With the victims and the two clients of every lab there are ten peers."""
MANY = 10_000
SAMPLES = 100

EXPIRES_AFTER = 10.0
"""Seconds from adding a peer that expires to its end: it has to be live well before."""
LIVE_BEFORE = 2.0
"""Seconds before the end by which all have to be, or the round is void."""
VOID_ROUNDS = 5
ROUNDS = 2
"""Of expiries, with the cloud and without it; each has all victims."""

LIVE_WITHIN = 15.0
SLOW = 3.0
"""Seconds to become live that are worth a line: a handshake was lost on the way, or more."""
FRESH = 0.2
"""A victim counts if a ping of it was answered so shortly before the command began."""
KNOCK_FRESH = 0.5
SILENT_FOR = 1.0
"""Seconds without an answer after which a victim is taken to be cut off."""
SILENT_WITHIN = 30.0
SETTLE = 2.0
"""Seconds after which a ping that has no answer is lost."""


@dataclass
class Victim:
    """A client that is cut off again and again, each time as another peer."""

    client: Client
    doors: Mapping[IPv4Address, Door]
    """The gateway that is knocked at -> how."""
    door: Door

    @property
    def name(self) -> str:
        """The client's."""
        return self.client.name


@dataclass(frozen=True)
class Cut:
    """When one victim was last heard; seconds after the moment it is measured from."""

    peer: str
    ping_gateway: str
    last_ping: float
    knock_gateway: str
    last_knock: float

    @property
    def seconds(self) -> float:
        """On the slower gateway."""
        return max(self.last_ping, self.last_knock)

    def as_json(self) -> dict[str, Any]:
        """A sample."""
        return {**vars(self), "seconds": self.seconds}


class Scene:
    """Clients, their traffic, and the registry they are peers in."""

    def __init__(self, ground: Ground, exits: ExitStack) -> None:
        self.ground, self.stack, self.say = ground, ground.stack, ground.say
        self.server: Server = tunnels.server(ground.stack)
        self.gateways = ground.gateways()
        if len(self.gateways) != 2:  # noqa: PLR2004 - what the promise is about
            raise NotMeasured(f"two gateways are wanted, there are {len(self.gateways)}")
        self._names = {address: name for name, address in self.gateways.items()}
        self._addresses = list(self._names)
        self._count = 0
        self._tag = f"{int(time.time()) % 100_000_000:08d}"
        self.victims = [self._victim(number) for number in range(VICTIMS)]
        self.others = [self._client(f"bench-other{number}", number) for number in range(OTHERS)]
        ground.await_applied()
        everyone = [*(victim.client for victim in self.victims), *self.others]
        flows = [Flow(one.name, one.namespace, str(ground.host), PING_EVERY) for one in everyone]
        self.traffic = exits.enter_context(Traffic(flows, ground.directory / "revocation.pings"))
        self.knocker = exits.enter_context(Knocker())
        names = [one.name for one in everyone]
        self.traffic.await_answers(names, since=time.monotonic(), within=LIVE_WITHIN)

    def _client(self, name: str, number: int) -> Client:
        at = self._addresses[number % len(self._addresses)]
        self.ground.undo(tunnels.delete, self.stack, name)
        return tunnels.create(self.stack, self.server, name, self._addresses, at)

    def _victim(self, number: int) -> Victim:
        client = self._client(f"bench-victim{number}", number)
        doors = tunnels.doors(client.tunnel.client, self.server, client.ports)
        return Victim(client, doors, doors[client.gateway])

    def enliven(self, expires: int | None = None) -> None:
        """Make every victim a new peer that is served by both gateways."""
        fresh = []
        for victim in self.victims:
            self._count += 1
            tunnels.drop_peer(self.stack, victim.client.peer.name)
            name = f"bench-{self._tag}-{self._count}"
            # Before it is there: whoever interrupts does not wait until it is written down
            self.ground.undo(tunnels.drop_peer, self.stack, name)
            fresh.append((victim, *tunnels.add_peer(self.stack, name, expires=expires)))
        applied = self.ground.await_applied()
        began = time.monotonic()
        for place, (victim, peer, identity) in enumerate(fresh):
            # Every client has both gateways in turn, and in each round both have some
            turn = (self._count // len(self.victims) + place) % len(self._addresses)
            mine, other = self._addresses[turn], self._addresses[turn - 1]
            self.knocker.leave(victim.door)
            tunnels.rekey(victim.client, self.server, peer, identity, mine)
            victim.door = victim.doors[other]
            self.knocker.knock(victim.door, identity)
        names = [victim.name for victim in self.victims]
        self.traffic.await_answers(names, since=began, within=LIVE_WITHIN)
        answered = time.monotonic()
        process.await_condition(
            "every victim is admitted by both gateways",
            lambda: all(victim.door.echoes.heard for victim in self.victims),
            timeout=LIVE_WITHIN,
        )
        if time.monotonic() - began > SLOW:
            self.say(
                f"slow: applied after {applied:.1f} s, answered after {answered - began:.1f} s, "
                f"admitted after {time.monotonic() - began:.1f} s"
            )
        time.sleep(2 * KNOCK_FRESH)  # what is cut off has been flowing for a while

    def await_silence(self) -> None:
        """Return once no victim has been answered for a while, by either gateway."""

        def silent() -> bool:
            return time.monotonic() - max(map(self._heard, self.victims)) > SILENT_FOR

        self.traffic.await_true("the victims are cut off", silent, within=SILENT_WITHIN)

    def _heard(self, victim: Victim) -> float:
        pings, knocks = self.traffic.of(victim.name), victim.door.echoes
        return max(pings.last() or 0.0, knocks.last() or 0.0)

    def cut(self, victim: Victim, moment: float) -> Cut | None:
        """When it was last heard after `moment`; None if it was not live before."""
        pings, knocks = self.traffic.of(victim.name), victim.door.echoes
        ping, knock = pings.last(), knocks.last()
        if (pings.last(moment) or 0.0) < moment - FRESH or ping is None:
            return None
        if (knocks.last(moment) or 0.0) < moment - KNOCK_FRESH or knock is None:
            return None
        other = next(one for one in self._addresses if victim.doors[one] is victim.door)
        return Cut(
            peer=victim.client.peer.name,
            ping_gateway=self._names[victim.client.gateway],
            last_ping=ping - moment,
            knock_gateway=self._names[other],
            last_knock=knock - moment,
        )


def revoke(name: str) -> tuple[float, dict[str, Any]]:
    """One command: when it began, and what came of it."""
    began = time.monotonic()
    done = operators_command("peers", "revoke", name, "--json", check=False)
    try:
        told = json.loads(done.stdout)
        return began, {
            "confirmed": bool(told["confirmed"]),
            "command": time.monotonic() - began,
            "confirmed_by": {one["id"]: one["seconds"] for one in told["gateways"]},
        }
    except (ValueError, KeyError, TypeError) as err:
        raise Failed(["peers", "revoke", name], done.status, done.stderr) from err


def revocations(scene: Scene, peers: int, wanted: int) -> list[dict[str, Any]]:
    """At least so many samples with so many peers in the registry."""
    samples: list[dict[str, Any]] = []
    void = 0
    while len(samples) < wanted:
        scene.enliven()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            names = [victim.client.peer.name for victim in scene.victims]
            done = list(pool.map(revoke, names))
        scene.await_silence()
        for victim, (began, told) in zip(scene.victims, done, strict=True):
            found = scene.cut(victim, began)
            if found is None:
                void += 1
            else:
                samples.append({"kind": "revocation", "peers": peers, **found.as_json(), **told})
        if void > wanted:
            raise NotMeasured(f"{void} victims were not live when their command began")
        worst = max(samples, key=lambda sample: sample["seconds"])
        scene.say(
            f"{peers} peers: {len(samples)} revocations, longest {worst['seconds']:.2f} s, "
            f"its command {worst['command']:.2f} s"
        )
    return samples


def expiries(scene: Scene, peers: int, rounds: int, *, cloud: bool) -> list[dict[str, Any]]:
    """Peers that expire, with the cloud there or stopped."""
    samples: list[dict[str, Any]] = []
    void = 0
    while len(samples) < rounds * len(scene.victims):
        at = int(time.time() + EXPIRES_AFTER + 1)
        try:
            scene.enliven(expires=at)
        except TimeoutError as err:
            scene.say(f"void: {err}")
        moment = time.monotonic() + at - time.time()
        if moment - time.monotonic() < LIVE_BEFORE:
            void += 1
            if void > VOID_ROUNDS:
                raise NotMeasured(f"peers were not live within {EXPIRES_AFTER:g} s")
            continue
        with nullcontext() if cloud else scene.ground.without_cloud():
            time.sleep(max(0.0, moment - time.monotonic()))
            scene.await_silence()
        for victim in scene.victims:
            found = scene.cut(victim, moment)
            if found is None:
                raise NotMeasured(f"{victim.client.peer.name} was cut off before it expired")
            samples.append({"kind": "expiry", "cloud": cloud, "peers": peers, **found.as_json()})
        worst = max(sample["seconds"] for sample in samples)
        scene.say(f"expiry, cloud {'there' if cloud else 'stopped'}: latest {worst:.2f} s")
    return samples


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The whole bench."""
    with standing("revocation", say) as ground, ExitStack() as exits:
        conditions = dict(surroundings(ground))
        scene = Scene(ground, exits)
        began = time.monotonic()
        few = len(ground.stack.registry.peers()[0])
        say(f"{len(scene.victims)} victims and {len(scene.others)} others are live")
        samples = revocations(scene, few, options.samples)
        samples += expiries(scene, few, options.rounds, cloud=True)
        samples += expiries(scene, few, options.rounds, cloud=False)
        say(f"putting {options.peers} peers into the registry")
        filled, head = filling.fill(ground.stack, options.peers)
        ground.undo(filling.empty, ground.stack, filled)
        say(f"applied after {ground.await_applied(head):.1f} s")
        samples += revocations(scene, options.peers, options.samples)
        samples += expiries(scene, options.peers, options.rounds, cloud=False)
        ended = time.monotonic()
        time.sleep(SETTLE)
        others = others_of(scene, began, ended)
        conditions |= {
            "peers_few": few,
            "peers_many": len(filled.peers) + few,
            "victims": len(scene.victims),
            "revocations_at_once": AT_ONCE,
            "others": len(scene.others),
            "ping_every": PING_EVERY,
            "knock_every": EVERY,
            "sender_late_max": scene.traffic.sender_late_max(),
            "cloud_stopped_by": "SIGSTOP: its connections hang",
            "load_after": load(),
            "unimproved": "none: stock WireGuard has no revocation to compare with",
        }
    figures = figures_of(samples, options.peers) | others
    for kind, size in (("revocation", few), ("revocation", options.peers)):
        chosen = [s for s in samples if s["kind"] == kind and s["peers"] == size]
        conditions[f"samples_{'few' if size == few else 'many'}"] = len(chosen)
    conditions["samples_expiry"] = sum(sample["kind"] == "expiry" for sample in samples)
    return Report("revocation", figures, conditions, samples)


def others_of(scene: Scene, began: float, ended: float) -> dict[str, float]:
    """What everybody else noticed."""
    echoes = [scene.traffic.of(one.name) for one in scene.others]
    return {
        "others_lost": sum(len(one.lost(began, ended)) for one in echoes),
        "others_sent": sum(len(one.probes(began, ended)) for one in echoes),
        "others_longest_silence": max(one.longest_silence(began, ended) for one in echoes),
    }


def figures_of(samples: Sequence[Mapping[str, Any]], many: int) -> dict[str, float]:
    """The figures. Pure. A p99 of fewer than 100 samples is left out: it would not be one."""
    figures: dict[str, float] = {}
    for label, is_many in (("10", False), ("10000", True)):
        cuts = [
            sample
            for sample in samples
            if sample["kind"] == "revocation" and (sample["peers"] == many) is is_many
        ]
        seconds = [sample["seconds"] for sample in cuts]
        figures[f"p50_{label}"] = percentile(seconds, 50)
        if len(seconds) >= SAMPLES:
            figures[f"p99_{label}"] = percentile(seconds, 99)
        figures[f"max_{label}"] = max(seconds)
        figures[f"command_p50_{label}"] = percentile([one["command"] for one in cuts], 50)
        figures[f"unconfirmed_{label}"] = sum(not one["confirmed"] for one in cuts)
        figures[f"passed_after_confirmation_{label}"] = sum(
            one["confirmed"] and one["seconds"] > one["command"] for one in cuts
        )
    late = {
        cloud: [s["seconds"] for s in samples if s["kind"] == "expiry" and s["cloud"] is cloud]
        for cloud in (True, False)
    }
    figures["expiry_late_max"] = max(*late[True], *late[False])
    figures["expiry_late_max_cloud_there"] = max(late[True])
    figures["expiry_late_max_cloud_stopped"] = max(late[False])
    return figures


def main(argv: Sequence[str]) -> int:
    """Run the bench and return its exit status."""
    options = parser("revocation", __doc__ or "")
    options.add_argument(
        "--samples", type=positive, default=SAMPLES, help="revocations of each kind; default 100"
    )
    options.add_argument(
        "--peers", type=positive, default=MANY, help="in the registry, of the many; default 10000"
    )
    options.add_argument(
        "--rounds", type=positive, default=ROUNDS, help="of expiries of each kind; default 2"
    )
    return run(options, measure, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
