"""Routed mode with both agents, WireGuard and a balancer: who owns a client, and where it leads.

The balancer stands for the VPC, too: its host answers to clients' own addresses, and its route to
the pool leads to one gateway.
"""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import GATEWAY, POOL, Bed, await_true, ip, kill
from gateway_lab.crowd import BALANCER, HOST, TARGETS, Client, Crowd, crowd
from gateway_lab.second import SECOND, Second, both

from effects import run
from gateway import forwarding
from lab.netns import inside
from registry.items import ROUTED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENTS = 3
MOVED_WITHIN = 2.0
"""Seconds; WireGuard alone would be silent for 15. What it takes exactly, the benches measure."""
KICKED_WITHIN = 1.0
"""Seconds: it took 0.003; by its own timer the client tried 4 s later."""
PORT = 8000
GOSSIP_OUT = "type filter hook output priority 0; udp dport 9588 drop"

pytestmark = [pytest.mark.lab, pytest.mark.timeout(200)]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[Crowd, Second]]:
    """Both gateways in routed mode; the VPC's route leads to the first one, and so do clients."""
    with both(tmp_path, egress=ROUTED) as (bed, second, _), crowd(bed, CLIENTS, POOL) as clients:
        ip(f"-n {BALANCER} route add {POOL} via 10.20.9.1")
        for gateway in (GATEWAY, SECOND):
            await_true("admitted", lambda at=gateway: bed.metric("gatepair_peers", at) == CLIENTS)
            await_true("the device", lambda at=gateway: "UP" in device(at))
        server_key = bed.wg("show", "wg0", "public-key")
        for client in clients.clients:
            client.connect(server_key)
            assert client.reaches_host()
            client.start_pings(tmp_path)
        await_true("known", lambda: bed.metric("gatepair_remote_sessions", SECOND) >= CLIENTS)
        await_true("held", lambda: bed.metric("gatepair_held_peers") == CLIENTS)
        yield clients, second


def device(gateway: str) -> str:
    return run(["ip", "-n", gateway, "link", "show", "gpfwd"], check=False).stdout


def routes(gateway: str) -> dict[str, str]:
    """Client -> by which gateway, as the kernel has it."""
    text = run(["ip", "-n", gateway, "-4", "route", "show", "table", forwarding.TABLE], check=False)
    return dict(re.findall(r"(\S+) via (\S+) dev gpfwd", text.stdout))


def all_at(clients: Crowd, gateway: str) -> dict[str, str]:
    return {client.tunnel: TARGETS[gateway] for client in clients.clients}


def await_ways(gateway: str, wanted: dict[str, str]) -> None:
    await_true(f"the ways of {gateway}", lambda: routes(gateway) == wanted, 5)


def open_connection(client: Client) -> tuple[socket.socket, socket.socket]:
    """A TCP connection to the VPC's host: the client's end and the host's."""
    with inside(BALANCER):
        listening = socket.create_server((HOST, PORT + client.number))
    with inside(client.namespace):
        near = socket.create_connection((HOST, PORT + client.number), timeout=5)
    with listening:
        far, (address, _port) = listening.accept()
    far.settimeout(5)
    assert address == client.tunnel, "the host sees the client and no gateway"
    return near, far


def test_open_connections_follow_their_clients_from_gateway_to_gateway(
    stage: tuple[Crowd, Second],
) -> None:
    clients, _second = stage
    bed = clients.bed
    talking, downloading, *_ = clients.clients
    (near, far), (sink, source) = open_connection(talking), open_connection(downloading)
    with near, far, sink, source:
        for gateway, other in ((SECOND, GATEWAY), (GATEWAY, SECOND), (SECOND, GATEWAY)):
            moved = time.time()
            clients.send(clients.clients, gateway)
            await_ways(other, all_at(clients, gateway))
            await_ways(gateway, {})
            clients.await_answers(moved + 1)
            assert clients.gaps(moved)[-1] <= MOVED_WITHIN
            near.sendall(b"line\n")
            assert far.recv(5) == b"line\n"
            source.sendall(b"x" * 100_000)
            got = 0
            while got < 100_000:
                got += len(sink.recv(65536))
    assert bed.metric("gatepair_forwarded_packets_total", GATEWAY) > 0
    loops = [bed.metric("gatepair_forward_loop_drops_total", at) for at in (GATEWAY, SECOND)]
    assert loops == [0, 0]


def test_an_agent_that_starts_again_forgets_no_way(stage: tuple[Crowd, Second]) -> None:
    clients, _second = stage
    bed = clients.bed
    clients.send(clients.clients, SECOND)
    await_ways(GATEWAY, all_at(clients, SECOND))
    began = time.time()
    bed.stop_agent()
    bed.start_agent()
    await_true("in step", lambda: bed.metric("gatepair_peers_elsewhere") == CLIENTS)
    time.sleep(1)
    assert routes(GATEWAY) == all_at(clients, SECOND)
    assert clients.gaps(began)[-1] <= MOVED_WITHIN


def test_with_gossip_cut_the_last_word_stands_and_nothing_goes_around(
    stage: tuple[Crowd, Second],
) -> None:
    """Who moves unheard is lost to its connections until gossip is back; the rest is not."""
    clients, _second = stage
    bed, (mover, *others) = clients.bed, clients.clients
    clients.send(others, SECOND)
    await_true("known", lambda: len(routes(GATEWAY)) == len(others), 5)
    drop = f"table inet cut {{ chain out {{\n{GOSSIP_OUT}\n}}\n}}\n"
    for gateway in (GATEWAY, SECOND):
        run(["ip", "netns", "exec", gateway, "nft", "-f", "-"], stdin=drop)
    cut = time.time()
    clients.send([mover], SECOND)
    await_true("moved by WireGuard's own timers", lambda: held_by_second(bed) == CLIENTS, 40)
    assert mover.tunnel not in routes(GATEWAY), "nobody has told the holder of the route"
    packets = bed.metric("gatepair_forwarded_packets_total", SECOND)
    assert packets == 0, "the owner passes nothing on"
    assert max(client.gap(cut) for client in others) <= MOVED_WITHIN
    for gateway in (GATEWAY, SECOND):
        run(["ip", "netns", "exec", gateway, "nft", "delete", "table", "inet", "cut"])
    healed = time.time()
    await_true("told", lambda: mover.tunnel in routes(GATEWAY), 10)
    await_true("answered again", lambda: mover.answered_since(healed), 10)
    loops = [bed.metric("gatepair_forward_loop_drops_total", at) for at in (GATEWAY, SECOND)]
    assert loops == [0, 0]


def test_what_both_ends_said_while_the_gateway_was_dead_comes_with_the_first_retry_of_either(
    stage: tuple[Crowd, Second],
) -> None:
    """The client's own retry is lost: it is what the survivor learns of the client by."""
    clients, _second = stage
    client = clients.clients[0]
    assert client.pings is not None
    kill(client.pings)  # or the session moves by them
    allowed = f"10.20.0.0/16,{POOL[1]}/32"  # as in every client's config
    for command in (
        f"wg set {client.interface} peer {server_key(clients)} allowed-ips {allowed}",
        f"ip route add {POOL[1]}/32 dev {client.interface}",
    ):
        run(["ip", "netns", "exec", client.namespace, *command.split()])
    near, far = open_connection(client)
    with near, far:
        clients.cut_off(GATEWAY)
        near.sendall(b"near\n")
        await_true("the client has tried twice", lambda: backoff(near) >= 2, 10)
        far.sendall(b"far\n")
        await_true("the client has tried four times", lambda: backoff(near) >= 4, 10)
        ip(f"-n {BALANCER} route replace {POOL} via 10.20.9.5")
        clients.send(clients.clients, SECOND)
        near.settimeout(20)
        far.settimeout(20)
        assert near.recv(10) == b"far\n"
        heard = time.monotonic()
        assert far.recv(10) == b"near\n"
        assert time.monotonic() - heard <= KICKED_WITHIN


def server_key(clients: Crowd) -> str:
    return clients.bed.wg("show", "wg0", "public-key")


def backoff(plug: socket.socket) -> int:
    """How often the retransmission timer has doubled: tcpi_backoff of linux/tcp.h."""
    return plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)[4]


def held_by_second(bed: Bed) -> float:
    return bed.metric("gatepair_held_peers", SECOND)


def test_a_revoked_client_is_answered_no_more_and_a_switch_back_leaves_nothing(
    stage: tuple[Crowd, Second],
) -> None:
    clients, _second = stage
    bed, (revoked, *others) = clients.bed, clients.clients
    clients.send(clients.clients, SECOND)
    await_ways(GATEWAY, all_at(clients, SECOND))
    near, far = open_connection(revoked)
    with near, far:
        bed.change_peer("client-0")
        await_true("its way is gone", lambda: revoked.tunnel not in routes(GATEWAY), 5)
        sent = time.time()
        far.sendall(b"line\n")
        near.settimeout(1)
        with pytest.raises(TimeoutError):
            near.recv(5)
        assert not revoked.answered_since(sent)
    assert all(client.answered_since(sent) for client in others)

    bed.control(7)
    for gateway in (GATEWAY, SECOND):
        await_true("the device is gone", lambda at=gateway: not device(at), 10)
        rules = run(["ip", "-n", gateway, "rule", "show"]).stdout
        assert forwarding.TABLE not in rules
        assert routes(gateway) == {}
    switched = time.time()
    for client in others:
        await_true("translated again", lambda who=client: who.answered_since(switched), 10)
