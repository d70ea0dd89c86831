"""The table that `scripts/lab up` ends with: each row is tried now, from where a user would try it.

A proof is a function that returns what it saw, or raises `Unproved` with what it saw instead.
"""

from __future__ import annotations

import hashlib
import json
import socket
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from effects import Failed, Refusal, run
from lab import aws, clients, host, machine, netns, status
from lab.process import await_condition
from registry import environment, local_cloud
from registry.store import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from ipaddress import IPv4Address

    from lab.clients import Tunnel

BULK = 16 << 20
"""Bytes of a bulk transfer."""
BULK_DEADLINE = 30.0
_HEADERS = 28
"""Bytes of an IPv4 and an ICMP header."""
_HANDSHAKE = 45.0
"""Seconds: a client whose flow comes to a gateway without its session begins anew after 15 s, and
tries again every 5 s."""
_HTTP_LIMIT = 5.0


class Unproved(Exception):  # noqa: N818 - it is an answer
    """What was seen instead of what was promised."""


@dataclass(frozen=True)
class Row:
    """One line of the table. `seconds` is how long the proof took."""

    what: str
    passed: bool
    result: str
    seconds: float


@dataclass(frozen=True)
class Scene:
    """Who takes part: the clients, of whom the first does most of the work, and the host."""

    tunnels: tuple[Tunnel, ...]
    host: IPv4Address
    addresses: tuple[str, ...]
    mtu: int
    routed: bool = False
    """Whether the host sees clients by their own addresses."""


def prove(scene: Scene) -> Iterator[Row]:
    """Try everything, one row after the other."""
    first = scene.tunnels[0]
    yield _row("gateways healthy, with one public key", gateways)
    for address in scene.addresses:
        yield _row(
            f"ping and HTTP to {scene.host} through {address}",
            lambda address=address: through(first, address, scene),
        )
    for tunnel in scene.tunnels:
        name = tunnel.client.name
        yield _row(f"{name}: ping and HTTP by name", lambda tunnel=tunnel: plain(tunnel, scene))
    yield _row("full-size packets", lambda: full_size(first, scene))
    yield _row("bulk TCP to the host", lambda: upload(first, scene.host))
    yield _row("bulk TCP from the host", lambda: download(first, scene.host))
    for tunnel in scene.tunnels:
        name = tunnel.client.name
        yield _row(f"{name}: real address seen by the gateway", lambda tunnel=tunnel: seen(tunnel))
        yield _row(f"{name}: config as scripts/peers wrote it", lambda tunnel=tunnel: same(tunnel))


def table(rows: Sequence[Row]) -> list[str]:
    """The rows for people."""
    wide = max((len(row.what) for row in rows), default=0)
    return [
        f"{'ok  ' if row.passed else 'FAIL'} {row.what:<{wide}}  {row.seconds:6.2f} s  {row.result}"
        for row in rows
    ]


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows for programs."""
    return [vars(row) for row in rows]


def gateways() -> str:
    """Every gateway is healthy and all have the same public key of each generation."""
    now = status.read()
    if not now.well:
        raise Unproved("; ".join(line.strip() for line in status.lines(now)[1:3]))
    keys = {
        generation: {g.public_key.get(generation) for g in now.gateways}
        for generation in now.key_generations
    }
    if any(len(found) != 1 or None in found for found in keys.values()):
        raise Unproved(f"different keys: {keys}")
    zones = ", ".join(one.az for one in now.gateways)
    one_key = "; ".join(f"{generation}: {next(iter(k))}" for generation, k in keys.items())
    return f"{len(now.gateways)} in {zones}; key {one_key}"


def through(tunnel: Tunnel, address: str, scene: Scene) -> str:
    """Ping and HTTP with the client's endpoint set to one of the load balancer's addresses.

    The peer is set anew, so that the client begins with a handshake, as after `wg-quick up`; at the
    end the config file's endpoint is back.
    """
    peer, _, allowed = tunnel.run(["wg", "show", tunnel.interface, "allowed-ips"]).stdout.partition(
        "\t"
    )
    keepalive = _shown(tunnel, "persistent-keepalive").replace("off", "0")
    # Its own: the slot of the key that its config names
    port = _shown(tunnel, "endpoints").rpartition(":")[2]
    ranges = ",".join(allowed.split())
    base = ["wg", "set", tunnel.interface, "peer", peer]
    tunnel.run([*base, "remove"])
    try:
        end = f"{address}:{port}"
        options = ["persistent-keepalive", keepalive]
        tunnel.run([*base, "allowed-ips", ranges, "endpoint", end, *options])
        return plain(tunnel, scene)
    finally:
        tunnel.run([*base, "remove"])
        _restore(tunnel)


def plain(tunnel: Tunnel, scene: Scene) -> str:
    """Ping and HTTP to the private host."""
    began = time.monotonic()
    target = str(scene.host)
    try:
        await_condition("ping", lambda: _ping(tunnel, target), timeout=_HANDSHAKE)
    except TimeoutError as err:
        raise Unproved(f"no answer to ping within {_HANDSHAKE:g} s") from err
    after = time.monotonic() - began
    answer = _http(tunnel, target)
    if scene.routed and answer["you"].rpartition(":")[0] != _own_address(tunnel):
        raise Unproved(f"the host saw {answer['you']}, not the client's {_own_address(tunnel)}")
    return (
        f"first answer after {after * 1000:.0f} ms; {answer['host']} was asked by {answer['you']}"
    )


def full_size(tunnel: Tunnel, scene: Scene) -> str:
    """A packet as large as the tunnel's MTU passes, one byte more is refused before it leaves."""
    size = scene.mtu - _HEADERS
    if not _ping(tunnel, str(scene.host), size):
        raise Unproved(f"a packet of {scene.mtu} bytes does not pass")
    refused = tunnel.run(_ping_command(str(scene.host), size + 1), check=False)
    if refused.status == 0 or "too long" not in refused.stdout + refused.stderr:
        raise Unproved(f"a packet of {scene.mtu + 1} bytes is not refused")
    return f"{scene.mtu} bytes pass, {scene.mtu + 1} are refused"


def upload(tunnel: Tunnel, address: IPv4Address) -> str:
    """The host got every byte as it was sent."""
    data = host.BLOCK * (BULK // len(host.BLOCK))
    began = time.monotonic()
    with _connect(tunnel, address, host.SINK) as link:
        link.sendall(data)
        link.shutdown(socket.SHUT_WR)
        answer = link.makefile().readline().split()
    if answer != [str(len(data)), hashlib.sha256(data).hexdigest()]:
        raise Unproved(f"the host got {' '.join(answer) or 'nothing'}")
    return _speed(len(data), began)


def download(tunnel: Tunnel, address: IPv4Address) -> str:
    """The client got every byte as it was sent."""
    wanted = hashlib.sha256(host.BLOCK * (BULK // len(host.BLOCK))).digest()
    began = time.monotonic()
    got, digest = 0, hashlib.sha256()
    with _connect(tunnel, address, host.SOURCE) as link:
        link.sendall(f"{BULK}\n".encode())
        while data := link.recv(1 << 18):
            got += len(data)
            digest.update(data)
    if digest.digest() != wanted:
        raise Unproved(f"{got} of {BULK} bytes, or other ones")
    return _speed(got, began)


def seen(tunnel: Tunnel) -> str:
    """The gateway that has the client's session sees the NAT's public address, not a balancer's."""
    public = tunnel.run(["wg", "show", tunnel.interface, "public-key"]).stdout.strip()
    found: dict[str, str] = {}
    for name, one in machine.found().items():
        if one.alive:
            command = machine.command_in(name, ["wg", "show", "all", "endpoints"])
            for line in run(command).stdout.splitlines():
                # The interface's name stands before its first peer only
                key, endpoint = line.split("\t")[-2:]
                if key == public and endpoint != "(none)":
                    found[name] = endpoint
    wanted = f"{tunnel.client.own_public_address}:"
    if not any(endpoint.startswith(wanted) for endpoint in found.values()):
        raise Unproved(f"seen: {found or 'nowhere'}; its address is {wanted[:-1]}")
    return ", ".join(f"{endpoint} on {name}" for name, endpoint in sorted(found.items()))


def same(tunnel: Tunnel) -> str:
    """The config is what `scripts/peers add --out` wrote, and it is what runs."""
    if not clients.unchanged(tunnel):
        raise Unproved(f"{tunnel.config} has been changed")
    if not clients.is_up(tunnel):
        raise Unproved(f"{tunnel.interface} is not up")
    return f"{tunnel.config}, byte for byte; wg-quick up"


def scene(tunnels: Sequence[Tunnel], address: IPv4Address) -> Scene:
    """The lab's scene as its environment describes it."""
    stack = environment.find(local_cloud.STACK)
    control = Registry(aws.client("dynamodb"), stack.table).head().control
    return Scene(
        tunnels=tuple(tunnels),
        host=address,
        addresses=tuple(map(str, stack.addresses)),
        mtu=stack.mtu,
        routed=control is not None and control.routed,
    )


def _row(what: str, proof: Callable[[], str]) -> Row:
    began = time.monotonic()
    try:
        passed, result = True, proof()
    except (Unproved, Failed, Refusal, OSError, ValueError, TimeoutError) as err:
        passed, result = False, str(err) or type(err).__name__
    return Row(what, passed, result, round(time.monotonic() - began, 3))


def _ping(tunnel: Tunnel, target: str, size: int = 56) -> bool:
    return tunnel.run(_ping_command(target, size), check=False).status == 0


def _ping_command(target: str, size: int) -> list[str]:
    return ["ping", "-n", "-c", "1", "-W", "1", "-M", "do", "-s", str(size), target]


def _http(tunnel: Tunnel, target: str) -> dict[str, str]:
    with netns.inside(tunnel.client.namespace):
        link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with link:
        link.settimeout(_HTTP_LIMIT)
        link.connect((target, host.HTTP))
        link.sendall(f"GET /proof HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = b"".join(iter(lambda: link.recv(4096), b"")).decode()
    head, _, body = answer.partition("\r\n\r\n")
    if not head.startswith("HTTP/1.1 200"):
        raise Unproved(f"HTTP: {head[:80]!r}")
    return json.loads(body)


def _connect(tunnel: Tunnel, address: IPv4Address, port: int) -> socket.socket:
    with netns.inside(tunnel.client.namespace):
        link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    link.settimeout(BULK_DEADLINE)
    link.connect((str(address), port))
    return link


def _own_address(tunnel: Tunnel) -> str:
    """The client's address in the tunnel."""
    shown = tunnel.run(["ip", "-4", "-j", "address", "show", "dev", tunnel.interface]).stdout
    return json.loads(shown)[0]["addr_info"][0]["local"]


def _shown(tunnel: Tunnel, what: str) -> str:
    """What `wg show` says of the client's one peer."""
    return tunnel.run(["wg", "show", tunnel.interface, what]).stdout.split()[1]


def _restore(tunnel: Tunnel) -> None:
    # As wg-quick does it: the stripped config, its names looked up by the client's own resolver
    strip = tunnel.run(["wg-quick", "strip", str(tunnel.config)]).stdout
    tunnel.run(["wg", "syncconf", tunnel.interface, "/dev/stdin"], stdin=strip)


def _speed(count: int, began: float) -> str:
    seconds = time.monotonic() - began
    return f"{count >> 20} MiB at {count / seconds / 1e6:.0f} MB/s"
