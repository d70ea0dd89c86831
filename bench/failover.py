#!/usr/bin/env python3
"""How long a client is silent when its gateway dies, or it comes to the other one; and the idle.

Clients ping the private host every 0.1 s, all through one gateway. That one dies: it is cut off
from everything in one step (bench/death.py), or really killed. Detection ends when the load
balancer lets go of the client's flow, so that its next packet goes to the survivor. It is the
health check's own, or forced: the gateway is dead at once, and the load balancer moves its flows so
many seconds later. A client's gap is from its last answer to the first answer to what it sent after
the event; takeover_minus_detection is what of that is left over.

Idle clients send WireGuard's keepalive alone. With takeover one is measured from the first packet
it sends after its flow has moved, a ping, to the first answer; a keepalive that came before voids
it. Stock, a fresh session that has keepalives only: from the death until the survivor has one.

Roaming: a client's port changes (or, for every other one, its public address too), and its flow
goes to the other gateway while the first one lives. Failback: it comes back to the first, seconds
after it had resumed. All this with takeover on and off (stock). A second outage is a silence of
more than a second within 60 s after a client had resumed, as far as it was watched: the last rounds
at the checks' detection, of failback and of kills for all of them, the others until the next event.
"""

from __future__ import annotations

if not __package__:
    import start  # noqa: F401  # ty: ignore[import-not-found] - it does not return

import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bench.command import count, parser, positive, run
from bench.ground import load, standing, surroundings
from bench.outages import SECOND_WITHIN
from bench.report import ENOUGH_FOR_P99, Report, percentile
from bench.rounds import PING_EVERY, Scene

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from bench.command import Say

CLIENTS = 20
IDLE = 20
ROUNDS = 5
"""With so many clients each kind has the hundred samples that a p99 needs."""
DELAYS = (0.0, 2.0, 10.0, 30.0)
KILLS = 1
SECOND_OUTAGE = 1.0
"""Seconds of silence: ten pings in a row."""


# ------------------------------------------------------------------ figures


def figures_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures. Pure. A p99 of fewer than 100 samples is left out: it would not be one.

    Who has not resumed counts with the time for which it was seen not to.
    """
    figures: dict[str, float] = {}

    def put(name: str, values: Sequence[float], *percents: float) -> None:
        for percent in percents:
            if values and (percent < 99 or len(values) >= ENOUGH_FOR_P99):  # noqa: PLR2004
                figures[f"{name}_p{percent:g}"] = percentile(values, percent)

    for name, values in series_of(samples).items():
        put(name, values, 50, 99)
        if values:
            figures[f"{name}_max"] = max(values)
    resumed = [one for one in samples if "longest_silence_after" in one and one["takeover"]]
    figures["second_outages"] = sum(one["longest_silence_after"] > SECOND_OUTAGE for one in resumed)
    if resumed:
        silences = [one["longest_silence_after"] for one in resumed]
        figures["longest_silence_after_max"] = max(silences)
    figures["not_resumed_takeover"] = sum(not one["resumed"] for one in samples if one["takeover"])
    figures["not_resumed_stock"] = sum(not one["resumed"] for one in samples if not one["takeover"])
    return figures


def series_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """What the percentiles are made of, by the figure's name. Pure."""

    def some(value: str, kind: str, *, takeover: bool) -> list[tuple[float | None, float]]:
        return [
            (one.get("forced"), one[value])
            for one in samples
            if one["kind"] == kind and one["takeover"] is takeover and value in one
        ]

    def values(value: str, kind: str, *, takeover: bool) -> list[float]:
        return [found for _, found in some(value, kind, takeover=takeover)]

    found = {
        "takeover_minus_detection": values("minus_detection", "death", takeover=True),
        "first_packet_to_answer": values("first_packet_to_answer", "death", takeover=True),
        "stock_gap": values("gap", "death", takeover=False),
        "idle_resume": values("seconds", "idle", takeover=True),
        "idle_stock": values("seconds", "idle", takeover=False),
    }
    for kind in ("roaming", "failback"):
        found[f"{kind}_takeover"] = values("gap", kind, takeover=True)
        found[f"{kind}_stock"] = values("gap", kind, takeover=False)
    gaps = some("gap", "death", takeover=True)
    detections = some("detection", "death", takeover=True)
    for forced in sorted({f for f, _ in gaps}, key=lambda f: (f is not None, f)):
        label = "checks" if forced is None else f"d{forced:g}"
        found[f"takeover_gap_{label}"] = [gap for f, gap in gaps if f == forced]
        found[f"detection_{label}"] = [one for f, one in detections if f == forced]
    return found


def named(figures: Mapping[str, float]) -> dict[str, float]:
    """`takeover_gap_d0_p99` as the design has it, `takeover_gap_p99_d0`. Pure."""
    found = {}
    for name, value in figures.items():
        stem, _, percent = name.rpartition("_")
        base, _, label = stem.rpartition("_")
        turned = base in {"takeover_gap", "detection"}
        found[f"{base}_{percent}_{label}" if turned else name] = value
    return found


# ------------------------------------------------------------------ the whole


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The whole bench."""
    with standing("failover", say) as ground, ExitStack() as exits:
        conditions = dict(surroundings(ground))
        scene = Scene(ground, exits, options)
        say(f"{len(scene.active)} clients are live, {len(scene.idle)} are idle")
        began = time.monotonic()
        if options.stock_rounds:
            scene.stock()
        scene.takeover()
        conditions |= {
            "clients": len(scene.active),
            "idle_clients": len(scene.idle),
            "ping_every": PING_EVERY,
            "health_check": "interval 5, timeout 2, thresholds 2/2",
            "detection_ends": "when the load balancer lets go of the client's flow",
            "death": "cut off in one step; killed in the rounds that say so",
            "second_outage_above": SECOND_OUTAGE,
            "measured_for": time.monotonic() - began,
            "sender_late_max": scene.traffic.sender_late_max(),
            "load_after": load(),
            **{f"void_{name}": number for name, number in scene.void.items()},
        }
    samples = scene.samples
    conditions |= {f"samples_{name}": len(of) for name, of in series_of(samples).items()}
    watched = [one["watched"] for one in samples if one["takeover"] and "watched" in one]
    conditions["watched_client_seconds"] = sum(watched)
    conditions["watched_for_60_s"] = sum(one >= SECOND_WITHIN for one in watched)
    return Report("failover", named(figures_of(samples)), conditions, samples)


def delays(text: str) -> tuple[float, ...]:
    """Seconds with commas between them."""
    return tuple(sorted({float(count(word)) for word in text.split(",") if word}))


def main(argv: Sequence[str]) -> int:
    """Run the bench and return its exit status."""
    options = parser("failover", __doc__ or "")
    options.add_argument("--clients", type=positive, default=CLIENTS, help="that ping; default 20")
    options.add_argument("--idle", type=count, default=IDLE, help="that do not; default 20")
    options.add_argument(
        "--rounds", type=positive, default=ROUNDS, help="of each kind with takeover; default 5"
    )
    options.add_argument(
        "--stock-rounds", type=count, default=ROUNDS, help="deaths without it; default 5"
    )
    options.add_argument(
        "--delays", type=delays, default=DELAYS, help="forced detection, s; default 0,2,10,30"
    )
    options.add_argument("--kills", type=count, default=KILLS, help="with a real kill; default 1")
    options.add_argument(
        "--watch", type=count, default=int(SECOND_WITHIN), help="for second outages, s; default 60"
    )
    return run(options, measure, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
