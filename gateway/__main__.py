"""The agent's process: reads the environment, starts the threads, runs the main loop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from effects import Refusal
from gateway import aws, environment, metrics, web
from gateway.agent import Agent
from gateway.heartbeat import Heartbeat
from gateway.key_watch import KeyWatch
from gateway.keys import KeyKeeper
from gateway.membership import MembershipWatch, MetadataWatch
from gateway.metadata import Metadata
from gateway.paths import Paths
from gateway.poller import Poller
from gateway.registry_watch import RegistryWatch
from gateway.secret_store import SecretStore
from registry.store import Registry

if TYPE_CHECKING:
    from gateway.aws import Clients


def pollers(agent: Agent, clients: Clients, metadata: Metadata) -> list[Poller]:
    """The threads that talk to the outside. Each posts to the agent and reads its status."""
    settings, board, post = agent.environment, agent.board, agent.post
    registry = Registry(clients.dynamodb, settings.table)

    def name() -> str:
        identity = board.status.state.identity
        return identity.instance_id if identity else "unknown"

    keeper = KeyKeeper(
        store=SecretStore(clients.secretsmanager, settings.secret_arn),
        published=registry,
        files=agent.key_files,
        version_of=settings.key_version,
        name=name,
    )
    hooks = settings.lifecycle_hooks
    members = MembershipWatch(clients.autoscaling, registry, hooks, board, post)
    return [
        Poller("metadata", MetadataWatch(metadata, board, post).step, post),
        Poller("registry", RegistryWatch(registry, board, post).step, post),
        Poller("keys", KeyWatch(keeper, board, post).step, post),
        Poller("membership", members.step, post, retry=5.0),
        Poller("heartbeat", Heartbeat(registry, board).step, post),
    ]


def main(paths: Paths | None = None) -> int:
    """Run until SIGTERM or SIGINT. The interfaces are left as they are."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    paths = paths or Paths()
    os.umask(0o077)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        settings = environment.read(paths.environment)
    except Refusal as err:
        sys.stderr.write(f"gatepair-agent: {err}\n")
        return 2
    agent = Agent(settings, paths)
    web.health_server(settings.health_port, lambda: agent.board.status).start()
    web.metrics_server(settings.metrics_port, metrics.page(lambda: agent.board.status)).start()
    agent.start()
    for poller in pollers(agent, aws.clients(settings.region), Metadata()):
        poller.start()
    agent.run(ended.is_set)
    return 0


if __name__ == "__main__":
    sys.exit(main())
