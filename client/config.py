"""A client's tunnel config, as `wg-quick` and the WireGuard apps read it. Pure.

`AllowedIPs` is what a client sends into the tunnel; what it reaches is decided on the gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, collapse_addresses
from typing import TYPE_CHECKING

from registry.allow import Allow
from registry.key_slots import port_of

if TYPE_CHECKING:
    from registry.environment import Environment
    from registry.items import Peer

KEEPALIVE = 25
"""Seconds: keeps the flow open in the address translation on the way, and in the load balancer."""

PLACEHOLDER = "PUT_YOUR_PRIVATE_KEY_HERE"
"""Stands for a private key that is elsewhere: wg refuses it by name, instead of starting wrong."""

PRESHARED_PLACEHOLDER = "PUT_YOUR_PRESHARED_KEY_HERE"
"""Stands for a pre-shared key: it was in the first config, and nobody but the gateways can read it
again."""

NAME_SERVICE = 53
"""Port of a resolver."""


@dataclass(frozen=True)
class Secrets:
    """What a config has in it that is kept nowhere else; None is what is not here."""

    private: str | None = field(default=None, repr=False)
    preshared: str | None = field(default=None, repr=False)

    def __bool__(self) -> bool:
        """Whether there is anything to lose."""
        return bool(self.private or self.preshared)


NO_SECRETS = Secrets()


@dataclass(frozen=True)
class Tunnel:
    """One client's tunnel, without its secrets."""

    stack: str
    name: str
    address: IPv4Address
    mtu: int
    dns: tuple[str, ...]
    """Resolvers, then search domains; empty leaves the client's own."""
    expires: int | None
    """Epoch seconds."""
    key_generation: int
    server_public_key: str
    allowed: tuple[IPv4Network, ...]
    endpoint: str
    port: int
    preshared: bool = False
    """Whether a pre-shared key belongs to it."""


def tunnel(
    environment: Environment, peer: Peer, *, key_generation: int, server_public_key: str
) -> Tunnel:
    """What `peer` needs to reach the environment, by one generation of the server's key.

    The pool's first address is the gateways' own: a client's helper asks there. A peer with rules
    of its own sends the networks of those and no others, and asks no resolver that it cannot reach.
    """
    gateway = IPv4Network(environment.client_pool[1])
    narrowed = collapse_addresses(rule.network for rule in peer.rules)
    networks = (*(narrowed if peer.allow else environment.reach), gateway)
    resolvers = [
        server for server in environment.dns.servers if reaches_resolver(environment, peer, server)
    ]
    return Tunnel(
        stack=environment.stack,
        name=peer.name,
        address=peer.address,
        mtu=environment.mtu,
        dns=(*map(str, resolvers), *environment.dns.search_domains) if resolvers else (),
        expires=peer.expires,
        key_generation=key_generation,
        server_public_key=server_public_key,
        allowed=tuple(dict.fromkeys(networks)),
        endpoint=environment.endpoint,
        port=port_of(key_generation, environment.port),
        preshared=bool(peer.preshared),
    )


def reaches_resolver(environment: Environment, peer: Peer, server: IPv4Address) -> bool:
    """Whether the peer can ask this resolver: by a rule, or past the tunnel."""
    asked = Allow(IPv4Network(server), "udp", NAME_SERVICE)
    within = any(server in network for network in environment.reach)
    return not peer.allow or not within or any(rule.covers(asked) for rule in peer.rules)


def render(to: Tunnel, secrets: Secrets = NO_SECRETS, *, comments: bool = True) -> str:
    """The config file's text, with a placeholder for each secret that is not here."""
    preshared = secrets.preshared or PRESHARED_PLACEHOLDER
    lines = [
        *(_comments(to, secrets) if comments else ()),
        "[Interface]",
        f"PrivateKey = {secrets.private or PLACEHOLDER}",
        f"Address = {to.address}/32",
        *([f"DNS = {', '.join(to.dns)}"] if to.dns else []),
        f"MTU = {to.mtu}",
        "",
        "[Peer]",
        f"PublicKey = {to.server_public_key}",
        *([f"PresharedKey = {preshared}"] if to.preshared else []),
        f"AllowedIPs = {', '.join(map(str, to.allowed))}",
        f"Endpoint = {to.endpoint}:{to.port}",
        f"PersistentKeepalive = {KEEPALIVE}",
    ]
    return "\n".join(lines) + "\n"


def _comments(to: Tunnel, secrets: Secrets) -> list[str]:
    lines = [f"# {to.name}, stack {to.stack}, server key {to.key_generation}"]
    if to.expires is not None:
        lines.append(f"# expires {datetime.fromtimestamp(to.expires, UTC):%Y-%m-%d %H:%M} UTC")
    if secrets.private is None:
        lines.append("# PrivateKey: the one whose public key was registered; only you have it")
    if to.preshared and secrets.preshared is None:
        lines.append("# PresharedKey: the one in the config that came with this key")
    return lines
