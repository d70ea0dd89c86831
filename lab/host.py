"""The private host: namespace gp-host in a subnet `workload` that the lab itself makes in the VPC.

The subnet and the host's security group follow the stack (`follow`): with `egress: routed` the
subnet has one of the route tables that lead to the clients, and the group lets their addresses in.

`python -m lab.host` serves in it: HTTP on 80 (says who asked), echo on 7 (TCP and UDP), a sink on 9
(answers with what it got: `COUNT SHA256`), a source on 19 (reads `COUNT`, sends so many bytes).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import signal
import sys
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any, cast

from effects import Refusal
from lab import aws, netns, process, vpc
from registry import environment, local_cloud
from registry.store import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from registry.items import Control

NAME = "host"
NAMESPACE = "gp-host"
SUBNET_NAME = "workload"
GROUP_NAME = "lab-private-host"

HTTP, ECHO, SINK, SOURCE = 80, 7, 9, 19
BLOCK = bytes(range(256)) * 256
"""What the source sends, over and over."""

_WANTED_SUBNET = 32
_HOST_NUMBER = 10


@dataclass(frozen=True)
class Place:
    """Where the host stands."""

    subnet: IPv4Network
    address: IPv4Address


def place(vpc_cidr: IPv4Network, taken: Iterable[IPv4Network]) -> Place:
    """A free subnet for the host: /24 number 32 of the VPC (10.20.32.0/24), else the last free /28.

    Raises `Refusal` when the VPC is full.
    """
    used = list(taken)
    wanted: list[IPv4Network] = []
    if vpc_cidr.prefixlen <= 18:  # noqa: PLR2004 - 64 or more /24
        wanted = [list(vpc_cidr.subnets(new_prefix=24))[_WANTED_SUBNET]]
    wanted += reversed(list(vpc_cidr.subnets(new_prefix=28)))
    for subnet in wanted:
        if not any(subnet.overlaps(other) for other in used):
            return Place(subnet, subnet[_HOST_NUMBER])
    raise Refusal(f"VPC {vpc_cidr}", "has no room for the lab's own subnet", "make the block wider")


def create() -> IPv4Address:
    """Make the host, or find it; returns its address once it serves."""
    ec2, elb = aws.client("ec2"), aws.client("elbv2")
    vpc_id = elb.describe_load_balancers()["LoadBalancers"][0]["VpcId"]
    of_vpc = {"Name": "vpc-id", "Values": [vpc_id]}
    whole = IPv4Network(ec2.describe_vpcs(VpcIds=[vpc_id])["Vpcs"][0]["CidrBlock"])
    subnet_id, where = _subnet(ec2, vpc_id, whole, of_vpc)
    group = _group(ec2, vpc_id, of_vpc)
    follow()
    netns.create(NAMESPACE)
    known = {one.id: one for one in vpc.hosts()}.get(NAME)
    attached = netns.has_link(netns.End(NAMESPACE, "eth0"))
    if known is None or known.subnet_id != subnet_id or known.groups != (group,) or not attached:
        vpc.attach_host(NAME, NAMESPACE, where.address, subnet_id=subnet_id, groups=[group])
    process.start(NAME, netns.within(NAMESPACE, process.daemon("host")), ready=_serves)
    return where.address


def follow(control: Control | None = None) -> None:
    """Make the host's subnet and security group what the stack's control item asks for.

    `control` is asked from the registry unless given. Nothing happens before there is a host.
    """
    if control is None:
        stack = environment.find(local_cloud.STACK)
        control = Registry(aws.client("dynamodb"), stack.table).head().control
    ec2 = aws.client("ec2")
    named = {"Name": "group-name", "Values": [GROUP_NAME]}
    tagged = {"Name": "tag:Name", "Values": [SUBNET_NAME]}
    groups = ec2.describe_security_groups(Filters=[named])["SecurityGroups"]
    subnets = ec2.describe_subnets(Filters=[tagged])["Subnets"]
    if control is None or not groups or not subnets:
        return
    group, subnet = groups[0], subnets[0]
    whole = ec2.describe_vpcs(VpcIds=[group["VpcId"]])["Vpcs"][0]["CidrBlock"]
    _admit(ec2, group, {whole, str(control.client_pool)} if control.routed else {whole})
    # Of a VPC that the program made, the last one is its gateways' own
    _tie(ec2, subnet["SubnetId"], control.route_tables[-1] if control.routed else None)


def delete() -> None:
    """End the host's server and remove its namespace."""
    process.stop(NAME)
    vpc.detach_host(NAME)
    netns.delete(NAMESPACE)


def _subnet(ec2: Any, vpc_id: str, whole: IPv4Network, of_vpc: dict[str, Any]) -> tuple[str, Place]:
    subnets = ec2.describe_subnets(Filters=[of_vpc])["Subnets"]
    for one in subnets:
        if {"Key": "Name", "Value": SUBNET_NAME} in one.get("Tags", []):
            subnet = IPv4Network(one["CidrBlock"])
            return one["SubnetId"], Place(subnet, subnet[_HOST_NUMBER])
    where = place(whole, [IPv4Network(one["CidrBlock"]) for one in subnets])
    tags = [{"ResourceType": "subnet", "Tags": [{"Key": "Name", "Value": SUBNET_NAME}]}]
    zone = min(one["AvailabilityZone"] for one in subnets)
    made = ec2.create_subnet(
        VpcId=vpc_id, CidrBlock=str(where.subnet), AvailabilityZone=zone, TagSpecifications=tags
    )
    return made["Subnet"]["SubnetId"], where


def _group(ec2: Any, vpc_id: str, of_vpc: dict[str, Any]) -> str:
    named = {"Name": "group-name", "Values": [GROUP_NAME]}
    found = ec2.describe_security_groups(Filters=[of_vpc, named])["SecurityGroups"]
    if found:
        return found[0]["GroupId"]
    text = "Private host of the lab: anything from those that may know of it"
    made = ec2.create_security_group(GroupName=GROUP_NAME, Description=text, VpcId=vpc_id)
    return made["GroupId"]


def _admit(ec2: Any, group: Mapping[str, Any], wanted: set[str]) -> None:
    """Let everything in from the CIDRs `wanted` and from no others."""
    there = {one["CidrIp"] for rule in group["IpPermissions"] for one in rule.get("IpRanges", ())}
    for cidrs, change in (
        (wanted - there, ec2.authorize_security_group_ingress),
        (there - wanted, ec2.revoke_security_group_ingress),
    ):
        if cidrs:
            ranges = [{"CidrIp": cidr} for cidr in sorted(cidrs)]
            every = {"IpProtocol": "-1", "IpRanges": ranges}
            change(GroupId=group["GroupId"], IpPermissions=[every])


def _tie(ec2: Any, subnet_id: str, wanted: str | None) -> None:
    """Give the subnet a route table of its own, or with None its VPC's main one."""
    tied = {"Name": "association.subnet-id", "Values": [subnet_id]}
    found = ec2.describe_route_tables(Filters=[tied])["RouteTables"]
    ties = [
        (one["RouteTableId"], tie["RouteTableAssociationId"])
        for one in found
        for tie in one["Associations"]
        if tie.get("SubnetId") == subnet_id
    ]
    for table, tie in ties:
        if table != wanted:
            ec2.disassociate_route_table(AssociationId=tie)
    if wanted is not None and wanted not in {table for table, _ in ties}:
        ec2.associate_route_table(RouteTableId=wanted, SubnetId=subnet_id)


def _serves() -> bool:
    listens = netns.run_in(NAMESPACE, ["ss", "-Hlnt", f"sport = :{SOURCE}"])
    return bool(listens.stdout.strip())


# ------------------------------------------------------------------ what runs in the namespace


async def _http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    request = (await reader.readline()).decode(errors="replace").split()
    while (await reader.readline()).strip():
        pass
    peer, port = writer.get_extra_info("peername")[:2]
    path = request[1] if len(request) > 1 else "/"
    body = json.dumps({"host": NAMESPACE, "you": f"{peer}:{port}", "path": path}) + "\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n{body}".encode())
    await writer.drain()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(len(BLOCK)):
        writer.write(data)
        await writer.drain()


async def _sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    count, digest = 0, hashlib.sha256()
    while data := await reader.read(len(BLOCK)):
        count += len(data)
        digest.update(data)
    writer.write(f"{count} {digest.hexdigest()}\n".encode())
    await writer.drain()


async def _source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    left = int(await reader.readline())
    while left > 0:
        piece = BLOCK[: min(left, len(BLOCK))]
        writer.write(piece)
        left -= len(piece)
        await writer.drain()


class _Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Of every event loop's making, and not each of them says so by its class
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)


async def _listen(port: int, answer: Any) -> asyncio.Server:
    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (OSError, ValueError, asyncio.IncompleteReadError):
            pass  # the caller went away, or said nothing that makes sense
        finally:
            writer.close()

    return await asyncio.start_server(one, "0.0.0.0", port)  # noqa: S104 - in gp-host


async def _serve() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await loop.create_datagram_endpoint(_Datagrams, local_addr=("0.0.0.0", ECHO))  # noqa: S104
    # SOURCE last: who waits for the host waits for it
    answers = {HTTP: _http, ECHO: _echo, SINK: _sink, SOURCE: _source}
    servers = [await _listen(port, answer) for port, answer in answers.items()]
    await stop.wait()
    for server in servers:
        server.close()


def main() -> int:
    """Serve until SIGTERM."""
    asyncio.run(_serve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
