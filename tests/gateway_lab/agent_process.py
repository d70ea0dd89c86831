"""One gateway's agent as a plain process, in whatever network namespace it is started in.

    python agent_process.py DIRECTORY

The directory holds environment.json and is the agent's state. WireGuard runs in user space without
systemd, the metadata service is on loopback, the clock counts as synchronised, draining is short.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gateway import aws, drain, environment
from gateway.__main__ import serve
from gateway.agent import Agent
from gateway.chrony import Clock
from gateway.decide import Decider
from gateway.metadata import Metadata
from gateway.paths import Paths, Userspace
from gateway.process import end_on_signals, log_to_journal

METADATA_PORT = 1338
NOTICED = 4.0
"""There is no load balancer whose checks have to notice."""

if __name__ == "__main__":
    log_to_journal()
    root = Path(sys.argv[1])
    paths = Paths(environment=root / "environment.json", state=root)
    settings = environment.read(paths.environment)
    drain.NOTICED = NOTICED
    # it goes to the background by itself, but keeps the pipes it was given
    start = ("sh", "-c", "exec wireguard-go {} </dev/null >/dev/null 2>&1")
    userspace = Userspace(start=start, stop=("ip", "link", "delete", "{}"))
    agent = Agent(
        settings, paths, Decider(userspace), look_at_clock=lambda: Clock(synchronised=True)
    )
    metadata = Metadata(f"http://127.0.0.1:{METADATA_PORT}")
    serve(agent, aws.clients(settings.region), metadata, end_on_signals())
