"""The table of faults for docs/faults.md, from the samples of one run or of several. Pure.

Beside the page lies its data, `docs/faults.json`: `{NAME: {"sample": {...}, "run": {...}}}`. A run
of some cases replaces their entries there and leaves the others; the page is made from all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import outcomes
from bench.fault_cases import CASES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bench.fault_cases import Case
    from bench.outcomes import Outcome, Seen

Data = dict[str, dict[str, Any]]

RUN = ("date", "processors", "kernel", "wireguard", "clients", "ping_every", "load_before")
"""What of a run's conditions the page tells."""

HEAD = """\
# What clients see of a fault

Made by `bench/faults.py --write docs/faults.md` from runs in the lab (their data:
[faults.json](faults.json)), not by hand. Clients ping the private host through the tunnel all the
time, half of them through each gateway. A row tells the worst of them: how long one was without an
answer, and how many pings got none.

- *moved after*: when the load balancer sent the clients elsewhere. The lab's checks as the target
  group has them: every 5 s, two failures, 2 s for an answer. **Not yet measured on AWS.**
- *then silent*: from there to the first answer, which is what takeover is responsible for.
- *two serve after*: when the load balancer had two healthy gateways again, from the fault's
  beginning. The lab's Auto Scaling hears of a machine without power after 30 s, and its machines
  boot in seconds: both take longer on AWS.
- *kept*: whether it was as promised; if not, what was not.
"""

COLUMNS = (
    *("fault", "clients of that gateway", "moved after", "then silent"),
    *("the others", "two serve after", "promised", "kept"),
)

TAIL = """\
## Elsewhere

- `make test-all` holds each of them to the same promise; `bench/faults.py --quick` tries those
  that are marked with an asterisk, in two minutes.
- One gateway's clock that is ahead by a minute: `make test-kernel`, tests/kernel/test_clock.py; a
  container has no clock of its own.
- Ten minutes without AWS: tests/gateway_lab/test_outage.py.
- A burst of 50,000 spoofed packets, and a replay without pause: tests/gateway_lab/test_takeover.py.
"""


def merged(data: Data, samples: Iterable[Mapping[str, Any]], run: Mapping[str, Any]) -> Data:
    """The data with these samples in place of older ones; what is no case any more is left out.

    A sample that is an error replaces nothing.
    """
    told = {key: run[key] for key in RUN if key in run}
    fresh = {s["name"]: {"sample": dict(s), "run": told} for s in samples if not s["error"]}
    together = {**data, **fresh}
    return {name: together[name] for name in CASES if name in together}


def page(data: Data) -> str:
    """The whole page."""
    runs: list[Mapping[str, Any]] = []
    lines = [_row(COLUMNS), _row(["---"] * len(COLUMNS))]
    for name, entry in data.items():
        if entry["run"] not in runs:
            runs.append(entry["run"])
        number = runs.index(entry["run"]) + 1
        lines.append(_row(_cells(CASES[name], outcomes.from_json(entry["sample"]), number)))
    done = [f"- **{CASES[name].title}**: {CASES[name].done}." for name in data]
    told = [f"{number}. {_run(run)}" for number, run in enumerate(runs, 1)]
    parts = [
        HEAD,
        *("\n".join(lines), ""),
        *("## What was done", "", "\n".join(done), ""),
        *("## The runs", "", "\n".join(told), ""),
        TAIL,
    ]
    return "\n".join(parts)


def summary(samples: Iterable[Mapping[str, Any]]) -> list[str]:
    """For people at a terminal: a line a case."""
    lines = []
    for sample in samples:
        outcome = outcomes.from_json(sample)
        case = CASES[outcome.name]
        cells = _cells(case, outcome, None)
        text = "; ".join(
            f"{column}: {cell}" for column, cell in zip(COLUMNS[1:], cells[1:], strict=True)
        )
        lines.append(f"{outcome.name}: {outcome.error or text}")
    return lines


def _cells(case: Case, outcome: Outcome, run: int | None) -> list[str]:
    broken = case.broken(outcome)
    number = "" if run is None else f" ({run})"
    return [
        f"{case.title}{' *' if case.quick else ''}{number}",
        _seen(outcome.there),
        _seconds(outcome.detection),
        _seconds(outcome.resumed, digits=2),
        _seen(outcome.others),
        "never fewer" if outcome.back == 0 else _seconds(outcome.back),
        case.promise.words() or "it comes back by itself",
        f"**no**: {'; '.join(broken)}" if broken else "yes",
    ]


def _seen(seen: Seen | None) -> str:
    if seen is None:
        return "none"
    return f"{seen.silence:.2f} s, {seen.lost} of {seen.sent} lost"


def _seconds(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f} s"


def _run(run: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in run.items())


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
