"""The instance-metadata service of the VPC: `python -m lab.metadata`, in the router's namespace.

Whoever asks is known by the source address, which the VPC router vouches for. The protocol itself
is `lab.imds`; here are its facts, from moto, and its socket.
"""

from __future__ import annotations

import base64
import logging
import signal
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, cast

from botocore.exceptions import BotoCoreError, ClientError

from effects import Failed, Refusal
from lab import aws, inventory, netns, process, security, vpc
from lab.imds import Answer, Facts, Service, target_state

if TYPE_CHECKING:
    from lab.inventory import Instance

NAME = "metadata"
_CACHE_SECONDS = 1.0
_log = logging.getLogger(NAME)


class Cloud:
    """Facts from moto. What can change is asked for at most once a second, the rest once."""

    def __init__(self) -> None:
        self._ec2 = aws.client("ec2")
        self._iam = aws.client("iam")
        self._autoscaling = aws.client("autoscaling")
        self._lock = threading.Lock()
        self._until = 0.0
        self._instances: dict[str, Instance] = {}
        self._lifecycles: dict[str, str] = {}
        self._fixed: dict[str, Facts] = {}

    def facts(self, address: str) -> Facts | None:
        """Raises boto3's errors when the cloud does not answer."""
        with self._lock:
            if time.monotonic() >= self._until or address not in self._instances:
                self._refresh()
            one = self._instances.get(address)
            if one is None:
                return None
            if one.id not in self._fixed:
                self._fixed[one.id] = self._read(one)
            fixed = self._fixed[one.id]
            return Facts(
                instance=one,
                subnet=fixed.subnet,
                vpc_cidrs=fixed.vpc_cidrs,
                user_data=fixed.user_data,
                role=fixed.role,
                profile=fixed.profile,
                lifecycle=self._lifecycles.get(one.id),
            )

    def _refresh(self) -> None:
        live = [
            one
            for one in inventory.read_instances(self._ec2).values()
            if one.state in inventory.LIVE
        ]
        members = self._autoscaling.describe_auto_scaling_instances()["AutoScalingInstances"]
        self._instances = {str(one.address): one for one in live}
        self._lifecycles = {
            member["InstanceId"]: target_state(member["LifecycleState"]) for member in members
        }
        self._fixed = {one.id: self._fixed[one.id] for one in live if one.id in self._fixed}
        self._until = time.monotonic() + _CACHE_SECONDS

    def _read(self, one: Instance) -> Facts:
        attribute = self._ec2.describe_instance_attribute(InstanceId=one.id, Attribute="userData")
        encoded = attribute.get("UserData", {}).get("Value", "")
        profile = one.profile or self._template_profile(one)
        arn, role = self._role(profile) if profile else (None, None)
        return Facts(
            instance=one,
            subnet=inventory.read_subnets(self._ec2)[one.subnet_id],
            vpc_cidrs=inventory.read_cidrs(self._ec2)[one.vpc_id],
            user_data=base64.b64decode(encoded),
            role=role,
            profile=arn,
        )

    def _template_profile(self, one: Instance) -> str | None:
        """Name or ARN of the profile in the launch template: moto forgets it at the instance."""
        if one.template is None:
            return None
        template, version = one.template
        versions = self._ec2.describe_launch_template_versions(
            LaunchTemplateId=template, Versions=[version]
        )["LaunchTemplateVersions"]
        profile = versions[0]["LaunchTemplateData"].get("IamInstanceProfile", {})
        return profile.get("Arn") or profile.get("Name")

    def _role(self, profile: str) -> tuple[str, str | None]:
        name = profile.rpartition("/")[2]
        found = self._iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        roles = found["Roles"]
        return found["Arn"], roles[0]["RoleName"] if roles else None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave together
    wbufsize = 1 << 16

    def _serve(self) -> None:
        address = str(self.client_address[0])
        service = cast("_Server", self.server).service
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            answer = service.answer(self.command, self.path, headers, address)
        except (BotoCoreError, ClientError, KeyError) as err:
            _log.error("%s %s %s: %s", address, self.command, self.path, err)
            answer = Answer(500)
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_PUT = do_HEAD = do_POST = _serve  # noqa: N815 - the names http.server looks for

    def version_string(self) -> str:
        return "EC2ws"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        _log.info("%s %s", self.client_address[0], format % args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, listening: socket.socket, service: Service) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.service = service


def listen() -> socket.socket:
    """The service's socket, inside the router's namespace.

    Its packets live for one hop, as with `http_put_response_hop_limit` 1: an answer that a gateway
    would forward into a tunnel does not arrive.
    """
    with netns.inside(vpc.NAMESPACE):
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 1)
    listening.bind((security.METADATA, 80))
    listening.listen(64)
    return listening


def start() -> process.Process:
    """Start the daemon; the VPC and the cloud must be up. Returns when it listens."""
    return process.start(NAME, process.daemon(NAME), ready=_ready)


def _ready() -> bool:
    found = netns.run_in(
        vpc.NAMESPACE, ["ss", "-Hltn", f"src {security.METADATA} and sport = 80"], check=False
    )
    return bool(found.stdout.strip())


def main() -> int:
    """Serve until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _Server(listen(), Service(Cloud())).serve_forever()
    except (Refusal, Failed) as err:
        _log.error("%s", err)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
