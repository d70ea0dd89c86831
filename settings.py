"""What the operator of one stack decided, read once and checked once.

Nothing else in the program reads Pulumi's configuration. No AWS call is made here and no rule needs
one, so every rule can be tested with a plain mapping. All wrong values are refused together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pulumi

from effects import Refusal
from stack_values import NOWHERE, Values

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

METRICS_PORT = 9586
HELPER_PORT = 9587
VXLAN_PORT = 4789
"""UDP (RFC 7348), between the gateways of a routed stack."""

SNAT, ROUTED = "snat", "routed"

_VPC_WIDEST, _VPC_NARROWEST = 16, 24
_AWS_NARROWEST = 28
"""The smallest block that AWS gives a VPC."""
_POOL_NARROWEST = 26
_PORT_MAX = 65535
_ZONES_MIN = 2
_NEW_VPC = ("cidr", "availabilityZones")
_ADOPTED_VPC = ("id", "cidrs", "publicSubnetIds", "gatewaySubnetIds", "routeTableIds")
_HOST_NAME = (
    r"(?i)(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
)
_ADDRESS = r"[^@\s]{1,64}@" + _HOST_NAME.removeprefix("(?i)")
RETENTIONS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
"""Days for which CloudWatch Logs keeps a log (its API reference, "PutRetentionPolicy")."""
_INSTANCE_TYPE = r"(?P<family>[a-z]+)(?P<number>\d+)(?P<extras>[a-z0-9-]*)\.[a-z0-9-]+"


class WrongSettings(Refusal, pulumi.RunError):
    """Every wrong setting of a stack, one a line: `key: value: why; cure`.

    As a `pulumi.RunError` it ends `pulumi up` with this text and without a stack trace.
    """

    def __init__(self, wrong: Iterable[str]) -> None:
        self.wrong = tuple(wrong)
        count = "1 setting is" if len(self.wrong) == 1 else f"{len(self.wrong)} settings are"
        lines = "".join(f"\n  {line}" for line in self.wrong)
        super().__init__("stack configuration", f"{count} refused:{lines}")


@dataclass(frozen=True, kw_only=True)
class NewVpc:
    """A VPC to create."""

    cidr: IPv4Network
    availability_zones: tuple[str, ...]

    @property
    def cidrs(self) -> tuple[IPv4Network, ...]:
        return (self.cidr,)


@dataclass(frozen=True, kw_only=True)
class AdoptedVpc:
    """A VPC that exists, by its ids. Nothing about it is looked up."""

    id: str
    cidrs: tuple[IPv4Network, ...]
    public_subnet_ids: tuple[str, ...]
    gateway_subnet_ids: tuple[str, ...]
    route_table_ids: tuple[str, ...]
    """The tables of the subnets that clients reach. Routed, the gateways keep one route in each: to
    the clients' pool. Nothing else is put into them."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One stack's settings, all of them valid together."""

    region: str
    account_ids: tuple[str, ...]
    vpc: NewVpc | AdoptedVpc
    routed_cidrs: tuple[IPv4Network, ...]
    client_pool: IPv4Network
    endpoint: str
    """Empty: the load balancer's DNS name."""
    port: int
    health_port: int
    gossip_port: int
    """UDP, between the gateways."""
    mtu: int
    key_generations: tuple[int, ...]
    gateway_count: int
    warmup_seconds: int
    instance_type: str
    ami_id: str
    client_cidrs: tuple[IPv4Network, ...]
    monitoring_cidrs: tuple[IPv4Network, ...]
    dns_servers: tuple[IPv4Address, ...]
    dns_search_domains: tuple[str, ...]
    peer_to_peer: bool
    preshared_keys: bool
    """Whether peers may have a pre-shared key, which takes a KMS key."""
    http_api: bool
    takeover: bool
    """Whether a client's session goes on at once on the gateway it lands on."""
    egress: str
    """How clients' packets leave a gateway: `snat`, with its address; `routed`, with their own."""
    connections_to_clients: bool
    """Whether hosts may begin connections to the clients that may reach them."""
    alarm_email: str
    """Who hears of alarms; empty: whoever subscribes to the topic by other means."""
    retention_days: int
    """How long logs of who reached what are kept."""
    protect: bool

    @property
    def routed(self) -> bool:
        """Whether clients are seen by their own addresses."""
        return self.egress == ROUTED

    @property
    def reachable_cidrs(self) -> tuple[IPv4Network, ...]:
        """The widest that any peer may reach."""
        return (*self.vpc.cidrs, *self.routed_cidrs)


def load() -> Settings:
    """The running stack's settings. Raises `WrongSettings`."""
    runtime = pulumi.runtime.config
    given = {**runtime.get_config_env(), **runtime.CONFIG.get()}
    prefix = f"{pulumi.get_project()}:"
    mine = {
        key.removeprefix(prefix): value for key, value in given.items() if key.startswith(prefix)
    }
    return parse(mine, region=pulumi.Config("aws").get("region") or "")


def architecture(instance_type: str) -> str:
    """`arm64` or `amd64`. AWS marks its own (Arm) processors with a `g` after the number."""
    named = re.fullmatch(_INSTANCE_TYPE, instance_type)
    if named is None:
        raise ValueError(f"{instance_type!r} is no instance type")
    arm = "g" in named["extras"] or (named["family"], named["number"]) == ("a", "1")
    return "arm64" if arm else "amd64"


def parse(given: Mapping[str, Any], *, region: str) -> Settings:
    """Check `given` (as Pulumi hands it over: text, JSON for lists and objects).

    Raises `WrongSettings` with everything that is wrong.
    """
    values = Values(given)
    dns = values.document("dns", ["servers", "searchDomains"]) or {}
    settings = Settings(
        region=_region(values, region),
        account_ids=_account_ids(values),
        vpc=_vpc(values, region),
        routed_cidrs=values.networks("routedCidrs", private=True),
        client_pool=_client_pool(values),
        endpoint=_endpoint(values),
        port=values.whole("port", 1, _PORT_MAX - 1, "the second key slot has the next one"),
        health_port=values.whole("healthPort", 1, _PORT_MAX, "ports end there"),
        gossip_port=values.whole("gossipPort", 1, _PORT_MAX, "ports end there"),
        mtu=values.whole("mtu", 1280, 1420, "IPv6 needs 1280; 1500 less WireGuard's 80 is 1420"),
        key_generations=_key_generations(values),
        gateway_count=values.whole(
            "gatewayCount", 2, 12, "one alone is not highly available; gateway subnets are /28"
        ),
        warmup_seconds=values.whole(
            "warmupSeconds", 15, 3600, "the load balancer's checks alone take 10 s to pass"
        ),
        instance_type=_instance_type(values),
        ami_id=_ami_id(values),
        client_cidrs=_client_cidrs(values),
        monitoring_cidrs=values.networks("monitoringCidrs", private=True),
        dns_servers=_dns_servers(values, dns.get("servers", [])),
        dns_search_domains=values.strings(
            "dns.searchDomains", dns.get("searchDomains", []), _HOST_NAME, "corp.example.com"
        ),
        peer_to_peer=values.flag("peerToPeer"),
        preshared_keys=values.flag("presharedKeys"),
        http_api=values.flag("httpApi"),
        takeover=values.flag("takeover"),
        egress=values.choice("egress", (SNAT, ROUTED)),
        connections_to_clients=values.flag("connectionsToClients"),
        alarm_email=_alarm_email(values),
        retention_days=_retention_days(values),
        protect=values.flag("protect"),
    )
    values.refuse_unknown()
    _check_ports(values, settings)
    _check_overlaps(values, settings)
    _check_dns(values, settings)
    _check_egress(values, settings)
    if values.wrong:
        raise WrongSettings(values.wrong)
    return settings


def _region(values: Values, region: str) -> str:
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", region):
        values.refuse("aws:region", region, "is no region", "write it like eu-west-1")
    return region


def _account_ids(values: Values) -> tuple[str, ...]:
    given = values.items("accountIds")
    if given == []:
        why, cure = "names no account", "list the accounts this stack may be deployed to"
        values.refuse("accountIds", given, why, cure)
    return values.strings("accountIds", given, r"\d{12}", '"123456789012"')


def _vpc(values: Values, region: str) -> NewVpc | AdoptedVpc:
    given = values.document("vpc", [*_NEW_VPC, *_ADOPTED_VPC])
    if given is None:
        return NewVpc(cidr=NOWHERE, availability_zones=())
    if set(given) & set(_NEW_VPC) and set(given) & set(_ADOPTED_VPC):
        why = "mixes the keys of a new VPC with those of one to adopt"
        cure = f"give {', '.join(_NEW_VPC)}, or {', '.join(_ADOPTED_VPC)}"
        values.refuse("vpc", given, why, cure)
        return NewVpc(cidr=NOWHERE, availability_zones=())
    adopt = bool(set(given) & set(_ADOPTED_VPC))
    example = _ADOPTED_VPC if adopt else _NEW_VPC
    missing = [key for key in example if key not in given and key != "routeTableIds"]
    if missing:
        why = f"lacks {', '.join(missing)}"
        values.refuse("vpc", given, why, "Pulumi.yaml shows both forms of it")
    return _adopted_vpc(values, given) if adopt else _new_vpc(values, given, region)


def _new_vpc(values: Values, given: Mapping[str, Any], region: str) -> NewVpc:
    cidr = NOWHERE
    if "cidr" in given:
        cidr = values.block("vpc.cidr", given["cidr"], private=True)
    if cidr != NOWHERE and not _VPC_WIDEST <= cidr.prefixlen <= _VPC_NARROWEST:
        why = f"is a /{cidr.prefixlen}, not /{_VPC_WIDEST} to /{_VPC_NARROWEST}"
        values.refuse(
            "vpc.cidr", str(cidr), why, f"use a /{_VPC_WIDEST}, AWS's widest, or narrower"
        )
    zones = values.strings(
        "vpc.availabilityZones",
        given.get("availabilityZones", []),
        re.escape(region) + "[a-h]",
        f"{region or 'eu-west-1'}a",
    )
    _refuse_one_zone(values, "vpc.availabilityZones", given.get("availabilityZones"))
    return NewVpc(cidr=cidr, availability_zones=zones)


def _refuse_one_zone(values: Values, key: str, listed: Any) -> None:
    if isinstance(listed, list) and len(listed) < _ZONES_MIN:
        why = "is fewer than two zones: the loss of one would take every gateway"
        values.refuse(key, listed, why, "name one in each of two zones or more")


def _adopted_vpc(values: Values, given: Mapping[str, Any]) -> AdoptedVpc:
    cidrs = values.blocks("vpc.cidrs", given.get("cidrs", []), private=True)
    if given.get("cidrs") == []:
        values.refuse("vpc.cidrs", [], "names no block", "copy the blocks from the VPC")
    for cidr in cidrs:
        if not _VPC_WIDEST <= cidr.prefixlen <= _AWS_NARROWEST:
            why = f"is a /{cidr.prefixlen}, which no VPC has"
            values.refuse("vpc.cidrs", str(cidr), why, "copy the blocks from the VPC")
    identity = given.get("id", "vpc-0")
    values.strings("vpc.id", [identity], r"vpc-[0-9a-f]+", "vpc-0123456789abcdef0")
    subnets = {}
    for key in ("publicSubnetIds", "gatewaySubnetIds"):
        listed = given.get(key, [])
        subnets[key] = values.strings(
            f"vpc.{key}", listed, r"subnet-[0-9a-f]+", "subnet-0123456789abcdef0"
        )
        _refuse_one_zone(values, f"vpc.{key}", given.get(key))
    tables = given.get("routeTableIds", [])
    if tables == [] and values.text("egress") == ROUTED:
        why = "names no table: hosts would not find the way back to clients"
        cure = "name the tables of the subnets that clients reach, or use egress: snat"
        values.refuse("vpc.routeTableIds", tables, why, cure)
    return AdoptedVpc(
        id=str(identity),
        cidrs=cidrs,
        public_subnet_ids=subnets["publicSubnetIds"],
        gateway_subnet_ids=subnets["gatewaySubnetIds"],
        route_table_ids=values.strings(
            "vpc.routeTableIds", tables, r"rtb-[0-9a-f]+", "rtb-0123456789abcdef0"
        ),
    )


def _client_pool(values: Values) -> IPv4Network:
    pool = values.block("clientPool", values.text("clientPool"), private=True)
    if pool != NOWHERE and pool.prefixlen > _POOL_NARROWEST:
        why = f"holds {max(pool.num_addresses - 3, 0)} clients: too small"
        values.refuse("clientPool", str(pool), why, f"use a /{_POOL_NARROWEST} or wider")
    return pool


def _endpoint(values: Values) -> str:
    text = values.text("endpoint")
    if text and not re.fullmatch(_HOST_NAME, text) and not _is_address(text):
        cure = "write it like vpn.example.com; the port is `port`"
        values.refuse("endpoint", text, "is neither a host name nor an IPv4 address", cure)
    return text


def _key_generations(values: Values) -> tuple[int, ...]:
    given = values.listed("keyGenerations", values.items("keyGenerations"))
    if given is None:
        return ()
    # type(): True is an int in Python and a mistake in a stack file
    good = all(type(number) is int and number > 0 for number in given)
    if not good or len(given) not in (1, 2) or (len(given) == 2 and abs(given[0] - given[1]) != 1):  # noqa: PLR2004
        why = "is not one positive number, or two adjacent ones"
        cure = "write [7], or [7, 8] while clients move from 7 to 8; a new stack starts with [1]"
        values.refuse("keyGenerations", given, why, cure)
        return ()
    return tuple(given)


def _instance_type(values: Values) -> str:
    text = values.text("instanceType")
    if not re.fullmatch(_INSTANCE_TYPE, text):
        values.refuse("instanceType", text, "is no instance type", "write it like t4g.small")
    return text


def _ami_id(values: Values) -> str:
    text = values.text("amiId")
    if not text:
        why = "no image is pinned"
        values.refuse("amiId", text, why, "run scripts/ami STACK and commit what it writes")
    elif not re.fullmatch(r"ami-([0-9a-f]{8}|[0-9a-f]{17})", text):
        cure = "run scripts/ami STACK, which pins one like ami-0123456789abcdef0"
        values.refuse("amiId", text, "is no image id", cure)
    return text


def _client_cidrs(values: Values) -> tuple[IPv4Network, ...]:
    cidrs = values.networks("clientCidrs", private=False)
    if values.items("clientCidrs") == []:
        values.refuse("clientCidrs", [], "nobody could dial in", "use [0.0.0.0/0], the default")
    return cidrs


def _dns_servers(values: Values, given: Any) -> tuple[IPv4Address, ...]:
    servers = []
    for item in values.listed("dns.servers", given) or []:
        if not isinstance(item, str) or not _is_address(item):
            values.refuse("dns.servers", item, "is no IPv4 address", "write it like 10.20.0.2")
        else:
            servers.append(IPv4Address(item))
    return tuple(servers)


def _alarm_email(values: Values) -> str:
    text = values.text("alarmEmail")
    if text and not re.fullmatch(_ADDRESS, text, re.IGNORECASE):
        cure = "write one like oncall@example.com, or leave it out"
        values.refuse("alarmEmail", text, "is no e-mail address", cure)
    return text


def _retention_days(values: Values) -> int:
    days = values.whole("retentionDays", RETENTIONS[0], RETENTIONS[-1], "CloudWatch keeps no other")
    if days and days not in RETENTIONS:
        near = [
            max(kept for kept in RETENTIONS if kept < days),
            min(kept for kept in RETENTIONS if kept > days),
        ]
        cure = f"use {near[0]} or {near[1]}"
        values.refuse("retentionDays", str(days), "is no time that CloudWatch Logs has", cure)
    return days


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _check_ports(values: Values, settings: Settings) -> None:
    """Nothing listens where something else does."""
    taken = {METRICS_PORT: "the metrics port", HELPER_PORT: "the client helper's port"}
    if settings.routed:
        taken[VXLAN_PORT] = "the port on which gateways forward to each other"
    wanted = [("port", settings.port, "it")]
    if settings.port:
        wanted.append(("port", settings.port + 1, f"the second key slot's, {settings.port + 1},"))
    wanted.append(("healthPort", settings.health_port, "it"))
    wanted.append(("gossipPort", settings.gossip_port, "it"))
    refused = set()
    for key, number, name in wanted:
        if number in taken and key not in refused:
            why = f"{name} collides with {taken[number]}"
            values.refuse(key, values.text(key), why, "use another port")
            refused.add(key)
        elif number:
            taken[number] = key


def _check_overlaps(values: Values, settings: Settings) -> None:
    """No address may belong to two networks, or a route would be a guess."""
    vpc_key = "vpc.cidr" if isinstance(settings.vpc, NewVpc) else "vpc.cidrs"
    named = [(vpc_key, cidr) for cidr in settings.vpc.cidrs]
    named += [("routedCidrs", cidr) for cidr in settings.routed_cidrs]
    named += [("clientPool", settings.client_pool)]
    for (key, block), (other_key, other) in combinations(named, 2):
        if block.overlaps(other):
            why = f"overlaps {key} {block}"
            values.refuse(other_key, str(other), why, "use a block that nothing else has")


def _check_dns(values: Values, settings: Settings) -> None:
    """A resolver outside the tunnel would be asked over the internet, if it answers at all."""
    if NOWHERE in settings.vpc.cidrs:
        return
    for server in settings.dns_servers:
        if not any(server in cidr for cidr in settings.reachable_cidrs):
            reach = ", ".join(str(cidr) for cidr in settings.reachable_cidrs)
            why = f"is not reachable through the tunnel, which leads to {reach}"
            cure = (
                "use a resolver in there, for example the VPC's own, at its base address plus two"
            )
            values.refuse("dns.servers", str(server), why, cure)


def _check_egress(values: Values, settings: Settings) -> None:
    """Each mode only with what it needs."""
    if settings.routed and not settings.takeover:
        why = "needs takeover, by which gateways know where a client's session is"
        values.refuse("egress", settings.egress, why, "set takeover: true, or use egress: snat")
    if settings.connections_to_clients and not settings.routed:
        why = f"needs egress: {ROUTED}; translated, clients have no address in the VPC"
        values.refuse("connectionsToClients", True, why, f"set egress: {ROUTED}, or take it out")
