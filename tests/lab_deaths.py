"""A gateway of the lab is killed while one of its clients pings: what the client feels of it."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lab_driver import eventually

from lab import paths

if TYPE_CHECKING:
    from lab_driver import LabDriver

WATCHED = 60
"""Seconds of pings: detection takes up to 12 (interval 5, threshold 2, timeout 2)."""


@dataclass(frozen=True)
class Felt:
    """A death, as a client felt it. Seconds."""

    gateway: str
    """Instance id."""
    detection: float
    """From the death until the load balancer let go of the client's flow."""
    silence: float
    """From then until the first answer."""
    longest_gap: float
    """Afterwards."""


def moved_at(gateway: str) -> float:
    """When the balancer's data plane has let go of a gateway; epoch seconds, 0 while it has not."""
    report = paths.target_health()
    written = report.stat().st_mtime
    states = [group.get(gateway) for group in json.loads(report.read_text()).values()]
    return 0.0 if any(state and state["state"] == "healthy" for state in states) else written


def death_felt_by(lab: LabDriver, client: str) -> Felt:
    """Kill the gateway that a client is on, once all others know of its session."""
    lab.answered(client)
    gateway = lab.serving(client)
    for other in lab.healthy():
        if other != gateway:
            eventually(
                f"{other} knows of the session",
                lambda other=other: lab.metrics(other)["gatepair_remote_sessions"] >= 1,
                within=20,
            )
    with ThreadPoolExecutor(1) as pool:
        pings = pool.submit(lab.replies, client, WATCHED)
        time.sleep(3)  # some answers from the one that is going to die
        lab.lab("kill", gateway)
        killed = time.time()
        moved = eventually("the flow moves", lambda: moved_at(gateway), within=40, every=0.02)
        answers = pings.result(timeout=WATCHED + 60)
    assert any(at < killed for at in answers)
    after = min(at for at in answers if at > moved)
    late = [at for at in answers if at >= after]
    gaps = [later - sooner for sooner, later in pairwise(late)]
    return Felt(gateway, moved - killed, after - moved, max(gaps))
