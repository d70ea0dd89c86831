"""`python -m lab.balancer`: the network load balancer, in namespace gp-lb.

Reads what the cloud's control plane says, checks the targets' health, and keeps nftables, conntrack
and the load balancer's DNS names in line with both. Decisions are `lab.flows` and `lab.ledger`.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from effects import Failed, write_atomic
from lab import aws, edge, elb, flows, netns, paths, process
from lab.ledger import Ledger
from lab.probe import probe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lab.flows import Balancer, Flows, Group, Node, Target
    from lab.health import Outcome

NAMESPACE = edge.BALANCER
REFRESH = 1.0
"""Seconds between two looks at the registrations."""
READ_EVERY = 5
"""Each so many looks everything is read, not the registrations alone."""
TICK = 0.2
AGAIN = 1.0
"""Seconds after which flows are ended a second time: a packet may have been under way."""
DELAY_LIMIT = 60.0

log = logging.getLogger("balancer")


@dataclass(frozen=True)
class Picture:
    """What the control plane says."""

    balancer: Balancer | None


@dataclass(frozen=True)
class Checked:
    """What a health check found."""

    group: Group
    target: Target
    outcome: Outcome


class Keeper:
    """Keeps gp-lb as decided. Only the main loop's thread calls it."""

    def __init__(self) -> None:
        self.balancer: Balancer | None = None
        self.ledger = Ledger(_remembered())
        self._ruleset = self._report = self._hosts = ""
        self._private: frozenset[str] = frozenset()
        self._routes: frozenset[str] = frozenset()
        self._forbidden: frozenset[Flows] = frozenset()
        self._again: list[tuple[float, frozenset[Flows]]] = []
        self._turns: dict[flows.Key, int] = {}

    def observe(self, balancer: Balancer | None, now: float) -> None:
        """Take in a new picture."""
        self.balancer = balancer
        self.ledger.observe(balancer, now)

    def source(self, group: Group, target: Target) -> Node | None:
        """The node whose turn it is to check `target`; every node that may send to it has turns."""
        if self.balancer is None:
            return None
        cross = self.balancer.cross_zone if group.cross_zone is None else group.cross_zone
        nodes = [n for n in self.balancer.nodes if cross or n.zone == target.zone]
        name = flows.key(group, target)
        self._turns[name] = self._turns.get(name, -1) + 1
        return nodes[self._turns[name] % len(nodes)] if nodes else None

    def apply(self, now: float) -> None:
        """Bring rules, flows, names and the report in line with what is known."""
        self._addresses()
        told = settings()
        states = flows.effective(self.ledger.health, told.unhealthy_delay, now, told.lost)
        text = flows.ruleset(self.balancer, states)
        if text != self._ruleset:
            netns.run_in(NAMESPACE, ["nft", "-f", "-"], stdin=text)
            self._ruleset = text
        if self.balancer is not None:
            # Only after the rules: what is ended before them would come back to the same target
            self._end(flows.forbidden(self.balancer, states, self.ledger.gone()), now)
            self._names(flows.addresses(self.balancer, states))
        report = json.dumps(self.ledger.report(told.lost), indent=1)
        if report != self._report:
            write_atomic(paths.target_health(), report)
            self._report = report

    def _addresses(self) -> None:
        nodes = self.balancer.nodes if self.balancer else ()
        private = frozenset(node.private_address for node in nodes)
        for address in private - self._private:
            netns.ip(NAMESPACE, "address", "replace", f"{address}/32", "dev", "lo")
        for address in self._private - private:
            netns.ip(NAMESPACE, "address", "delete", f"{address}/32", "dev", "lo")
        self._private = private
        routes = frozenset(self.balancer.vpc_cidrs) if self.balancer else self._routes
        source = ("src", min(private)) if private else ()
        for cidr in routes - self._routes if netns.has_link(_VPC_END) else ():
            way = ("via", edge.VPC_ADDRESS, "dev", flows.VPC, *source)
            netns.ip(NAMESPACE, "route", "replace", cidr, *way)
            self._routes |= {cidr}

    def _end(self, forbidden: frozenset[Flows], now: float) -> None:
        new = forbidden - self._forbidden
        self._forbidden = forbidden
        if new:
            self._again.append((now + AGAIN, new))
            _end_flows(new)
        due = [one for at, one in self._again if at <= now]
        self._again = [(at, one) for at, one in self._again if at > now]
        for one in due:
            _end_flows(one & forbidden)

    def _names(self, names: dict[str, tuple[str, ...]]) -> None:
        text = edge.hosts(names)
        if text != self._hosts:
            edge.publish(text)
            self._hosts = text


_VPC_END = netns.End(NAMESPACE, flows.VPC)


@dataclass(frozen=True)
class Settings:
    """`run/balancer-settings.json`: what an experiment may turn while the balancer runs."""

    unhealthy_delay: float = 0.0
    """Seconds, 0 to 60, by which the data plane hears of an unhealthy target late."""
    lost: frozenset[str] = frozenset()
    """Ids of targets that the data plane takes for unhealthy whatever the checks find, and
    DescribeTargetHealth tells so: with a long delay, when a dead one's flows move is the
    experiment's to say."""


def settings_file() -> Path:
    """Where the settings are; the file need not exist."""
    return paths.run() / "balancer-settings.json"


def settings() -> Settings:
    """The settings now. What is missing or out of range has its default."""
    try:
        found = json.loads(settings_file().read_text())
        delay, lost = float(found["unhealthy_delay"]), frozenset(found.get("lost", ()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Settings()
    return Settings(min(max(delay, 0.0), DELAY_LIMIT), lost)


def ready() -> bool:
    """Whether the running balancer has applied its first picture."""
    found = process.find("balancer")
    try:
        return found is not None and int(_ready_file().read_text()) == found.pid
    except (OSError, ValueError):
        return False


def main() -> int:
    """Run until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    events: queue.Queue[Picture | Checked] = queue.Queue()
    reader = threading.Thread(target=_read, args=(events, stop), daemon=True)
    reader.start()
    with ThreadPoolExecutor(max_workers=32) as pool:
        _loop(Keeper(), events, pool, stop)
    return 0


def _loop(
    keeper: Keeper,
    events: queue.Queue[Picture | Checked],
    pool: ThreadPoolExecutor,
    stop: threading.Event,
) -> None:
    seen = False
    while not stop.is_set():
        for event in _events(events):
            now = time.monotonic()
            if isinstance(event, Picture):
                keeper.observe(event.balancer, now)
                seen = True
            elif keeper.ledger.record(event.group, event.target, event.outcome, now):
                one = keeper.ledger.health[flows.key(event.group, event.target)]
                log.info("%s %s: %s %s", event.target.id, event.target.port, one.state, one.detail)
        if not seen:
            continue
        now = time.monotonic()
        if keeper.balancer is not None:
            for group, target in keeper.ledger.due(keeper.balancer, now):
                _check(keeper, group, target, events, pool)
        try:
            keeper.apply(now)
        except (Failed, OSError):
            log.exception("could not apply; trying again")
            stop.wait(TICK)
            continue
        if not _ready_file().exists() or _ready_file().read_text() != str(os.getpid()):
            write_atomic(_ready_file(), str(os.getpid()))


def _check(
    keeper: Keeper,
    group: Group,
    target: Target,
    events: queue.Queue[Picture | Checked],
    pool: ThreadPoolExecutor,
) -> None:
    node, address = keeper.source(group, target), target.address
    if node is None or address is None:
        return
    port = group.check.port or target.port

    def work() -> None:
        outcome = probe(NAMESPACE, node.private_address, address, port, group.check)
        events.put(Checked(group, target, outcome))

    pool.submit(work)


def _events(events: queue.Queue[Picture | Checked]) -> Iterable[Picture | Checked]:
    try:
        yield events.get(timeout=TICK)
        while True:
            yield events.get_nowait()
    except queue.Empty:
        return


def _read(events: queue.Queue[Picture | Checked], stop: threading.Event) -> None:
    reader = elb.Reader(aws.client("elbv2"), aws.client("ec2"))
    balancer, turn, well = None, 0, True
    while not stop.is_set():
        try:
            whole = balancer is None or turn % READ_EVERY == 0
            balancer = reader.read() if whole else reader.refresh(balancer)
            events.put(Picture(balancer))
            turn, well = turn + 1, True
        except (BotoCoreError, ClientError, KeyError, StopIteration) as err:
            # The last picture stands: a control plane that is away changes no flow
            turn = 0
            if well:
                log.warning("the control plane does not answer as it should: %r", err)
            well = False
        stop.wait(REFRESH)


def _end_flows(which: Iterable[Flows]) -> None:
    for one in sorted(which):
        place = ["--reply-src", one.address, "--reply-port-src", str(one.port)]
        # conntrack ends with 1 when there was nothing to delete
        done = netns.run_in(NAMESPACE, ["conntrack", "-D", "-p", one.protocol, *place], check=False)
        log.info("%s:%s: %s", one.address, one.port, done.stderr.strip().splitlines()[-1:])


def _remembered() -> dict[str, dict[str, dict[str, str]]]:
    try:
        return json.loads(paths.target_health().read_text())
    except (OSError, ValueError):
        return {}


def _ready_file() -> Path:
    return paths.run() / "balancer.ready"


if __name__ == "__main__":
    sys.exit(main())
