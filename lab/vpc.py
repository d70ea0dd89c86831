"""The VPC router: namespace `gp-vpc`, its services, and the links of all that is in the VPC.

Every machine and private host has a veth of its own to here, so that all traffic in the VPC passes
the filter (`lab.security`) and the route tables (`lab.routing`). Whoever is attached believes in an
ordinary subnet: the router answers ARP for every address it can reach elsewhere.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from effects import run, write_atomic
from lab import aws, inventory, netns, paths, process, security
from lab.inventory import Attachment, Network
from lab.routing import BALANCER_ADDRESS, Routing, compile_routing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Network
    from pathlib import Path

NAMESPACE = "gp-vpc"
BALANCER_NAMESPACE = "gp-lb"
ROUTER_LINK = "169.254.171.1"
"""The router's address on the link to the load balancer."""

_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv6.conf.all.disable_ipv6": "1",
    # Every refusal is told, not six a second: in the lab nobody should wait for a timeout
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv4.icmp_msgs_per_sec": "100000",
    "net.ipv4.icmp_msgs_burst": "100000",
}


def up() -> None:
    """Make the router with its services; nothing is attached and nothing is forwarded yet.

    Raises `Failed` if a service does not start. Called on a running router it repairs what is
    missing.
    """
    create()
    for address in (security.METADATA, security.TIME, security.RESOLVER, security.AWS):
        netns.ip(NAMESPACE, "address", "replace", f"{address}/32", "dev", "lo")
    if not _applied().exists():
        apply((), Network())
    _start_resolver()
    _start_time()


def create() -> None:
    """Make the router alone, without its services, or find it."""
    paths.prepare()
    for directory in (_directory(), _names(), _hosts()):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not netns.exists(NAMESPACE):
        _applied().unlink(missing_ok=True)
        _marker().unlink(missing_ok=True)
    netns.create(NAMESPACE)
    netns.run_in(NAMESPACE, ["sysctl", "-qw", *[f"{k}={v}" for k, v in _SYSCTLS.items()]])


def down() -> None:
    """Remove the router, its services and its links. What was attached stays, without a link."""
    for name in ("vpc-dns", "vpc-time"):
        process.stop(name)
    netns.delete(NAMESPACE)
    shutil.rmtree(_directory(), ignore_errors=True)


def attach(namespace: str, attachment: Attachment, subnet: IPv4Network, *, mac: str = "") -> None:
    """Give a namespace an `eth0` in a subnet: address, default route, link to the router.

    A former link of that name is replaced. Whether anything passes is the filter's decision: see
    `apply`.
    """
    router = str(subnet.network_address + 1)
    here = netns.End(NAMESPACE, attachment.interface)
    there = netns.End(namespace, "eth0", mac or None)
    netns.delete_link(there)
    netns.veth(here, there, mtu=netns.VPC_MTU)
    base = "/proc/sys/net/ipv4"
    # Without a delay of up to 0.8 s before each answer, which is meant for busy networks
    settings = {f"{base}/neigh/{here.interface}/proxy_delay": "0"}
    settings[f"{base}/conf/{here.interface}/proxy_arp"] = "1"
    netns.run_in(NAMESPACE, ["sh", "-ec", _writes(settings)])
    netns.ip(NAMESPACE, "address", "replace", f"{router}/32", "dev", "lo")
    netns.ip(NAMESPACE, "route", "replace", f"{attachment.address}/32", "dev", attachment.interface)
    netns.ip(
        namespace, "address", "replace", f"{attachment.address}/{subnet.prefixlen}", "dev", "eth0"
    )
    netns.ip(namespace, "route", "replace", "default", "via", router, "dev", "eth0")


def detach(interface: str) -> None:
    """Cut a link: from here on nothing arrives and nothing leaves."""
    netns.delete_link(netns.End(NAMESPACE, interface))


def attach_host(
    name: str,
    namespace: str,
    address: IPv4Address,
    *,
    subnet_id: str,
    groups: Sequence[str],
    source_check: bool = True,
) -> None:
    """Attach a namespace as a private host: in a subnet of moto's, with security groups of moto's.

    Without the `source_check` it may forward for others. It is known from now on to the daemon that
    keeps the filter, which follows within a second.
    """
    ec2 = aws.client("ec2")
    subnet = inventory.read_subnets(ec2)[subnet_id]
    owners = inventory.read_cidrs(ec2).items()
    vpc_id = next(vpc for vpc, cidrs in owners if any(map(subnet.subnet_of, cidrs)))
    host = Attachment(
        interface=f"h-{name}",
        address=address,
        subnet_id=subnet_id,
        vpc_id=vpc_id,
        groups=tuple(groups),
        source_check=source_check,
        id=name,
    )
    attach(namespace, host, subnet)
    record = {**asdict(host), "address": str(address)}
    write_atomic(_hosts() / f"{name}.json", json.dumps(record), mode=0o600)


def detach_host(name: str) -> None:
    """Take a private host out of the VPC."""
    (_hosts() / f"{name}.json").unlink(missing_ok=True)
    if netns.exists(NAMESPACE):
        detach(f"h-{name}")


def hosts() -> list[Attachment]:
    """The private hosts."""
    found = []
    for path in sorted(_hosts().glob("*.json")):
        record = json.loads(path.read_text())
        record |= {"address": IPv4Address(record["address"]), "groups": tuple(record["groups"])}
        found.append(Attachment(**record))
    return found


def attach_balancer() -> None:
    """Make the link between the router and the load balancer's namespace (which must exist)."""
    here, there = (
        netns.End(NAMESPACE, security.BALANCER),
        netns.End(BALANCER_NAMESPACE, "vpc-lb"),
    )
    netns.veth(here, there, mtu=netns.VPC_MTU)
    netns.ip(NAMESPACE, "address", "replace", f"{ROUTER_LINK}/30", "dev", here.interface)
    netns.ip(
        BALANCER_NAMESPACE, "address", "replace", f"{BALANCER_ADDRESS}/30", "dev", there.interface
    )
    # A new link has lost its routes: what was applied no longer holds
    _applied().unlink(missing_ok=True)
    _marker().touch()


def apply(attachments: Sequence[Attachment], network: Network) -> bool:
    """Make filter, routes and names what moto says now; True if anything had to change."""
    wanted = {
        "filter": security.ruleset(attachments, network),
        "names": names(attachments, network),
        **asdict(compile_routing(attachments, network, balancer=_marker().exists())),
    }
    wanted = json.loads(json.dumps(wanted))
    try:
        applied = json.loads(_applied().read_text())
    except (OSError, ValueError):
        applied = {}
    if wanted == applied:
        return False
    if wanted["filter"] != applied.get("filter"):
        netns.run_in(NAMESPACE, ["nft", "-f", "-"], stdin=wanted["filter"])
    if wanted["names"] != applied.get("names"):
        write_atomic(_names() / "hosts", wanted["names"])
    before = Routing(tuple(applied.get("rules", ())), tuple(applied.get("routes", ())))
    after = Routing(tuple(wanted["rules"]), tuple(wanted["routes"]))
    _apply_routing(before, after)
    write_atomic(_applied(), json.dumps(wanted), mode=0o600)
    return True


def names(attachments: Iterable[Attachment], network: Network) -> str:
    """What the VPC's resolver knows, as a hosts file: load balancers and private host names."""
    lines = [f"{address} {one.name}" for one in network.balancers for address in one.addresses]
    lines += [
        f"{one.address} {host_name(one.address)}"
        for one in sorted(attachments, key=lambda one: one.interface)
    ]
    return "".join(f"{line}\n" for line in lines)


def host_name(address: IPv4Address, region: str = aws.REGION) -> str:
    """The private name that EC2 gives an address (outside us-east-1)."""
    return f"ip-{str(address).replace('.', '-')}.{region}.compute.internal"


def batch(before: Routing, after: Routing) -> tuple[str, str]:
    """What to remove (it may be gone already, with its link) and what to add, for `ip -batch`.

    Every route is set again, because a link that was made anew has lost its own.
    """
    gone = [f"rule delete {rule}" for rule in before.rules if rule not in after.rules]
    gone += [f"route delete {route}" for route in before.routes if route not in after.routes]
    new = [f"route replace {route}" for route in after.routes]
    new += [f"rule add {rule}" for rule in after.rules if rule not in before.rules]
    return "".join(f"{line}\n" for line in gone), "".join(f"{line}\n" for line in new)


def _apply_routing(before: Routing, after: Routing) -> None:
    gone, new = batch(before, after)
    if not before.rules:
        # Nothing is known of what is there: a rule too many would be one rule twice
        netns.run_in(NAMESPACE, ["sh", "-c", _FORGET_RULES])
    command = ["ip", "-n", NAMESPACE, "-force", "-batch", "-"]
    if gone:
        run(command, stdin=gone, check=False)
    if new:
        run([word for word in command if word != "-force"], stdin=new)


_FORGET_RULES = (
    "for p in 100 1000; do while ip rule delete priority $p 2>/dev/null; do :; done; done"
)


def _start_resolver() -> None:
    process.start(
        "vpc-dns",
        netns.within(
            NAMESPACE,
            [
                *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--user=root"),
                *("--pid-file", "--log-facility=-", "--no-hosts", "--no-resolv", "--no-poll"),
                *("--bind-interfaces", f"--listen-address={security.RESOLVER}"),
                f"--hostsdir={_names()}",
                # Nobody to ask: what is not in the file does not exist, and that is said at once
                "--address=/#/",
            ],
        ),
        ready=lambda: _listens("udp", security.RESOLVER, 53),
    )


def _start_time() -> None:
    config = _directory() / "chrony.conf"
    lines = [
        "local stratum 3",
        "allow",
        f"bindaddress {security.TIME}",
        "cmdport 0",
        "bindcmdaddress /",
        f"pidfile {_directory() / 'chronyd.pid'}",
    ]
    write_atomic(config, "\n".join([*lines, ""]))
    process.start(
        "vpc-time",
        # -x: it tells the host's time and never sets it
        netns.within(NAMESPACE, ["chronyd", "-4", "-d", "-x", "-u", "root", "-f", str(config)]),
        ready=lambda: _listens("udp", security.TIME, 123),
    )


def _listens(protocol: str, address: str, port: int) -> bool:
    found = netns.run_in(
        NAMESPACE, ["ss", "-Hln", f"--{protocol}", f"src {address} and sport = {port}"]
    )
    return bool(found.stdout.strip())


def _writes(settings: dict[str, str]) -> str:
    return "; ".join(f"echo {value} > {path}" for path, value in settings.items())


def _directory() -> Path:
    return paths.run() / "vpc"


def _names() -> Path:
    return _directory() / "names"


def _hosts() -> Path:
    return _directory() / "hosts"


def _applied() -> Path:
    """What `apply` did last; without it everything is done again."""
    return _directory() / "applied.json"


def _marker() -> Path:
    """There if the load balancer is attached."""
    return _directory() / "balancer"
