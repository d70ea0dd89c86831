"""A second gateway beside the bed's: its own namespaces, and AWS through relays that can be cut.

gateway (gpx-gw) --eth2 / eth0-- second (gpx-g2)     10.20.0.10 and 10.20.0.11
"""

from __future__ import annotations

import signal
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway_lab.bed import GATEWAY, HERE, MOTO_PORT, Bed, await_true, ip, standing
from gateway_lab.relay import Relay

from effects import run
from registry.items import SNAT, GatewayRecord, gateway_key

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Generator
    from pathlib import Path

SECOND = "gpx-g2"
DYNAMODB_PORT = 5098
ARN = "arn:aws:ec2:eu-west-1:123456789012:instance/"


@dataclass
class Second:
    """The second gateway."""

    bed: Bed
    instance: str
    directory: Path
    dynamodb: Relay
    agent: subprocess.Popen[bytes] | None = None

    def start_agent(self) -> None:
        """As after a boot; WireGuard's sockets in user space are its own."""
        inner = (
            "mkdir -p /var/run/wireguard; mount -t tmpfs none /var/run/wireguard; "
            f"exec {sys.executable} {HERE / 'agent_process.py'} {self.directory}"
        )
        self.agent = self.bed.spawn(
            "second",
            *("unshare", "--mount", "sh", "-c", inner),
            namespace=SECOND,
            AWS_ENDPOINT_URL_DYNAMODB=f"http://127.0.0.1:{DYNAMODB_PORT}",
        )

    def stop_agent(self) -> None:
        """End the agent and nothing else."""
        assert self.agent is not None
        self.agent.send_signal(signal.SIGTERM)
        self.agent.wait(timeout=15)

    def wg(self, *words: str) -> str:
        """Output of `wg`."""
        assert self.agent is not None
        inside = ["nsenter", "-t", str(self.agent.pid), "--net", "--mount", "--"]
        text = run([*inside, "wg", *words], check=False).stdout.strip()
        return "" if text == "(none)" else text

    def healthy(self) -> bool:
        """Whether the first slot's health check passes."""
        return self.bed.get(9585, "/healthz/0", SECOND)[0] == 200

    def link(self, state: str) -> None:
        """The wire between the gateways: up or down."""
        ip(f"-n {SECOND} link set eth0 {state}")
        if state == "up":
            ip(f"-n {GATEWAY} route replace 10.20.0.11/32 dev eth2 src 10.20.0.10")


def record(bed: Bed, instance: str) -> GatewayRecord | None:
    """What a gateway's item says."""
    with bed.aws("dynamodb") as dynamodb:
        found = dynamodb.get_item(
            TableName="registry", Key=gateway_key(ARN + instance), ConsistentRead=True
        )
    return GatewayRecord.from_item(found["Item"]) if "Item" in found else None


def create_group(bed: Bed) -> list[str]:
    """An Auto Scaling group of two; their instance ids."""
    with bed.aws("ec2") as ec2:
        subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
        image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    with bed.aws("autoscaling") as autoscaling:
        autoscaling.create_launch_configuration(
            LaunchConfigurationName="gateways", ImageId=image, InstanceType="t4g.small"
        )
        autoscaling.create_auto_scaling_group(
            AutoScalingGroupName="gateways",
            LaunchConfigurationName="gateways",
            MinSize=2,
            MaxSize=2,
            VPCZoneIdentifier=subnet,
        )
        (group,) = autoscaling.describe_auto_scaling_groups()["AutoScalingGroups"]
    return [instance["InstanceId"] for instance in group["Instances"]]


@contextmanager
def beside(bed: Bed, instance: str) -> Generator[Second]:
    """The second gateway, with its agent still to be started."""
    ip(f"""
        netns add {SECOND}
        -n {SECOND} link set lo up
        link add name eth2 netns {GATEWAY} type veth peer name eth0 netns {SECOND}
        -n {SECOND} address add 10.20.0.11/24 dev eth0
        -n {SECOND} link set eth0 up
        -n {GATEWAY} link set eth2 up
        -n {GATEWAY} route add 10.20.0.11/32 dev eth2 src 10.20.0.10
    """)
    directory = bed.directory / "second"
    directory.mkdir()
    (directory / "environment.json").write_text((bed.directory / "environment.json").read_text())
    aws = Relay(SECOND, MOTO_PORT, GATEWAY, MOTO_PORT)
    dynamodb = Relay(SECOND, DYNAMODB_PORT, GATEWAY, MOTO_PORT)
    bed.spawn(
        "metadata-second",
        *(sys.executable, str(HERE / "metadata_process.py"), instance),
        *(str(directory / "target-lifecycle-state"), "10.20.0.11"),
        namespace=SECOND,
    )
    try:
        yield Second(bed, instance, directory, dynamodb)
    finally:
        aws.close()
        dynamodb.close()


@contextmanager
def both(directory: Path, *, egress: str = SNAT) -> Generator[tuple[Bed, Second, str]]:
    """The bed with both gateways, serving generation 7, and the first one's instance id."""
    ids: list[str] = []

    def first(bed: Bed) -> str:
        ids.extend(create_group(bed))
        return ids[0]

    with standing(directory, first) as bed, beside(bed, ids[1]) as second:
        bed.control(7, egress=egress)
        bed.start_agent()
        # moto lets two writers of one version have their way at the same moment; AWS does not
        await_true("the gossip key", (directory / "gossip.key").exists)
        second.start_agent()
        await_true("healthy", lambda: bed.healthy() and second.healthy(), timeout=30)
        yield bed, second, ids[0]


def await_acks(bed: Bed, gateway: str, other: str, generation: int) -> Any:
    """Until the item of `gateway` relays that `other` has applied `generation`."""

    def acked() -> Any:
        said = record(bed, gateway)
        ack = said.acks.get(other) if said else None
        return ack if ack is not None and ack.generation >= generation else None

    return await_true(f"{gateway} relays {other} at {generation}", acked)
