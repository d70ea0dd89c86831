"""The VPC router on the kernel: two gateways and a private host in namespaces, no cloud.

gp-t-one --- gp-t-router --- gp-t-two, and gp-t-home; the gateways have a client's address.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import pytest

from lab import bell, flow_records, netns, paths, tracking, vpc
from lab.inventory import Attachment, Network, Route, RouteTable, Rule
from lab.process import await_condition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("nft", "ip"))),
    reason="needs root and nft",
)

ONE, TWO, HOME = "gp-t-one", "gp-t-two", "gp-t-home"
ADDRESS = {
    ONE: IPv4Address("10.20.0.4"),
    TWO: IPv4Address("10.20.0.20"),
    HOME: IPv4Address("10.20.32.10"),
}
SUBNET = {
    ONE: IPv4Network("10.20.0.0/28"),
    TWO: IPv4Network("10.20.0.16/28"),
    HOME: IPv4Network("10.20.32.0/24"),
}
GROUP = {ONE: "sg-gw", TWO: "sg-gw", HOME: "sg-home"}
POOL = IPv4Network("100.96.0.0/24")
CLIENT = "100.96.0.7"
"""A client whose address both gateways have."""
OTHER = "100.96.0.8"
VPC = IPv4Network("10.20.0.0/16")
ANYWHERE = IPv4Network("0.0.0.0/0")
PORT = 8080
SOON = 0.3
"""Seconds to wait for what must not come."""


def every(group: str, cidr: IPv4Network, *, egress: bool = False) -> Rule:
    return Rule(group, egress, "-1", -1, -1, cidr=cidr)


BASE = (
    every("sg-gw", ANYWHERE, egress=True),
    every("sg-home", ANYWHERE, egress=True),
    every("sg-home", POOL),
)
"""A gateway takes nothing from the VPC, the host takes what clients send."""


class World:
    """The router with its three attachments. Both gateways may forward for others."""

    def __init__(self) -> None:
        self.attachments = {
            name: Attachment(
                interface=f"t-{name[-4:].strip('-')}",
                address=ADDRESS[name],
                subnet_id=f"subnet-{name}",
                vpc_id="vpc-1",
                groups=(GROUP[name],),
                source_check=name == HOME,
                id=f"i-{name[5:]}",
                interface_id=f"eni-{name[5:]}",
            )
            for name in ADDRESS
        }
        self.rules: tuple[Rule, ...] = BASE
        self.target = "eni-one"
        self._open = ExitStack()

    def build(self) -> None:
        """Namespaces and links; the client's address at both gateways, which count its packets."""
        vpc.create()
        for name, one in self.attachments.items():
            netns.create(name)
            vpc.attach(name, one, SUBNET[name])
        for gateway in (ONE, TWO):
            netns.ip(gateway, "address", "add", f"{CLIENT}/32", "dev", "lo")
            rules = "\n".join(
                (
                    "table ip seen {",
                    "counter pool { }",
                    "chain seen {",
                    "type filter hook prerouting priority -400; policy accept;",
                    f'iifname "eth0" ip daddr {POOL} counter name pool',
                    "}",
                    "}",
                    "",
                )
            )
            netns.run_in(gateway, ["nft", "-f", "-"], stdin=rules)
        self.apply()

    def apply(self) -> None:
        """Make the router what `rules`, `attachments` and `target` say."""
        pool = (Route(POOL, "interface", self.target),) if self.target else ()
        table = RouteTable(
            "rtb-1", "vpc-1", main=True, subnet_ids=(), routes=(Route(VPC, "local"), *pool)
        )
        network = Network(cidrs={"vpc-1": (VPC,)}, rules=self.rules, tables=(table,))
        vpc.apply(list(self.attachments.values()), network)

    def arrived(self, gateway: str) -> int:
        """Packets for the pool that have come to a gateway's interface."""
        words = netns.run_in(gateway, ["nft", "list", "counter", "ip", "seen", "pool"]).stdout
        return int(words.split("packets ")[1].split()[0])

    def open(self, name: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
        """A socket in a namespace; closed at the end."""
        with netns.inside(name):
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(SOON)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        return self._open.enter_context(made)

    def listener(self) -> socket.socket:
        """The host's server."""
        made = self.open(HOME)
        made.bind((str(ADDRESS[HOME]), PORT))
        made.listen()
        return made

    def accept(self, server: socket.socket) -> tuple[socket.socket, tuple[str, int]]:
        """The connection that came in, and who called."""
        made, caller = server.accept()
        made.settimeout(2)
        return self._open.enter_context(made), caller

    def dial(self, gateway: str) -> socket.socket | None:
        """The client's connection to the host through a gateway; None if there is no answer."""
        made = self.open(gateway)
        made.bind((CLIENT, 0))
        try:
            made.connect((str(ADDRESS[HOME]), PORT))
        except TimeoutError:
            return None
        return made

    def close(self) -> None:
        """Everything goes."""
        self._open.close()
        for name in (*ADDRESS, vpc.NAMESPACE):
            netns.delete(name)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The pool's route leads to the first gateway."""
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(vpc, "NAMESPACE", "gp-t-router")
    made = World()
    try:
        made.build()
        yield made
    finally:
        made.close()


def poke(world: World) -> None:
    """A datagram of the host's to the client."""
    world.open(HOME, socket.SOCK_DGRAM).sendto(b"poke", (CLIENT, 9))


def test_the_pools_route_leads_to_the_gateway_that_has_it_and_to_none_without_it(
    world: World,
) -> None:
    """Also when it has been replaced, and when its gateway is gone."""
    world.rules = (*BASE, every("sg-gw", VPC))
    world.apply()
    poke(world)
    await_condition("the first gateway sees it", lambda: world.arrived(ONE) == 1, timeout=2)
    world.target = "eni-two"
    world.apply()
    poke(world)
    await_condition("the second gateway sees it", lambda: world.arrived(TWO) == 1, timeout=2)
    world.target = "eni-three"
    world.apply()
    # A blackhole tells nobody: nothing arrives, and no error comes back
    sender = world.open(HOME, socket.SOCK_DGRAM)
    sender.connect((CLIENT, 9))
    sender.send(b"poke")
    with pytest.raises(TimeoutError):
        sender.recv(1)
    assert (world.arrived(ONE), world.arrived(TWO)) == (1, 1)


def test_an_answer_by_the_way_of_the_question_needs_no_rule(world: World) -> None:
    server = world.listener()
    assert world.dial(ONE) is not None
    assert world.accept(server)[1][0] == CLIENT, "the host sees the client's own address"


@pytest.mark.parametrize("allowed", [False, True])
def test_an_answer_that_comes_to_another_gateway_needs_that_gateways_ingress_rule(
    world: World, *, allowed: bool
) -> None:
    """The SYN-ACK of a connection that went out by the first gateway, to the second."""
    world.listener()
    world.target = "eni-two"
    if allowed:
        world.rules = (*BASE, every("sg-gw", VPC))
    world.apply()
    assert world.dial(ONE) is None, "the second gateway of this test hands nothing over"
    assert (world.arrived(TWO) > 0) is allowed
    assert world.arrived(ONE) == 0


def test_what_one_interface_knows_opens_no_other_one(world: World) -> None:
    """An answer to a question that went out by the first gateway, sent by the second one."""
    server = world.open(HOME, socket.SOCK_DGRAM)
    server.bind((str(ADDRESS[HOME]), PORT))
    netns.ip(ONE, "address", "add", f"{OTHER}/32", "dev", "lo")
    netns.ip(TWO, "address", "add", f"{ADDRESS[HOME]}/32", "dev", "lo")
    asker = world.open(ONE, socket.SOCK_DGRAM)
    asker.bind((OTHER, PORT))
    asker.sendto(b"question", (str(ADDRESS[HOME]), PORT))
    assert server.recv(100) == b"question"
    for groups in (("sg-mute",), (GROUP[TWO],)):
        world.attachments[TWO] = replace(world.attachments[TWO], groups=groups)
        world.apply()
        liar = world.open(TWO, socket.SOCK_DGRAM)
        liar.bind((str(ADDRESS[HOME]), PORT))
        liar.sendto(b"answer", (OTHER, PORT))
        if groups == ("sg-mute",):
            with pytest.raises(TimeoutError):
                asker.recv(100)
        else:
            assert asker.recv(100) == b"answer", "allowed out, it belongs to the first one's flow"


def test_an_open_connection_survives_that_its_rules_go(world: World) -> None:
    """As on AWS: a tracked flow goes on."""
    server = world.listener()
    client = world.dial(ONE)
    assert client is not None
    link, _ = world.accept(server)
    world.rules = ()
    world.apply()
    client.sendall(b"still there")
    assert link.recv(100) == b"still there"
    link.sendall(b"yes")
    client.settimeout(2)
    assert client.recv(100) == b"yes"
    assert world.dial(ONE) is None, "a new one is judged by the rules there are now"


def test_the_source_check_drops_foreign_sources_and_foreign_destinations(world: World) -> None:
    world.rules = (*BASE, every("sg-gw", VPC))
    checked = replace(world.attachments[ONE], source_check=True)
    world.attachments[ONE] = checked
    world.apply()
    world.listener()
    poke(world)
    assert world.dial(ONE) is None
    assert world.arrived(ONE) == 0
    world.attachments[ONE] = replace(checked, source_check=False)
    world.apply()
    poke(world)
    await_condition("unchecked, it arrives", lambda: world.arrived(ONE) == 1, timeout=2)
    assert world.dial(ONE) is not None


def test_the_host_opens_connections_to_clients_where_the_gateway_lets_it(world: World) -> None:
    """A client that answers: its address is at the gateway itself here."""
    server = world.open(ONE)
    server.bind((CLIENT, PORT))
    server.listen()

    def called() -> bool:
        try:
            world.open(HOME).connect((CLIENT, PORT))
        except TimeoutError:
            return False
        return True

    assert not called()
    world.rules = (*BASE, every("sg-gw", VPC))
    world.apply()
    assert called()
    assert world.accept(server)[1][0] == str(ADDRESS[HOME])


def records(world: World) -> list[flow_records.Record]:
    """All that the router has counted."""
    listed = netns.run_in(vpc.NAMESPACE, ["nft", "-jnn", "list", "table", "ip", tracking.TABLE])
    known = {one.interface: one for one in world.attachments.values()}
    return flow_records.parse(json.loads(listed.stdout), known, 1_800_000_000.0)


def facts(one: flow_records.Record) -> tuple[Any, ...]:
    """Who, which way, and whether it passed."""
    return one.interface, str(one.source), str(one.destination), one.protocol, one.action


def test_flow_records_name_the_client_at_each_interface_and_each_way(world: World) -> None:
    server = world.listener()
    client = world.dial(ONE)
    assert client is not None
    link, (_, port) = world.accept(server)
    client.sendall(b"x" * 1000)
    assert link.recv(2000)
    home = str(ADDRESS[HOME])
    found = {facts(one): one for one in records(world)}
    assert set(found) == {
        (interface, *ends, 6, "ACCEPT")
        for interface in ("eni-one", "eni-home")
        for ends in ((CLIENT, home), (home, CLIENT))
    }
    sent = found["eni-home", CLIENT, home, 6, "ACCEPT"]
    assert (sent.source_port, sent.destination_port) == (port, PORT)
    assert sent.packets >= 3
    assert sent.bytes >= 1000 + 3 * 40
    assert 1_800_000_000 - 5 <= sent.start <= sent.end <= 1_800_000_000


def test_what_a_security_group_refuses_is_recorded_where_it_was_refused(world: World) -> None:
    """The sender's interface has let it pass."""
    poke(world)
    await_condition("it is recorded", lambda: len(records(world)) == 2, timeout=2)
    home = str(ADDRESS[HOME])
    assert {facts(one) for one in records(world)} == {
        ("eni-home", home, CLIENT, 17, "ACCEPT"),
        ("eni-one", home, CLIENT, 17, "REJECT"),
    }
    assert world.arrived(ONE) == 0


def test_records_and_open_flows_outlive_a_change_of_the_rules(world: World) -> None:
    poke(world)
    await_condition("it is recorded", lambda: len(records(world)) == 2, timeout=2)
    world.rules = (*BASE, every("sg-gw", VPC))
    world.apply()
    assert len(records(world)) == 2


def test_protocols_without_ports_are_recorded_with_none(world: World) -> None:
    world.rules = (*BASE, every("sg-gw", VPC))
    world.apply()
    netns.run_in(HOME, ["ping", "-c", "2", "-i", "0.1", "-W", "1", CLIENT])
    found = {facts(one): one for one in records(world)}
    asked = found["eni-one", str(ADDRESS[HOME]), CLIENT, 1, "ACCEPT"]
    assert (asked.source_port, asked.destination_port, asked.packets) == (0, 0, 2)
    assert asked.bytes == 2 * 84


def test_the_bell_is_heard_by_who_listens_and_costs_nothing_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    bell.ring()
    paths.prepare()
    bell.ring()
    listener = bell.Listener()
    try:
        assert not listener.wait(0)
        for _ in range(70_000):
            bell.ring()
        assert listener.wait(0), "however often: once"
        assert not listener.wait(0)
    finally:
        listener.close()
    bell.ring()
    again = bell.Listener()
    assert not again.wait(0)
    again.close()
