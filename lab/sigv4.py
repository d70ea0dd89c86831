"""Whether a request was signed with AWS Signature Version 4 by a key that the lab knows.

The signature is computed anew by botocore's own signer over what came in, with the headers that the
caller says were signed. What is checked is what AWS documents (IAM user guide, "Signature Version 4
for API requests"); that AWS checks no less and no more has not been measured.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPMessage
from typing import TYPE_CHECKING, Any

from botocore.auth import SIGV4_TIMESTAMP, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

SERVICE = "lambda"
WINDOW = timedelta(minutes=5)
"""How old a signature may be, or how far ahead (IAM user guide, "Troubleshoot Signature Version
4")."""

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<key>\w+)/(?P<day>\d{8})/(?P<region>[a-z0-9-]+)"
    r"/(?P<service>[a-z0-9-]+)/aws4_request, *SignedHeaders=(?P<headers>[a-z0-9;-]+)"
    r", *Signature=(?P<signature>[0-9a-f]{64})"
)
_CONTENT = "x-amz-content-sha256"
_DATE = "x-amz-date"


class Forbidden(Exception):  # noqa: N818 - HTTP's word
    """The request is refused; the message is for the log, not for the caller."""


@dataclass(frozen=True)
class Key:
    """An access key and whose it is."""

    id: str
    secret: str
    arn: str
    user_id: str


@dataclass(frozen=True)
class Incoming:
    """A request as it came: nothing decoded, nothing tidied."""

    method: str
    target: str
    """Path and query."""
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def path(self) -> str:
        """Before the question mark."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """Behind it."""
        return self.target.partition("?")[2]

    def all(self, name: str) -> list[str]:
        """Every header of that name (in lower case)."""
        return [text for header, text in self.headers if header.lower() == name]

    def one(self, name: str) -> str:
        """The header of that name. Raises `Forbidden` unless there is exactly one."""
        found = self.all(name)
        if len(found) != 1:
            raise Forbidden(f"{len(found)} headers {name}")
        return found[0]


def verify(incoming: Incoming, keys: Mapping[str, Key], *, region: str, now: datetime) -> Key:
    """Whose request it is. Raises `Forbidden`."""
    claim = _AUTHORIZATION.fullmatch(incoming.one("authorization"))
    if claim is None:
        raise Forbidden("no signature of version 4 in the header")
    key = keys.get(claim["key"])
    if key is None:
        raise Forbidden(f"nobody's access key {claim['key']}")
    if (claim["region"], claim["service"]) != (region, SERVICE):
        raise Forbidden(f"signed for {claim['service']} in {claim['region']}")
    stamp = incoming.one(_DATE)
    if _moment(stamp) - now > WINDOW or now - _moment(stamp) > WINDOW:
        raise Forbidden(f"signed at {stamp}")
    if not stamp.startswith(claim["day"]):
        raise Forbidden("signed on another day than it says")
    _check_headers(incoming, claim["headers"].split(";"))
    _check_content(incoming)
    wanted = _signature(incoming, key, claim["headers"].split(";"), stamp, region)
    if not hmac.compare_digest(wanted, claim["signature"]):
        raise Forbidden("another signature")
    return key


def _moment(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, SIGV4_TIMESTAMP).replace(tzinfo=UTC)
    except ValueError as err:
        raise Forbidden(f"no date: {stamp!r}") from err


def _check_headers(incoming: Incoming, names: list[str]) -> None:
    if names != sorted(set(names)):
        raise Forbidden("signed headers out of order")
    # AWS wants the host and every x-amz- header signed
    must = {"host"} | {
        name.lower() for name, _ in incoming.headers if name.lower().startswith("x-amz-")
    }
    if missing := must - set(names):
        raise Forbidden(f"not signed: {', '.join(sorted(missing))}")
    if absent := [name for name in names if not incoming.all(name)]:
        raise Forbidden(f"signed, but not there: {', '.join(absent)}")
    incoming.one("host")
    if incoming.all("x-amz-security-token"):
        raise Forbidden("a session token, where the keys have none")


def _check_content(incoming: Incoming) -> None:
    """The signer would take the header's word for what the body is."""
    if incoming.all(_CONTENT) not in ([], [hashlib.sha256(incoming.body).hexdigest()]):
        raise Forbidden("the body is not what was signed")


class _Signer(SigV4Auth):
    """Signs the headers that were signed, not those that botocore would choose."""

    def __init__(self, key: Key, region: str, names: list[str]) -> None:
        super().__init__(Credentials(key.id, key.secret), SERVICE, region)
        self._names = names

    def headers_to_sign(self, request: Any) -> HTTPMessage:
        """As the caller named them."""
        found = HTTPMessage()
        for name, text in request.headers.items():
            if name.lower() in self._names:
                found[name.lower()] = text
        return found


def _signature(incoming: Incoming, key: Key, names: list[str], stamp: str, region: str) -> str:
    url = f"http://{incoming.one('host')}{incoming.target}"
    request: Any = AWSRequest(method=incoming.method, url=url, data=incoming.body)
    for name, text in incoming.headers:
        request.headers.add_header(name, text)
    request.context["timestamp"] = stamp
    signer: Any = _Signer(key, region, names)
    canonical = signer.canonical_request(request)
    return signer.signature(signer.string_to_sign(request, canonical), request)
