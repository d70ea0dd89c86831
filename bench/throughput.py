#!/usr/bin/env python3
"""What a gateway with everything on costs in throughput: against bare WireGuard on the same path.

Four clients take turns, one TCP connection at a time. One goes through a gateway; one too, but may
reach a single port only, so that its packets pass the longest way through the rules (narrow); one
goes through a bare WireGuard in the same place (bench/bare.py: the same subnet, load balancer,
security groups, program and processors; no agent, filter, connection tracking or translation); and
one through a second bare one, the control: what that differs by is what two of a kind differ by.

A round is every path up and every path down, in an order that changes from round to round. After
eight rounds, in which each path has had each place equally often, all four are set up anew, in the
place of the next gateway: two processes of one program differ in speed for as long as they live.

A round's ratios are geometric means of both directions' ratios to the first bare one; figures are
medians over the rounds. ratio_low95 is the lower confidence bound of the ratio's median by the sign
test: the highest ranked sample below which the median lies with a probability of at most 5 %,
whatever the distribution. What has to be 0.95 or more is ratio_over_control.

All hops share this machine's processors, and the tunnel's both ends are in the sum: the ratio is
that of a whole path, and what the gateway alone loses would be more where it alone is the limit.
"""

from __future__ import annotations

if not __package__:
    import start  # noqa: F401  # ty: ignore[import-not-found] - it does not return

import contextlib
import itertools
import math
import sys
from statistics import median
from typing import TYPE_CHECKING, Any

from bench import bare, pump, tunnels
from bench.bare import Bare
from bench.command import NotMeasured, parser, positive, run
from bench.ground import Ground, load, standing, surroundings
from bench.report import Report, TooFew, median_low
from lab import netns, process

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address

    from bench.command import Say

ROUNDS = 32
SECONDS = 2
"""Of one connection; a round has eight."""

GATEWAY, NARROW, BARE, CONTROL = "gateway", "narrow", "bare", "control"
PATHS = (GATEWAY, BARE, NARROW, CONTROL)
_TURNED = tuple(PATHS[place:] + PATHS[:place] for place in range(len(PATHS)))
ORDERS = (*_TURNED, *(order[::-1] for order in _TURNED))
"""In all of them together each path has each place equally often; then all are set up anew."""

CLIENTS = {GATEWAY: "bench-through", NARROW: "bench-narrow"}
BARES = {BARE: Bare("bare1", 1), CONTROL: Bare("bare2", 2)}
OPEN_LIMIT = 30.0
"""Seconds for a new tunnel's first answer."""
ALL_VOID = 3
"""Rounds in a row without a figure, after which there is no point in going on."""


def places(
    ground: Ground, gateways: Mapping[str, IPv4Address], gateway: str, kernel: bool
) -> dict[str, str]:
    """A new client for each path, with a tunnel that works; in the namespaces that are returned."""
    server = tunnels.server(ground.stack)
    only = (f"{ground.host}/32:tcp/{pump.PORT}", f"{ground.host}/32:icmp")
    found: dict[str, str] = {}
    for path, name in CLIENTS.items():
        through = tunnels.create(
            *(ground.stack, server, name, gateways.values(), gateways[gateway]),
            allow=only if path == NARROW else (),
        )
        found[path] = through.namespace
    ground.await_applied()
    for path, one in BARES.items():
        bare.delete(one, gateways)
        found[path] = bare.create(ground, one, gateway, kernel=kernel).namespace
    ping = ["ping", "-c", "1", "-W", "1", str(ground.host)]
    for path, namespace in found.items():
        process.await_condition(
            f"the private host answers by the path {path}",
            lambda at=namespace: netns.run_in(at, ping, check=False).status == 0,
            timeout=OPEN_LIMIT,
        )
        ground.say(f"{path}: the tunnel is up")
    return found


def one_round(ground: Ground, at: Mapping[str, str], number: int, seconds: int) -> dict[str, Any]:
    """Every path in both directions: bits a second, or why there are none."""
    order = ORDERS[number % len(ORDERS)]
    sample: dict[str, Any] = {"round": number, "order": list(order)}
    try:
        for direction in pump.DIRECTIONS[:: -1 if number % 2 else 1]:
            for path in order:
                arrived = pump.pump(at[path], ground.host, direction, seconds)
                sample[f"{path}_{direction}"] = arrived
    except NotMeasured as err:
        sample["void"] = str(err)
        ground.say(f"round {number}: void: {err}")
        return sample
    sample |= ratios(sample)
    ground.say(
        f"round {number}: ratio {sample['ratio']:.3f}, narrow {sample['narrow_ratio']:.3f}, "
        f"control {sample['control_ratio']:.3f}, "
        f"bare {sample['bare_up'] / 1e6:.0f} Mbit/s up, {sample['bare_down'] / 1e6:.0f} down"
    )
    return sample


def ratios(sample: Mapping[str, float]) -> dict[str, float]:
    """The speed by the other paths over that by the bare one, over both directions. Pure."""

    def over(path: str) -> float:
        parts = (sample[f"{path}_{way}"] / sample[f"{BARE}_{way}"] for way in pump.DIRECTIONS)
        return math.prod(parts) ** (1 / len(pump.DIRECTIONS))

    return {"ratio": over(GATEWAY), "narrow_ratio": over(NARROW), "control_ratio": over(CONTROL)}


def rounds(
    ground: Ground, at: Mapping[str, str], numbers: range, seconds: int
) -> list[dict[str, Any]]:
    """Those of these numbers; one that fails is void and costs nothing but itself."""
    samples: list[dict[str, Any]] = []
    for number in numbers:
        samples.append(one_round(ground, at, number, seconds))
        if len(samples) >= ALL_VOID and all("void" in one for one in samples[-ALL_VOID:]):
            raise NotMeasured(f"{ALL_VOID} rounds in a row: {samples[-1]['void']}")
    return samples


def set_ups(ground: Ground, count: int, seconds: int, *, kernel: bool) -> list[dict[str, Any]]:
    """All `count` rounds, the paths set up anew after each ORDERS of them."""
    gateways = ground.gateways()
    for name in CLIENTS.values():
        ground.undo(tunnels.delete, ground.stack, name)
    for one in BARES.values():
        ground.undo(bare.delete, one, gateways)
    samples: list[dict[str, Any]] = []
    numbers, turns = range(count), itertools.cycle(gateways)
    for first in numbers[:: len(ORDERS)]:
        at = places(ground, gateways, next(turns), kernel)
        samples += rounds(ground, at, numbers[first:][: len(ORDERS)], seconds)
    return samples


def figures_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures. Raises `NotMeasured` when every round is void. Pure."""
    good = [sample for sample in samples if "void" not in sample]
    if not good:
        raise NotMeasured("no round has a figure")
    names = ("ratio", "narrow_ratio", "control_ratio")
    ratio, narrow, control = ([one[name] for one in good] for name in names)
    figures = {
        "ratio_median": median(ratio),
        "control_ratio_median": median(control),
        "ratio_over_control": median(ratio) / median(control),
        "narrow_ratio_median": median(narrow),
    }
    with contextlib.suppress(TooFew):  # a bound of so few would be none
        figures |= {
            "ratio_low95": median_low(ratio),
            "control_ratio_low95": median_low(control),
        }
    for direction in pump.DIRECTIONS:
        speeds = {
            path: [one[f"{path}_{direction}"] / 1e6 for one in good] for path in (GATEWAY, BARE)
        }
        pairs = zip(speeds[GATEWAY], speeds[BARE], strict=True)
        figures[f"{direction}_ratio_median"] = median(ours / other for ours, other in pairs)
        for path, found in speeds.items():
            figures[f"{path}_{direction}_mbit_per_second_p50"] = median(found)
    return {**figures, "void_rounds": len(samples) - len(good)}


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The whole bench."""
    pump.preflight()
    bare.preflight()
    with standing("throughput", say) as ground:
        conditions = dict(surroundings(ground))
        kernel = conditions["wireguard"] == "kernel"
        samples = set_ups(ground, options.rounds, options.seconds, kernel=kernel)
        conditions |= {
            "rounds": options.rounds,
            "seconds": options.seconds,
            "connections": 1,
            "mtu": ground.stack.environment.mtu,
            "load_after": load(),
            "unimproved": "bare WireGuard: forwarding only, in the gateway's place",
        }
    return Report("throughput", figures_of(samples), conditions, samples)


def main(argv: Sequence[str]) -> int:
    """Run the bench and return its exit status."""
    options = parser("throughput", __doc__ or "")
    options.add_argument("--rounds", type=positive, default=ROUNDS, help=f"default {ROUNDS}")
    options.add_argument(
        "--seconds", type=positive, default=SECONDS, help=f"of each connection, default {SECONDS}"
    )
    return run(options, measure, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
