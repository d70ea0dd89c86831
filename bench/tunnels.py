"""WireGuard clients in the lab, many at once, each with a source port for every gateway.

A client is what `scripts/lab client` makes: a namespace behind the NAT and `wg-quick` with the
config that `scripts/peers add` would write. Two things are a bench's own: its source port is chosen
so that the load balancer's hash sends it to the wanted gateway, and `rekey` gives the same client
another peer's key, address and port, which takes a hundredth of a new client's time.
"""

from __future__ import annotations

import re
import socket
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from bench.command import NotMeasured
from bench.initiation import Identity
from bench.knocking import Door
from client import config
from effects import write_atomic
from lab import clients, edge, netns
from registry.key_slots import port_of
from registry.operators import NewPeer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from commands.stacks import Stack
    from registry.items import Peer

PORTS = range(20000, 20064)
"""Source ports to choose from: with two gateways each has half of them, more or less."""

LOOKS = 20
"""At the load balancer's flows, for a packet that is under way."""

_REPLY_SOURCE = re.compile(r"src=(\S+)")


@dataclass
class Client:
    """A client of the bench and the peer it is now."""

    tunnel: clients.Tunnel
    ports: Mapping[IPv4Address, int]
    """Private address of a gateway -> source port whose flow goes there."""
    peer: Peer
    identity: Identity
    gateway: IPv4Address = field(default=IPv4Address(0))
    """Where its flow goes now."""

    @property
    def name(self) -> str:
        """The client's; its peer's name is another matter."""
        return self.tunnel.client.name

    @property
    def namespace(self) -> str:
        """Where its programs run."""
        return self.tunnel.client.namespace


@dataclass(frozen=True)
class Server:
    """What clients dial."""

    address: str
    port: int
    public_key: str
    generation: int


def server(stack: Stack) -> Server:
    """The load balancer's first address, and the key that new configs name."""
    generation, public_key = stack.server_key()
    address = str(stack.environment.addresses[0])
    port = port_of(generation, stack.environment.port)
    return Server(address, port, public_key, generation)


def add_peer(
    stack: Stack, name: str, *, expires: int | None = None, allow: tuple[str, ...] = ()
) -> tuple[Peer, Identity]:
    """Let a new peer in, without a command of its own: who adds is not what is measured."""
    identity = Identity.new()
    new = NewPeer(name, identity.public_text, owner="bench", expires=expires, allow=allow)
    pool = stack.environment.client_pool
    return stack.registry.add_peer(new, pool=pool, caller=stack.caller), identity


def drop_peer(stack: Stack, name: str) -> None:
    """Revoke a peer if it is still there."""
    if stack.registry.peer(name) is not None:
        stack.registry.revoke_peer(name, caller=stack.caller)


def create(
    stack: Stack,
    to: Server,
    name: str,
    gateways: Collection[IPv4Address],
    at: IPv4Address,
    *,
    allow: tuple[str, ...] = (),
) -> Client:
    """A client with a tunnel through the gateway `at`; its peer is added, and need not be known.

    `allow` is what the peer may reach, everything by default. What a bench that was killed has left
    of one of that name is removed first.
    """
    delete(stack, name)
    place = edge.create_client(name)
    return connect(stack, to, place, find_ports(place, to, gateways), at, allow=allow)


def connect(
    stack: Stack,
    to: Server,
    place: edge.Client,
    ports: Mapping[IPv4Address, int],
    at: IPv4Address,
    *,
    allow: tuple[str, ...] = (),
) -> Client:
    """The same for a client whose place is there, and its source ports are known."""
    peer, identity = add_peer(stack, place.name, allow=allow)
    tunnel = clients.Tunnel(place, clients.config_file(place.name))
    tunnel.config.parent.mkdir(mode=0o700, exist_ok=True)
    write_atomic(tunnel.config, config_text(stack, to, peer, identity, ports[at]), mode=0o600)
    tunnel.run(["wg-quick", "up", str(tunnel.config)])
    return Client(tunnel, ports, peer, identity, at)


def config_text(stack: Stack, to: Server, peer: Peer, identity: Identity, port: int) -> str:
    """What `scripts/peers` would write for a peer, with a source port and the server's address."""
    made = config.tunnel(
        stack.environment, peer, key_generation=to.generation, server_public_key=to.public_key
    )
    text = config.render(made, config.Secrets(identity.private_text), comments=False)
    text = text.replace("[Interface]\n", f"[Interface]\nListenPort = {port}\n")
    return text.replace(f"Endpoint = {made.endpoint}:", f"Endpoint = {to.address}:")


def delete(stack: Stack, name: str) -> None:
    """End a client, forget its config, and revoke the peer of its name; whatever of it is there."""
    clients.down(name)
    clients.config_file(name).unlink(missing_ok=True)
    drop_peer(stack, name)


def renew(client: Client) -> None:
    """Let the client forget its session and begin another, at once if it keeps itself alive."""
    name = client.tunnel.interface
    stripped = client.tunnel.run(["wg-quick", "strip", str(client.tunnel.config)]).stdout
    client.tunnel.run(["wg", "setconf", name, "/dev/stdin"], stdin=stripped)


def rekey(client: Client, to: Server, peer: Peer, identity: Identity, at: IPv4Address) -> None:
    """Let the client be another peer from now on, through the gateway `at`; as if just started."""
    name, link = client.tunnel.interface, client.namespace
    # Or its next packet, between the new key and the new entry, begins a handshake that the entry
    # does not know of, and for which the gateway ignores the entry's own: five seconds' silence
    client.tunnel.run(["wg", "set", name, "peer", to.public_key, "remove"])
    if peer.address != client.peer.address:
        # The new one first: with the last address the kernel takes the routes away too
        netns.ip(link, "address", "replace", f"{peer.address}/32", "dev", name)
        netns.ip(link, "address", "delete", f"{client.peer.address}/32", "dev", name)
    lines = [
        "[Interface]",
        f"PrivateKey = {identity.private_text}",
        f"ListenPort = {client.ports[at]}",
        "[Peer]",
        f"PublicKey = {to.public_key}",
        "AllowedIPs = 0.0.0.0/0",
        f"Endpoint = {to.address}:{to.port}",
    ]
    client.tunnel.run(["wg", "setconf", name, "/dev/stdin"], stdin="\n".join([*lines, ""]))
    client.peer, client.identity, client.gateway = peer, identity, at


def lead(client: Client, to: Server, gateway: IPv4Address) -> None:
    """Let a client's flow go to a gateway; from another source port if it goes elsewhere now.

    The tunnel stays: it is a client that roams.
    """
    place, now = client.tunnel.client, client.ports.get(client.gateway)
    public = place.own_public_address
    if now is None or _flow_at(public, to, now) != gateway:
        fresh = (
            port for port in PORTS if port != now and _lands_on(place, to, port, public) == gateway
        )
        port = next(fresh, None)
        if port is None:
            raise NotMeasured(f"no source port of {client.name} leads to {gateway}")
        client.tunnel.run(["wg", "set", client.tunnel.interface, "listen-port", str(port)])
        client.ports = {**client.ports, gateway: port}
    else:
        client.ports = {**client.ports, gateway: now}
    client.gateway = gateway


def reconnect(client: Client, to: Server) -> None:
    """Let the client forget its session and begin another one, from where it is."""
    rekey(client, to, client.peer, client.identity, client.gateway)


def doors(
    place: edge.Client, to: Server, ports: Mapping[IPv4Address, int]
) -> dict[IPv4Address, Door]:
    """What is knocked at, for each gateway, from a client's place."""
    endpoint = (to.address, to.port)
    return {
        gateway: Door(place.namespace, port, endpoint, to.public_key)
        for gateway, port in ports.items()
    }


def find_ports(
    place: edge.Client,
    to: Server,
    gateways: Collection[IPv4Address],
    *,
    ports: Sequence[int] = PORTS,
    public: IPv4Address | None = None,
) -> dict[IPv4Address, int]:
    """A source port for each gateway. Raises `NotMeasured` if the hash leaves one out.

    `public` is the client's public address, if that is not its own.
    """
    found: dict[IPv4Address, int] = {}
    for port in ports:
        gateway = _lands_on(place, to, port, public or place.own_public_address)
        if gateway is not None and gateway in gateways:
            found.setdefault(gateway, port)
        if len(found) == len(gateways):
            return found
    missing = ", ".join(str(one) for one in gateways if one not in found)
    raise NotMeasured(f"none of {len(ports)} source ports of {place.name} leads to {missing}")


def _lands_on(place: edge.Client, to: Server, port: int, public: IPv4Address) -> IPv4Address | None:
    """Where the load balancer sends a flow from that port: asked by a packet that says nothing."""
    with netns.inside(place.namespace):
        plug = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with plug:
        plug.bind(("0.0.0.0", port))  # noqa: S104 - in the client's namespace
        plug.sendto(b"\0", (to.address, to.port))
    for _ in range(LOOKS):
        found = _flow_at(public, to, port)
        if found is not None:
            return found
        time.sleep(0.01)
    return None


def _flow_at(public: IPv4Address, to: Server, port: int) -> IPv4Address | None:
    """Where the flow from that port goes now; None if there is none."""
    flow = ["-s", str(public), "--sport", str(port), "--dport", str(to.port)]
    listing = netns.run_in(edge.BALANCER, ["conntrack", "-L", "-p", "udp", *flow], check=False)
    return reply_source(listing.stdout)


def reply_source(line: str) -> IPv4Address | None:
    """Who answers a flow, by `conntrack -L`: the second `src=` of its line."""
    sources = _REPLY_SOURCE.findall(line)
    return IPv4Address(sources[1]) if len(sources) > 1 else None
