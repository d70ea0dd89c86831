#!/usr/bin/env python3
"""What clients see of each fault that a pair of gateways can have, and how long until it is whole.

Clients ping through both gateways all the while; faults happen one after the other, each on a pair
that is well, and what the design promises of it is held against what was seen. `--write` puts the
outcomes into the page's data and makes the page anew: a run of some cases replaces their rows only.
`--again` makes the page anew from its data. A case that could not be tried is an error in its
sample, and the others go on.

Figures, per case: longest silence of a client of the gateway that had it (`NAME_silence`), their
lost pings (`NAME_lost`), the others' (`NAME_others_lost`), until two gateways served again
(`NAME_back`), silence beyond the load balancer's detection (`NAME_resumed`); `broken`: cases with a
promise that was not kept; `untried`: those with an error.
"""

from __future__ import annotations

if not __package__:
    import start  # noqa: F401  # ty: ignore[import-not-found] - it does not return

import json
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from bench import fault_table
from bench.command import NotMeasured, parser, run
from bench.fault_cases import CASES
from bench.fault_scene import CLIENTS, PING_EVERY, Scene
from bench.ground import load, standing, surroundings
from bench.outcomes import Outcome, from_json
from bench.report import Report
from effects import Failed, Refusal, write_atomic
from registry.errors import RegistryError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Mapping, Sequence

    from bench.command import Say
    from bench.fault_cases import Case

TRIES = 2
"""For a case that could not be tried; a promise that is not kept is an outcome, not an error."""


def tried(scene: Scene, case: Case) -> Outcome:
    """Let it happen. What goes wrong with the trial itself is an outcome with an error."""
    for attempt in range(1, TRIES + 1):
        try:
            with ExitStack() as exits:
                fault = scene.settle(case.name, exits)
                scene.say(f"{case.name}: {case.title}, on {fault.victim}")
                case.happen(fault)
                found = scene.outcome(fault)
        except (
            *(BotoCoreError, ClientError, Failed, NotMeasured, OSError),
            *(Refusal, RegistryError, TimeoutError),
        ) as err:
            scene.say(f"{case.name}: not tried ({attempt} of {TRIES}): {err}")
            found = Outcome(name=case.name, error=str(err) or type(err).__name__)
        else:
            break
    return found


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The whole bench."""
    cases = chosen(options.only, quick=options.quick)
    with standing("faults", say) as ground, ExitStack() as exits:
        conditions: dict[str, Any] = {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            **surroundings(ground),
            "clients": CLIENTS,
            "ping_every": PING_EVERY,
        }
        scene = Scene(ground, exits)
        samples = []
        for case in cases:
            found = tried(scene, case)
            samples.append(sample_of(found))
            say("\n".join(fault_table.summary(samples[-1:])))
            if options.write:
                write(options.write, samples[-1:], conditions)
        conditions["sender_late_max"] = scene.traffic.sender_late_max()
        conditions["load_after"] = load()
    return Report("faults", figures_of(samples), conditions, samples)


def chosen(only: Sequence[str], *, quick: bool) -> list[Case]:
    """The cases to try, in their order; all, if nothing is said. Raises `Refusal`."""
    unknown = sorted(set(only) - CASES.keys())
    if unknown:
        raise Refusal("--only", f"no such case: {', '.join(unknown)}", f"take of {' '.join(CASES)}")
    found = [case for case in CASES.values() if not only or case.name in only]
    return [case for case in found if case.quick or not quick]


def sample_of(outcome: Outcome) -> dict[str, Any]:
    """The sample: what was seen, and what of the promise it breaks."""
    return {**outcome.as_json(), "broken": CASES[outcome.name].broken(outcome)}


def figures_of(samples: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The figures. Pure."""
    figures: dict[str, float] = {}
    untried = unkept = 0
    for sample in samples:
        one, name = from_json(sample), sample["name"]
        untried += bool(one.error)
        unkept += bool(sample["broken"]) and not one.error
        found = {
            "silence": one.there.silence if one.there else None,
            "lost": one.there.lost if one.there else None,
            "others_lost": one.others.lost if one.others else None,
            "resumed": one.resumed,
            "back": one.back,
        }
        figures |= {f"{name}_{key}": value for key, value in found.items() if value is not None}
    return {**figures, "broken": unkept, "untried": untried}


def write(file: Path, samples: Iterable[Mapping[str, Any]], conditions: Mapping[str, Any]) -> None:
    """Put the samples into the page's data, and make the page from that."""
    beside = file.with_suffix(".json")
    before = json.loads(beside.read_text()) if beside.exists() else {}
    data = fault_table.merged(before, samples, conditions)
    write_atomic(beside, json.dumps(data, indent=1) + "\n")
    write_atomic(file, fault_table.page(data))


def main(argv: Sequence[str]) -> int:
    """Run the bench and return its exit status."""
    options = parser("faults", __doc__ or "")
    options.add_argument(
        "--only", action="append", default=[], metavar="NAME", help=f"of {', '.join(CASES)}"
    )
    options.add_argument("--quick", action="store_true", help="those that take two minutes in all")
    options.add_argument("--write", type=Path, metavar="FILE", help="the page, docs/faults.md")
    options.add_argument(
        "--again", action="store_true", help="only make the page anew from its data; try nothing"
    )
    return run(options, _measure_or_write, argv)


def _measure_or_write(options: argparse.Namespace, say: Say) -> Report:
    if not options.again:
        return measure(options, say)
    if options.write is None:
        raise Refusal("--again", "no page is named", "add --write docs/faults.md")
    write(options.write, [], {})
    return Report("faults", {}, {"page": str(options.write)}, [])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
