"""VPC route tables compiled to policy routing."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from lab.inventory import Attachment, Balancer, Network, Route, RouteTable
from lab.routing import compile_routing, number, table_of
from lab.vpc import batch, names

VPC = IPv4Network("10.20.0.0/16")
POOL = IPv4Network("100.96.0.0/16")
EVERYWHERE = IPv4Network("0.0.0.0/0")
GATEWAY = Attachment(
    "i-gateway", IPv4Address("10.20.0.4"), "subnet-a", "vpc-1", (), id="i-1", interface_id="eni-1"
)
HOST = Attachment("h-host", IPv4Address("10.20.32.10"), "subnet-w", "vpc-1", (), id="host")
LOCAL = Route(VPC, "local")
MAIN = RouteTable("rtb-main", "vpc-1", main=True, subnet_ids=(), routes=(LOCAL,))
OWN = RouteTable(
    "rtb-own",
    "vpc-1",
    main=False,
    subnet_ids=("subnet-a",),
    routes=(LOCAL, Route(EVERYWHERE, "outside")),
)
NETWORK = Network(
    subnets={"subnet-a": IPv4Network("10.20.0.0/28"), "subnet-p": IPv4Network("10.20.1.0/28")},
    cidrs={"vpc-1": (VPC,)},
    tables=(MAIN, OWN),
    balancers=(Balancer("lb.example", ("subnet-p",), addresses=("203.0.113.1",)),),
)


def routes(network: Network, table: RouteTable, *, balancer: bool = False) -> list[str]:
    found = compile_routing([GATEWAY, HOST], network, balancer=balancer).routes
    ending = f" table {number(table.id)}"
    return [line.removesuffix(ending) for line in found if line.endswith(ending)]


def test_a_subnet_uses_its_own_table_and_otherwise_the_main_one_of_its_vpc() -> None:
    other = RouteTable("rtb-other", "vpc-2", main=True, subnet_ids=(), routes=())
    tables = (other, MAIN, OWN)
    assert table_of("subnet-a", "vpc-1", tables) == OWN
    assert table_of("subnet-w", "vpc-1", tables) == MAIN
    assert table_of("subnet-x", "vpc-3", tables) is None


def test_each_sender_looks_into_the_table_of_its_subnet() -> None:
    assert compile_routing([GATEWAY, HOST], NETWORK, balancer=False).rules == (
        f"priority 1000 iif h-host lookup {number('rtb-main')}",
        f"priority 1000 iif i-gateway lookup {number('rtb-own')}",
    )


def test_the_vpc_itself_is_left_to_the_attachments_and_the_rest_is_refused() -> None:
    assert routes(NETWORK, MAIN) == ["throw 10.20.0.0/16", "unreachable default"]
    assert routes(NETWORK, OWN) == ["prohibit 0.0.0.0/0", "throw 10.20.0.0/16"]


def test_a_route_to_an_interface_or_an_instance_leads_to_its_machine() -> None:
    for kind, target in (("interface", "eni-1"), ("instance", "i-1")):
        table = replace(MAIN, routes=(LOCAL, Route(POOL, kind, target)))
        found = routes(replace(NETWORK, tables=(table, OWN)), table)
        assert "100.96.0.0/16 via 10.20.0.4 dev i-gateway onlink" in found


def test_a_route_to_what_is_gone_swallows_its_packets() -> None:
    table = replace(MAIN, routes=(LOCAL, Route(POOL, "interface", "eni-gone")))
    assert "blackhole 100.96.0.0/16" in routes(replace(NETWORK, tables=(table, OWN)), table)


def test_a_table_that_nobody_uses_is_not_made() -> None:
    unused = replace(OWN, id="rtb-unused", subnet_ids=("subnet-z",))
    network = replace(NETWORK, tables=(*NETWORK.tables, unused))
    assert routes(network, unused) == []


def test_the_load_balancers_nodes_are_the_last_host_of_their_subnets() -> None:
    found = compile_routing([GATEWAY], NETWORK, balancer=True)
    assert "10.20.1.14/32 via 169.254.171.2 dev lb table main" in found.routes
    assert "default via 169.254.171.2 dev lb table 100" in found.routes
    assert found.rules[0] == "priority 100 fwmark 0x6770 lookup 100"


def test_an_address_where_nobody_is_answers_with_silence() -> None:
    found = compile_routing([], NETWORK, balancer=False)
    assert found.routes == ("blackhole 10.20.0.0/16 table main",)


def test_without_the_link_there_is_no_route_to_the_load_balancer() -> None:
    found = compile_routing([GATEWAY], NETWORK, balancer=False)
    assert not any("dev lb" in line for line in found.routes)


def test_kernel_tables_are_the_same_in_every_run_and_none_of_linuxs_own() -> None:
    assert number("rtb-1") == number("rtb-1") != number("rtb-2")
    assert 255 < number("rtb-1") < 2**31


def test_a_change_removes_what_is_gone_and_sets_every_route_again() -> None:
    before = compile_routing([GATEWAY, HOST], NETWORK, balancer=False)
    after = compile_routing([HOST], NETWORK, balancer=False)
    gone, new = batch(before, after)
    own = number("rtb-own")
    assert f"rule delete priority 1000 iif i-gateway lookup {own}" in gone
    assert f"route delete prohibit 0.0.0.0/0 table {own}" in gone
    assert "rule add" not in new
    assert f"route replace throw 10.20.0.0/16 table {number('rtb-main')}" in new


def test_the_resolver_knows_the_load_balancer_and_private_names() -> None:
    assert names([GATEWAY], NETWORK) == (
        "203.0.113.1 lb.example\n10.20.0.4 ip-10-20-0-4.eu-west-1.compute.internal\n"
    )
