"""Bare WireGuard in a gateway's place: what a gateway's throughput is compared with.

A namespace in the gateway's subnet with the gateway's security groups, reached through the same
load balancer, and in it one WireGuard interface and forwarding, nothing else: no agent, no packet
filter, no connection tracking, no translation (the VPC has a route to its client instead). Where
WireGuard is a process, it is the gateway's: the same program under the same unit in the same
machine, only with a network of its own. Every other hop is the very one of the gateway's clients.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from bench.command import NotMeasured
from bench.initiation import Identity
from client import config
from effects import Refusal, run, write_atomic
from lab import aws, clients, edge, inventory, kinds, machine, netns, vpc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address

    from bench.ground import Ground

_UNIT = "gatepair-wireguard-go@{}.service"
_ALONE = """[Service]
PrivateNetwork=yes
# The agent lists every interface that has its socket where they usually are
RuntimeDirectory=
RuntimeDirectory=wireguard-%i
RuntimeDirectoryPreserve=no
BindPaths=/run/wireguard-%i:/run/wireguard
"""
_LAST_ELASTIC = 250
"""Of the load balancer's addresses: the lab's own are counted from the other end."""


@dataclass(frozen=True)
class Bare:
    """One bare WireGuard with its one client. `name` is the interface's."""

    name: str
    number: int
    """1, 2 ...: no two have the same."""

    @property
    def namespace(self) -> str:
        """Where it forwards."""
        return netns.PREFIX + self.name

    @property
    def client(self) -> str:
        """Its client's name."""
        return f"bench-{self.name}"

    @property
    def endpoint(self) -> IPv4Address:
        """What its client dials: an address that leads to the load balancer, and is nobody's."""
        return edge.ELASTIC_ADDRESSES[_LAST_ELASTIC - self.number]


def preflight() -> None:
    """Raise `Refusal` where this cannot be set up."""
    if kinds.present() is not kinds.CONTAINER:
        raise Refusal(
            "the lab", "its gateways have a kernel of their own", "scripts/lab down, then again"
        )


def create(ground: Ground, bare: Bare, gateway: str, *, kernel: bool) -> edge.Client:
    """Set it up in a gateway's place (its instance id), with its client, whose tunnel is up.

    `kernel`: the gateways' WireGuard is the kernel's. Nothing of that name may be there.
    """
    environment = ground.stack.environment
    server, client = Identity.new(), Identity.new()
    tunnel_address = client_address(environment.vpc_cidrs[0], bare.number)
    wg = _make(bare) if kernel else _start(bare, gateway)
    address = _attach(bare, gateway)
    peer = interface(environment.port, server.private_text, client.public_text, tunnel_address)
    run([*wg, "setconf", bare.name, "/dev/stdin"], stdin=peer)
    netns.ip(bare.namespace, "link", "set", bare.name, "up", "mtu", str(environment.mtu))
    netns.ip(bare.namespace, "route", "replace", f"{tunnel_address}/32", "dev", bare.name)
    with netns.inside(bare.namespace):
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    # The private host answers the client itself
    back = ["via", str(address), "dev", f"h-{bare.name}"]
    netns.ip(vpc.NAMESPACE, "route", "replace", f"{tunnel_address}/32", *back)
    spread = forwarding(bare, address, environment.port)
    netns.run_in(edge.BALANCER, ["nft", "-f", "-"], stdin=spread)
    dials = config.Tunnel(
        stack=environment.stack,
        name=bare.client,
        address=tunnel_address,
        mtu=environment.mtu,
        dns=(),
        expires=None,
        key_generation=0,
        server_public_key=server.public_text,
        allowed=(IPv4Network(ground.host),),
        endpoint=str(bare.endpoint),
        port=environment.port,
    )
    place = edge.create_client(bare.client)
    tunnel = clients.Tunnel(place, clients.config_file(bare.client))
    tunnel.config.parent.mkdir(mode=0o700, exist_ok=True)
    text = config.render(dials, config.Secrets(client.private_text), comments=False)
    write_atomic(tunnel.config, text, mode=0o600)
    tunnel.run(["wg-quick", "up", str(tunnel.config)])
    return place


def delete(bare: Bare, gateways: Iterable[str]) -> None:
    """Remove whatever there is of it, in the place of whichever of the gateways."""
    clients.down(bare.client)
    clients.config_file(bare.client).unlink(missing_ok=True)
    netns.run_in(edge.BALANCER, ["nft", f"delete table ip {_table(bare)}"], check=False)
    vpc.detach_host(bare.name)
    netns.delete(bare.namespace)
    unit = _UNIT.format(bare.name)
    script = f"systemctl stop {unit}; rm -rf {_drop_in(unit).parent}; systemctl daemon-reload"
    for gateway in gateways:
        with contextlib.suppress(Refusal):  # of a gateway that is gone
            run(machine.command_in(gateway, ["sh", "-c", script]), check=False)


def client_address(vpc_cidr: IPv4Network, number: int) -> IPv4Address:
    """The tunnel address of a bare WireGuard's client. Pure.

    Of the VPC's own, from its end: only those pass its filter without a translation.
    """
    return vpc_cidr.broadcast_address - 1 - number


def interface(port: int, private_key: str, peer: str, address: IPv4Address) -> str:
    """The bare interface with its one peer, as `wg setconf` reads it. Pure."""
    lines = ["[Interface]", f"PrivateKey = {private_key}", f"ListenPort = {port}"]
    lines += ["[Peer]", f"PublicKey = {peer}", f"AllowedIPs = {address}/32", ""]
    return "\n".join(lines)


def forwarding(bare: Bare, address: IPv4Address, port: int) -> str:
    """What makes the load balancer send its endpoint's packets there, for `nft -f`. Pure.

    Everything else the load balancer's own rules see to, as for any other flow.
    """
    return f"""table ip {_table(bare)} {{
  chain spread {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {bare.endpoint} udp dport {port} dnat to {address}:{port}
  }}
}}
"""


def _table(bare: Bare) -> str:
    return f"bench-{bare.name}"


def _drop_in(unit: str) -> Path:
    return Path("/run/systemd/system", f"{unit}.d", "bench.conf")


def _make(bare: Bare) -> list[str]:
    """The kernel's WireGuard, in a namespace of its own; the command that is its `wg`."""
    netns.create(bare.namespace)
    netns.ip(bare.namespace, "link", "add", bare.name, "type", "wireguard")
    return netns.within(bare.namespace, ["wg"])


def _start(bare: Bare, gateway: str) -> list[str]:
    """The gateway's WireGuard process once more, with a network of its own; its `wg`."""
    unit = _UNIT.format(bare.name)
    path = _drop_in(unit)
    script = f"mkdir -p {path.parent} && cat >{path} && systemctl daemon-reload && systemctl start"
    run(machine.command_in(gateway, ["sh", "-ec", f"{script} {unit}"]), stdin=_ALONE)
    show = ["systemctl", "show", "--property=MainPID", "--value", unit]
    inner = run(machine.command_in(gateway, show)).stdout.strip()
    pid = _pid_outside(gateway, inner)
    own = Path(f"/proc/{pid}/ns/net").stat().st_ino
    if own == netns.path(machine.namespace(gateway)).stat().st_ino:
        raise NotMeasured(f"{unit} on {gateway} has no network of its own")
    run(["ip", "netns", "attach", bare.namespace, str(pid)])
    netns.create(bare.namespace)  # there is the name already: brings its loopback up
    return machine.command_in(gateway, ["nsenter", f"--target={inner}", "--mount", "--net", "wg"])


def _pid_outside(gateway: str, inner: str) -> int:
    """The pid that this machine has for a gateway's process `inner`."""
    here = ["readlink", "/proc/self/ns/pid"]
    space = run(machine.command_in(gateway, here)).stdout.strip()
    for entry in Path("/proc").iterdir():
        # A process may end while it is looked at
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str((entry / "ns" / "pid").readlink()) == space:
                lines = (entry / "status").read_text().splitlines()
                numbers = next(line for line in lines if line.startswith("NSpid:")).split()
                if numbers[-1] == inner:
                    return int(entry.name)
    raise NotMeasured(f"process {inner} of {gateway} is not to be found")


def _attach(bare: Bare, gateway: str) -> IPv4Address:
    """Give it an address beside the gateway's, behind the same security groups."""
    ec2 = aws.client("ec2")
    instances = inventory.read_instances(ec2)
    replaced = instances[gateway]
    taken = {one.address for one in (*instances.values(), *vpc.hosts())}
    hosts = list(inventory.read_subnets(ec2)[replaced.subnet_id].hosts())
    address = next((one for one in reversed(hosts) if one not in taken), None)
    if address is None:
        raise NotMeasured(f"subnet {replaced.subnet_id} has no address left")
    vpc.attach_host(
        *(bare.name, bare.namespace, address),
        subnet_id=replaced.subnet_id,
        groups=replaced.groups,
        source_check=False,
    )
    return address
