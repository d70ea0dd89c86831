#!/usr/bin/env python3
"""Do open TCP connections outlive what happens to gateways? In each egress mode, beside each other.

Every client has two connections to the private host: one like ssh (lines: both ends say one every
0.2 s) and a download at a steady pace (bulk), which says nothing itself. TCP is the kernel's, with
its defaults. Every line and every byte is compared with what has to come. Three things happen:

* failover: the gateway that all clients are on dies. It is cut off from everything in one step and
  comes back later with what it had, or (the last rounds) is really killed and replaced. The client
  helper runs beside each tunnel, except in the rounds of plain_failover.
* rotation: the server's key is rotated by two deployments of the stack file; client/
  gatepair_helper.py moves the clients in between.
* replace: both gateways are replaced, one after the other, as another launch template has it.

A sample is one connection in one of these. Broken: reset, closed, wrong bytes, or silent for more
than 30 s. Its stall is the longest time in which nothing arrived, in the worse direction; of a
broken one until it ended, or until nobody looked any more. A round lasts until all is well again.
Broken connections are made anew before the next. minus_detection is the stall without the time
that the load balancer took to send the client's flow to the survivor.

Nothing but the two connections, and what the helper asks, is in a client's tunnel. TCP tries again
after 0.2, 0.6, 1.4 ... 12.6, 25.4 s, so a stall may outlast the fault by as much again. Without a
helper, which asks every second or so once the tunnel is silent, it is such a try that the survivor
takes the session over by; it is lost by that, and the next one is the next in the row. With --pings
a client also pings every 0.1 s, which shows for how long the path itself was gone (path_silence).

The mode is a setting of the stack (`gatepair:egress`); that the private host sees clients as the
mode has it is checked before anything is measured.
"""

from __future__ import annotations

if not __package__:
    import start  # noqa: F401  # ty: ignore[import-not-found] - it does not return

import argparse
import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import death, talk
from bench.command import count, parser, positive, run
from bench.courses import BROKEN_AFTER, ENDS, SILENT, WRONG
from bench.crowd import COUNT
from bench.drain import rounds
from bench.ground import load, standing, surroundings
from bench.pair import Pair
from bench.report import ENOUGH_FOR_P99, Report, percentile
from bench.rotation import next_generation
from bench.stack_file import StackFile
from bench.upheavals import (
    FAILOVER,
    PLAIN,
    REPLACE,
    ROTATION,
    ROUTED,
    SNAT,
    Basis,
    Deployed,
    Scene,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.command import Say

    Sample = dict[str, Any]

MODES = (SNAT, ROUTED)
EVENTS = (FAILOVER, PLAIN, ROTATION, REPLACE)
ROUNDS, KILLS, PLAINS, ROTATIONS, REPLACEMENTS = 3, 1, 1, 3, 1
"""Three rounds of forty connections are the hundred samples that a p99 needs."""
INTERVAL = 10
"""Seconds between a helper's questions; 60 as installed, which makes a rotation longer, no more."""
KBIT = 1000
MOST_KBIT = int(talk.PERIOD / talk.PIECE_EVERY * 8 / 1000)


# ------------------------------------------------------------------ figures


def figures_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures. Pure. A p99 of fewer than 100 samples is left out: it would not be one."""
    figures: dict[str, float] = {}
    for mode in MODES:
        ours = [one for one in samples if one.get("mode") == mode]
        if not ours:
            continue
        figures[f"{mode}_tcp_total"] = len(ours)
        figures[f"{mode}_tcp_wrong_bytes"] = sum(one["broken"] == ENDS[WRONG] for one in ours)
        for event in EVENTS:
            chosen = [one for one in ours if one["event"] == event]
            if chosen:
                figures |= _of_event(f"{mode}_tcp_{{}}_{event}", chosen)
        for event, word in ((FAILOVER, ""), (PLAIN, "plain_")):
            died = [one for one in ours if one["event"] == event and "detection" in one]
            late = [one["stall"] - one["detection"] for one in died]
            figures |= _spread(f"{mode}_{word}detection", [one["detection"] for one in died])
            figures |= _spread(f"{mode}_{word}tcp_stall_minus_detection", late)
    return figures


def _of_event(name: str, samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {
        name.format("total"): len(samples),
        name.format("broken"): sum(bool(one["broken"]) for one in samples),
        name.format("hung"): sum(one["broken"] == SILENT for one in samples),
        **_spread(name.format("stall"), [one["stall"] for one in samples]),
        **_spread(
            name.replace("tcp_", "").format("path_silence"),
            [one["path_silence"] for one in samples if "path_silence" in one],
        ),
    }


def _spread(name: str, values: Iterable[float]) -> dict[str, float]:
    """Percentiles and the maximum of what there is."""
    found = list(values)
    if not found:
        return {}
    figures = {f"{name}_p50": percentile(found, 50), f"{name}_max": max(found)}
    if len(found) >= ENOUGH_FOR_P99:
        figures[f"{name}_p99"] = percentile(found, 99)
    return figures


# ------------------------------------------------------------------ the whole


def in_mode(basis: Basis, mode: str, conditions: dict[str, Any]) -> list[Sample]:
    """Everything in one mode. Adds to the conditions what is of the mode."""
    options = basis.options
    kills = min(options.kills, options.rounds)
    with ExitStack() as exits:
        began = time.monotonic()
        scene = Scene(basis, mode, exits)
        # Failovers first: a client that has moved to another key has flows to two ports
        cut, plain = options.rounds - kills, options.plain
        samples = rounds(scene, plain, partial(scene.fail, kill=False, helped=False))
        samples += rounds(scene, cut, partial(scene.fail, kill=False, helped=True))
        samples += rounds(scene, kills, partial(scene.fail, kill=True, helped=True))
        # Half a rotation cannot be done again, so there is none that is void
        for _ in range(options.rotations):
            samples += scene.rotate()
        samples += rounds(scene, options.replacements, scene.replace)
        conditions |= {
            f"{mode}_seconds": time.monotonic() - began,
            f"{mode}_programs_late_max": scene.streams.record.late_max(),
            **{f"{mode}_void_{name}": number for name, number in scene.void.items()},
        }
    return samples


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The whole bench."""
    with standing("connections", say) as ground:
        conditions = dict(surroundings(ground))
        old, _ = next_generation(ground.stack.registry.head())
        # First, as it may refuse; so it is also the last that is undone
        deployed = Deployed(StackFile(ground, {"keyGenerations": [old]}))
        ground.undo(death.heal)
        basis = Basis(ground, deployed, Pair(ground), options)
        samples: list[Sample] = []
        for mode in options.modes:
            samples += in_mode(basis, mode, conditions)
        conditions |= {
            "clients": options.clients,
            "streams_per_client": "lines (ssh-like, both ways) and bulk (download)",
            "line_every": talk.LINE_EVERY,
            "bulk_kbit_per_second": options.kbit,
            "pings_beside": options.pings,
            "tcp": "the kernel's defaults, no delay as ssh sets it",
            "silent_is_broken_after": BROKEN_AFTER,
            "stall_of_broken": "until it ended, or until nobody looked any more",
            "failovers": options.rounds,
            "of_them_killed": options.kills,
            "plain_failovers": options.plain,
            "failover": "all clients on the gateway that dies; the health check's own detection",
            "health_check": "interval 5, timeout 2, thresholds 2/2",
            "detection_ends": "when the load balancer lets go of the client's flow",
            "rotations": options.rotations,
            "helper_interval": options.interval,
            "replacements": options.replacements,
            "rounds_void": sum(one.get("kind") == "void" for one in samples),
            "load_after": load(),
            "unimproved": "snat: what every gateway that translates does",
        }
    return Report("connections", figures_of(samples), conditions, samples)


def modes(text: str) -> tuple[str, ...]:
    """Some of the modes, with commas between them. Raises `argparse.ArgumentTypeError`."""
    wanted = tuple(dict.fromkeys(text.split(",")))
    if unknown := [one for one in wanted if one not in MODES]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(MODES)}")
    return wanted


def kbit(text: str) -> int:
    """A download's pace. Raises `argparse.ArgumentTypeError`."""
    found = positive(text)
    if found > MOST_KBIT:
        raise argparse.ArgumentTypeError(f"{text} is more than {MOST_KBIT}")
    return found


def main(argv: Sequence[str]) -> int:
    """Run the bench and return its exit status."""
    options = parser("connections", __doc__ or "")
    options.add_argument(
        "--modes", type=modes, default=MODES, help="of egress; default snat,routed"
    )
    options.add_argument(
        "--clients", type=positive, default=COUNT, help="with two connections each; default 20"
    )
    options.add_argument("--kbit", type=kbit, default=KBIT, help="a second, bulk; default 1000")
    options.add_argument(
        "--interval", type=positive, default=INTERVAL, help="of the helpers, seconds; default 10"
    )
    options.add_argument("--pings", action="store_true", help="beside the connections")
    for name, number, text in (
        ("rounds", ROUNDS, "failovers in each mode"),
        ("plain", PLAINS, "failovers of clients without the helper"),
        ("kills", KILLS, "of them by a real kill, --rounds at most"),
        ("rotations", ROTATIONS, "key rotations in each mode"),
        ("replacements", REPLACEMENTS, "times that both gateways are replaced in each mode"),
    ):
        options.add_argument(f"--{name}", type=count, default=number, help=f"{text}; {number}")
    return run(options, measure, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
