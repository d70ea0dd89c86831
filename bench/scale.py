#!/usr/bin/env python3
"""What 10,000 peers cost: a boot, one more peer, memory, processor and reads when nothing happens.

boot_to_applied: a gateway's instance is terminated, Auto Scaling puts another in its place; from
the moment the new one has `wg0` until its own item in the registry says that all is applied.
add_to_usable: from the start of `scripts/peers add --public-key` until the private host answers a
ping of a client with that key, where both gateways have answered a handshake with it before (so
the slower one counts); the client is told its address when the command has ended.
Memory and processor: the agent's process and its children, over a minute in which nobody changes
anything; and over one after all the clients that were added have left without a word. Reads: the
calls of such a minute, taken off the wire, without those of a full reading; and those of two full
readings (each agent is restarted for it), spread over the interval at which it makes them; priced
by the sizes of the items that are really there (bench/reads.py).
"""

from __future__ import annotations

if not __package__:
    import start  # noqa: F401  # ty: ignore[import-not-found] - it does not return

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench import filling, tunnels
from bench.command import NotMeasured, parser, positive, run
from bench.ground import Ground, load, operators_command, standing, surroundings
from bench.initiation import Identity
from bench.knocking import Knocker
from bench.reads import Sizes, units
from bench.report import Report, percentile
from bench.tap import Tap
from bench.traffic import Flow, Traffic
from effects import run as run_command
from gateway.registry_watch import FULL_EVERY
from lab import edge, machine, netns, process, session

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Address

    from bench.command import Say
    from bench.reads import Call

PEERS = 10_000
BOOTS = 2
ADDS = 20
IDLE = 60
SETTLE = 15.0
"""Seconds after a full reading before idleness is measured."""

BOOT_LIMIT = 180.0
APPLIED_LIMIT = 120.0
READING_LIMIT = 60.0
QUIET = 3.0
"""Seconds without a page after which a full reading is over."""
USABLE_LIMIT = 30.0
PING_EVERY = 0.01
BREATH = 0.03
"""Seconds between the last knock and the client's first handshake: a gateway ignores a peer's
initiations that come less than 20 ms apart (wireguard-go, HandshakeInitationRate)."""
READINGS = 2

UNIT = "gatepair-agent"
ASKER, ADDED = "bench-asker", "bench-added"
"""Clients: from the place of one both gateways are knocked at, the other is each added peer."""


# ------------------------------------------------------------------ boot


def boots(ground: Ground, count: int) -> list[dict[str, Any]]:
    """Gateways that boot into a registry full of peers."""
    samples = []
    for number in range(count):
        there = set(ground.gateways())
        victim = sorted(there)[number % len(there)]
        ground.say(f"{victim} is terminated")
        began = time.monotonic()
        ground.stack.cloud.client("ec2").terminate_instances(InstanceIds=[victim])
        new = _await("a new gateway", lambda there=there: _new_machine(there), BOOT_LIMIT)
        place = machine.namespace(new)
        _await(f"wg0 on {new}", lambda place=place: _has_wg0(place), BOOT_LIMIT)
        up = time.monotonic()
        head = ground.stack.registry.head()
        arn = ground.stack.environment.instance_arn(new)

        def applied(arn: str = arn, head: Any = head) -> bool:
            records = ground.stack.registry.gateways([arn])
            return any(
                one.applied >= head.generation and one.epoch == head.epoch for one in records
            )

        _await(f"{new} has applied all", applied, APPLIED_LIMIT, every=0.1)
        seconds = time.monotonic() - up
        ground.say(f"{new}: applied {seconds:.1f} s after wg0 was up")
        samples.append(
            {"kind": "boot", "gateway": new, "seconds": seconds, "terminated_to_wg0": up - began}
        )
        session.await_healthy(lambda _: None, BOOT_LIMIT)
        # Who is leaving is still asked to confirm changes
        _await(f"{victim} is gone", lambda gone=victim: _gone(ground, gone), BOOT_LIMIT, every=0.5)
    return samples


def _gone(ground: Ground, gateway: str) -> bool:
    return all(one.instance_id != gateway for one in ground.stack.fleet.group().members)


def _new_machine(there: set[str]) -> str:
    found = [name for name, one in machine.found().items() if one.alive and name not in there]
    return found[0] if found else ""


def _has_wg0(namespace: str) -> bool:
    return netns.exists(namespace) and netns.has_link(netns.End(namespace, "wg0"))


def _await(what: str, seen: Any, within: float, *, every: float = 0.05) -> Any:
    """The first true value of `seen()`."""
    found: list[Any] = []

    def looked() -> bool:
        found[:] = [seen()]
        return bool(found[0])

    process.await_condition(what, looked, timeout=within, interval=every)
    return found[0]


# ------------------------------------------------------------------ one more peer


def adds(ground: Ground, exits: ExitStack, count: int) -> list[dict[str, Any]]:
    """Peers that are added by the command, one after the other."""
    server = tunnels.server(ground.stack)
    gateways = {address: name for name, address in ground.gateways().items()}
    ground.undo(edge.delete_client, ASKER)
    asker = edge.create_client(ASKER)
    doors = tunnels.doors(asker, server, tunnels.find_ports(asker, server, gateways))
    order = list(doors)
    ground.undo(tunnels.delete, ground.stack, ADDED)
    client = tunnels.create(ground.stack, server, ADDED, order, order[0])
    ground.await_applied()
    flow = Flow(client.name, client.namespace, str(ground.host), PING_EVERY)
    traffic = exits.enter_context(Traffic([flow], ground.directory / "scale.pings"))
    knocker = exits.enter_context(Knocker())
    tag = f"{int(time.time()) % 100_000_000:08d}"
    samples = []
    for number in range(count):
        name, identity = f"bench-{tag}-{number}", Identity.new()
        for door in doors.values():
            knocker.knock(door, identity)
        ground.undo(tunnels.drop_peer, ground.stack, name)
        began = time.monotonic()
        operators_command("peers", "add", name, "--public-key", identity.public_text, "--json")
        command = time.monotonic() - began
        process.await_condition(
            "both gateways admit the new key",
            lambda: all(door.echoes.heard for door in doors.values()),
            timeout=USABLE_LIMIT,
            interval=0.005,
        )
        for door in doors.values():
            knocker.leave(door)
        time.sleep(BREATH)
        peer = ground.stack.registry.peer(name)
        if peer is None:
            raise NotMeasured(f"{name} is not in the registry")
        tunnels.rekey(client, server, peer, identity, order[number % len(order)])
        ready = time.monotonic()
        traffic.await_answers([client.name], since=ready, within=USABLE_LIMIT)
        answered = traffic.of(client.name).first_fresh(ready)
        assert answered is not None  # noqa: S101 - it was awaited
        samples.append(
            {
                "kind": "add",
                "seconds": answered - began,
                "command": command,
                "admitted_by": {
                    gateways[address]: round(door.echoes.heard[0] - began, 4)
                    for address, door in doors.items()
                },
                "gateway": gateways[client.gateway],
            }
        )
        ground.say(f"{name}: usable after {answered - began:.2f} s, its command {command:.2f} s")
    return samples


# ------------------------------------------------------------------ idleness


@dataclass(frozen=True)
class Usage:
    """What an agent has used: seconds of a processor (children that have ended included), MB."""

    own: float
    children: float
    rss: float
    rss_peak: float

    @property
    def cpu(self) -> float:
        """Seconds of a processor."""
        return self.own + self.children


def usage(gateway: str) -> Usage:
    """Of the agent on a gateway."""
    show = ["systemctl", "show", "--property=MainPID", "--value", UNIT]
    pid = run_command(machine.command_in(gateway, show)).stdout.strip()
    files = [f"/proc/{pid}/stat", f"/proc/{pid}/status"]
    text = run_command(machine.command_in(gateway, ["cat", *files])).stdout
    return parse_usage(text, os.sysconf("SC_CLK_TCK"))


def parse_usage(text: str, ticks: int) -> Usage:
    """From /proc/PID/stat and /proc/PID/status (proc(5)). Pure."""
    stat, _, status = text.partition("\n")
    fields = stat.rpartition(")")[2].split()
    own, children = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
    sizes = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    rss, peak = (int(sizes[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return Usage(own / ticks, children / ticks, rss, peak)


def idleness(ground: Ground, kind: str, seconds: int) -> list[dict[str, Any]]:
    """Every gateway over a quiet time, between two full readings."""
    gateways = ground.gateways()
    with Tap() as tap:
        first = _read_in_full(ground, tap, gateways)
        time.sleep(SETTLE)
        began = time.monotonic()
        before = {name: usage(name) for name in gateways}
        time.sleep(seconds)
        after = {name: usage(name) for name in gateways}
        ended = time.monotonic()
        second = _read_in_full(ground, tap, gateways)
    tap.check()
    sizes = Sizes.of(_all_items(ground))
    samples = []
    for name, address in gateways.items():
        quiet = tap.calls(address, began, ended)
        readings = [_full(tap.calls(address, *span)) for span in (first, second)]
        if any(not reading for reading in readings):
            raise NotMeasured(f"{name} was not seen to read in full")
        samples.append(
            {
                "kind": kind,
                "gateway": name,
                "seconds": ended - began,
                "rss_mb": after[name].rss,
                "rss_peak_mb": after[name].rss_peak,
                "cpu_percent": (after[name].cpu - before[name].cpu) / (ended - began) * 100,
                **reading_of(quiet, readings, sizes, ended - began),
            }
        )
    return samples


def reading_of(
    quiet: Sequence[Call], readings: Sequence[Sequence[Call]], sizes: Sizes, seconds: float
) -> dict[str, Any]:
    """Read units a second: what is always asked, and full readings at their interval. Pure."""
    steady = [call for call in quiet if call.partition != "peer"]
    rate = sum(units(call, sizes) for call in steady) / seconds
    full = [sum(units(call, sizes) for call in reading) for reading in readings]
    calls: dict[str, int] = {}
    for call in steady:
        label = f"{call.action} {call.partition}".strip()
        calls[label] = calls.get(label, 0) + 1
    return {
        "steady_read_units_per_second": rate,
        "full_reading_read_units": full,
        "read_units_per_second": rate + sum(full) / len(full) / FULL_EVERY,
        "calls": calls,
    }


def _full(calls: Sequence[Call]) -> list[Call]:
    return [call for call in calls if call.partition == "peer"]


def _read_in_full(
    ground: Ground, tap: Tap, gateways: Mapping[str, IPv4Address]
) -> tuple[float, float]:
    """Have every agent read all peers, by a restart; from when to when it did."""
    began = time.monotonic()
    for name in gateways:
        run_command(machine.command_in(name, ["systemctl", "restart", UNIT]))
    pages = dict.fromkeys(gateways.values(), 0)
    last = began

    def read() -> bool:
        nonlocal last
        for address in gateways.values():
            seen = len(_full(tap.calls(address, began, float("inf"))))
            if seen != pages[address]:
                pages[address], last = seen, time.monotonic()
        return all(pages.values()) and time.monotonic() - last > QUIET

    process.await_condition("all agents read in full", read, timeout=READING_LIMIT, interval=0.2)
    ground.say(f"read in full: {', '.join(f'{n} pages' for n in pages.values())}")
    return began, time.monotonic()


def _all_items(ground: Ground) -> Any:
    pages = ground.stack.cloud.client("dynamodb").get_paginator("scan")
    for page in pages.paginate(TableName=ground.stack.environment.table):
        yield from page["Items"]


# ------------------------------------------------------------------ the bench


def measure(options: argparse.Namespace, say: Say) -> Report:
    """The whole bench."""
    with standing("scale", say) as ground, ExitStack() as exits:
        conditions = dict(surroundings(ground))
        say(f"putting {options.peers} peers into the registry")
        filled, head = filling.fill(ground.stack, options.peers)
        ground.undo(filling.empty, ground.stack, filled)
        say(f"applied after {ground.await_applied(head):.1f} s")
        samples = boots(ground, options.boots)
        samples += idleness(ground, "idle", options.idle)
        samples += adds(ground, exits, options.adds)
        exits.close()  # ends the traffic: its clients are gone, and WireGuard goes on calling them
        samples += idleness(ground, "left", options.idle)
        conditions |= {
            "peers": len(ground.stack.registry.peers()[0]),
            "boots": options.boots,
            "adds": options.adds,
            "idle_seconds": options.idle,
            "full_reading_every": FULL_EVERY,
            "full_readings_counted": READINGS,
            "load_after": load(),
            "unimproved": "none: there is no stock registry to compare with",
        }
    return Report("scale", figures_of(samples), conditions, samples)


def figures_of(samples: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The figures: of each the worst that was seen. Pure."""
    kinds = {
        kind: [sample for sample in samples if sample["kind"] == kind]
        for kind in ("boot", "add", "idle", "left")
    }

    def worst(kind: str, what: str) -> float:
        return max(sample[what] for sample in kinds[kind])

    return {
        "boot_to_applied": worst("boot", "seconds"),
        "add_to_usable": worst("add", "seconds"),
        "add_to_usable_p50": percentile((one["seconds"] for one in kinds["add"]), 50),
        "add_command_p50": percentile((one["command"] for one in kinds["add"]), 50),
        "agent_rss_mb": worst("idle", "rss_mb"),
        "agent_rss_peak_mb": worst("idle", "rss_peak_mb"),
        "agent_idle_cpu_percent": worst("idle", "cpu_percent"),
        "agent_clients_left_cpu_percent": worst("left", "cpu_percent"),
        "idle_read_units_per_second": worst("idle", "read_units_per_second"),
    }


def main(argv: Sequence[str]) -> int:
    """Run the bench and return its exit status."""
    options = parser("scale", __doc__ or "")
    options.add_argument("--peers", type=positive, default=PEERS, help="default 10000")
    options.add_argument("--boots", type=positive, default=BOOTS, help="default 2")
    options.add_argument("--adds", type=positive, default=ADDS, help="default 20")
    options.add_argument(
        "--idle", type=positive, default=IDLE, metavar="SECONDS", help="default 60"
    )
    return run(options, measure, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
