#!/usr/bin/env python3
"""What clients feel when a gateway is drained, and when both are replaced by another template.

Every client pings the private host every 0.1 s. Four things are done to their gateways, in turn:

* drain: `scripts/gateways drain` of the one that most clients are on, then `--withdraw`. Again and
  again, so that a hundred clients and more were moved.
* replace: another launch template is deployed by the stack file (`instanceType`); Auto Scaling
  replaces both gateways, one after the other, by the group's own policy. The next time goes back.
* terminated: the gateway is terminated without a drain. The lab's load balancer leaves such a one
  at once; how long AWS's takes is not yet measured. A death that nobody ordered is another bench.
* stock: a drain with `takeover: false`, as any WireGuard behind a load balancer would have it.

A sample is one client in one of these: its longest time without an answer and its lost pings, from
the command's start until both gateways serve again. `moved` is whether it had its session on a
gateway that went. To lose nothing at all is another matter: docs/adr/0010-drain-and-replacement.md.
"""

from __future__ import annotations

if not __package__:
    import start  # noqa: F401  # ty: ignore[import-not-found] - it does not return

import json
import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from bench import tunnels
from bench.answers import await_takeover, shaken
from bench.command import NotMeasured, count, parser, positive, run
from bench.crowd import COUNT, PING_EVERY, SETTLE, Crowd, felt
from bench.ground import Ground, load, operators_command, standing, surroundings
from bench.report import ENOUGH_FOR_P99, Report, percentile
from bench.stack_file import StackFile
from commands import draining
from effects import Failed
from lab import process, rolling
from registry.situation import look

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from bench.command import Say

DRAINS = 6
"""The first moves half of the clients, each further one all of them: 110 samples of 20 clients."""
REPLACEMENTS = 2
"""There and back: a lab that was up before then has its own launch template again."""
TERMINATIONS = 1
STOCK = 1
VOID_ROUNDS = 2

OTHER_TYPE = "t4g.medium"

DRAIN_LIMIT = 240.0
"""Seconds; the command's own."""
RESUMED_WITHIN = 60.0
WELL_WITHIN = 120.0
APPLIED_WITHIN = 30.0
BREATH = 1.0
"""Seconds of pings before each round."""


class Scene:
    """The clients, and the gateways that they are on."""

    def __init__(self, ground: Ground, exits: ExitStack, size: int) -> None:
        self.ground, self.stack, self.say = ground, ground.stack, ground.say
        # First, as it may refuse; so it is also the last that is undone
        self.file = StackFile(ground, {})
        names = [f"bench-moved{n}" for n in range(size)]
        self.crowd = Crowd(ground, exits, tunnels.server(ground.stack), names, "drain")
        self.values: dict[str, Any] = {}
        """What is deployed now, that the stack file does not say."""

    def gateways(self) -> list[str]:
        """The ids of those that are not about to go."""
        return sorted(
            one.member.instance_id for one in look(self.stack).gateways if not one.member.leaving
        )

    def holders(self) -> dict[str, str]:
        """Client -> the gateway that it last shook hands with."""
        shook = {gateway: shaken(gateway) for gateway in self.gateways()}
        return {
            name: max(
                shook, key=lambda one, key=client.identity.public_text: shook[one].get(key, 0)
            )
            for name, client in self.crowd.clients.items()
        }

    def await_resumed(self) -> None:
        """Return once every client is answered. One that is not by then has its gap all the same:
        it is no reason to do the round again."""
        try:
            self.crowd.await_answers(within=RESUMED_WITHIN)
        except TimeoutError as err:
            self.say(str(err))

    def await_well(self) -> None:
        """Return once there are as many gateways as there should be, all serve, and none leaves."""

        def well() -> bool:
            found = look(self.stack)
            return found.well and len(found.gateways) == found.desired

        process.await_condition("all gateways serve", well, timeout=WELL_WITHIN, interval=0.5)

    def recover(self) -> None:
        """After a round that went wrong: all gateways serve, all clients are answered."""
        for gateway in self.gateways():
            draining.take_back(self.stack, gateway)
        self.await_well()
        self.crowd.await_answers(within=RESUMED_WITHIN)

    def felt(
        self, kind: str, span: tuple[float, float], moved: Mapping[str, bool], **facts: Any
    ) -> list[dict[str, Any]]:
        """A sample for each client; waits until a late answer would have come."""
        time.sleep(max(0.0, span[1] + SETTLE - time.monotonic()))
        samples: list[dict[str, Any]] = [
            {"kind": kind, "client": name, "moved": moved[name]}
            | felt(self.crowd.of(name), *span)
            | facts
            for name in self.crowd.clients
        ]
        gone = [one for one in samples if one["moved"]]
        self.say(
            f"{kind}: {len(gone)} of {len(samples)} clients moved, longest gap "
            f"{max(one['longest_gap'] for one in gone or samples):.2f} s, "
            f"{sum(one['lost'] for one in samples)} pings lost"
        )
        return samples


# ------------------------------------------------------------------ what is done to gateways


def drain(scene: Scene, kind: str = "drain") -> list[dict[str, Any]]:
    """One gateway is drained, and serves again."""
    held = scene.holders()
    victim = most(held)
    # Of an order whose command was killed nobody else would know
    scene.ground.undo(draining.take_back, scene.stack, victim)
    time.sleep(BREATH)
    began = time.monotonic()
    told = json.loads(
        operators_command("gateways", "drain", victim, "--json", limit=DRAIN_LIMIT).stdout
    )
    scene.await_resumed()
    operators_command("gateways", "drain", victim, "--withdraw")
    scene.await_well()
    span = (began, time.monotonic())
    moved = {name: gateway == victim for name, gateway in held.items()}
    return scene.felt(kind, span, moved, gateway=victim, seconds=told["seconds"])


def terminate(scene: Scene) -> list[dict[str, Any]]:
    """One gateway is terminated as it is; another one is launched."""
    held = scene.holders()
    victim = most(held)
    time.sleep(BREATH)
    began = time.monotonic()
    scene.stack.cloud.client("ec2").terminate_instances(InstanceIds=[victim])
    scene.await_resumed()
    process.await_condition(
        f"{victim} has left the group",
        lambda: all(one.instance_id != victim for one in scene.stack.fleet.group().members),
        timeout=WELL_WITHIN,
        interval=0.5,
    )
    scene.await_well()
    span = (began, time.monotonic())
    moved = {name: gateway == victim for name, gateway in held.items()}
    return scene.felt("terminated", span, moved, gateway=victim)


def replace(scene: Scene) -> list[dict[str, Any]]:
    """Both gateways are replaced because the stack file has changed: to another type, or back."""
    before = scene.gateways()
    scene.values = {} if scene.values else {"instanceType": OTHER_TYPE}
    time.sleep(BREATH)
    began = time.monotonic()
    scene.file.deploy(scene.values)
    rolling.await_replaced(scene.say)
    scene.await_well()
    ended = time.monotonic()
    left = set(before) & set(scene.gateways())
    if left:
        raise NotMeasured(f"{', '.join(left)} was not replaced")
    # Each client was on one of them
    moved = dict.fromkeys(scene.crowd.clients, True)
    return scene.felt("replace", (began, ended), moved, seconds=ended - began)


def stock(scene: Scene, wanted: int) -> list[dict[str, Any]]:
    """Drains without takeover."""
    samples: list[dict[str, Any]] = []
    if wanted:
        scene.file.deploy({**scene.values, "takeover": False})
        await_takeover(scene.gateways(), working=False, within=APPLIED_WITHIN)
        samples += rounds(scene, wanted, partial(drain, scene, "stock"))
        scene.file.deploy(scene.values)
        await_takeover(scene.gateways(), working=True, within=APPLIED_WITHIN)
    return samples


def most(held: Mapping[str, str]) -> str:
    """The gateway that most clients are on. Pure."""
    gateways = sorted(held.values())
    return max(gateways, key=gateways.count)


# ------------------------------------------------------------------ the bench


class Stage(Protocol):
    """Where rounds are played."""

    say: Say

    def recover(self) -> None:
        """Return once the next round can begin, after one that went wrong."""


def rounds(
    scene: Stage, wanted: int, once: Callable[[], list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """So many rounds that measured; one that went wrong is said in a sample, and done again."""
    samples: list[dict[str, Any]] = []
    done = void = 0
    while done < wanted:
        try:
            samples += once()
            done += 1
        except (Failed, NotMeasured, TimeoutError) as err:
            void += 1
            if void > VOID_ROUNDS:
                raise
            scene.say(f"void: {err}")
            samples.append({"kind": "void", "why": str(err)})
            scene.recover()
    return samples


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The whole bench."""
    with standing("drain", say) as ground, ExitStack() as exits:
        conditions = dict(surroundings(ground))
        scene = Scene(ground, exits, options.clients)
        say(f"{options.clients} clients are live")
        samples = rounds(scene, options.drains, partial(drain, scene))
        samples += rounds(scene, options.terminations, partial(terminate, scene))
        samples += rounds(scene, options.replacements, partial(replace, scene))
        samples += stock(scene, options.stock)
        conditions |= {
            "clients": options.clients,
            "ping_every": PING_EVERY,
            **{
                f"rounds_{name}": getattr(options, name)
                for name in ("drains", "replacements", "terminations", "stock")
            },
            "rounds_void": sum(one["kind"] == "void" for one in samples),
            "samples_drain": len(moved_in(samples, "drain")),
            "sender_late_max": scene.crowd.traffic.sender_late_max(),
            "load_after": load(),
            "unimproved": "stock: takeover off; terminated: without a drain",
        }
    return Report("drain", figures_of(samples), conditions, samples)


def moved_in(samples: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The samples of a kind in which the client's gateway went. Pure."""
    return [one for one in samples if one["kind"] == kind and one["moved"]]


def figures_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures. Pure. A p99 of fewer than 100 samples is left out: it would not be one."""
    drained = moved_in(samples, "drain")
    lost = [one["lost"] for one in drained]
    figures: dict[str, float] = {
        "longest_gap": max(one["longest_gap"] for one in drained),
        "gap_p50": percentile([one["longest_gap"] for one in drained], 50),
        "packets_lost_per_client_p50": percentile(lost, 50),
        "packets_lost_per_client_max": max(lost),
        "drain_seconds_max": max(one["seconds"] for one in drained),
        # Who was on the other gateway should not notice
        "others_lost": sum(
            one["lost"] for one in samples if one["kind"] == "drain" and not one["moved"]
        ),
    }
    if len(lost) >= ENOUGH_FOR_P99:
        figures["packets_lost_per_client_p99"] = percentile(lost, 99)
    for kind in ("replace", "terminated", "stock"):
        chosen = moved_in(samples, kind)
        if chosen:
            figures[f"{kind}_longest_gap"] = max(one["longest_gap"] for one in chosen)
            figures[f"{kind}_gap_p50"] = percentile([one["longest_gap"] for one in chosen], 50)
            figures[f"{kind}_packets_lost_per_client_max"] = max(one["lost"] for one in chosen)
    return figures


def main(argv: Sequence[str]) -> int:
    """Run the bench and return its exit status."""
    options = parser("drain", __doc__ or "")
    options.add_argument("--clients", type=positive, default=COUNT, help="default 20")
    for name, number, text in (
        ("drains", DRAINS, "drains of a gateway"),
        ("replacements", REPLACEMENTS, "times that both gateways are replaced; 0 for none"),
        ("terminations", TERMINATIONS, "gateways terminated without a drain; 0 for none"),
        ("stock", STOCK, "drains without takeover; 0 for none"),
    ):
        kind = positive if name == "drains" else count
        options.add_argument(
            f"--{name}", type=kind, default=number, help=f"{text}; default {number}"
        )
    return run(options, measure, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
