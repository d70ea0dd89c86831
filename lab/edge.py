"""Everything outside the VPC: the internet, the load balancer's namespace, NAT, clients' networks.

    gp-c-NAME --- gp-nat --- gp-inet --- gp-lb --- gp-vpc (lab.vpc)

gp-inet routes with an MTU of 1500 and answers DNS. gp-nat gives each client one public address, or
lets several share one with their ports translated.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from effects import Refusal, write_atomic
from lab import netns, paths, process

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

INTERNET = "gp-inet"
BALANCER = "gp-lb"
NAT = "gp-nat"
CLIENT_PREFIX = "gp-c-"

DNS_ADDRESS = "192.0.2.53"
ELASTIC_ADDRESSES = IPv4Network("203.0.113.0/24")
PUBLIC_ADDRESSES = IPv4Network("198.51.100.0/24")
SHARED_ADDRESS = IPv4Address("198.51.100.1")
"""The public address of clients that have none of their own."""
CLIENTS = IPv4Network("192.168.77.0/24")
VPC_ADDRESS = "169.254.171.1"
"""gp-vpc's end of the link to gp-lb."""

UDP_IDLE = 120
"""Seconds; a network load balancer's, and "this cannot be changed" (elbv2 user guide)."""

_LB_LINK = ("192.0.2.1", "192.0.2.2")
_NAT_LINK = ("192.0.2.5", "192.0.2.6")
_LAN_ADDRESS = "02:00:00:00:00:01"
_FIRST_CLIENT = 10
_LAST_CLIENT = 250
_RESOLV = Path("/etc/netns")
# wg-quick names the interface for the config file; Linux allows 15 characters
_NAME = re.compile(r"[a-z][a-z0-9-]{0,14}")


@dataclass(frozen=True)
class Client:
    """A client's place: its namespace, its address at home, the one the internet sees."""

    name: str
    address: IPv4Address

    @property
    def namespace(self) -> str:
        """Where its programs run."""
        return CLIENT_PREFIX + self.name

    @property
    def link(self) -> str:
        """The interface of gp-nat that leads to it."""
        return f"c{int(self.address) & 0xFF}"

    @property
    def own_public_address(self) -> IPv4Address:
        """The public address that is its alone, unless it was put behind another."""
        return PUBLIC_ADDRESSES[int(self.address) & 0xFF]


def create() -> None:
    """Make gp-inet, gp-lb and gp-nat, joined and routed; what is there already stays as it is."""
    for name in (INTERNET, BALANCER, NAT):
        netns.create(name)
        _sysctl(name, {"ipv4/ip_forward": 1, "ipv4/conf/all/send_redirects": 0})
    for name in (INTERNET, BALANCER):
        _join(name)
    netns.ip(INTERNET, "address", "replace", f"{DNS_ADDRESS}/32", "dev", "lo")
    # Every flow of a balancer is idle for 120 s at most, answered or not
    timers = ("nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream")
    _sysctl(BALANCER, {f"netfilter/{name}": UDP_IDLE for name in timers})
    _nat_rules()
    _dns()


def delete() -> None:
    """Remove it all, clients included. The daemons and clients' tunnels must have ended before."""
    process.stop("dns")
    for client in clients():
        delete_client(client.name)
    for name in (NAT, BALANCER, INTERNET):
        netns.delete(name)


def clients() -> list[Client]:
    """The clients there are, by name."""
    found = []
    for name in netns.names():
        if name.startswith(CLIENT_PREFIX):
            address = _address_of(name)
            if address is not None:
                found.append(Client(name.removeprefix(CLIENT_PREFIX), address))
    return found


def client_name(name: str) -> str:
    """`name`, or a refusal if it cannot be a client's."""
    if not _NAME.fullmatch(name):
        raise Refusal(
            f"client {name!r}",
            "not a name that a network interface can have",
            "take 1 to 15 of a-z, 0-9 and -, a letter first",
        )
    return name


def create_client(name: str) -> Client:
    """Make a client's namespace behind gp-nat, with a public address of its own; or return it."""
    found = next((c for c in clients() if c.name == client_name(name)), None)
    if found is not None:
        return found
    taken = {client.address for client in clients()}
    free = (CLIENTS[n] for n in range(_FIRST_CLIENT, _LAST_CLIENT))
    address = next((a for a in free if a not in taken), None)
    if address is None:
        raise Refusal(f"client {name}", f"{CLIENTS} has no address left", "run scripts/lab down")
    client = Client(name, address)
    directory = _RESOLV / client.namespace
    directory.mkdir(parents=True, exist_ok=True)
    write_atomic(directory / "resolv.conf", f"nameserver {DNS_ADDRESS}\n")
    # Left by a creation that was cut short
    netns.delete(client.namespace)
    netns.create(client.namespace)
    netns.veth(netns.End(NAT, client.link), netns.End(client.namespace, "eth0"))
    netns.ip(NAT, "link", "set", client.link, "master", "lan")
    # Neighbours behind one NAT, and no way from one to the other but through it
    netns.run_in(NAT, ["bridge", "link", "set", "dev", client.link, "isolated", "on"])
    set_public_address(client, client.own_public_address)
    netns.ip(client.namespace, "address", "replace", f"{address}/24", "dev", "eth0")
    netns.ip(client.namespace, "route", "replace", "default", "via", str(CLIENTS[1]))
    return client


def delete_client(name: str) -> None:
    """Remove a client's namespace and what belongs to it."""
    namespace = CLIENT_PREFIX + name
    netns.delete(namespace)
    shutil.rmtree(_RESOLV / namespace, ignore_errors=True)


def set_public_address(client: Client, public: IPv4Address | None) -> None:
    """What the internet sees of the client from its next packet on; None is the shared address.

    Its live flows are forgotten by the NAT: to the load balancer this is a client that roams.
    """
    element = f"{client.address}"
    netns.run_in(NAT, ["nft", f"delete element ip nat own {{ {element} }}"], check=False)
    if public is not None:
        netns.run_in(NAT, ["nft", f"add element ip nat own {{ {element} : {public} }}"])
    netns.run_in(NAT, ["conntrack", "-D", "-s", str(client.address)], check=False)


def hosts(names: Mapping[str, Iterable[str]]) -> str:
    """The hosts file for dnsmasq: each name with its addresses."""
    lines = [f"{address} {name}" for name, found in sorted(names.items()) for address in found]
    return "".join(f"{line}\n" for line in lines)


def publish(text: str) -> None:
    """Answer DNS by this hosts file from now on."""
    write_atomic(_hosts_file(), text)
    found = process.find("dns")
    if found is not None:
        os.kill(found.pid, signal.SIGHUP)


def _join(name: str) -> None:
    if name == INTERNET:
        one, other = netns.End(INTERNET, "nat"), netns.End(NAT, "inet")
        near, far = _NAT_LINK
        beyond = PUBLIC_ADDRESSES
    else:
        one, other = netns.End(INTERNET, "lb"), netns.End(BALANCER, "inet")
        near, far = _LB_LINK
        beyond = ELASTIC_ADDRESSES
    if not (netns.has_link(one) and netns.has_link(other)):
        netns.veth(one, other)
    netns.ip(one.namespace, "address", "replace", f"{near}/30", "dev", one.interface)
    netns.ip(other.namespace, "address", "replace", f"{far}/30", "dev", other.interface)
    netns.ip(one.namespace, "route", "replace", str(beyond), "via", far)
    netns.ip(other.namespace, "route", "replace", "default", "via", near)
    # What is translated never gets here; anything else to these addresses has no owner
    netns.ip(other.namespace, "route", "replace", "blackhole", str(beyond))


def _nat_rules() -> None:
    if not netns.has_link(netns.End(NAT, "lan")):
        # With an address of its own. Otherwise it takes its lowest port's, and changes it when that
        # one comes or goes: clients then send to nobody until they ask again, after some 30 s
        netns.ip(NAT, "link", "add", "lan", "address", _LAN_ADDRESS, "type", "bridge")
    netns.ip(NAT, "link", "set", "lan", "up")
    netns.ip(NAT, "address", "replace", f"{CLIENTS[1]}/{CLIENTS.prefixlen}", "dev", "lan")
    if netns.run_in(NAT, ["nft", "list", "table", "ip", "nat"], check=False).status == 0:
        return
    rules = f"""table ip nat {{
  map own {{
    type ipv4_addr : ipv4_addr
  }}
  chain out {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname "inet" snat to ip saddr map @own
    oifname "inet" snat to {SHARED_ADDRESS}
  }}
  chain forward {{
    type filter hook forward priority filter; policy drop;
    iifname "lan" oifname "inet" accept
    iifname "inet" oifname "lan" ct state established,related accept
  }}
}}
"""
    netns.run_in(NAT, ["nft", "-f", "-"], stdin=rules)


def _dns() -> None:
    paths.prepare()
    if not _hosts_file().exists():
        write_atomic(_hosts_file(), "")
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--pid-file="]
    # Root, as it has to read a directory that only root reads again and again; never forwards
    command += ["--user=root", "--no-resolv", "--no-hosts", "--local=/#/", "--local-ttl=60"]
    command += [
        f"--addn-hosts={_hosts_file()}",
        "--bind-interfaces",
        f"--listen-address={DNS_ADDRESS}",
    ]
    listens = ["ss", "-Hlnu", f"src {DNS_ADDRESS}:53"]
    process.start(
        "dns",
        netns.within(INTERNET, command),
        ready=lambda: bool(netns.run_in(INTERNET, listens).stdout.strip()),
    )


def _hosts_file() -> Path:
    return paths.run() / "dns-hosts"


def _address_of(namespace: str) -> IPv4Address | None:
    text = netns.run_in(
        namespace, ["ip", "-o", "-4", "address", "show", "dev", "eth0"], check=False
    )
    found = re.search(r"inet (\S+)/", text.stdout)
    return IPv4Address(found.group(1)) if found else None


def _sysctl(namespace: str, settings: Mapping[str, int]) -> None:
    with netns.inside(namespace):
        for name, value in settings.items():
            Path("/proc/sys/net", name).write_text(str(value))
