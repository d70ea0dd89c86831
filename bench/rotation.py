#!/usr/bin/env python3
"""What a rotation of the server's key costs: nothing with the helper, one reconnect without.

The key is rotated as docs/runbooks/rotate-the-key.md has it, by two deployments of the stack file:
`[g]`, `[g, g+1]`, `[g+1]`. All the while every client pings the private host every 0.1 s:

* clients with client/gatepair_helper.py, as its service would run it: no ping may be lost from
  before the first deployment until after the second.
* plain clients, who get a new config while both keys are served: `wg-quick down`, the new file,
  `wg-quick up`, one client after the other. A sample is the time without an answer around that. So
  that there are enough of them, a client is put back onto the old key and does it again.
* stragglers, who keep the old config. They are answered until the old key is retired, and never
  after every gateway has confirmed that.

The unimproved way is theirs: without two keys served side by side everybody is a straggler.
Afterwards the way back is deployed, so that a lab that was up before has its old key again; other
clients of that lab are cut off for as long as it is away.
"""

from __future__ import annotations

if not __package__:
    import start  # noqa: F401  # ty: ignore[import-not-found] - it does not return

import sys
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from bench import tunnels
from bench.command import parser, positive, run
from bench.crowd import COUNT, PING_EVERY, SETTLE, Crowd, felt
from bench.ground import Ground, load, standing, surroundings
from bench.helpers import Helpers
from bench.report import ENOUGH_FOR_P99, Report, percentile
from bench.stack_file import StackFile, touches
from commands import rotation
from effects import Refusal, write_atomic
from lab import process

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from bench.command import Say
    from bench.echoes import Echoes
    from bench.tunnels import Client, Server
    from registry.items import Head
    from registry.stack import Stack

PLAIN, STRAGGLERS = 5, 2
"""Stragglers: one on each gateway."""
RECONNECTS = 20
"""Of each plain client: with five of them a hundred samples."""
INTERVAL = 60
"""Seconds between a helper's questions, on average: its own default."""
DAY = 1.0

CONTROL = "::peer-registry-control"
"""How the URN of the one resource ends that a rotation may touch."""

SERVED_WITHIN = 60.0
RESUMED_WITHIN = 30.0
BEFORE, AFTER = 3.0, 12.0
"""Seconds of pings before the first deployment, and after the old key is gone: a straggler tries a
handshake every 5 s."""
BREATH = 1.0
"""Seconds between two reconnects of the same client."""
AROUND = 2 * PING_EVERY
"""Seconds before something is done: there is an answer in them."""

# ------------------------------------------------------------------ the gateways' side


def next_generation(head: Head) -> tuple[int, int]:
    """The generation that is served and the one to rotate to. Raises `Refusal`. Pure."""
    present = head.control.key_generations if head.control else ()
    if len(present) != 1:
        raise Refusal(
            "the lab's keyGenerations",
            f"{list(present)}: a rotation is under way already, or none can be",
            "finish it, or scripts/lab down, then again",
        )
    (old,) = present
    if head.command is not None and old + 1 in head.command.burnt:
        raise Refusal(f"key generation {old + 1}", "it is burnt", "scripts/lab down, then again")
    return old, old + 1


def await_served(stack: Stack, *generations: int) -> None:
    """Return once every gateway says that it serves these generations and no other."""

    def served() -> bool:
        members = [one for one in stack.fleet.group().members if not one.leaving]
        records = stack.fleet.records(members)
        found = [records.get(one.instance_id) for one in members]
        return bool(found) and all(one and set(one.keys) == set(generations) for one in found)

    what = f"every gateway serves {list(generations)}"
    process.await_condition(what, served, timeout=SERVED_WITHIN, interval=0.2)


def await_known(stack: Stack, ours: Iterable[str], stragglers: Iterable[str]) -> None:
    """Return once the gateways say of these clients that only the stragglers use the old key."""
    mine, wanted = set(ours), set(stragglers)

    def known() -> bool:
        found = rotation.look(stack, days=DAY)
        left = {one.peer.name for one in found.left_behind} & mine
        return not found.untold and left == wanted

    what = "`scripts/keys status` names the stragglers and nobody else"
    process.await_condition(what, known, timeout=SERVED_WITHIN, interval=1.0)


# ------------------------------------------------------------------ plain clients


class Plain:
    """Clients without the helper, who get a new config and reconnect."""

    def __init__(
        self, crowd: Crowd, names: Sequence[str], ground: Ground, look: Callable[[], object]
    ) -> None:
        """`look` is called after each reconnect: what else happens meanwhile is not missed."""
        self._crowd, self._names, self._look = crowd, names, look
        self._stack, self._say = ground.stack, ground.say
        self.windows: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
        """When each was disconnected by its own doing."""

    def reconnect(self, rounds: int, old: Server, new: Server) -> list[dict[str, Any]]:
        """So many times each, from the old key to the new one; at the end all are on the new."""
        samples = []
        for number in range(rounds):
            if number:
                self._put_back(old)
            samples += [self._one(self._crowd.clients[name], new) for name in self._names]
            worst = max(sample["gap"] for sample in samples)
            self._say(f"{len(samples)} reconnects, longest gap {worst:.2f} s")
        return samples

    def _one(self, client: Client, new: Server) -> dict[str, Any]:
        fresh = client.tunnel.config.with_suffix(".new")
        port = client.ports[client.gateway]
        text = tunnels.config_text(self._stack, new, client.peer, client.identity, port)
        write_atomic(fresh, text, mode=0o600)
        # As its user would: the new file takes the old one's place while the tunnel is down
        script = 'wg-quick down "$1" && mv "$2" "$1" && wg-quick up "$1"'
        began = time.monotonic()
        client.tunnel.run(["sh", "-c", script, "sh", str(client.tunnel.config), str(fresh)])
        ended = time.monotonic()
        resumed = self._resumed([client.name])
        echoes = self._crowd.of(client.name)
        window = (began - AROUND, echoes.first_fresh(ended) or time.monotonic())
        self.windows[client.name].append(window)
        self._look()
        return {
            "kind": "reconnect",
            "client": client.name,
            # Of one that has not come back, what it is by now: it is the longest of all anyway
            "gap": echoes.longest_silence(*window),
            "resumed": resumed,
            "command": ended - began,
        }

    def _resumed(self, names: Sequence[str]) -> bool:
        try:
            self._crowd.await_answers(names, within=RESUMED_WITHIN)
        except TimeoutError as err:
            self._say(str(err))
            return False
        return True

    def _put_back(self, old: Server) -> None:
        began = time.monotonic()
        for name in self._names:
            client = self._crowd.clients[name]
            tunnels.rekey(client, old, client.peer, client.identity, client.gateway)
        self._resumed(self._names)
        for name in self._names:
            self.windows[name].append((began - AROUND, time.monotonic()))
        time.sleep(BREATH)  # what is cut off has been flowing for a while


def lost_outside(echoes: Echoes, span: tuple[float, float], windows: Iterable[Any]) -> int:
    """How many pings of a span of time were lost, but for those of these windows. Pure."""
    known = list(windows)
    return sum(
        not any(begin <= echoes.sent[number] < end for begin, end in known)
        for number in echoes.lost(*span)
    )


# ------------------------------------------------------------------ the bench


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The whole bench."""
    with standing("rotation", say) as ground, ExitStack() as exits:
        conditions = dict(surroundings(ground))
        stack, machines = ground.stack, set(ground.gateways())
        old, new = next_generation(stack.registry.head())
        file = StackFile(ground, {"keyGenerations": [old]})
        before = tunnels.server(stack)
        helped = [f"bench-helped{n}" for n in range(options.helpers)]
        plain = [f"bench-plain{n}" for n in range(PLAIN)]
        stragglers = [f"bench-late{n}" for n in range(STRAGGLERS)]
        crowd = Crowd(ground, exits, before, [*stragglers, *helped, *plain], "rotation")
        guided = [crowd.clients[name] for name in helped]
        helpers = exits.enter_context(Helpers(guided, options.interval, ground.directory))
        say(f"{len(helped)} clients with the helper and {len(plain)} plain ones are live")
        began = time.monotonic()
        time.sleep(BEFORE)
        overlapped = file.deploy({"keyGenerations": [old, new]})
        await_served(stack, old, new)
        overlap = time.monotonic()
        after = tunnels.server(stack)
        chosen = Plain(crowd, plain, ground, partial(helpers.all_moved, new))
        samples = reconnecting(crowd, chosen, options.reconnects, before, after)
        helpers.await_moved(new)
        say(f"every helper has moved within {max(helpers.proved.values()) - overlap:.0f} s")
        await_known(stack, crowd.clients, stragglers)
        retired = file.deploy({"keyGenerations": [new]})
        await_served(stack, new)
        refused = time.monotonic()
        say("the old key is retired")
        time.sleep(AFTER)
        ended = time.monotonic()
        time.sleep(SETTLE)
        span = (began, ended)
        for name in helped:
            moved = helpers.proved[name] - overlap
            told = felt(crowd.of(name), *span)
            samples.append({"kind": "helper", "client": name, **told, "moved_after": moved})
        samples += [straggler(name, crowd.of(name), began, refused, ended) for name in stragglers]
        samples += [deployment(overlapped, [old, new]), deployment(retired, [new])]
        conditions |= {
            "clients_with_helper": len(helped),
            "plain_clients": len(plain),
            "stragglers": len(stragglers),
            "ping_every": PING_EVERY,
            "helper_interval": options.interval,
            "seconds": ended - began,
            "gateways_replaced": len(machines - set(ground.gateways())),
            "samples_plain": sum(one["kind"] == "reconnect" for one in samples),
            "sender_late_max": crowd.traffic.sender_late_max(),
            "load_after": load(),
            "unimproved": "the stragglers: cut off by the new key until they have a new config",
        }
    return Report("rotation", figures_of(samples), conditions, samples)


def reconnecting(
    crowd: Crowd, plain: Plain, rounds: int, old: Server, new: Server
) -> list[dict[str, Any]]:
    """The plain clients' part, with a sample of what each of them lost beside its reconnects."""
    began = time.monotonic()
    samples = plain.reconnect(rounds, old, new)
    ended = time.monotonic()
    time.sleep(SETTLE)
    for name, windows in plain.windows.items():
        lost = lost_outside(crowd.of(name), (began, ended), windows)
        samples.append({"kind": "plain", "client": name, "lost_elsewhere": lost})
    return samples


def straggler(
    name: str, echoes: Echoes, began: float, refused: float, ended: float
) -> dict[str, Any]:
    """Whether one that kept the old key was answered before it was retired, and after. Pure."""
    answered = [number for number in echoes.probes(began, ended) if number in echoes.answered]
    late = sum(echoes.sent[number] >= refused for number in answered)
    return {
        "kind": "straggler",
        "client": name,
        "answered_before": len(answered) - late,
        "answered_after": late,
    }


def deployment(changes: Mapping[str, Any], generations: Sequence[int]) -> dict[str, Any]:
    """What one of the two deployments has touched. Pure."""
    return {"kind": "deployment", "generations": list(generations), "touched": touches(changes)}


def figures_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures. Pure. A p99 of fewer than 100 samples is left out: it would not be one."""
    by = {
        kind: [one for one in samples if one["kind"] == kind]
        for kind in ("helper", "reconnect", "plain", "straggler", "deployment")
    }
    gaps = [one["gap"] for one in by["reconnect"]]
    touched = Counter(urn for one in by["deployment"] for urn in one["touched"])
    figures: dict[str, float] = {
        "helper_sent": sum(one["sent"] for one in by["helper"]),
        "helper_lost": sum(one["lost"] for one in by["helper"]),
        "helper_longest_gap": max(one["longest_gap"] for one in by["helper"]),
        "helper_moved_after_max": max(one["moved_after"] for one in by["helper"]),
    }
    if len(gaps) >= ENOUGH_FOR_P99:
        figures["plain_gap_p99"] = percentile(gaps, 99)
    return figures | {
        "plain_not_resumed": sum(not one["resumed"] for one in by["reconnect"]),
        "plain_gap_p50": percentile(gaps, 50),
        "plain_gap_max": max(gaps),
        "plain_lost_elsewhere": sum(one["lost_elsewhere"] for one in by["plain"]),
        "old_key_refused_after_retire": int(
            all(one["answered_before"] and not one["answered_after"] for one in by["straggler"])
        ),
        "resources_touched": sum(touched.values()),
        "resources_touched_but_control": sum(
            count for urn, count in touched.items() if not urn.endswith(CONTROL)
        ),
    }


def main(argv: Sequence[str]) -> int:
    """Run the bench and return its exit status."""
    options = parser("rotation", __doc__ or "")
    options.add_argument(
        "--helpers", type=positive, default=COUNT, help="clients with the helper; default 20"
    )
    options.add_argument(
        "--reconnects",
        type=positive,
        default=RECONNECTS,
        help="of each plain client; default 20",
    )
    options.add_argument(
        "--interval",
        type=positive,
        default=INTERVAL,
        help="seconds between a helper's questions; default 60, as installed",
    )
    return run(options, measure, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
