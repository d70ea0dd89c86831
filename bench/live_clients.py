"""Clients on this very machine, of a stack that may be anywhere.

A WireGuard interface keeps its UDP socket in the network namespace in which it was made (`ip link
add`, wireguard.com/netns), wherever the interface itself goes. So a client is a namespace with
nothing in it but its interface, while its packets leave by this machine's own network, each from a
port of its own: to a load balancer they are as many clients. For the lab they leave by the network
of one of the lab's own clients.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.initiation import Identity
from effects import Failed, Refusal, run
from lab import edge, netns, process
from registry import local_cloud
from registry.key_slots import port_of
from registry.operators import NewPeer

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import ExitStack
    from ipaddress import IPv4Address

    from registry.items import Peer
    from registry.stack import Stack

OWNER = "live-check"
PREFIX = "live-check-"
GOOD_FOR = 7200
"""Seconds after which its peers expire by themselves, should it be killed."""

LAB_TARGET = "10.20.32.10"
"""The lab's private host, by its stack file's VPC."""

LAB_PLACE = "live"
PORTS = range(20000, 60000)
KEEPALIVE = 25

SOCKETS = Path("/var/run/wireguard")
"""Where wireguard-go has its control sockets, whatever namespace its interface is in."""
ENDED_WITHIN = 10.0
"""Seconds after its interface has gone."""


@dataclass
class LiveClient:
    """A peer, and the interface that is it."""

    peer: Peer
    identity: Identity
    namespace: str
    port: int
    to: str
    """The load balancer's address and port."""

    @property
    def name(self) -> str:
        """The peer's."""
        return self.peer.name

    @property
    def interface(self) -> str:
        """In its namespace, and for wireguard-go in all of them."""
        return _interface(self.namespace)


class LiveClients:
    """The clients, until `exits` are taken."""

    def __init__(
        self, stack: Stack, exits: ExitStack, target: IPv4Address, say: Callable[[str], None]
    ) -> None:
        self._stack, self._exits, self._target, self._say = stack, exits, target, say
        self.generation, self._server_key = stack.server_key()
        self._ports = iter(PORTS)
        self.kernel = True
        """Whether the kernel has carried the interfaces so far."""
        self._outside = self._place()
        self.everyone: list[LiveClient] = []

    def add(self, number: int) -> None:
        """One more. Raises `Refusal` when somebody else's peer has its name."""
        name = f"{PREFIX}{number}"
        addresses = self._stack.environment.addresses
        port = port_of(self.generation, self._stack.environment.port)
        self._exits.callback(self._quietly, self._revoke, name)
        peer, identity = self._register(name)
        namespace = f"{netns.PREFIX}live-{number}"
        client = LiveClient(
            peer,
            identity,
            namespace,
            next(self._ports),
            f"{addresses[number % len(addresses)]}:{port}",
        )
        self._exits.callback(self._quietly, _end, namespace)
        self._connect(client)
        self.everyone.append(client)

    def move(self, client: LiveClient) -> float:
        """Give a client another port, which no client of this run has had; when it was so."""
        client.port = next(self._ports)
        words = ["wg", "set", client.interface, "listen-port", str(client.port)]
        netns.run_in(client.namespace, words)
        return time.monotonic()

    # -------------------------------------------------------------- the registry's side

    def _register(self, name: str) -> tuple[Peer, Identity]:
        former = self._stack.registry.peer(name)
        if former is not None and former.owner != OWNER:
            raise Refusal(
                f"peer {name}",
                f"it is {former.owner or 'somebody'}'s",
                "give that one another name",
            )
        self._revoke(name)
        identity = Identity.new()
        new = NewPeer(
            name,
            identity.public_text,
            owner=OWNER,
            expires=int(time.time()) + GOOD_FOR,
            allow=(f"{self._target}/32:icmp",),
        )
        pool = self._stack.environment.client_pool
        registry, caller = self._stack.registry, self._stack.caller
        return registry.add_peer(
            new, pool=pool, caller=caller, confirmed=self._stack.confirmed
        ), identity

    def _revoke(self, name: str) -> None:
        """A peer of that name, if there is one and it is ours."""
        found = self._stack.registry.peer(name)
        if found is not None and found.owner == OWNER:
            self._stack.registry.revoke_peer(name, caller=self._stack.caller)

    def _quietly(self, call: Callable[[str], object], name: str) -> None:
        try:
            call(name)
        except Exception as err:  # noqa: BLE001 - the rest has to be undone too
            self._say(f"not undone: {name}: {err}")

    # -------------------------------------------------------------- this machine's side

    def _place(self) -> str | None:
        """The namespace by which packets leave; None is this machine's own."""
        if self._stack.name != local_cloud.STACK:
            return None
        place = edge.create_client(LAB_PLACE)
        self._exits.callback(self._quietly, edge.delete_client, LAB_PLACE)
        return place.namespace

    def _connect(self, client: LiveClient) -> None:
        # What a run that was killed has left
        _end(client.namespace)
        netns.create(client.namespace)
        self._make(client.interface)
        self._ip("link", "set", client.interface, "netns", client.namespace)
        netns.run_in(
            client.namespace,
            ["wg", "setconf", client.interface, "/dev/stdin"],
            stdin=settings(client, self._server_key, self._target),
        )
        device = ("dev", client.interface)
        netns.ip(client.namespace, "address", "add", f"{client.peer.address}/32", *device)
        mtu = str(self._stack.environment.mtu)
        netns.ip(client.namespace, "link", "set", *device, "mtu", mtu, "up")
        netns.ip(client.namespace, "route", "add", f"{self._target}/32", *device)

    def _make(self, interface: str) -> None:
        """The interface, by the kernel, else by wireguard-go, which ends with it."""
        if self.kernel:
            try:
                self._ip("link", "add", interface, "type", "wireguard")
            except Failed:
                self.kernel = False
            else:
                return
        try:
            run(self._within(["wireguard-go", interface]), env=process.mark("bench-live"))
            # Answered once it has found its interface, which it would not in another namespace
            run(self._within(["wg", "show", interface]))
        except Failed as err:
            raise Refusal(
                "this machine",
                f"neither its kernel nor wireguard-go makes an interface ({err})",
                "install wireguard-go, or take a kernel with WireGuard",
            ) from err

    def _within(self, command: list[str]) -> list[str]:
        return command if self._outside is None else netns.within(self._outside, command)

    def _ip(self, *words: str) -> None:
        netns.ip(self._outside, *words)


def _interface(namespace: str) -> str:
    return namespace.removeprefix(netns.PREFIX)


def _end(namespace: str) -> None:
    """A client's namespace, with its interface. Returns once its wireguard-go has ended, too: it
    would take the socket of the next one of its name along."""
    netns.delete(namespace)
    path = SOCKETS / f"{_interface(namespace)}.sock"
    process.await_condition(
        f"nobody listens at {path}", lambda: not listens(path), timeout=ENDED_WITHIN
    )


def listens(path: Path) -> bool:
    """Whether a process takes connections at a Unix socket; one that was killed leaves a file."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as plug:
        return plug.connect_ex(str(path)) == 0


def settings(client: LiveClient, server_key: str, target: IPv4Address) -> str:
    """What `wg setconf` reads on its stdin. Pure."""
    lines = [
        "[Interface]",
        f"PrivateKey = {client.identity.private_text}",
        f"ListenPort = {client.port}",
        "[Peer]",
        f"PublicKey = {server_key}",
        f"AllowedIPs = {target}/32",
        f"Endpoint = {client.to}",
        f"PersistentKeepalive = {KEEPALIVE}",
        "",
    ]
    return "\n".join(lines)
