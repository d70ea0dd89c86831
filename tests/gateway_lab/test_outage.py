"""AWS is away for ten minutes, and nobody who is served notices."""

from __future__ import annotations

import itertools
import json
import logging
import re
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import (
    CLIENT,
    GATEWAY,
    HOST_ADDRESS,
    MOTO_PORT,
    POOL,
    Bed,
    await_true,
    keypair,
    let_in,
    standing,
)
from gateway_lab.relay import Relay

from effects import run

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

log = logging.getLogger(__name__)

AWAY = 600.0
"""Seconds by the agent's clock."""

PROMISE = 5.0
"""Seconds from the return of AWS until what was missed is in force."""

REKEY_AFTER_TIME = 120
"""Seconds after which WireGuard shakes hands again of its own (whitepaper, section 6.1)."""

RESTORED_PORT = 5097
AGE = "gatepair_control_plane_age_seconds"


@dataclass
class Watched:
    """What was seen of a gateway, again and again."""

    health: list[int] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    replies: list[int] = field(default_factory=list)
    """Sequence numbers of the private host's answers to the client."""


@contextmanager
def watching(bed: Bed) -> Generator[Watched]:
    """Ask for health and age five times a second, and let the client ping ten times a second."""
    seen, over = Watched(), threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            seen.health.append(bed.get(9585, "/healthz/0")[0])
            seen.ages.append(bed.metric(AGE))

    looking = threading.Thread(target=look)
    ping = bed.spawn("ping", "ping", "-i", "0.1", HOST_ADDRESS, namespace=CLIENT)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()
        ping.send_signal(signal.SIGINT)
        ping.wait(timeout=5)
    log = (bed.directory / "ping.log").read_text()
    seen.replies += map(int, re.findall(r"icmp_seq=(\d+)", log))


def count_attempts() -> None:
    """Count the connections that anybody in the gateway tries to make to AWS."""
    rule = f"tcp dport {MOTO_PORT} tcp flags syn / syn,ack counter;"
    hook = "type filter hook output priority 0;"
    text = f"table inet attempts {{ chain out {{ {hook} {rule} }}; }}"
    run(["ip", "netns", "exec", GATEWAY, "nft", "-f", "-"], stdin=text)


def attempts() -> int:
    command = ["ip", "netns", "exec", GATEWAY, "nft", "-j", "list", "table", "inet", "attempts"]
    (rule,) = [one["rule"] for one in json.loads(run(command).stdout)["nftables"] if "rule" in one]
    (counter,) = [part["counter"] for part in rule["expr"] if "counter" in part]
    return counter["packets"]


@pytest.mark.lab
@pytest.mark.parametrize(
    "speed",
    [
        pytest.param(20, marks=pytest.mark.timeout(150)),
        pytest.param(1, marks=[pytest.mark.long, pytest.mark.timeout(900)]),
    ],
)
def test_ten_minutes_without_aws_cost_nobody_anything(tmp_path: Path, speed: float) -> None:
    with standing(tmp_path) as bed:
        bed.control(7)
        bed.start_agent(speed=speed)
        await_true("healthy", bed.healthy)
        alice, _address = let_in(bed)
        (_, bob), (_, carol) = (keypair(tmp_path, name) for name in ("bob", "carol"))
        bed.add_peer("carol", carol, POOL)
        await_true("carol", lambda: carol in bed.wg("show", "wg0", "peers"))
        shook = bed.settled_handshake(alice)

        with watching(bed) as seen:
            registry = bed.saved()
            bed.stop_moto()
            count_attempts()
            # the registry lives on, where the gateway cannot reach it
            bed.start_moto(RESTORED_PORT)
            bed.create_table(registry)
            bed.add_peer("bob", bob, POOL)
            generation = bed.change_peer("carol")
            limit = 2 * AWAY / speed + 30
            await_true("ten minutes", lambda: bed.metric(AGE) >= AWAY, timeout=limit)
            asked, missed = attempts(), len(seen.ages)
            assert set(bed.wg("show", "wg0", "peers").split()) == {alice, carol}, "as they were"
            assert bed.agent is not None
            bed.agent.send_signal(signal.SIGUSR1)  # five seconds are five seconds

            returned = time.monotonic()
            back = Relay(GATEWAY, MOTO_PORT, GATEWAY, RESTORED_PORT)
            bed.exits.callback(back.close)
            await_true(
                "what was missed",
                lambda: set(bed.wg("show", "wg0", "peers").split()) == {alice, bob},
                timeout=PROMISE,
            )
            took = time.monotonic() - returned
            await_true("applied", lambda: bed.metric("gatepair_applied_generation") == generation)
            await_true("the age is that of an answer again", lambda: bed.metric(AGE) < PROMISE)

        log.info("applied %.2f s after the return; %d attempts meanwhile", took, asked)
        assert asked >= AWAY, "it went on asking, once a second and more"
        assert set(seen.health) == {200}
        ages = seen.ages[:missed]
        assert len(ages) > AWAY / speed
        grown = [later - age for age, later in itertools.pairwise(ages[len(ages) // 10 :])]
        assert min(grown) > 0, "the age grows"
        assert seen.replies == list(range(1, len(seen.replies) + 1)), "no packet was lost"
        since = bed.handshake(alice) - shook
        assert since == 0 or since >= REKEY_AFTER_TIME, "nobody had to shake hands again"
