"""The load balancer's rules and conntrack on the kernel: three namespaces, no cloud, no gateway.

gp-t-net (clients) --- gp-t-lb --- gp-t-vpc (both targets' addresses)
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from lab_unit.balancers import A, B, balancer, group

from lab import balancer as daemon
from lab import flows, netns, paths
from lab.health import Health, State
from lab.process import await_condition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("nft", "conntrack", "ip"))),
    reason="needs root, nft and conntrack",
)

NET, LB, VPC = "gp-t-net", "gp-t-lb", "gp-t-vpc"
CLIENT, ADDRESS = "198.51.100.10", "203.0.113.10"
FLOWS = range(40000, 40024)


class Echo(threading.Thread):
    """A target: says its name and whom it saw, from its own address and port."""

    def __init__(self, name: str, address: str, port: int) -> None:
        super().__init__(daemon=True)
        self._name = name
        with netns.inside(VPC):
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.start()

    def run(self) -> None:
        while True:
            try:
                data, seen = self.socket.recvfrom(4096)
                reply = f"{self._name} {seen[0]}:{seen[1]}".encode()
                self.socket.sendto(reply.ljust(len(data)), seen)
            except OSError:
                return


class World:
    """The namespaces, the targets, and the balancer's keeper over them."""

    def __init__(self) -> None:
        self.echoes: list[Echo] = []
        self.sockets: dict[int, socket.socket] = {}
        self.keeper = daemon.Keeper()
        self.now = 0.0

    def build(self) -> None:
        """Two links, routes, targets."""
        for name in (NET, LB, VPC):
            netns.create(name)
        netns.veth(netns.End(NET, "eth0"), netns.End(LB, flows.INTERNET))
        netns.veth(netns.End(VPC, "eth0"), netns.End(LB, flows.VPC), mtu=netns.VPC_MTU)
        for where, interface, address in (
            (NET, "eth0", "192.0.2.1/30"),
            (LB, flows.INTERNET, "192.0.2.2/30"),
            (NET, "lo", f"{CLIENT}/32"),
            (NET, "lo", "198.51.100.66/32"),
            (VPC, "eth0", "169.254.171.1/30"),
            (LB, flows.VPC, "169.254.171.2/30"),
            (VPC, "lo", f"{A.address}/32"),
            (VPC, "lo", f"{B.address}/32"),
        ):
            netns.ip(where, "address", "add", address, "dev", interface)
        netns.ip(NET, "route", "add", "default", "via", "192.0.2.2", "src", CLIENT)
        netns.ip(LB, "route", "add", "default", "via", "192.0.2.1")
        netns.ip(VPC, "route", "add", "default", "via", "169.254.171.2")
        netns.run_in(LB, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
        for target in (A, B):
            for port in (51820, 51821):
                self.echoes.append(Echo(target.id, str(target.address), port))

    def see(self, picture: flows.Balancer, **states: State) -> None:
        """The control plane's picture, with these states at once; the rest is healthy."""
        self.keeper.observe(picture, self.now)
        for one in picture.groups:
            for target in one.targets:
                state = states.get(target.id.replace("-", "_"), State.HEALTHY)
                self.keeper.ledger.health[flows.key(one, target)] = Health(state, self.now)
        self.keeper.apply(self.now)

    def ask(self, port: int, *, source: str = CLIENT, size: int = 20) -> str:
        """One packet of the flow from `port`, and who answered; empty if nobody did."""
        if port not in self.sockets:
            with netns.inside(NET):
                one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.bind((source, port))
            # Connected: only an answer from where the packet went to counts
            one.connect((ADDRESS, 51820))
            one.settimeout(0.5)
            self.sockets[port] = one
        self.sockets[port].send(b"x" * size)
        try:
            return self.sockets[port].recv(4096).decode().strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Everything goes."""
        for one in (*self.sockets.values(), *(echo.socket for echo in self.echoes)):
            one.close()
        for name in (NET, LB, VPC):
            netns.delete(name)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The world, with both targets healthy."""
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(daemon, "NAMESPACE", LB)
    monkeypatch.setattr(daemon, "_VPC_END", netns.End(LB, flows.VPC))
    paths.prepare()
    made = World()
    try:
        made.build()
        made.see(balancer())
        yield made
    finally:
        made.close()


def test_flows_are_spread_and_stay_and_show_their_own_source(world: World) -> None:
    """By the 5-tuple: another port of the same client may go elsewhere."""
    first = {port: world.ask(port) for port in FLOWS}
    assert {answer.split()[0] for answer in first.values()} == {"i-a", "i-b"}
    assert all(answer.endswith(f" {CLIENT}:{port}") for port, answer in first.items())
    assert {port: world.ask(port) for port in FLOWS} == first


def test_live_flows_leave_an_unhealthy_target_at_once_and_the_others_stay(world: World) -> None:
    """No packet is lost on either; nobody goes back when the target is well again."""
    before = {port: world.ask(port).split()[0] for port in FLOWS}
    world.see(balancer(), i_b=State.UNHEALTHY)
    assert {world.ask(port).split()[0] for port in FLOWS} == {"i-a"}
    world.see(balancer())
    stayed = [port for port, name in before.items() if name == "i-a"]
    assert stayed
    assert {world.ask(port).split()[0] for port in FLOWS} == {"i-a"}


def test_a_flow_is_answered_while_the_rules_change_under_it(world: World) -> None:
    """Fifty times, between its packets."""
    name = world.ask(40100)
    for turn in range(50):
        extra = flows.Ingress(
            protocol="tcp", from_port=turn + 1, to_port=turn + 1, cidr="0.0.0.0/0"
        )
        world.see(replace(balancer(), ingress=(*balancer().ingress, extra)))
        assert world.ask(40100) == name


def test_when_no_target_is_healthy_all_flows_go_on(world: World) -> None:
    """Fail-open, for live flows and new ones."""
    before = {port: world.ask(port) for port in FLOWS}
    world.see(balancer(), i_a=State.UNHEALTHY, i_b=State.UNHEALTHY)
    assert {port: world.ask(port) for port in FLOWS} == before
    assert {world.ask(port).split()[0] for port in range(41000, 41024)} == {"i-a", "i-b"}


def test_a_deregistered_targets_flows_move_once_its_delay_is_over(world: World) -> None:
    """Until then they stay, and new ones go to the others."""
    slow = [group(n, A, B, deregistration_delay=60) for n in (0, 1)]
    world.see(balancer(*slow))
    before = {port: world.ask(port) for port in FLOWS}
    left = balancer(*[group(n, A, deregistration_delay=60) for n in (0, 1)])
    world.now = 10.0
    world.see(left)
    assert {port: world.ask(port) for port in FLOWS} == before
    assert {world.ask(port).split()[0] for port in range(41000, 41024)} == {"i-a"}
    world.now = 71.0
    world.see(left)
    assert {world.ask(port).split()[0] for port in FLOWS} == {"i-a"}


def test_an_extra_delay_keeps_live_flows_where_they_are(world: World) -> None:
    """What AWS's data plane may take, for experiments."""
    daemon.settings_file().write_text('{"unhealthy_delay": 30}')
    before = {port: world.ask(port) for port in FLOWS}
    world.see(balancer(), i_b=State.UNHEALTHY)
    assert {port: world.ask(port) for port in FLOWS} == before
    world.now = 30.0
    world.keeper.apply(world.now)
    assert {world.ask(port).split()[0] for port in FLOWS} == {"i-a"}


def test_live_flows_leave_a_target_that_is_said_to_be_lost_at_once(world: World) -> None:
    """When an experiment wants it, and not when the checks find out."""
    world.see(balancer())
    daemon.settings_file().write_text('{"unhealthy_delay": 60, "lost": ["i-b"]}')
    world.keeper.apply(world.now)
    assert {world.ask(port).split()[0] for port in FLOWS} == {"i-a"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"unhealthy_delay": "soon"}'])
def test_settings_that_do_not_parse_are_the_defaults(world: World, text: str) -> None:
    del world
    daemon.settings_file().write_text(text)
    assert daemon.settings() == daemon.Settings()


def test_what_a_target_sends_unasked_reaches_nobody(world: World) -> None:
    """Not even to a client that has a flow to the other target."""
    owner = world.ask(40200).split()[0]
    other = next(e for e in world.echoes if e._name != owner and e.socket.getsockname()[1] == 51820)
    with netns.inside(NET):
        anybody = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    anybody.bind((CLIENT, 40201))
    anybody.settimeout(0.3)
    for port in (40200, 40201):
        other.socket.sendto(b"steal", (CLIENT, port))
    with pytest.raises(TimeoutError):
        anybody.recv(100)
    world.sockets[40200].settimeout(0.3)
    with pytest.raises(TimeoutError):
        world.sockets[40200].recv(100)
    anybody.close()
    assert world.ask(40200).startswith(owner)


def test_the_security_group_decides_who_gets_in(world: World) -> None:
    """A live flow goes on: its entry is tracked."""
    assert world.ask(40300)
    narrow = flows.Ingress(protocol="udp", from_port=51820, to_port=51821, cidr="198.51.100.66/32")
    world.see(replace(balancer(), ingress=(narrow,)))
    assert world.ask(40300)
    assert not world.ask(40301)
    assert world.ask(40302, source="198.51.100.66")


@pytest.mark.parametrize("allowed", [True, False])
def test_a_path_mtu_message_reaches_the_target_if_the_security_group_lets_icmp_in(
    world: World, *, allowed: bool
) -> None:
    """Without it a gateway never learns that its packets are too large."""
    if not allowed:
        world.see(replace(balancer(), ingress=balancer().ingress[:1]))
    assert world.ask(40400, size=1400)
    # A router on the way to the client, with a narrower path behind it
    netns.run_in(NET, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])
    netns.create("gp-t-far")
    try:
        netns.veth(netns.End(NET, "far"), netns.End("gp-t-far", "eth0"))
        netns.ip("gp-t-far", "address", "add", "198.51.100.77/24", "dev", "eth0")
        netns.ip(NET, "address", "add", "198.51.100.1/32", "dev", "lo")
        netns.ip(NET, "route", "add", "198.51.100.77/32", "dev", "far", "mtu", "lock", "1300")
        netns.ip("gp-t-far", "route", "add", "default", "via", "198.51.100.1", "dev", "eth0")
        netns.run_in(NET, ["sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/far/proxy_arp"])
        with netns.inside("gp-t-far"):
            far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        far.connect((ADDRESS, 51820))
        far.settimeout(0.5)

        def answered() -> bool:
            far.send(b"x" * 1400)
            try:
                return len(far.recv(4096)) == 1400
            except TimeoutError:
                return False

        if allowed:
            # The target's kernel learns the size from the message, and cuts the next answer
            await_condition("an answer in fragments", answered, timeout=5)
        else:
            assert not any(answered() for _ in range(3))
        far.close()
    finally:
        netns.delete("gp-t-far")


def test_a_second_look_ends_what_came_through_in_between(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packet under way while the rules change may leave an entry to the old target."""
    sick = frozenset({flows.Flows("udp", "10.20.0.130", 51820)})
    ended: list[frozenset[flows.Flows]] = []
    monkeypatch.setattr(daemon, "_end_flows", lambda which: ended.append(frozenset(which)))
    for now in (0.0, 0.5, daemon.AGAIN, daemon.AGAIN + 0.5):
        world.keeper._end(sick, now)
    assert ended == [sick, sick]
    world.keeper._end(frozenset(), 9.0)
    world.keeper._end(sick, 10.0)
    world.keeper._end(frozenset(), 10.5)
    world.keeper._end(frozenset(), 12.0)
    assert ended[2:] == [sick, frozenset()], "it is well again: its new flows are left alone"
