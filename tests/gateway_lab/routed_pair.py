"""Two gateways' packet paths without agents or WireGuard: the real rules, device and routes.

    client (gpx-rc) --wga-- wg0 first  (gpx-ra) eth0 --+
                                                       +-- br0 VPC with a host (gpx-rv)
    client (gpx-rc) --wgb-- wg0 second (gpx-rb) eth0 --+

Which way the client sends is where its session is. The VPC's route to the pool goes to the first.
"""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

from gateway_lab.bed import PREFIX, ip
from unit.gateway.samples import FILTER, POOL

from effects import run
from gateway import access, flows, forwarding, observe
from gateway.act import Actor
from gateway.decide import ChangeSets, Command, LoadFilter, MoveRoutes
from gateway.forwarding import Forwarding, RouteReader
from gateway.kernel_counts import KernelCounts
from gateway.network import ADDRESSES, documents
from gateway.paths import Paths
from gateway.routed import Routed
from lab.netns import inside

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from pathlib import Path

    from gateway.access import Reaches
    from gateway.firewall import Filter

VPC = IPv4Network("10.20.0.0/16")
HOST, CLIENT = IPv4Address("10.20.0.20"), IPv4Address("100.96.0.5")
OTHER = IPv4Address("100.96.0.6")
"""A second client's, on the first gateway's other tunnel interface."""
FIRST, SECOND, CLIENTS, OTHERS, CLOUD = (f"{PREFIX}r{letter}" for letter in "abcdv")
ADDRESSES_OF = {FIRST: IPv4Address("10.20.0.10"), SECOND: IPv4Address("10.20.0.11")}
TUNNELS = {FIRST: "wga", SECOND: "wgb"}
MTU = 1420

ROUTED = replace(
    FILTER,
    client_pool=POOL,
    reach=(VPC,),
    gateways=frozenset(ADDRESSES_OF.values()),
    routed=Routed(vpc=(VPC,), monitoring=()),
)


@dataclass
class PacketPath:
    """One gateway's packet path."""

    namespace: str
    actor: Actor
    reaches: Reaches

    def load(self, filter_: Filter, reaches: Reaches) -> None:
        """The packet filter, and who may go where."""
        changes = access.differences(self.reaches, reaches)
        self._do(LoadFilter(filter_, changes, reaches))
        self.reaches = reaches

    def narrow(self, reaches: Reaches) -> None:
        """Other rights, as the agent puts them in force: the sets, then the flows of the losers."""
        changes = access.differences(self.reaches, reaches)
        self._do(ChangeSets(changes, reaches))
        with inside(self.namespace):
            flows.cut(changes.narrowed)
        self.reaches = reaches

    def forward(self, elsewhere: Mapping[IPv4Address, IPv4Address]) -> list[tuple[str, ...]]:
        """The device and the routes as wanted; the commands that were needed for the device."""
        own = ADDRESSES_OF[self.namespace]
        wanted = Forwarding(
            local=own,
            address=POOL[1],
            mtu=MTU,
            gateways=frozenset(ADDRESSES_OF.values()) - {own},
            routes={str(client): str(gateway) for client, gateway in elsewhere.items()},
        )
        with inside(self.namespace):
            present = self.present()
            rules = run(["ip", "-4", "rule", "show"]).stdout
        given: list[tuple[str, ...]] = []
        given += [] if f"lookup {forwarding.TABLE}" in rules else [forwarding.ADD_RULE]
        given += forwarding.commands(wanted, present)
        lines = forwarding.moves(present.routes, wanted.routes)
        self._do(*map(Command, given), *([MoveRoutes(lines)] if lines else []))
        return given

    def present(self) -> forwarding.Present:
        """What the agent would see; inside the namespace."""
        return observe.see_forwarding(documents(run(ADDRESSES).stdout), RouteReader())

    def counted(self, name: str) -> int:
        """A named counter of the filter."""
        with inside(self.namespace):
            return KernelCounts().forwarded()[name]

    def tracked(self) -> list[str]:
        """The flows of clients that connection tracking has here, and all capsules."""
        with inside(self.namespace):
            listing = run(["conntrack", "-L", "-f", "ipv4"]).stdout
        return [line for line in listing.splitlines() if re.search(r"=100\.96\.|=4789 ", line)]

    def _do(self, *actions: object) -> None:
        with inside(self.namespace):
            assert self.actor.carry_out(actions) == {}  # ty: ignore[invalid-argument-type]


@dataclass
class Pair:
    """Both of them, the clients and the VPC."""

    first: PacketPath
    second: PacketPath
    exits: ExitStack

    @property
    def both(self) -> tuple[PacketPath, PacketPath]:
        return self.first, self.second

    def load(self, filter_: Filter, reaches: Reaches) -> None:
        """On both."""
        for path in self.both:
            path.load(filter_, reaches)

    def narrow(self, reaches: Reaches) -> None:
        """On both."""
        for path in self.both:
            path.narrow(reaches)

    def hold(self, gateway: str) -> None:
        """The client's session is there from now on, and both gateways know it."""
        self.send_by(gateway)
        for path in self.both:
            elsewhere = {OTHER: ADDRESSES_OF[FIRST], CLIENT: ADDRESSES_OF[gateway]}
            own = ADDRESSES_OF[path.namespace]
            path.forward({client: at for client, at in elsewhere.items() if at != own})

    def send_by(self, gateway: str) -> None:
        """The client sends that way, and nobody else knows."""
        ip(f"-n {CLIENTS} route replace default via {POOL[1]} dev {TUNNELS[gateway]} onlink")

    # ---------------------------------------------------------- traffic

    def ping(self, *more: str, to: IPv4Address = HOST) -> bool:
        """Whether the client gets an answer to each of its pings."""
        command = ["ping", "-q", "-c1", "-i0.1", "-W1", *more, "-I", str(CLIENT), str(to)]
        with inside(CLIENTS):
            return run(command, check=False).status == 0

    def ping_client(self) -> bool:
        """Whether the host gets one from the client."""
        with inside(CLOUD):
            return run(["ping", "-q", "-c1", "-W1", str(CLIENT)], check=False).status == 0

    def host_socket(self, port: int, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """Bound on the host."""
        return bound(CLOUD, HOST, port, kind)

    def connect(self, port: int) -> tuple[socket.socket, socket.socket]:
        """A TCP connection of the client to the host: both ends, the client's first."""
        with self.host_socket(port) as listening:
            listening.listen()
            near = self.exits.enter_context(bound(CLIENTS, CLIENT))
            near.connect((str(HOST), port))
            far = self.exits.enter_context(listening.accept()[0])
        far.settimeout(2)
        return near, far


def bound(
    namespace: str, address: IPv4Address, port: int = 0, kind: int = socket.SOCK_STREAM
) -> socket.socket:
    """A socket there, with a limit of two seconds to everything."""
    with inside(namespace):
        plug = socket.socket(socket.AF_INET, kind)
    plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    plug.bind((str(address), port))
    plug.settimeout(2)
    return plug


def passes(sender: socket.socket, receiver: socket.socket) -> bool:
    """Whether a line sent on one end of a connection comes out of the other."""
    sender.sendall(b"line\n")
    try:
        return receiver.recv(5) == b"line\n"
    except TimeoutError:
        return False


@contextmanager
def pair(directory: Path) -> Generator[Pair]:
    """Both gateways and what is around them; the filter and the routes are for the test to load."""
    names = (FIRST, SECOND, CLIENTS, OTHERS, CLOUD)
    for name in names:
        run(["ip", "netns", "delete", name], check=False)
    with ExitStack() as exits:
        for name in names:
            exits.callback(run, ["ip", "netns", "delete", name], check=False)
        yield _pair(directory, names, exits)


def _pair(directory: Path, names: tuple[str, ...], exits: ExitStack) -> Pair:
    for name in names:
        ip(f"netns add {name}\n-n {name} link set lo up")
    ip(f"""
        -n {CLOUD} link add br0 type bridge
        -n {CLOUD} address add {HOST}/16 dev br0
        -n {CLOUD} link set br0 up
        -n {CLOUD} route add {POOL} via {ADDRESSES_OF[FIRST]}
        -n {CLIENTS} address add {CLIENT}/32 dev lo
    """)
    paths = []
    for name, address in ADDRESSES_OF.items():
        tunnel = TUNNELS[name]
        ip(f"""
            -n {CLOUD} link add {tunnel} type veth peer name eth0 netns {name}
            -n {CLOUD} link set {tunnel} up master br0
            -n {CLIENTS} link add {tunnel} mtu {MTU} type veth peer name wg0 netns {name}
            -n {CLIENTS} link set {tunnel} up
            -n {name} address add {address}/16 dev eth0
            -n {name} link set eth0 up
            -n {name} address add {POOL[1]}/32 dev wg0
            -n {name} link set wg0 up mtu {MTU}
            -n {name} route add {POOL} dev wg0
            -n {name} route add default via {HOST}
        """)
        with inside(name):
            run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=2"])
            run(["sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_be_liberal=1"])
        (directory / name).mkdir()
        memory = observe.FilterMemory()
        actor = Actor(Paths(state=directory / name), memory, lambda: None)
        paths.append(PacketPath(name, actor, {}))
    ip(f"""
        -n {OTHERS} link add eth0 mtu {MTU} type veth peer name wg1 netns {FIRST}
        -n {OTHERS} link set eth0 up
        -n {OTHERS} address add {OTHER}/32 dev lo
        -n {OTHERS} route add default via {POOL[1]} dev eth0 onlink
        -n {FIRST} link set wg1 up
        -n {FIRST} route add {OTHER}/32 dev wg1
    """)
    return Pair(paths[0], paths[1], exits)
