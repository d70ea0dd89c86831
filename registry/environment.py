"""Where an environment is: found by its stack's name through one SSM parameter.

AWS credentials suffice, no Pulumi login. The stack named `lab` is the local cloud on this machine;
its requests go there, with credentials that are worth nothing elsewhere.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from effects import Refusal
from registry import local_cloud, validation
from registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Generator

LAB_REGION = "eu-west-1"
LAB_CREDENTIAL = "testing"

REQUESTS = Config(
    connect_timeout=5, read_timeout=10, retries={"mode": "standard", "max_attempts": 4}
)
"""Seconds. A command answers or fails within a minute, also without a network."""


EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


class AwsFailed(RegistryError):  # noqa: N818 - named as a sentence: AWS failed
    """A request that AWS refused, or that did not reach it."""


@dataclass(frozen=True)
class Dns:
    """What clients resolve names with; empty where the stack leaves it to them."""

    servers: tuple[IPv4Address, ...] = ()
    search_domains: tuple[str, ...] = ()


@dataclass(frozen=True)
class Environment:
    """What the program has written about a stack it has built."""

    stack: str
    region: str
    table: str
    archive: str
    """Bucket with a copy of every audit item."""
    secret_arn: str
    auto_scaling_group: str
    load_balancer_arn: str
    target_group_arns: tuple[str, ...]
    """One for each key slot."""
    endpoint: str
    """Host name that clients dial."""
    addresses: tuple[IPv4Address, ...]
    """The load balancer's, one in each availability zone."""
    port: int
    """UDP, of slot 0; slot 1 is the next one."""
    mtu: int
    client_pool: IPv4Network
    vpc_cidrs: tuple[IPv4Network, ...]
    routed_cidrs: tuple[IPv4Network, ...]
    dns: Dns
    api_function: str = ""
    """Name of the HTTP API's Lambda function; empty where the stack has none."""
    preshared_key_arn: str = ""
    """Of the KMS key that pre-shared keys are encrypted under; empty where the stack has none."""
    connection_log: str = ""
    """Log group with the records of connections; empty where an older program built the stack."""

    def instance_arn(self, instance_id: str) -> str:
        """The ARN of one of its instances, in the account that its secret is in."""
        _, partition, _, region, account, *_ = self.secret_arn.split(":")
        return f"arn:{partition}:ec2:{region}:{account}:instance/{instance_id}"

    @property
    def reach(self) -> tuple[IPv4Network, ...]:
        """The widest thing that peers may reach."""
        return (*self.vpc_cidrs, *self.routed_cidrs)

    @classmethod
    def from_json(cls, text: str) -> Environment:
        """Parse the parameter's value. Raises ValueError, KeyError or TypeError."""
        raw = json.loads(text)
        dns = raw.get("dns") or {}
        return cls(
            stack=raw["stack"],
            region=raw["region"],
            table=raw["table"],
            archive=raw["archive"],
            secret_arn=raw["secret_arn"],
            auto_scaling_group=raw["auto_scaling_group"],
            load_balancer_arn=raw["load_balancer_arn"],
            target_group_arns=tuple(raw["target_group_arns"]),
            endpoint=raw["endpoint"],
            addresses=tuple(map(IPv4Address, raw["addresses"])),
            port=int(raw["port"]),
            mtu=int(raw["mtu"]),
            client_pool=IPv4Network(raw["client_pool"]),
            vpc_cidrs=tuple(map(IPv4Network, raw["vpc_cidrs"])),
            routed_cidrs=tuple(map(IPv4Network, raw["routed_cidrs"])),
            dns=Dns(
                servers=tuple(map(IPv4Address, dns.get("servers", ()))),
                search_domains=tuple(dns.get("search_domains", ())),
            ),
            api_function=raw.get("api_function", ""),
            preshared_key_arn=raw.get("preshared_key_arn", ""),
            connection_log=raw.get("connection_log", ""),
        )


@dataclass(frozen=True)
class Cloud:
    """The AWS account a stack stands in, as this operator sees it."""

    session: botocore.session.Session
    endpoint: str | None = None
    """Where every request goes; None is AWS itself."""

    @property
    def region(self) -> str | None:
        """The session's region."""
        return self.session.get_config_variable("region")

    def client(self, service: str) -> Any:
        """A client for a service, with time limits."""
        return self.session.create_client(service, endpoint_url=self.endpoint, config=REQUESTS)

    def caller(self) -> str:
        """The ARN of the identity that the requests are signed with."""
        return self.client("sts").get_caller_identity()["Arn"]


def session(stack: str) -> Cloud:
    """The cloud a stack stands in: the lab for `lab`, else what the AWS settings say.

    Raises `Refusal` when the lab is not up, or when no region or no credentials are set.
    """
    validation.stack_name(stack)
    aws = botocore.session.Session()
    if stack == local_cloud.STACK:
        aws.set_config_variable("region", LAB_REGION)
        aws.set_credentials(LAB_CREDENTIAL, LAB_CREDENTIAL)
        return Cloud(aws, local_cloud.endpoint())
    if region := os.environ.get("AWS_REGION"):
        aws.set_config_variable("region", region)  # as every other AWS tool; botocore does not
    if not aws.get_config_variable("region"):
        raise Refusal(
            f"stack {stack}", "no AWS region is set", "set AWS_REGION or choose an AWS_PROFILE"
        )
    if aws.get_credentials() is None:
        raise Refusal(
            f"stack {stack}",
            "no AWS credentials were found",
            "set AWS_PROFILE, or log in with `aws sso login`",
        )
    return Cloud(aws)


def find(stack: str, cloud: Cloud | None = None) -> Environment:
    """What is known about a stack that has been built.

    Raises `Refusal` when there is none of that name in the account and region.
    """
    cloud = cloud or session(stack)
    name = f"/gatepair/{stack}"
    try:
        answer = cloud.client("ssm").get_parameter(Name=name)
    except ClientError as err:
        if err.response.get("Error", {}).get("Code") != "ParameterNotFound":
            raise
        raise Refusal(
            f"stack {stack}",
            f"no environment of that name in {cloud.region}",
            "build it first, or choose its account and region with AWS_PROFILE and AWS_REGION",
        ) from err
    try:
        return Environment.from_json(answer["Parameter"]["Value"])
    except (ValueError, KeyError, TypeError, AttributeError) as err:
        raise Refusal(
            f"SSM parameter {name}",
            f"not one that this version reads ({type(err).__name__}: {err})",
            "bring the stack up to date, or check out the version it was built with",
        ) from err


@contextmanager
def explained() -> Generator[None]:
    """Turn botocore's errors into `AwsFailed`, with the cure where there is one to name."""
    try:
        yield
    except ClientError as err:
        code = str(err.response.get("Error", {}).get("Code"))
        cure = "; log in again" if code in EXPIRED else ""
        cure = "; ask for the role that may, or check AWS_PROFILE" if code in DENIED else cure
        raise AwsFailed(f"AWS: {err}{cure}") from err
    except BotoCoreError as err:
        raise AwsFailed(f"AWS: {err}") from err
