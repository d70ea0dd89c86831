"""The agent's process: reads the environment, starts the threads, runs the main loop."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from effects import Refusal
from gateway import announcement, aws, environment, metrics, web
from gateway.agent import Agent
from gateway.circle import Circle
from gateway.client_service import ClientService
from gateway.cloudwatch import CloudWatchTeller
from gateway.connection_watch import ConnectionWatch
from gateway.custody import Custody
from gateway.gossip_key import GossipKey
from gateway.gossip_link import Link
from gateway.heartbeat import Heartbeat
from gateway.held_clients import HeldClients
from gateway.key_watch import KeyWatch
from gateway.keys import KeyKeeper
from gateway.membership import MembershipWatch, MetadataWatch
from gateway.metadata import Metadata
from gateway.paths import Paths
from gateway.poller import Poller
from gateway.presence import Presence
from gateway.preshared_watch import Opener, PresharedWatch
from gateway.process import end_on_signals, log_to_journal
from gateway.registry_watch import RegistryWatch
from gateway.routes.cloud import RouteCloud
from gateway.routes.watch import RouteWatch
from gateway.secret_store import SecretStore
from gateway.session_watch import SessionWatch
from gateway.takeover.watch import TakeoverWatch
from registry.route_holds import RouteHolds
from registry.store import Registry, now

if TYPE_CHECKING:
    import threading

    from gateway.aws import Clients


def pollers(agent: Agent, clients: Clients, metadata: Metadata, link: Link) -> list[Poller]:
    """The threads that talk to the outside. Each posts to the agent and reads its status."""
    settings, board, post = agent.environment, agent.board, agent.post
    registry = Registry(clients.dynamodb, settings.table)
    secret = SecretStore(clients.secretsmanager, settings.secret_arn)

    keeper = KeyKeeper(
        store=secret,
        published=registry,
        files=agent.key_files,
        version_of=settings.key_version,
        name=lambda: instance(agent) or "unknown",
    )
    keys = KeyWatch(keeper, board, post, published_at=registry.server_key_published)
    hooks = settings.lifecycle_hooks
    members = MembershipWatch(clients.autoscaling, registry, hooks, board, post)
    opener = Opener(clients.kms, settings.stack)
    preshared = PresharedWatch(opener, agent.preshared_files, board, post)
    circle, presence = Circle(link, board, post), Presence(link, board)
    key = GossipKey(Custody(secret), settings.gossip_version, agent.paths.gossip_key, link)
    key.recall()
    connections = ConnectionWatch(link, board)
    takeover = TakeoverWatch(
        settings.port,
        link,
        board,
        agent.hub,
        memory=agent.memory,
        post=post,
        open_of=connections.of,
    )
    routes = RouteWatch(
        RouteHolds(clients.dynamodb, settings.table, now),
        RouteCloud(clients.ec2, clients.elbv2),
        board,
        post,
        presence=presence,
        circle=circle,
        interface=metadata.interface,
        marker=agent.paths.routed,
    )
    teller = CloudWatchTeller(clients.cloudwatch, settings.stack, board)
    return [
        Poller("metadata", MetadataWatch(metadata, board, post).step, post),
        Poller("registry", RegistryWatch(registry, board, post).step, post),
        Poller("keys", keys.step, post),
        Poller("membership", members.step, post, retry=5.0),
        Poller("heartbeat", Heartbeat(registry, board, circle.acks).step, post),
        Poller("sessions", SessionWatch(registry, board, settings.client_pool).step, post),
        Poller("preshared keys", preshared.step, post),
        Poller("gossip key", key.step, post),
        Poller("gossip", circle.step, post),
        Poller("takeover", takeover.step, post),
        Poller("open connections", connections.step, post),
        Poller("presence", presence.step, post),
        Poller("routes", routes.step, post),
        Poller("cloudwatch", teller.step, post, retry=60.0),
        Poller("held clients", HeldClients(board, agent.paths.held).step, post),
    ]


def instance(agent: Agent) -> str:
    """This instance's id; empty before it is known."""
    identity = agent.board.status.state.identity
    return identity.instance_id if identity else ""


def serve(agent: Agent, clients: Clients, metadata: Metadata, ended: threading.Event) -> None:
    """Run the agent and its threads until `ended` is set."""
    settings, board = agent.environment, agent.board
    link = Link(settings.gossip_port, agent.boot_id, lambda: instance(agent))
    web.health_server(settings.health_port, lambda: board.status).start()
    pages = metrics.pages(lambda: board.status, lambda: link.counts)
    web.metrics_server(settings.metrics_port, pages).start()
    ClientService(
        str(settings.own_address),
        announcement.PORT,
        lambda method, path: announcement.answer(method, path, board.status, settings),
    ).start()
    agent.start()
    for poller in pollers(agent, clients, metadata, link):
        poller.start()
    link.start()
    agent.run(ended.is_set)


def main() -> int:
    """Run until SIGTERM or SIGINT. The interfaces are left as they are."""
    log_to_journal()
    os.umask(0o077)
    paths, ended = Paths(), end_on_signals()
    try:
        settings = environment.read(paths.environment)
    except Refusal as err:
        sys.stderr.write(f"gatepair-agent: {err}\n")
        return 2
    serve(Agent(settings, paths), aws.clients(settings.region), Metadata(), ended)
    return 0


if __name__ == "__main__":
    sys.exit(main())
