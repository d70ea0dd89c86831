"""Requests signed as an AWS SDK signs them, with keys that are worth nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lab.sigv4 import Incoming, Key

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY = Key("AKIAEXAMPLE", "secret/of+the=key", "arn:aws:iam::123456789012:user/op", "AIDAEXAMPLE")
OTHER = Key("AKIAOTHER", "another secret", "arn:aws:iam::123456789012:user/other", "AIDAOTHER")
KEYS = {key.id: key for key in (KEY, OTHER)}
NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
HOST = "127.0.0.1:8443"
BODY = b'{"name": "alice"}'


def signed(
    method: str = "POST",
    target: str = "/peers?wait=5&name=a",
    body: bytes = BODY,
    *,
    key: Key = KEY,
    at: datetime = NOW,
    headers: Mapping[str, str] | None = None,
    service: str = "lambda",
    region: str = "eu-west-1",
    host: str = HOST,
) -> Incoming:
    """As an AWS SDK signs."""
    request: Any = AWSRequest(
        method=method, url=f"http://{host}{target}", data=body, headers={"Host": host}
    )
    for name, text in (headers or {"Content-Type": "application/json"}).items():
        request.headers[name] = text
    signer = auth.SigV4Auth(Credentials(key.id, key.secret), service, region)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda: at)
        signer.add_auth(request)
    return Incoming(method, target, tuple(request.headers.items()), body)
