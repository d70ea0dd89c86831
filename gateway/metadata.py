"""The instance metadata service, version 2: who this instance is, and whether it is to end."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass

BASE = "http://169.254.169.254"
TOKEN_LIFETIME = 21600
"""Seconds, the longest there is."""

_UNAUTHORISED, _NOT_FOUND = 401, 404


@dataclass(frozen=True)
class Identity:
    """From the instance identity document."""

    instance_id: str
    account: str
    region: str
    zone: str
    address: str
    """Private IPv4."""

    @property
    def arn(self) -> str:
        """The instance's ARN, which is also what IAM puts into ${ec2:SourceInstanceARN}."""
        return self.arn_of(self.instance_id)

    def arn_of(self, instance_id: str) -> str:
        """The ARN of another instance of the same account and region."""
        return f"arn:{self._partition}:ec2:{self.region}:{self.account}:instance/{instance_id}"

    @property
    def _partition(self) -> str:
        prefixes = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}
        found = (name for prefix, name in prefixes.items() if self.region.startswith(prefix))
        return next(found, "aws")


class Metadata:
    """Reads the service; `OSError` when it does not answer."""

    def __init__(self, base: str = BASE, timeout: float = 2.0) -> None:
        self._base, self._timeout, self._token = base, timeout, ""
        # no proxy, whatever the environment says: this is a link-local service
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def identity(self) -> Identity:
        """This instance. Raises `ValueError` when the document is not understood."""
        document = json.loads(self._get("/latest/dynamic/instance-identity/document") or "{}")
        try:
            return Identity(
                instance_id=document["instanceId"],
                account=document["accountId"],
                region=document["region"],
                zone=document["availabilityZone"],
                address=document["privateIp"],
            )
        except KeyError as err:
            raise ValueError(f"instance identity document: {err} is missing") from err

    def target_lifecycle_state(self) -> str:
        """What Auto Scaling is bringing the instance to; empty outside of a group."""
        return (self._get("/latest/meta-data/autoscaling/target-lifecycle-state") or "").strip()

    def interface(self) -> str:
        """The id of this instance's primary network interface.

        Raises `ValueError` when the service does not say. (EC2 user guide, "Instance metadata
        categories": `mac`, `network/interfaces/macs/MAC/interface-id`.)
        """
        mac = (self._get("/latest/meta-data/mac") or "").strip().rstrip("/")
        path = f"/latest/meta-data/network/interfaces/macs/{mac}/interface-id"
        found = (self._get(path) or "").strip() if mac else ""
        if not found:
            raise ValueError("instance metadata: it names no network interface")
        return found

    def _get(self, path: str) -> str | None:
        for _attempt in range(2):
            if not self._token:
                self._token = self._open(
                    "/latest/api/token",
                    method="PUT",
                    headers={"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_LIFETIME)},
                )
            try:
                return self._open(path, headers={"X-aws-ec2-metadata-token": self._token})
            except urllib.error.HTTPError as err:
                err.close()
                if err.code == _NOT_FOUND:
                    return None
                if err.code != _UNAUTHORISED:
                    raise
                self._token = ""
        raise OSError("instance metadata: the token is refused")

    def _open(self, path: str, *, headers: dict[str, str], method: str = "GET") -> str:
        request = urllib.request.Request(self._base + path, headers=headers, method=method)  # noqa: S310 - http by construction
        with self._opener.open(request, timeout=self._timeout) as answer:
            return answer.read().decode()
