"""A gateway's agent, a client and a private host in three network namespaces, with moto as AWS.

    client (gpx-c) --198.51.100.0/30-- gateway (gpx-gw) --10.20.0.0/24-- host (gpx-h)

The gateway's namespace also holds moto and a metadata service, on its loopback.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from effects import run
from lab.netns import inside, within
from registry.archive import Archive
from registry.items import GENERATION_KEY, ROUTED, SNAT, Change, Control, Head, peer_key
from registry.operators import NewPeer, OperatorRegistry
from registry.store import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from registry.records import Record

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MOTO_PORT = 5099
INSTANCE = "i-0123456789abcdef0"
GATEWAY, CLIENT, HOST = "gpx-gw", "gpx-c", "gpx-h"
HOST_ADDRESS = "10.20.0.20"
POOL = IPv4Network("100.96.0.0/16")
PREFIX = "gpx-"
"""Of every namespace that tests here make."""
SETTLED = 7
"""Seconds after which a handshake is not repeated: REKEY_TIMEOUT and a little."""
SEED = "9b9f1f0e-8f57-4d5e-9df0-1a4b8a1a6c3e"


def await_true(what: str, condition: Callable[[], Any], timeout: float = 15.0) -> Any:
    """The first true value of `condition()`."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not so after {timeout:g} s")


def ip(text: str) -> None:
    """Several `ip` commands, a line each."""
    for line in text.strip().splitlines():
        run(["ip", *line.split()])


class Unarchived(Archive):
    """Nothing here is ever restored."""

    def write(self, record: Record) -> None:
        """Nowhere."""

    def used(self) -> bool:
        """Never."""
        return False


@dataclass
class Bed:
    """The test bed while it stands."""

    directory: Path
    exits: ExitStack
    agent: subprocess.Popen[bytes] | None = None
    moto: subprocess.Popen[bytes] | None = None
    moto_port: int = MOTO_PORT
    """Where operators find AWS; the gateway has another way if a test gives it one."""
    clients: dict[tuple[str, int], Any] = field(default_factory=dict)

    # ---------------------------------------------------------- processes

    def spawn(
        self, name: str, *command: str, namespace: str = GATEWAY, **variables: str
    ) -> subprocess.Popen[bytes]:
        """A process in a namespace (the gateway's), killed at the end."""
        env = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{MOTO_PORT}",
            "LOG_LEVEL": "error",
            # as the agent's unit has it
            "MALLOC_ARENA_MAX": "1",
            "MALLOC_TRIM_THRESHOLD_": "131072",
            **variables,
        }
        log = (self.directory / f"{name}.log").open("ab")
        inner = within(namespace, command)
        process = subprocess.Popen(inner, env=env, stdout=log, stderr=log)  # noqa: S603
        log.close()
        self.exits.callback(kill, process)
        return process

    def start_moto(self, port: int = MOTO_PORT) -> None:
        """An empty AWS."""
        self.moto_port = port
        command = (sys.executable, str(HERE / "moto_process.py"), str(port))
        self.moto = self.spawn("moto", *command)
        await_true("moto answers", lambda: self.get(port, "/moto-api/data.json")[0] == 200)

    def stop_moto(self) -> None:
        """AWS is away from now on."""
        assert self.moto is not None
        kill(self.moto)

    def start_agent(self, *, speed: float | None = None) -> None:
        """The agent, as after a boot or a restart; with a clock that is `speed` times as fast."""
        script = "agent_process.py" if speed is None else "hurried_agent_process.py"
        how = () if speed is None else (str(speed),)
        self.agent = self.spawn(
            "agent", sys.executable, str(HERE / script), str(self.directory), *how
        )

    def stop_agent(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the agent and nothing else."""
        assert self.agent is not None
        self.agent.send_signal(number)
        self.agent.wait(timeout=15)

    def agent_log(self) -> str:
        """All the agent has said."""
        return (self.directory / "agent.log").read_text()

    # ---------------------------------------------------------- looking

    def get(self, port: int, path: str, namespace: str = GATEWAY) -> tuple[int, str]:
        """An HTTP answer from a gateway's loopback; status 0 when there is none."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with inside(namespace):
            try:
                with opener.open(f"http://127.0.0.1:{port}{path}", timeout=3) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as err:
                with err:
                    return err.code, err.read().decode()
            except OSError:
                return 0, ""

    def healthy(self, slot: int = 0) -> bool:
        """Whether the slot's health check passes."""
        return self.get(9585, f"/healthz/{slot}")[0] == 200

    def metric(self, name: str, namespace: str = GATEWAY) -> float:
        """The value of a metric without labels."""
        page = self.get(9586, "/metrics", namespace)[1]
        found = re.search(rf"^{name} (\S+)$", page, re.MULTILINE)
        return float(found[1]) if found else float("nan")

    def wg(self, *words: str) -> str:
        """Output of `wg` in the gateway; empty for a key that an interface does not have yet."""
        text = run(["ip", "netns", "exec", GATEWAY, "wg", *words], check=False).stdout.strip()
        return "" if text == "(none)" else text

    def interfaces(self) -> set[str]:
        """Those of the gateway's WireGuard interfaces that are there.

        Sockets of WireGuard in user space are shared by all namespaces; others may have theirs.
        """
        return {"wg0", "wg1"} & set(self.wg("show", "interfaces").split())

    def handshake(self, public: str) -> int:
        """When that peer last shook hands on wg0: seconds since 1970."""
        lines = self.wg("show", "wg0", "latest-handshakes").splitlines()
        return {key: int(at) for key, at in map(str.split, lines)}[public]

    def settled_handshake(self, public: str) -> int:
        """When that peer last shook hands, once WireGuard will not repeat that on its own.

        wireguard-go sets its timer for the repetition (REKEY_TIMEOUT, 5 s) after it has sent; where
        the answer takes microseconds it may come before that, and then it shakes hands once more.
        """
        await_true("a settled session", lambda: time.time() - self.handshake(public) > SETTLED, 60)
        return self.handshake(public)

    def ping(self, address: str, *, count: int = 1) -> bool:
        """Whether the client gets an answer to each of its pings."""
        command = ["ip", "netns", "exec", CLIENT, "ping", "-q", "-i", "0.1", "-W", "1"]
        return run([*command, "-c", str(count), address], check=False, timeout=60).status == 0

    # ---------------------------------------------------------- AWS

    @contextmanager
    def aws(self, service: str) -> Generator[Any]:
        """A boto3 client, to be used inside the block."""
        with inside(GATEWAY):
            key = service, self.moto_port
            if key not in self.clients:
                session = boto3.session.Session(
                    aws_access_key_id="testing",
                    aws_secret_access_key="testing",
                    region_name="eu-west-1",
                )
                url = f"http://127.0.0.1:{self.moto_port}"
                config = Config(retries={"total_max_attempts": 1}, proxies={})
                self.clients[key] = session.client(service, endpoint_url=url, config=config)
            yield self.clients[key]

    def control(self, *generations: int, takeover: bool = True, egress: str = SNAT) -> None:
        """Write the control item, as the Pulumi program does."""
        networks = (IPv4Network("10.20.0.0/16"),)
        tables: tuple[str, ...] = ()
        if egress == ROUTED:
            # without one no gateway is ready to forward; the bed's packets go by `ip route`
            with self.aws("ec2") as ec2:
                tables = (ec2.describe_route_tables()["RouteTables"][0]["RouteTableId"],)
        with self.aws("dynamodb") as dynamodb:
            address = IPv4Address("198.51.100.1")
            control = replace(
                Control(
                    generations, 51820, networks, (), POOL, takeover, "vpn.test", (address,), egress
                ),
                route_tables=tables,
            )
            dynamodb.put_item(TableName="registry", Item=control.to_item())

    def add_peer(
        self,
        name: str,
        public_key: str,
        pool: IPv4Network,
        *,
        allow: tuple[str, ...] = (),
        expires: int | None = None,
        preshared: str = "",
    ) -> str:
        """Let a peer in; its tunnel address."""
        with self.aws("dynamodb") as dynamodb:
            new = NewPeer(name, public_key, allow=allow, expires=expires, preshared=preshared)
            registry = OperatorRegistry(dynamodb, "registry", Unarchived(lambda: None, ""))
            peer = registry.add_peer(new, pool=pool, caller="arn:test")
        return str(peer.address)

    def change_peer(self, name: str, **changes: Any) -> int:
        """Write another version of a peer (or, without changes, none of it); the generation."""
        with self.aws("dynamodb") as dynamodb:
            registry = Registry(dynamodb, "registry")
            head, peer = registry.head(), registry.peer(name)
            assert peer is not None
            number = head.generation + 1
            peer = replace(peer, **changes, generation=number) if changes else peer
            change = Change(number, "put" if changes else "remove", peer, "2026-01-01T00:00:00Z")
            dynamodb.put_item(TableName="registry", Item=change.to_item())
            if changes:
                dynamodb.put_item(TableName="registry", Item=peer.to_item())
            else:
                dynamodb.delete_item(TableName="registry", Key=peer_key(name))
            after = Head(number, head.epoch, None)
            dynamodb.put_item(TableName="registry", Item={**GENERATION_KEY, **after.to_item()})
        return number

    def saved(self) -> list[Any]:
        """All that is in the registry."""
        with self.aws("dynamodb") as dynamodb:
            pages = dynamodb.get_paginator("scan").paginate(TableName="registry")
            return [item for page in pages for item in page["Items"]]

    def create_table(self, items: Sequence[Any] = ()) -> None:
        """The registry, with what was saved of it."""
        with self.aws("dynamodb") as dynamodb:
            dynamodb.create_table(
                TableName="registry",
                BillingMode="PAY_PER_REQUEST",
                AttributeDefinitions=[
                    {"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")
                ],
                KeySchema=[
                    {"AttributeName": "pk", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
            )
            for item in items:
                dynamodb.put_item(TableName="registry", Item=item)

    def create_cloud(self) -> None:
        """The table, the empty secret, and what the launch template tells the gateway."""
        self.create_table()
        with self.aws("secretsmanager") as secrets:
            arn = secrets.create_secret(Name="server-key")["ARN"]
        document = {
            "stack": "test",
            "region": "eu-west-1",
            "table": "registry",
            "secret_arn": arn,
            "key_seed": SEED,
            "port": 51820,
            "health_port": 9585,
            "metrics_port": 9586,
            "mtu": 1420,
            "client_pool": "100.96.0.0/16",
            "vpc_cidrs": ["10.20.0.0/16"],
            "routed_cidrs": [],
            "peer_to_peer": False,
            "artifact": {"bucket": "b", "key": "k", "sha256": "0" * 64},
        }
        (self.directory / "environment.json").write_text(json.dumps(document))

    def connect(
        self,
        address: str,
        server_key: str,
        private_key: Path,
        port: int = 51820,
        preshared: Path = Path("/dev/null"),
    ) -> None:
        """Point the client's tunnel at the gateway. An empty file is no pre-shared key."""
        exec_ = ["ip", "netns", "exec", CLIENT]
        if run([*exec_, "ip", "link", "show", "wgc"], check=False).status != 0:
            run([*exec_, "wireguard-go", "wgc"])
            ip(f"""
                -n {CLIENT} address add {address}/32 dev wgc
                -n {CLIENT} link set wgc up mtu 1420
                -n {CLIENT} route add 0.0.0.0/1 dev wgc
                -n {CLIENT} route add 128.0.0.0/1 dev wgc
                -n {CLIENT} route add 198.51.100.1/32 dev eth0
            """)
            run([*exec_, "wg", "set", "wgc", "private-key", str(private_key)])
        for other in run([*exec_, "wg", "show", "wgc", "peers"]).stdout.split():
            run([*exec_, "wg", "set", "wgc", "peer", other, "remove"])
        peer = ["peer", server_key, "preshared-key", str(preshared)]
        peer += ["endpoint", f"198.51.100.1:{port}"]
        run([*exec_, "wg", "set", "wgc", *peer, "allowed-ips", "0.0.0.0/0"])


def keypair(directory: Path, name: str) -> tuple[Path, str]:
    """A client's private key file and its public key."""
    private = run(["wg", "genkey"]).stdout
    path = directory / f"{name}.key"
    path.write_text(private)
    path.chmod(0o600)
    return path, run(["wg", "pubkey"], stdin=private).stdout.strip()


def let_in(bed: Bed, name: str = "alice", port: int = 51820) -> tuple[str, str]:
    """A peer with a tunnel that works: its public key and address."""
    path, public = keypair(bed.directory, name)
    address = bed.add_peer(name, public, POOL)
    slot = port - 51820
    await_true("the peer", lambda: public in bed.wg("show", f"wg{slot}", "peers"))
    bed.connect(address, bed.wg("show", f"wg{slot}", "public-key"), path, port)
    await_true("a ping through the tunnel", lambda: bed.ping(HOST_ADDRESS))
    return public, address


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process for certain."""
    if process.poll() is None:
        process.kill()
    process.wait(timeout=10)


def remove_namespaces() -> None:
    """Kill what runs in the namespaces, and remove them."""
    present = run(["ip", "netns", "list"]).stdout.split()
    for name in present:
        if name.startswith(PREFIX):
            for pid in run(["ip", "netns", "pids", name]).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            run(["ip", "netns", "delete", name])


@contextmanager
def standing(
    directory: Path, instance: Callable[[Bed], str] = lambda _: INSTANCE
) -> Generator[Bed]:
    """The bed: namespaces, moto and metadata service; the agent is for the test to start.

    `instance` gives the gateway's id, once there is an AWS to ask.
    """
    remove_namespaces()
    with ExitStack() as exits:
        exits.callback(remove_namespaces)
        for name in (CLIENT, GATEWAY, HOST):
            ip(f"netns add {name}\n-n {name} link set lo up")
        ip(f"""
            link add name eth0 netns {CLIENT} type veth peer name eth1 netns {GATEWAY}
            link add name eth0 netns {GATEWAY} type veth peer name eth0 netns {HOST}
            -n {CLIENT} address add 198.51.100.2/30 dev eth0
            -n {GATEWAY} address add 198.51.100.1/30 dev eth1
            -n {GATEWAY} address add 10.20.0.10/24 dev eth0
            -n {HOST} address add 10.20.0.20/24 dev eth0
            -n {CLIENT} link set eth0 up
            -n {GATEWAY} link set eth1 up
            -n {GATEWAY} link set eth0 up
            -n {HOST} link set eth0 up
        """)
        bed = Bed(directory, exits)
        bed.start_moto()
        bed.spawn(
            "metadata",
            sys.executable,
            str(HERE / "metadata_process.py"),
            instance(bed),
            str(directory / "target-lifecycle-state"),
        )
        bed.create_cloud()
        yield bed
