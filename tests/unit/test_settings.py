"""Rules about settings, with no Pulumi in sight."""

from __future__ import annotations

import json
from ipaddress import IPv4Network
from typing import Any

import pytest

import plan
from effects import Refusal
from settings import AdoptedVpc, NewVpc, Settings, WrongSettings, architecture, parse

REGION = "eu-west-1"
PREFIX = "gatepair:"
BASE = {
    key.removeprefix(PREFIX): value
    for key, value in plan.config("lab").items()
    if key.startswith(PREFIX)
}
NEW = {"cidr": "10.20.0.0/16", "availabilityZones": ["eu-west-1a", "eu-west-1b"]}
ADOPTED = {
    "id": "vpc-0a1b",
    "cidrs": ["10.20.0.0/16", "100.64.0.0/16"],
    "publicSubnetIds": ["subnet-1", "subnet-2"],
    "gatewaySubnetIds": ["subnet-3", "subnet-4"],
    "routeTableIds": ["rtb-5"],
}


def parsed(region: str = REGION, **change: Any) -> Settings:
    """The lab's settings with `change` in them, handed over as the engine does."""
    given = {k: v if isinstance(v, str) else json.dumps(v) for k, v in change.items()}
    return parse({**BASE, **given}, region=region)


def refusals(region: str = REGION, **change: Any) -> tuple[str, ...]:
    with pytest.raises(WrongSettings) as refused:
        parsed(region, **change)
    assert isinstance(refused.value, Refusal)
    for line in refused.value.wrong:
        assert f"\n  {line}" in str(refused.value)
        assert "\n" not in line
    return refused.value.wrong


def test_the_labs_settings_are_good_and_typed() -> None:
    assert parsed() == Settings(
        region=REGION,
        account_ids=("123456789012",),
        vpc=NewVpc(
            cidr=IPv4Network("10.20.0.0/16"), availability_zones=("eu-west-1a", "eu-west-1b")
        ),
        routed_cidrs=(),
        client_pool=IPv4Network("100.96.0.0/16"),
        endpoint="",
        port=51820,
        health_port=9585,
        gossip_port=9588,
        mtu=1420,
        key_generations=(1,),
        gateway_count=2,
        warmup_seconds=20,
        instance_type="t4g.small",
        ami_id="ami-0000000000001ab00",
        client_cidrs=(IPv4Network("0.0.0.0/0"),),
        monitoring_cidrs=(),
        dns_servers=(),
        dns_search_domains=(),
        peer_to_peer=False,
        preshared_keys=True,
        http_api=True,
        takeover=True,
        egress="snat",
        connections_to_clients=False,
        alarm_email="",
        retention_days=365,
        protect=False,
    )


def test_a_vpc_can_be_adopted_by_its_ids() -> None:
    settings = parsed(vpc=ADOPTED)
    assert settings.vpc == AdoptedVpc(
        id="vpc-0a1b",
        cidrs=(IPv4Network("10.20.0.0/16"), IPv4Network("100.64.0.0/16")),
        public_subnet_ids=("subnet-1", "subnet-2"),
        gateway_subnet_ids=("subnet-3", "subnet-4"),
        route_table_ids=("rtb-5",),
    )


GOOD = [
    {"keyGenerations": [7, 8]},
    {"keyGenerations": [8, 7]},
    {"clientPool": "10.99.0.0/26"},
    {"clientPool": "100.64.0.0/10"},
    {"mtu": "1280"},
    {"gatewayCount": "12"},
    {"warmupSeconds": "15"},
    {"warmupSeconds": "3600"},
    {"port": "1", "healthPort": "65535"},
    {"port": "65534"},
    {"endpoint": "vpn.example.com"},
    {"endpoint": "203.0.113.9"},
    {"amiId": "ami-0a1b2c3d"},
    {"protect": "true", "peerToPeer": "true", "takeover": "false"},
    {"vpc": {**NEW, "cidr": "192.168.7.0/24"}},
    {"alarmEmail": "on-call+gatepair@example.co.uk"},
    {"retentionDays": "1"},
    {"retentionDays": "3653"},
    {"vpc": {k: v for k, v in ADOPTED.items() if k != "routeTableIds"}},
    {"routedCidrs": ["10.30.0.0/16"], "dns": {"servers": ["10.30.0.53"]}},
    {"clientCidrs": ["198.51.100.0/24", "203.0.113.7/32"]},
    {"egress": "routed"},
    {"egress": "routed", "connectionsToClients": "true"},
    {"egress": "routed", "vpc": ADOPTED},
    {"port": "4789"},
]


@pytest.mark.parametrize("change", GOOD, ids=str)
def test_what_stands_just_inside_the_rules_is_taken(change: dict[str, Any]) -> None:
    assert parsed(**change)


# what is changed; the key it is refused by, the value shown, why, and the cure
WRONG: list[tuple[dict[str, Any], str, str, str, str]] = [
    ({"amiId": ""}, "amiId", '""', "no image is pinned", "run scripts/ami STACK"),
    ({"alarmEmail": "oncall"}, "alarmEmail", "oncall", "no e-mail address", "oncall@example.com"),
    ({"alarmEmail": "a b@c.de"}, "alarmEmail", "a b@c.de", "no e-mail address", "or leave it out"),
    ({"retentionDays": "100"}, "retentionDays", "100", "no time that", "use 90 or 120"),
    ({"retentionDays": "0"}, "retentionDays", "0", "is not 1 to 3653", "use 1 to 3653"),
    ({"amiId": "latest"}, "amiId", "latest", "is no image id", "run scripts/ami STACK"),
    ({"amiId": "ami-012345678"}, "amiId", "ami-012345678", "is no image id", "run scripts/ami"),
    ({"vpc": {}}, "vpc", "{}", "lacks cidr, availabilityZones", "Pulumi.yaml shows"),
    ({"vpc": "10.0.0.0/16"}, "vpc", "10.0.0.0/16", "is no object", "write cidr, availabilityZones"),
    (
        {"vpc": {**NEW, "cidr": "10.20.0.1/16"}},
        "vpc.cidr",
        "10.20.0.1/16",
        "has host bits set",
        "write 10.20.0.0/16",
    ),
    (
        {"vpc": {**NEW, "cidr": "10.0.0.0/15"}},
        "vpc.cidr",
        "10.0.0.0/15",
        "is a /15, not /16 to /24",
        "use a /16",
    ),
    (
        {"vpc": {**NEW, "cidr": "10.0.0.0/25"}},
        "vpc.cidr",
        "10.0.0.0/25",
        "is a /25, not /16 to /24",
        "use a /16",
    ),
    (
        {"vpc": {**NEW, "cidr": "52.0.0.0/16"}},
        "vpc.cidr",
        "52.0.0.0/16",
        "is not private",
        "use a block of 10.0.0.0/8",
    ),
    (
        {"vpc": {**NEW, "cidr": "fd00::/56"}},
        "vpc.cidr",
        "fd00::/56",
        "is IPv6",
        "write an IPv4 block",
    ),
    (
        {"vpc": {**NEW, "cidr": "ten"}},
        "vpc.cidr",
        "ten",
        "is no IPv4 block",
        "write it like 10.1.0.0/16",
    ),
    (
        {"vpc": {**NEW, "availabilityZones": ["eu-west-1a"]}},
        "vpc.availabilityZones",
        '["eu-west-1a"]',
        "is fewer than two zones",
        "name one in each of two zones or more",
    ),
    (
        {"vpc": {**NEW, "availabilityZones": ["eu-west-1a", "eu-west-1a"]}},
        "vpc.availabilityZones",
        "eu-west-1a",
        "stands twice",
        "name it once",
    ),
    (
        {"vpc": {**NEW, "availabilityZones": ["eu-west-1a", "eu-west-2b"]}},
        "vpc.availabilityZones",
        "eu-west-2b",
        "has another form",
        "write it like eu-west-1a",
    ),
    (
        {"vpc": {**NEW, "availabilityZones": []}},
        "vpc.availabilityZones",
        "[]",
        "is fewer than two zones",
        "name one in each of two zones or more",
    ),
    (
        {"vpc": {**NEW, "id": "vpc-0a1b"}},
        "vpc",
        "vpc-0a1b",
        "mixes the keys of a new VPC",
        "give cidr, availabilityZones, or id, cidrs",
    ),
    ({"vpc": {**NEW, "cird": 1}}, "vpc.cird", "1", "is not a key", "did you mean cidr?"),
    (
        {"vpc": {**ADOPTED, "gatewaySubnetIds": ["subnet-3"]}},
        "vpc.gatewaySubnetIds",
        '["subnet-3"]',
        "is fewer than two zones",
        "name one in each of two zones",
    ),
    (
        {"vpc": {**ADOPTED, "publicSubnetIds": ["subnet-1", "subnet-1"]}},
        "vpc.publicSubnetIds",
        "subnet-1",
        "stands twice",
        "name it once",
    ),
    (
        {"vpc": {**ADOPTED, "id": "my-vpc"}},
        "vpc.id",
        "my-vpc",
        "has another form",
        "write it like vpc-",
    ),
    (
        {"vpc": {**ADOPTED, "cidrs": []}},
        "vpc.cidrs",
        "[]",
        "names no block",
        "copy the blocks from the VPC",
    ),
    (
        {"vpc": {**ADOPTED, "cidrs": ["10.0.0.0/8"]}},
        "vpc.cidrs",
        "10.0.0.0/8",
        "is a /8, which no VPC has",
        "copy the blocks",
    ),
    (
        {"vpc": {k: v for k, v in ADOPTED.items() if k != "cidrs"}},
        "vpc",
        "vpc-0a1b",
        "lacks cidrs",
        "Pulumi.yaml shows",
    ),
    (
        {"vpc": {**ADOPTED, "routeTableIds": ["main"]}},
        "vpc.routeTableIds",
        "main",
        "has another form",
        "write it like rtb-",
    ),
    ({"accountIds": []}, "accountIds", "[]", "names no account", "list the accounts"),
    (
        {"accountIds": [123456789012]},
        "accountIds",
        "123456789012",
        "has another form",
        'write it like "123456789012", as a string',
    ),
    ({"accountIds": ["12345"]}, "accountIds", "12345", "has another form", "write it like"),
    (
        {"routedCidrs": ["10.20.128.0/17"]},
        "routedCidrs",
        "10.20.128.0/17",
        "overlaps vpc.cidr 10.20.0.0/16",
        "use a block that nothing else has",
    ),
    ({"routedCidrs": "10.1.0.0/16"}, "routedCidrs", "10.1.0.0/16", "is no list", "write it as ["),
    (
        {"routedCidrs": ["8.8.8.0/24"]},
        "routedCidrs",
        "8.8.8.0/24",
        "is not private",
        "use a block of",
    ),
    (
        {"routedCidrs": ["10.1.0.0/16", "10.1.0.0/16"]},
        "routedCidrs",
        "10.1.0.0/16",
        "stands twice",
        "name it once",
    ),
    (
        {"clientPool": "10.20.4.0/24"},
        "clientPool",
        "10.20.4.0/24",
        "overlaps vpc.cidr 10.20.0.0/16",
        "use a block that nothing else has",
    ),
    (
        {"clientPool": "100.96.0.0/27"},
        "clientPool",
        "100.96.0.0/27",
        "holds 29 clients: too small",
        "use a /26 or wider",
    ),
    (
        {"clientPool": "203.0.113.0/24"},
        "clientPool",
        "203.0.113.0/24",
        "is not private",
        "use a block of",
    ),
    (
        {"clientPool": "100.96.0.0"},
        "clientPool",
        "100.96.0.0/32",
        "holds 0 clients: too small",
        "use a /26",
    ),
    ({"port": "0"}, "port", "0", "is not 1 to 65534", "use 1 to 65534"),
    ({"port": "65535"}, "port", "65535", "is not 1 to 65534", "use 1 to 65534"),
    ({"port": "wireguard"}, "port", "wireguard", "is no whole number", "use 1 to 65534"),
    ({"port": "9586"}, "port", "9586", "collides with the metrics port", "use another port"),
    (
        {"port": "9585", "healthPort": "80"},
        "port",
        "9585",
        "9586, collides with the metrics port",
        "use another port",
    ),
    ({"vpc": {**NEW, "availabilityZones": 7}}, "vpc.availabilityZones", "7", "is no list", "write"),
    ({"vpc": {**ADOPTED, "cidrs": None}}, "vpc.cidrs", "null", "is no list", "write it as [a, b]"),
    (
        {"port": "9587", "gossipPort": "9600"},
        "port",
        "9587",
        "collides with the client helper's",
        "use another port",
    ),
    ({"healthPort": "51821"}, "healthPort", "51821", "collides with port", "use another port"),
    ({"gossipPort": "51820"}, "gossipPort", "51820", "collides with port", "use another port"),
    ({"gossipPort": "9585"}, "gossipPort", "9585", "collides with healthPort", "use another"),
    ({"healthPort": "9588"}, "gossipPort", "9588", "collides with healthPort", "use another"),
    ({"gossipPort": "0"}, "gossipPort", "0", "is not 1 to 65535", "use 1 to 65535"),
    ({"healthPort": "9587"}, "healthPort", "9587", "collides with the client", "use another port"),
    ({"mtu": "1421"}, "mtu", "1421", "is not 1280 to 1420: IPv6 needs 1280", "use 1280 to 1420"),
    ({"mtu": "1279"}, "mtu", "1279", "is not 1280 to 1420", "use 1280 to 1420"),
    (
        {"keyGenerations": []},
        "keyGenerations",
        "[]",
        "is not one positive number",
        "a new stack starts with [1]",
    ),
    ({"keyGenerations": [7, 9]}, "keyGenerations", "[7, 9]", "adjacent", "write [7], or [7, 8]"),
    ({"keyGenerations": [7, 7]}, "keyGenerations", "[7, 7]", "adjacent", "write [7], or [7, 8]"),
    ({"keyGenerations": [0]}, "keyGenerations", "[0]", "positive", "write [7], or [7, 8]"),
    ({"keyGenerations": [True]}, "keyGenerations", "[true]", "positive", "write [7], or [7, 8]"),
    ({"keyGenerations": [1, 2, 3]}, "keyGenerations", "[1, 2, 3]", "two", "write [7], or [7, 8]"),
    ({"keyGenerations": ["1"]}, "keyGenerations", '["1"]', "positive", "write [7], or [7, 8]"),
    ({"keyGenerations": 7}, "keyGenerations", "7", "is no list", "write it as [a, b]"),
    ({"gatewayCount": "1"}, "gatewayCount", "1", "not 2 to 12: one alone", "use 2 to 12"),
    ({"gatewayCount": "13"}, "gatewayCount", "13", "is not 2 to 12", "use 2 to 12"),
    ({"warmupSeconds": "14"}, "warmupSeconds", "14", "is not 15 to 3600", "use 15 to 3600"),
    ({"instanceType": "big"}, "instanceType", "big", "is no instance type", "like t4g.small"),
    ({"clientCidrs": []}, "clientCidrs", "[]", "nobody could dial in", "use [0.0.0.0/0]"),
    ({"clientCidrs": ["::/0"]}, "clientCidrs", "::/0", "is IPv6", "write an IPv4 block"),
    (
        {"monitoringCidrs": ["0.0.0.0/0"]},
        "monitoringCidrs",
        "0.0.0.0/0",
        "is not private",
        "use a block of",
    ),
    (
        {"endpoint": "vpn.example.com:51820"},
        "endpoint",
        "vpn.example.com:51820",
        "is neither a host name nor an IPv4 address",
        "the port is `port`",
    ),
    (
        {"dns": {"servers": ["10.20.0.999"]}},
        "dns.servers",
        "10.20.0.999",
        "is no IPv4 address",
        "write it like 10.20.0.2",
    ),
    (
        {"dns": {"servers": ["1.1.1.1"]}},
        "dns.servers",
        "1.1.1.1",
        "is not reachable through the tunnel, which leads to 10.20.0.0/16",
        "use a resolver in there",
    ),
    (
        {"dns": {"searchDomains": ["bad domain"]}},
        "dns.searchDomains",
        "bad domain",
        "has another form",
        "write it like corp.example.com",
    ),
    ({"dns": {"server": []}}, "dns.server", "[]", "is not a key", "did you mean servers?"),
    ({"protect": "yes"}, "protect", "yes", "is neither true nor false", "write true or false"),
    ({"prot": "1"}, "prot", "1", "is not a key", "did you mean port?"),
    ({"logDays": "7"}, "logDays", "7", "is not a key", "remove it; there are account"),
    ({"egress": "nat"}, "egress", "nat", "is none of snat, routed", "write snat or routed"),
    (
        {"egress": "routed", "takeover": "false"},
        "egress",
        "routed",
        "needs takeover, by which gateways know",
        "set takeover: true, or use egress: snat",
    ),
    (
        {"connectionsToClients": "true"},
        "connectionsToClients",
        "true",
        "needs egress: routed; translated, clients have no address",
        "set egress: routed",
    ),
    (
        {"egress": "routed", "vpc": {k: v for k, v in ADOPTED.items() if k != "routeTableIds"}},
        "vpc.routeTableIds",
        "[]",
        "names no table",
        "name the tables of the subnets that clients reach, or use egress: snat",
    ),
    (
        {"egress": "routed", "vpc": {**ADOPTED, "routeTableIds": ["main"]}},
        "vpc.routeTableIds",
        "main",
        "has another form",
        "write it like rtb-",
    ),
    (
        {"egress": "routed", "port": "4789"},
        "port",
        "4789",
        "collides with the port on which gateways forward",
        "use another port",
    ),
    (
        {"egress": "routed", "gossipPort": "4789"},
        "gossipPort",
        "4789",
        "collides with the port on which gateways forward",
        "use another port",
    ),
]


@pytest.mark.parametrize(("change", "key", "value", "why", "cure"), WRONG, ids=str)
def test_a_wrong_setting_is_refused_with_its_key_value_and_cure(
    change: dict[str, Any], key: str, value: str, why: str, cure: str
) -> None:
    (line,) = refusals(**change)
    named, _, rest = line.partition(": ")
    assert named == key
    assert value in rest
    assert why in rest
    assert f"; {cure}" in line or cure in line.split("; ", 1)[1]


def test_all_wrong_settings_are_refused_at_once() -> None:
    lines = refusals(
        region="europe",
        amiId="",
        mtu="9001",
        keyGenerations=[1, 3],
        clientPool="100.96.0.0/28",
        vpc={"cidr": "10.20.0.0/12", "availabilityZones": ["europea"]},
        gatewaycount="3",
    )
    assert [line.split(":")[0] for line in lines] == [
        "aws",
        "vpc.cidr",
        "vpc.availabilityZones",
        "clientPool",
        "mtu",
        "keyGenerations",
        "amiId",
        "gatewaycount",
    ]


def test_all_that_routed_mode_lacks_is_refused_at_once() -> None:
    adopted = {k: v for k, v in ADOPTED.items() if k != "routeTableIds"}
    lines = refusals(egress="routed", takeover="false", gossipPort="4789", vpc=adopted)
    assert [line.split(":")[0] for line in lines] == ["vpc.routeTableIds", "gossipPort", "egress"]


def test_a_stack_that_says_nothing_of_egress_translates() -> None:
    settings = parse({k: v for k, v in BASE.items() if k != "egress"}, region=REGION)
    assert (settings.egress, settings.routed) == ("snat", False)
    assert parsed(egress="routed").routed is True


def test_a_refused_block_is_not_held_against_another() -> None:
    (line,) = refusals(vpc={**NEW, "cidr": "banana"}, dns={"servers": ["10.20.0.2"]})
    assert line.startswith("vpc.cidr: banana")


def test_a_missing_region_is_named_by_the_key_to_set() -> None:
    lines = refusals(region="")
    assert lines[0] == 'aws:region: "": is no region; write it like eu-west-1'


def test_every_declared_key_is_read_and_no_other() -> None:
    """A key that Pulumi.yaml declares and nothing reads would be refused in every stack."""
    assert parsed(**BASE)


@pytest.mark.parametrize(
    ("instance_type", "machine"),
    [
        ("t4g.small", "arm64"),
        ("c7gn.medium", "arm64"),
        ("im4gn.large", "arm64"),
        ("a1.medium", "arm64"),
        ("t3.small", "amd64"),
        ("m7i-flex.large", "amd64"),
        ("g5.xlarge", "amd64"),
        ("c6in.metal", "amd64"),
    ],
)
def test_an_instance_type_tells_its_architecture(instance_type: str, machine: str) -> None:
    assert architecture(instance_type) == machine


def test_what_is_no_instance_type_has_no_architecture() -> None:
    with pytest.raises(ValueError, match="'big' is no instance type"):
        architecture("big")
