"""The agent for real: WireGuard, nftables and routing in network namespaces, moto as AWS."""

from __future__ import annotations

import shutil
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Self

import pytest
from gateway_lab.bed import (
    CLIENT,
    GATEWAY,
    HOST,
    HOST_ADDRESS,
    MOTO_PORT,
    POOL,
    Bed,
    await_true,
    keypair,
    kill,
    let_in,
    standing,
)

from effects import run
from gateway.last_answer import KEEP_EVERY
from lab.netns import inside
from registry.store import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import Popen

pytestmark = [pytest.mark.lab, pytest.mark.timeout(120)]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    """The bed with the control item at generation 7, and no agent yet."""
    with standing(tmp_path) as ready:
        ready.control(7)
        yield ready


def on_gateway(*command: str) -> str:
    """Output of a command in the gateway's namespace."""
    return run(["ip", "netns", "exec", GATEWAY, *command], check=False).stdout


def new_log(bed: Bed, before: str) -> str:
    """What the agent has said since."""
    return bed.agent_log()[len(before) :]


def test_from_nothing_to_a_ping_and_no_further_than_the_vpc(bed: Bed) -> None:
    bed.start_agent()
    await_true("healthy", bed.healthy)
    _public, address = let_in(bed)
    assert bed.ping(HOST_ADDRESS, count=3)
    # with AllowedIPs 0.0.0.0/0: neither any address of the gateway, nor metadata, nor the outside
    assert not bed.ping("10.20.0.10")
    assert not bed.ping("100.96.0.1")
    assert not bed.ping("169.254.169.254")
    assert not bed.ping("203.0.113.9")
    scan = ["ip", "netns", "exec", CLIENT, "bash", "-c"]
    for port in (9585, 9586, MOTO_PORT):
        for target in ("10.20.0.10", "100.96.0.1"):
            probe = f"exec 3<>/dev/tcp/{target}/{port}"
            assert run([*scan, f"timeout 0.5 bash -c '{probe}'"], check=False).status != 0
    assert address in on_gateway("nft", "list", "set", "inet", "gatepair", "via_wg0")
    key = bed.directory / "keys" / "7"
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text().strip() not in bed.agent_log()
    with bed.aws("secretsmanager") as secrets:
        versions = secrets.list_secret_version_ids(SecretId="server-key")["Versions"]
    assert [version["VersionStages"] for version in versions if version["VersionStages"]]


def test_a_restart_keeps_every_session_and_needs_no_aws(bed: Bed) -> None:
    bed.start_agent()
    await_true("healthy", bed.healthy)
    public, _address = let_in(bed)
    shook = bed.settled_handshake(public)
    bed.stop_agent(signal.SIGKILL)
    assert bed.ping(HOST_ADDRESS, count=3)
    bed.stop_moto()
    stopped = time.monotonic()
    before = bed.agent_log()
    bed.start_agent()
    await_true("healthy without AWS", bed.healthy)
    away = time.monotonic() - stopped
    assert away <= bed.metric("gatepair_control_plane_age_seconds") < away + KEEP_EVERY
    assert bed.ping(HOST_ADDRESS, count=3)
    assert bed.handshake(public) == shook
    said = new_log(bed, before)
    assert public not in said
    assert "wg set" not in said
    assert "ip link" not in said


def test_what_is_changed_by_hand_is_put_right(bed: Bed) -> None:
    bed.start_agent()
    await_true("healthy", bed.healthy)
    public, address = let_in(bed)
    key = bed.wg("show", "wg0", "public-key")
    damages = {
        "rules, routing, addresses": (
            "nft flush ruleset",
            f"ip route delete {POOL}",
            "ip address add 192.0.2.1/32 dev wg0",
        ),
        "rules, routes, link": (
            "nft flush table inet gatepair",
            "ip route flush table 6700",
            "ip link set wg0 mtu 1300 down",
        ),
        "a rule too many, another port": (
            "nft insert rule inet gatepair through accept",
            "wg set wg0 listen-port 40000",
            "sysctl -qw net.ipv4.ip_forward=0",
        ),
        "a peer, and with it its session": (f"wg set wg0 peer {public} remove",),
        "the interface": ("ip link delete wg0",),
    }
    for what, commands in damages.items():
        before = bed.agent_log()
        for command in commands:
            on_gateway(*command.split())
        await_true(f"a repair of {what}", lambda before=before: new_log(bed, before))
        await_true(f"healthy after {what}", bed.healthy)
        if "session" in what or "interface" in what:
            # a new handshake at once: WireGuard itself would notice after 15 s
            bed.connect(address, key, bed.directory / "alice.key")
        await_true(f"a ping after {what}", lambda: bed.ping(HOST_ADDRESS))
    assert bed.wg("show", "wg0", "public-key") == key
    assert bed.wg("show", "wg0", "peers") == public
    assert "192.0.2.1" not in on_gateway("ip", "address", "show", "dev", "wg0")


def test_a_rotation_keeps_a_connection_and_a_jump_is_refused(bed: Bed) -> None:
    bed.start_agent()
    await_true("healthy", bed.healthy)
    public, address = let_in(bed)
    bed.control(7, 8)
    await_true("both served", lambda: public in bed.wg("show", "wg1", "peers"))
    await_true("healthy", lambda: bed.healthy(0) and bed.healthy(1))
    assert bed.ping(HOST_ADDRESS, count=3), "the client that has not moved goes on"
    assert bed.wg("show", "wg0", "public-key") != bed.wg("show", "wg1", "public-key")
    listener = run_background_echo(bed)
    path = bed.directory / "alice.key"
    with open_tcp() as connection:
        assert connection.exchange()
        bed.connect(address, bed.wg("show", "wg1", "public-key"), path, 51821)
        assert connection.exchange(), "it began on the other interface"
        bed.control(8)
        await_true("wg0 gone", lambda: not bed.wg("show", "wg0", "public-key"))
        assert connection.exchange()
    kill(listener)
    await_true("an idle slot is healthy", lambda: bed.healthy(0) and bed.healthy(1))
    assert not (bed.directory / "keys" / "7").exists()
    bed.control(10)
    await_true("the jump refused", lambda: "a jump" in bed.get(9585, "/healthz/1")[1])
    assert bed.healthy(0)
    assert bed.healthy(1)
    assert bed.ping(HOST_ADDRESS)
    bed.control(9)
    await_true("9 for 8 directly", lambda: bed.wg("show", "wg0", "public-key"))
    await_true("wg1 gone", lambda: not bed.wg("show", "wg1", "public-key"))


def test_a_key_that_clients_trust_is_never_replaced(bed: Bed) -> None:
    with bed.aws("dynamodb") as dynamodb:
        registry = Registry(dynamodb, "registry")
        _path, trusted = keypair(bed.directory, "lost")
        registry.publish_server_key(7, trusted, "another")
    bed.start_agent()
    await_true("refused", lambda: 'key_refused{generation="7"} 1.0' in bed.get(9586, "/metrics")[1])
    code, text = bed.get(9585, "/healthz/0")
    assert code == 503
    assert "no such version" in text
    assert not bed.interfaces()
    with bed.aws("secretsmanager") as secrets:
        versions = secrets.list_secret_version_ids(SecretId="server-key", IncludeDeprecated=True)
    stages = [stage for version in versions["Versions"] for stage in version["VersionStages"]]
    assert not [stage for stage in stages if stage.startswith("generation-")]


def test_a_revoked_peer_stays_out_after_a_restart_without_aws(bed: Bed) -> None:
    bed.start_agent()
    await_true("healthy", bed.healthy)
    alice, _address = let_in(bed)
    path, bob = keypair(bed.directory, "bob")
    bed.add_peer("bob", bob, POOL)
    await_true("bob", lambda: bob in bed.wg("show", "wg0", "peers"))
    before = bed.agent_log()
    generation = bed.change_peer("bob")
    await_true("bob out", lambda: bob not in bed.wg("show", "wg0", "peers"))
    commands = [line for line in new_log(bed, before).splitlines() if line.startswith("wg ")]
    assert commands == [f"wg set wg0 peer {bob} remove"]
    await_true("applied", lambda: bed.metric("gatepair_applied_generation") == generation)
    bed.stop_agent(signal.SIGKILL)
    bed.stop_moto()
    on_gateway("ip", "link", "delete", "wg0")
    bed.start_agent()
    await_true("healthy without AWS", bed.healthy)
    assert bed.wg("show", "wg0", "peers").split() == [alice]
    assert path.exists()


def test_a_peer_expires_by_the_gateways_own_clock_and_stays_out(bed: Bed) -> None:
    bed.start_agent()
    await_true("healthy", bed.healthy)
    alice, _address = let_in(bed)
    _path, bob = keypair(bed.directory, "bob")
    _path, carol = keypair(bed.directory, "carol")
    expires = int(time.time()) + 6
    bed.add_peer("bob", bob, POOL, expires=expires)
    bed.add_peer("carol", carol, POOL, expires=expires + 3600)
    await_true("carol", lambda: carol in bed.wg("show", "wg0", "peers"))
    assert bob in bed.wg("show", "wg0", "peers")
    bed.stop_moto()
    await_true("bob out", lambda: bob not in bed.wg("show", "wg0", "peers"))
    assert -0.1 < time.time() - expires < 2
    assert set(bed.wg("show", "wg0", "peers").split()) == {alice, carol}

    # a clock that went back while the agent was down: the time on disk is what counts
    bed.stop_agent(signal.SIGKILL)
    clock = bed.directory / "clock"
    assert expires <= float(clock.read_text()) < expires + 60
    clock.write_text(f"{expires + 3600}\n")
    bed.start_agent()
    await_true("carol out", lambda: bed.wg("show", "wg0", "peers") == alice)
    await_true("the fault is told", lambda: "set back" in bed.get(9585, "/healthz/0")[1])
    assert bed.ping(HOST_ADDRESS, count=2)


def test_a_narrowed_peer_reaches_that_and_nothing_else_at_once(bed: Bed) -> None:
    bed.start_agent()
    await_true("healthy", bed.healthy)
    _public, _address = let_in(bed)
    run_background_echo(bed)
    with open_tcp() as connection:
        assert connection.exchange()
        bed.change_peer("alice", allow=("10.20.0.0/24:tcp/7", "10.20.9.0/24"))
        await_true("no ping", lambda: not bed.ping(HOST_ADDRESS))
        await_true("what was under way is cut, allowed or not", lambda: not listed_flows("7"))
    with open_tcp() as connection:
        assert connection.exchange(), "the allowed port"
        assert listed_flows("7")
        bed.change_peer("alice", allow=("10.20.0.0/24:icmp",))
        await_true("ping again", lambda: bed.ping(HOST_ADDRESS))
        with pytest.raises(TimeoutError):
            connection.exchange(timeout=2)
    bed.change_peer("alice", allow=("10.20.0.20/32", "10.20.0.0/24:tcp/7"))
    with open_tcp() as connection:
        await_true("all of the host", lambda: bed.ping(HOST_ADDRESS))
        assert connection.exchange()
        for damage in ("flush set inet gatepair allowed", "flush ruleset"):
            on_gateway("nft", *damage.split())
            await_true(f"after {damage}", lambda: not bed.ping(HOST_ADDRESS), timeout=3)
            await_true(f"a repair of {damage}", lambda: bed.ping(HOST_ADDRESS))
            assert connection.exchange()


def test_a_revocation_cuts_that_peers_flows_and_no_others(bed: Bed) -> None:
    bed.start_agent()
    await_true("healthy", bed.healthy)
    alice, address = let_in(bed)
    run_background_echo(bed)
    for source in (address, "100.96.200.1"):
        # a flow of somebody else, as conntrack keeps it
        on_gateway(
            *("conntrack", "-I", "-p", "udp", "-s", source, "-d", HOST_ADDRESS, "-t", "300"),
            *("--sport", "4000", "--dport", "4000"),
        )
    with open_tcp() as connection:
        assert connection.exchange()
        assert address in on_gateway("nft", "list", "set", "inet", "gatepair", "via_wg0")
        bed.change_peer("alice")
        await_true("alice out", lambda: alice not in bed.wg("show", "wg0", "peers"))
        await_true("no flow", lambda: address not in on_gateway("conntrack", "-L"))
        assert "100.96.200.1" in on_gateway("conntrack", "-L")
        assert address not in on_gateway("nft", "list", "table", "inet", "gatepair")


def listed_flows(port: str) -> str:
    """The TCP flows to a port, as the gateway tracks them."""
    return on_gateway("conntrack", "-L", "-p", "tcp", "--dport", port)


def test_the_last_gateway_serves_on_when_its_instance_is_to_end(bed: Bed) -> None:
    bed.start_agent()
    await_true("healthy", bed.healthy)
    (bed.directory / "target-lifecycle-state").write_text("Terminated")
    await_true("the alarm", lambda: bed.metric("gatepair_drain_held_up") == 1)
    assert bed.healthy()
    assert "no other gateway" in bed.get(9585, "/healthz/0")[1]
    assert bed.interfaces()


# ------------------------------------------------------------------ a TCP connection of the client


def run_background_echo(bed: Bed) -> Popen[bytes]:
    """An echo service on the private host."""
    code = (
        "import socketserver as s\n"
        "class E(s.StreamRequestHandler):\n"
        "    def handle(self):\n"
        "        for line in self.rfile: self.wfile.write(line)\n"
        "s.ThreadingTCPServer.allow_reuse_address = True\n"
        "s.ThreadingTCPServer(('', 7), E).serve_forever()\n"
    )
    process = bed.spawn("echo", sys.executable, "-c", code, namespace=HOST)
    listening = ["ip", "netns", "exec", HOST, "ss", "-Hltn", "sport", "=", ":7"]
    await_true("the echo service", lambda: run(listening).stdout)
    return process


class open_tcp:  # noqa: N801 - reads as a function
    """One TCP connection from the client to the echo service."""

    def __enter__(self) -> Self:
        with inside(CLIENT):
            self._socket = socket.create_connection((HOST_ADDRESS, 7), timeout=10)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def exchange(self, timeout: float = 10) -> bool:
        """Whether a line comes back."""
        self._socket.settimeout(timeout)
        self._socket.sendall(b"hello\n")
        return self._socket.recv(100) == b"hello\n"


@pytest.fixture(scope="module", autouse=True)
def _needs_root_and_tools() -> None:
    missing = [tool for tool in ("wg", "wireguard-go", "nft", "ip") if not shutil.which(tool)]
    assert not missing, f"not installed: {missing}"
