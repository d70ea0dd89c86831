"""Clients behind a balancer in front of the bed's two gateways, with a host behind both.

    clients (gpx-k0 ...) --198.18.N.0/24-- balancer (gpx-lb) --10.20.9.0/30-- gateway (gpx-gw)
                                                             --10.20.9.4/30-- second (gpx-g2)

The balancer keeps a client's source address, sends each address to the gateway it is told, and lets
only answers back, as AWS's does. The host that clients ping is an address of its own.
"""

from __future__ import annotations

import re
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway_lab.bed import GATEWAY, await_true, ip, kill
from gateway_lab.second import SECOND

from effects import run
from lab.netns import within
from registry.preshared import Sealer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from ipaddress import IPv4Network
    from pathlib import Path

    from gateway_lab.bed import Bed

BALANCER = "gpx-lb"
SERVICE, HOST = "203.0.113.1", "10.20.7.7"
TARGETS = {GATEWAY: "10.20.0.10", SECOND: "10.20.0.11"}
PORT = 51820

_RULES = f"""
table ip balancer {{
    map target {{ type ipv4_addr : ipv4_addr; }}
    chain to_target {{
        type nat hook prerouting priority dstnat;
        ip daddr {SERVICE} dnat to ip saddr map @target
    }}
    chain through {{
        type filter hook forward priority filter; policy drop;
        iifname "k*" ct status dnat accept
        ct direction reply accept
    }}
}}
"""


@dataclass
class Client:
    """One client in a namespace of its own."""

    number: int
    private_key: Path
    public_key: str
    tunnel: str = ""
    preshared: Path | None = None
    """The file with its pre-shared key, if it has one."""
    pings: subprocess.Popen[bytes] | None = None
    log: Path | None = None
    addresses: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.addresses = tuple(f"198.18.{self.number}.{last}" for last in (2, 3))

    @property
    def namespace(self) -> str:
        return f"gpx-k{self.number}"

    @property
    def interface(self) -> str:
        return f"wgk{self.number}"

    def connect(self, server_key: str, keepalive: int = 0) -> None:
        """Its tunnel, pointed at the balancer."""
        exec_ = ["ip", "netns", "exec", self.namespace]
        run([*exec_, "wireguard-go", self.interface])
        ip(f"""
            -n {self.namespace} address add {self.tunnel}/32 dev {self.interface}
            -n {self.namespace} link set {self.interface} up mtu 1420
            -n {self.namespace} route add 10.20.0.0/16 dev {self.interface}
        """)
        peer = ["peer", server_key, "endpoint", f"{SERVICE}:{PORT}", "allowed-ips", "10.20.0.0/16"]
        more = ["persistent-keepalive", str(keepalive)] if keepalive else []
        more += ["preshared-key", str(self.preshared)] if self.preshared else []
        key = ["private-key", str(self.private_key)]
        run([*exec_, "wg", "set", self.interface, *key, *peer, *more])

    def reaches_host(self) -> bool:
        command = ["ip", "netns", "exec", self.namespace, "ping", "-c1", "-W1", HOST]
        return run(command, check=False).status == 0

    def roam(self) -> None:
        """From its first address to its second, as from one network to another."""
        old, new = self.addresses
        ip(f"""
            -n {self.namespace} address add {new}/24 dev eth0
            -n {self.namespace} address delete {old}/24 dev eth0
            -n {self.namespace} route replace default via 198.18.{self.number}.1
        """)
        self.addresses = new, old

    # ---------------------------------------------------------- pings

    def start_pings(self, directory: Path, interval: float = 0.1) -> None:
        """Ping the host from now on."""
        self.log = directory / f"ping-{self.number}-{time.monotonic_ns()}"
        with self.log.open("wb") as out:
            command = ["ping", "-D", "-n", "-i", str(interval), "-W", "1", HOST]
            inner = within(self.namespace, ["stdbuf", "-oL", *command])
            self.pings = subprocess.Popen(inner, stdout=out, stderr=out)  # noqa: S603

    def answers(self) -> list[float]:
        """When answers came; epoch seconds."""
        assert self.log is not None
        found = re.findall(r"^\[([\d.]+)\] \d+ bytes from", self.log.read_text(), re.MULTILINE)
        return [float(when) for when in found]

    def gap(self, since: float) -> float:
        """The longest silence that began or went on after `since` (epoch seconds)."""
        times = self.answers()
        ends = [*times, time.time()]
        return max(
            (
                later - max(before, since)
                for before, later in zip(times, ends[1:], strict=True)
                if later > since
            ),
            default=0.0,
        )

    def answered_since(self, moment: float) -> bool:
        times = self.answers()
        return bool(times) and times[-1] > moment


@dataclass
class Crowd:
    """The balancer and its clients."""

    bed: Bed
    clients: list[Client]
    _sent: dict[str, str] = field(default_factory=dict)

    def send(self, clients: Sequence[Client], gateway: str) -> None:
        """From now on these clients' packets go to that gateway; their flows end."""
        where = {address: TARGETS[gateway] for client in clients for address in client.addresses}
        known = where.keys() & self._sent.keys()
        texts = [f"{address} : {target}" for address, target in where.items()]
        # an element that is there cannot be given another value: out and in, in one transaction
        gone = f"delete element ip balancer target {{ {', '.join(known)} }}\n" if known else ""
        text = f"{gone}add element ip balancer target {{ {', '.join(texts)} }}\n"
        exec_ = ["ip", "netns", "exec", BALANCER]
        run([*exec_, "nft", "-f", "-"], stdin=text)
        flows = "".join(f"-D -f ipv4 -p udp -s {address}\n" for address in where)
        run([*exec_, "conntrack", "-R", "-"], stdin=flows)
        self._sent |= where

    def cut_off(self, gateway: str) -> None:
        """The gateway's network is gone, all of it."""
        for link in {GATEWAY: ("eth2", "eth9"), SECOND: ("eth0", "eth9")}[gateway]:
            ip(f"-n {gateway} link set {link} down")

    def gaps(self, since: float) -> list[float]:
        """Each client's longest silence, sorted."""
        return sorted(client.gap(since) for client in self.clients)

    def await_answers(self, since: float, timeout: float = 40.0) -> None:
        """Until every client has had an answer after `since`."""
        await_true(
            "every client is answered",
            lambda: all(client.answered_since(since) for client in self.clients),
            timeout,
        )


def share(bed: Bed, client: Client) -> str:
    """Give a client a pre-shared key; its ciphertext."""
    with bed.aws("kms") as kms:
        arn = kms.create_key()["KeyMetadata"]["Arn"]
        made = Sealer(lambda: kms, "test", arn).make(client.public_key)
    client.preshared = client.private_key.with_suffix(".psk")
    client.preshared.write_text(made.clear)
    return made.ciphertext


@contextmanager
def crowd(bed: Bed, count: int, pool: IPv4Network, *, sharing: int = 0) -> Generator[Crowd]:
    """Some clients, all of them admitted and on the first gateway; not connected yet.

    The last `sharing` of them have pre-shared keys.
    """
    exec_ = ["ip", "netns", "exec", BALANCER]
    ip(f"""
        netns add {BALANCER}
        -n {BALANCER} link set lo up
        -n {BALANCER} address add {HOST}/32 dev lo
        -n {BALANCER} address add {SERVICE}/32 dev lo
        link add name gw netns {BALANCER} type veth peer name eth9 netns {GATEWAY}
        link add name g2 netns {BALANCER} type veth peer name eth9 netns {SECOND}
        -n {BALANCER} address add 10.20.9.2/30 dev gw
        -n {BALANCER} address add 10.20.9.6/30 dev g2
        -n {BALANCER} link set gw up
        -n {BALANCER} link set g2 up
    """)
    for gateway, near, far in ((GATEWAY, "1", "2"), (SECOND, "5", "6")):
        # an instance has one address: what WireGuard sends by itself has to come from it, too
        ip(f"""
            -n {gateway} address add 10.20.9.{near}/30 dev eth9
            -n {gateway} link set eth9 up
            -n {gateway} route add 198.18.0.0/15 via 10.20.9.{far} src {TARGETS[gateway]}
            -n {gateway} route add {HOST}/32 via 10.20.9.{far}
            -n {BALANCER} route add {TARGETS[gateway]}/32 via 10.20.9.{near}
        """)
    run([*exec_, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    run([*exec_, "nft", "-f", "-"], stdin=_RULES)
    clients = []
    for number in range(count):
        private = run(["wg", "genkey"]).stdout
        path = bed.directory / f"client-{number}.key"
        path.write_text(private)
        path.chmod(0o600)
        client = Client(number, path, run(["wg", "pubkey"], stdin=private).stdout.strip())
        ip(f"""
            netns add {client.namespace}
            -n {client.namespace} link set lo up
            -n {BALANCER} link add k{number} type veth peer name eth0 netns {client.namespace}
            -n {BALANCER} address add 198.18.{number}.1/24 dev k{number}
            -n {BALANCER} link set k{number} up
            -n {client.namespace} address add {client.addresses[0]}/24 dev eth0
            -n {client.namespace} link set eth0 up
            -n {client.namespace} route add default via 198.18.{number}.1
        """)
        sealed = share(bed, client) if number >= count - sharing else ""
        client.tunnel = bed.add_peer(f"client-{number}", client.public_key, pool, preshared=sealed)
        clients.append(client)
    made = Crowd(bed, clients)
    made.send(clients, GATEWAY)
    try:
        yield made
    finally:
        for client in clients:
            if client.pings is not None:
                kill(client.pings)
