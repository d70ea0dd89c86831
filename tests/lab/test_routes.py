"""VPC routes to a gateway's interface, security groups between them, and flow records.

No gateway takes part: what arrives at its interface is seen there, ahead of its own rules.
"""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from lab_driver import HOST, LabDriver, eventually

from lab import host, machine, netns

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENT = "198.18.7.7"
"""An address that is nobody's, in a block that no stack's pool holds (RFC 2544)."""
BLOCK = "198.18.0.0/16"
FOLLOWED_WITHIN = 1.0
"""Seconds from an EC2 call to the first packet that goes the new way."""
PORT = 9
_IPV4 = 0x0800
"""Ethernet's number for it."""


class Gateway:
    """A gateway's interface as EC2 and its machine know it."""

    def __init__(self, instance: str, ec2: Any) -> None:
        self.instance = instance
        described = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]
        one = described["Instances"][0]["NetworkInterfaces"][0]
        self.interface: str = one["NetworkInterfaceId"]
        self.group: str = one["Groups"][0]["GroupId"]
        self._seen = 0
        # Ahead of the gateway's own rules
        with netns.inside(machine.namespace(instance)):
            self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
        self.tap.bind(("eth0", _IPV4))
        self.tap.setblocking(False)

    @property
    def arrived(self) -> int:
        """Packets for the address that have come to the interface."""
        while True:
            try:
                packet, (_, _, kind, *_) = self.tap.recvfrom(2048)
            except BlockingIOError:
                return self._seen
            outgoing = kind == socket.PACKET_OUTGOING
            self._seen += not outgoing and packet[16:20] == socket.inet_aton(CLIENT)


class Scene:
    """A route by hand, from the private host's subnet to one of the gateways."""

    def __init__(self, lab: LabDriver) -> None:
        self.lab = lab
        self.ec2 = lab.cloud.client("ec2")
        self.table = self._table()
        self._open = ExitStack()
        self.gateways = [Gateway(one, self.ec2) for one in lab.both_healthy()]
        for one in self.gateways:
            self._open.enter_context(one.tap)
        with netns.inside(host.NAMESPACE):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sender = self._open.enter_context(sender)

    def _table(self) -> str:
        vpc = self.ec2.describe_subnets(Filters=[{"Name": "tag:Name", "Values": ["workload"]}])
        subnet = vpc["Subnets"][0]
        of_vpc = {"Name": "vpc-id", "Values": [subnet["VpcId"]]}
        tables = self.ec2.describe_route_tables(Filters=[of_vpc])["RouteTables"]
        own = [
            t
            for t in tables
            if any(a.get("SubnetId") == subnet["SubnetId"] for a in t["Associations"])
        ]
        main = [t for t in tables if any(a.get("Main") for a in t["Associations"])]
        return (own or main)[0]["RouteTableId"]

    def check(self, gateway: Gateway, *, on: bool) -> None:
        """Set a gateway's source/destination check."""
        self.ec2.modify_instance_attribute(
            InstanceId=gateway.instance, SourceDestCheck={"Value": on}
        )
        if not on:
            self._open.callback(self.check, gateway, on=True)

    def admit(self) -> None:
        """Let the private host's datagrams into the gateways' group."""
        group = self.gateways[0].group
        ranges = [{"CidrIp": f"{HOST}/32"}]
        ports = {"IpProtocol": "udp", "FromPort": PORT, "ToPort": PORT, "IpRanges": ranges}
        self.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ports])
        revoke = self.ec2.revoke_security_group_ingress
        self._open.callback(revoke, GroupId=group, IpPermissions=[ports])

    def create(self, gateway: Gateway) -> None:
        """CreateRoute to a gateway's interface."""
        self.ec2.create_route(**self._words(gateway))
        words = {"RouteTableId": self.table, "DestinationCidrBlock": BLOCK}
        self._open.callback(self.ec2.delete_route, **words)

    def replace(self, gateway: Gateway) -> None:
        """ReplaceRoute to another one's."""
        self.ec2.replace_route(**self._words(gateway))

    def _words(self, gateway: Gateway) -> dict[str, str]:
        return {
            "RouteTableId": self.table,
            "DestinationCidrBlock": BLOCK,
            "NetworkInterfaceId": gateway.interface,
        }

    def reaches(self, gateway: Gateway) -> float:
        """Send until something comes to a gateway's interface; the seconds it took."""
        before, began = gateway.arrived, time.monotonic()

        def comes() -> bool:
            self.send()
            return gateway.arrived > before

        eventually(f"{gateway.instance} sees it", comes, within=5, every=0.02)
        return time.monotonic() - began

    def send(self) -> None:
        """A datagram of the private host's to the address."""
        self._sender.sendto(b"poke", (CLIENT, PORT))

    def records(self, of: str) -> list[dict[str, Any]]:
        """`scripts/lab flows --json --of ...`."""
        return json.loads(self.lab.lab("flows", "--json", "--of", of).stdout)["records"]

    def close(self) -> None:
        """All as it was."""
        self._open.close()


@pytest.fixture
def scene(lab: LabDriver) -> Iterator[Scene]:
    made = Scene(lab)
    try:
        yield made
    finally:
        made.close()


def test_a_route_to_a_gateways_interface_is_followed_within_a_second_of_the_call(
    scene: Scene,
) -> None:
    """Created and replaced; only past the source/destination check and the security group."""
    one, other = scene.gateways
    scene.create(one)

    def refused() -> list[str]:
        scene.send()
        return [r["action"] for r in scene.records(BLOCK) if r["interface"] == one.interface]

    for gateway in scene.gateways:
        scene.check(gateway, on=False)
    eventually("its security group refuses it, on record", refused, within=5)
    assert set(refused()) == {"REJECT"}
    assert one.arrived == 0
    scene.admit()
    took = scene.reaches(one)
    assert took < FOLLOWED_WITHIN, f"a rule took {took:.2f} s"
    assert other.arrived == 0
    scene.replace(other)
    took = scene.reaches(other)
    assert took < FOLLOWED_WITHIN, f"ReplaceRoute took {took:.2f} s"
    before = one.arrived
    scene.reaches(other)
    assert one.arrived == before
    scene.check(other, on=True)

    def nothing() -> bool:
        seen = other.arrived
        scene.send()
        time.sleep(0.1)  # what must not come has no event
        return other.arrived == seen

    eventually("the source/destination check holds", nothing, within=5)


def test_flow_records_of_the_private_host_name_who_called(lab: LabDriver) -> None:
    """The gateway where it translates, the client itself where it does not."""
    lab.answered("alice")
    answer = json.loads(lab.on("alice", "python3", "-c", _ASK.format(host=HOST), timeout=30).stdout)
    caller, port = answer["you"].rsplit(":", 1)
    listed = json.loads(lab.lab("flows", "--json", "--of", HOST).stdout)["records"]
    (record,) = [
        one
        for one in listed
        if one["instance"] == "host" and one["source"] == caller and one["source_port"] == int(port)
    ]
    assert record["destination_port"] == host.HTTP
    assert record["action"] == "ACCEPT"
    assert record["protocol"] == socket.IPPROTO_TCP
    assert record["packets"] >= 4, "a handshake, a request and an end"
    assert record["start"] <= record["end"] <= time.time() + 1


_ASK = "import urllib.request as r; print(r.urlopen('http://{host}/', timeout=5).read().decode())"
