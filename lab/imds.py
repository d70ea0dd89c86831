"""The instance-metadata protocol, version 2 only, without sockets.

`Service.answer` is the protocol: tokens, refusals, the way through the tree. `tree()` is what an
instance can read, a pure function. Shapes are those of the EC2 user guide, "Instance metadata
categories".
"""

from __future__ import annotations

import base64
import json
import platform
import re
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from lab import aws, vpc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from ipaddress import IPv4Network

    from lab.inventory import Instance

TOKEN_SECONDS_MAX = 21600
VERSIONS = ("1.0", "2009-04-04", "2018-09-24", "2021-03-23", "latest")

_CREDENTIALS_LIFE = timedelta(hours=6)
_TTL_HEADER = "x-aws-ec2-metadata-token-ttl-seconds"
_TOKEN_HEADER = "x-aws-ec2-metadata-token"  # noqa: S105 - a header's name


@dataclass(frozen=True)
class Facts:
    """All that an instance can read about itself."""

    instance: Instance
    subnet: IPv4Network
    vpc_cidrs: tuple[IPv4Network, ...]
    user_data: bytes = b""
    role: str | None = None
    profile: str | None = None
    """ARN of the instance profile that gives the role."""
    lifecycle: str | None = None
    """Target state in the Auto Scaling group; None if it is in none."""


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Where facts come from: moto, or a test."""

    def facts(self, address: str) -> Facts | None:
        """The facts of the instance with this address; None if there is no such instance."""
        ...


class Service:
    """The protocol: tokens, refusals, and the way through the tree."""

    def __init__(self, source: Source, clock: Callable[[], float] = time.time) -> None:
        self._source = source
        self._clock = clock
        self._tokens: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def answer(self, method: str, path: str, headers: Mapping[str, str], address: str) -> Answer:
        """Answer one request that came from `address`. Names of `headers` are in lower case."""
        if headers.get("x-forwarded-for") is not None:
            return Answer(403)
        path = path.partition("?")[0]
        if method == "PUT" and path.rstrip("/") == "/latest/api/token":
            return self._new_token(headers, address)
        if method not in {"GET", "HEAD"}:
            return Answer(405)
        if not self._holds(headers.get(_TOKEN_HEADER), address):
            return Answer(401)
        facts = self._source.facts(address)
        return Answer(404) if facts is None else read(facts, path, self._clock())

    def _new_token(self, headers: Mapping[str, str], address: str) -> Answer:
        text = headers.get(_TTL_HEADER) or ""
        if not text.isdecimal() or not 1 <= int(text) <= TOKEN_SECONDS_MAX:
            return Answer(400)
        token = secrets.token_urlsafe(40)
        now = self._clock()
        with self._lock:
            self._tokens = {t: entry for t, entry in self._tokens.items() if entry[1] > now}
            self._tokens[token] = (address, now + int(text))
        return Answer(200, token.encode(), {_TTL_HEADER: text})

    def _holds(self, token: str | None, address: str) -> bool:
        with self._lock:
            owner, expires = self._tokens.get(token or "", ("", 0.0))
        return owner == address and expires > self._clock()


def read(facts: Facts, path: str, now: float) -> Answer:
    """What is at `path` of the instance's tree: a value, or the list of what is below."""
    version, _, rest = path.strip("/").partition("/")
    if not version:
        return Answer(200, "\n".join(VERSIONS).encode())
    if version not in VERSIONS and not re.fullmatch(r"\d{4}-\d\d-\d\d", version):
        return Answer(404)
    if rest == "user-data":
        return Answer(200, facts.user_data) if facts.user_data else Answer(404)
    values = tree(facts, now)
    if rest in values:
        return Answer(200, values[rest].encode(), {"Content-Type": "text/plain"})
    prefix = f"{rest}/" if rest else ""
    below = {key.removeprefix(prefix) for key in values if key.startswith(prefix)}
    if not rest and facts.user_data:
        below.add("user-data")
    names = {name + ("/" if more else "") for name, more, _ in (k.partition("/") for k in below)}
    return Answer(200, "\n".join(sorted(names)).encode()) if names else Answer(404)


def tree(facts: Facts, now: float) -> dict[str, str]:
    """Every key and its value. There are no `public-keys`: nobody logs in to a gateway."""
    one = facts.instance
    name = vpc.host_name(one.address)
    meta = {
        "ami-id": one.image,
        "ami-launch-index": "0",
        "hostname": name,
        "instance-id": one.id,
        "instance-life-cycle": "on-demand",
        "instance-type": one.type,
        "local-hostname": name,
        "local-ipv4": str(one.address),
        "mac": one.mac,
        "placement/availability-zone": one.zone,
        "placement/region": aws.REGION,
        "security-groups": "\n".join(one.group_names),
        "services/domain": "amazonaws.com",
        "services/partition": "aws",
    }
    if one.public_address:
        meta["public-ipv4"] = one.public_address
    interface = f"network/interfaces/macs/{one.mac}"
    meta |= {f"{interface}/{key}": value for key, value in _interface(facts, name).items()}
    if facts.lifecycle:
        meta["autoscaling/target-lifecycle-state"] = facts.lifecycle
    if facts.role:
        meta |= {f"iam/{key}": value for key, value in _role(facts, now).items()}
    values = {f"meta-data/{key}": value for key, value in meta.items()}
    values["dynamic/instance-identity/document"] = json.dumps(_document(one), indent=2)
    return values


def target_state(lifecycle: str) -> str:
    """The target that an Auto Scaling lifecycle state (`Terminating:Wait`) leads to."""
    state = lifecycle.partition(":")[0]
    targets = {"Pending": "InService", "Terminating": "Terminated", "Detaching": "Detached"}
    return targets.get(state, "Standby" if state == "EnteringStandby" else state)


def _interface(facts: Facts, name: str) -> dict[str, str]:
    one = facts.instance
    values = {
        "device-number": "0",
        "interface-id": one.interface_id,
        "local-hostname": name,
        "local-ipv4s": str(one.address),
        "mac": one.mac,
        "owner-id": aws.ACCOUNT,
        "security-group-ids": "\n".join(one.groups),
        "security-groups": "\n".join(one.group_names),
        "subnet-id": one.subnet_id,
        "subnet-ipv4-cidr-block": str(facts.subnet),
        "vpc-id": one.vpc_id,
        "vpc-ipv4-cidr-block": str(facts.vpc_cidrs[0]),
        "vpc-ipv4-cidr-blocks": "\n".join(map(str, facts.vpc_cidrs)),
    }
    if one.public_address:
        values["public-ipv4s"] = one.public_address
    return values


def _role(facts: Facts, now: float) -> dict[str, str]:
    """The credentials are worth nothing anywhere: moto takes any, and the lab alone has moto."""
    issued = datetime.fromtimestamp(now, UTC)
    mark = base64.b32encode(bytes.fromhex(facts.instance.id.removeprefix("i-").rjust(20, "0")))
    credentials = {
        "Code": "Success",
        "LastUpdated": _time(issued),
        "Type": "AWS-HMAC",
        "AccessKeyId": f"ASIA{mark.decode()[:16]}",
        "SecretAccessKey": "lab",
        "Token": "lab",
        "Expiration": _time(issued + _CREDENTIALS_LIFE),
    }
    info = {
        "Code": "Success",
        "LastUpdated": _time(issued),
        "InstanceProfileArn": facts.profile or "",
        "InstanceProfileId": "AIPALAB",
    }
    return {
        "info": json.dumps(info, indent=2),
        f"security-credentials/{facts.role}": json.dumps(credentials, indent=2),
    }


def _document(one: Instance) -> dict[str, Any]:
    return {
        "accountId": aws.ACCOUNT,
        "architecture": {"aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "availabilityZone": one.zone,
        "imageId": one.image,
        "instanceId": one.id,
        "instanceType": one.type,
        "pendingTime": one.launched,
        "privateIp": str(one.address),
        "region": aws.REGION,
        "version": "2017-09-30",
    }


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
