"""The HTTP API in the lab: signed requests to the deployed code; who is let in enters."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from lab_driver import HOST, ROOT, LabDriver, eventually
from signing import signed

from client import keys
from effects import run, write_atomic
from lab import paths
from lab.sigv4 import Key

if TYPE_CHECKING:
    from lab.sigv4 import Incoming

NAME = "grace"


@dataclass(frozen=True)
class Api:
    """Where it is, and a key to sign with."""

    url: str
    region: str
    key: Key

    @classmethod
    def of_the_lab(cls) -> Api:
        said = json.loads(paths.api().read_text())
        key = Key(said["access_key_id"], said["secret_access_key"], said["caller"], "")
        return cls(said["url"], said["region"], key)

    def signed(self, method: str, target: str, value: Any = None, **more: Any) -> Incoming:
        body = b"" if value is None else json.dumps(value).encode()
        at = more.pop("at", datetime.now(UTC))
        host = urlsplit(self.url).netloc
        return signed(
            method, target, body, key=self.key, at=at, region=self.region, host=host, **more
        )

    def send(self, incoming: Incoming) -> tuple[int, Any]:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        try:
            headers = dict(incoming.headers)
            connection.request(incoming.method, incoming.target, incoming.body or None, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def call(self, method: str, target: str, value: Any = None) -> tuple[int, Any]:
        return self.send(self.signed(method, target, value))


@pytest.fixture(scope="module")
def api(lab: LabDriver) -> Api:
    lab.both_healthy()
    assert paths.api().stat().st_mode & 0o777 == 0o600
    return Api.of_the_lab()


@pytest.mark.timeout(180)
def test_a_peer_added_by_a_signed_request_enters_and_a_revoked_one_is_out_when_it_is_answered(
    lab: LabDriver, api: Api
) -> None:
    pair = keys.generate()
    status, said = api.call("POST", "/peers", {"name": NAME, "public_key": pair.public})
    assert status == 201, said
    assert said["peer"]["public_key"] == pair.public
    config = said["config"].replace("PUT_YOUR_PRIVATE_KEY_HERE", pair.private)
    gateways = lab.gateways()
    eventually(
        "both gateways have the peer",
        lambda: all(
            pair.public in lab.on(one, "wg", "show", "all", "peers").stdout for one in gateways
        ),
        within=30,
    )
    # what its owner would do: the private key joins the config on the owner's machine
    write_atomic(paths.run() / "clients" / f"{NAME}.conf", config, mode=0o600)
    lab.lab("client", NAME, timeout=60)
    lab.answered(NAME)
    (entry,) = api.call("GET", f"/audit?name={NAME}")[1]["audit"]
    assert (entry["action"], entry["caller"]) == ("add", api.key.arn)

    status, said = api.call("DELETE", f"/peers/{NAME}")
    assert status == 200, said
    assert said["confirmed"] is True
    assert {one["id"] for one in said["gateways"]} == set(lab.gateways())
    assert said["seconds"] < 10
    assert lab.on(NAME, "ping", "-c", "3", "-i", "0.3", "-W", "1", HOST, check=False).status != 0
    for one in lab.gateways():
        assert pair.public not in lab.on(one, "wg", "show", "all", "peers").stdout


@pytest.mark.timeout(60)
def test_what_is_unsigned_stale_or_tampered_is_refused_and_changes_nothing(
    lab: LabDriver, api: Api
) -> None:
    good = api.signed("POST", "/peers", {"name": "trudy", "public_key": keys.generate().public})
    generation = lab.registry.head().generation
    unsigned = [pair for pair in good.headers if pair[0].lower() != "authorization"]
    stale = api.signed("GET", "/peers", at=datetime.now(UTC) - timedelta(minutes=6))
    stranger = Api(api.url, api.region, Key("AKIANOBODY", "x", "", "")).signed("GET", "/peers")
    digest = {"x-amz-content-sha256": hashlib.sha256(b"other").hexdigest()}
    for what, incoming in {
        "unsigned": _with(good, headers=tuple(unsigned)),
        "another body": _with(good, body=good.body.replace(b"trudy", b"trudx")),
        "another path": _with(good, target="/peers/trudy/rotate"),
        "a query": _with(good, target="/peers?wait=1"),
        "another method": _with(good, method="PUT"),
        "stale": stale,
        "nobody's key": stranger,
        "a digest of another body": api.signed("GET", "/peers", headers=digest),
    }.items():
        assert api.send(incoming) == (403, {"Message": "Forbidden"}), what
    assert lab.registry.head().generation == generation
    assert api.call("GET", "/peers/trudy")[0] == 404, "the same, signed, is served"


@pytest.mark.timeout(60)
def test_the_example_in_the_documentation_works_as_it_stands(api: Api) -> None:
    text = (ROOT / "docs" / "http-api.md").read_text()
    (example,) = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    env = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "API_URL": api.url,
        "AWS_REGION": api.region,
        "AWS_ACCESS_KEY_ID": api.key.id,
        "AWS_SECRET_ACCESS_KEY": api.key.secret,
        "PUBLIC_KEY": keys.generate().public,
    }
    done = run(["bash", "-euo", "pipefail"], stdin=example, env=env, timeout=50)
    said = list(_values(done.stdout))
    assert len(said) == 4, done.stderr
    added, shown, trail, revoked = said
    assert added["peer"] == shown["peer"]
    assert [entry["action"] for entry in trail["audit"]][-1] == "add"
    assert revoked["confirmed"] is True


def _with(incoming: Incoming, **change: Any) -> Incoming:
    return type(incoming)(**{**vars(incoming), **change})


def _values(text: str) -> Any:
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        value, end = decoder.raw_decode(text)
        text = text[end:]
        yield value
