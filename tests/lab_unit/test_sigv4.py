"""The lab's check of signatures: what was signed passes, whatever was changed since does not."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from signing import BODY, HOST, KEY, KEYS, NOW, OTHER, signed

from lab import sigv4
from lab.sigv4 import Forbidden

if TYPE_CHECKING:
    from lab.sigv4 import Incoming, Key


def checked(incoming: Incoming, now: datetime = NOW) -> Key:
    return sigv4.verify(incoming, KEYS, region="eu-west-1", now=now)


def changed(incoming: Incoming, name: str, text: str | None) -> Incoming:
    """With another header of that name, or without it."""
    others = [pair for pair in incoming.headers if pair[0].lower() != name.lower()]
    added = [] if text is None else [(name, text)]
    return replace(incoming, headers=(*others, *added))


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/peers", BODY),
        ("GET", "/peers", b""),
        ("GET", "/", b""),
        ("DELETE", "/peers/alice?wait=0", b""),
        ("GET", "/audit?name=alice&a=1&b=%20x", b""),
        ("GET", "/peers/a%2Fb", b""),
        ("POST", "/peers", "{\u00e9}".encode()),
        ("POST", "/peers", bytes(range(256))),
    ],
)
def test_what_was_signed_passes_and_says_whose_it_is(method: str, target: str, body: bytes) -> None:
    assert checked(signed(method, target, body)) == KEY
    assert checked(signed(method, target, body, key=OTHER)) == OTHER


def test_headers_that_were_not_signed_may_be_added_on_the_way() -> None:
    incoming = signed()
    assert checked(changed(incoming, "User-Agent", "curl")) == KEY
    assert checked(changed(incoming, "X-Forwarded-For", "192.0.2.1")) == KEY


def test_a_signed_digest_of_the_body_is_fine() -> None:
    digest = "5f08e3d1d3e1ac6a1eb1b2bd9e12b5b8a6a7a1f4c7d6c5b4a392817161514131"
    good = signed(headers={"X-Amz-Content-SHA256": hashlib.sha256(BODY).hexdigest()})
    assert checked(good) == KEY
    with pytest.raises(Forbidden, match="body"):
        checked(signed(headers={"X-Amz-Content-SHA256": digest}))


def tampered() -> dict[str, Incoming]:
    good = signed()
    authorization = good.one("authorization")
    return {
        "unsigned": changed(good, "Authorization", None),
        "another scheme": changed(good, "Authorization", "Basic Zm9vOmJhcg=="),
        "no signature": changed(good, "Authorization", authorization.partition(", Sig")[0]),
        "another signature": changed(good, "Authorization", authorization[:-64] + "0" * 64),
        "two signatures": replace(good, headers=(*good.headers, ("authorization", authorization))),
        "another body": replace(good, body=b'{"name": "mallory"}'),
        "no body": replace(good, body=b""),
        "another path": replace(good, target="/peers/alice?wait=5&name=a"),
        "another query": replace(good, target="/peers?wait=6&name=a"),
        "more query": replace(good, target="/peers?wait=5&name=a&name=b"),
        "no query": replace(good, target="/peers"),
        "another method": replace(good, method="PUT"),
        "another host": changed(good, "Host", "127.0.0.1:9443"),
        "no host": changed(good, "Host", None),
        "two hosts": replace(good, headers=(*good.headers, ("host", HOST))),
        "another signed header": changed(good, "Content-Type", "text/plain"),
        "a signed header is gone": changed(good, "Content-Type", None),
        "another date": changed(good, "X-Amz-Date", "20261123T120001Z"),
        "no date": changed(good, "X-Amz-Date", None),
        "nonsense for a date": changed(good, "X-Amz-Date", "20261123T1200000"),
        "an unsigned x-amz header": changed(good, "X-Amz-Meta", "x"),
        "nobody's key": changed(good, "Authorization", authorization.replace(KEY.id, "AKIANOBODY")),
        "another's key": changed(good, "Authorization", authorization.replace(KEY.id, OTHER.id)),
        "another secret": signed(key=replace(KEY, secret="guessed")),
        "another service": signed(service="execute-api"),
        "another region": signed(region="eu-west-2"),
        "unsigned payload": changed(good, "X-Amz-Content-SHA256", "UNSIGNED-PAYLOAD"),
        "payload said to be unsigned": signed(headers={"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}),
        "a session token": signed(headers={"X-Amz-Security-Token": "x"}),
        "headers out of order": changed(
            good,
            "Authorization",
            authorization.replace("content-type;host;x-amz-date", "host;content-type;x-amz-date"),
        ),
        "a date that is not signed": changed(
            good, "Authorization", authorization.replace(";x-amz-date", "")
        ),
        "a host that is not signed": changed(
            good, "Authorization", authorization.replace("host;", "")
        ),
        "of yesterday's key": changed(
            good, "Authorization", authorization.replace("/20261123/", "/20261122/")
        ),
    }


@pytest.mark.parametrize("how", list(tampered()))
def test_what_was_not_signed_so_is_refused(how: str) -> None:
    assert checked(signed()) == KEY
    with pytest.raises(Forbidden):
        checked(tampered()[how])


@pytest.mark.parametrize("minutes", [-6, 6, 60 * 24, -60 * 24])
def test_a_signature_is_good_for_five_minutes_either_way(minutes: int) -> None:
    with pytest.raises(Forbidden, match="signed at"):
        checked(signed(at=NOW + timedelta(minutes=minutes)))
    fresh = signed(at=NOW + timedelta(minutes=4 if minutes > 0 else -4))
    assert checked(fresh) == KEY


def test_midnight_is_no_border() -> None:
    before = datetime(2026, 11, 22, 23, 59, 0, tzinfo=UTC)
    incoming = signed(at=before)
    assert checked(incoming, now=before + timedelta(minutes=2)) == KEY


@pytest.mark.parametrize("names", [["x-amz-date"], ["host"], ["content-type", "x-amz-date"]])
def test_a_good_signature_over_too_few_headers_is_none(names: list[str]) -> None:
    """Who leaves out host or date could have the request sent elsewhere, or later."""

    def over(names: list[str]) -> Incoming:
        signature = sigv4._signature(good, KEY, names, stamp, "eu-west-1")
        scope = f"{KEY.id}/{stamp[:8]}/eu-west-1/lambda/aws4_request"
        text = f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={';'.join(names)}"
        return changed(good, "Authorization", f"{text}, Signature={signature}")

    good = signed()
    stamp = good.one("x-amz-date")
    assert checked(over(["host", "x-amz-date"])) == KEY
    with pytest.raises(Forbidden, match="not signed"):
        checked(over(names))
