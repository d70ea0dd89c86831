"""`python -m lab.api`: the stack's function URL, on loopback.

Lets through what was signed for the service `lambda` by a key that the lab knows, and hands it to
the deployed function as AWS would; refuses the rest with 403, and the function never sees it. Who
may call at all is IAM's business on AWS; here every key that is known may.

`run/api.json` (mode 0600) appears once it answers: `{"url", "region", "service", "caller",
"access_key_id", "secret_access_key"}`, an operator's key that is worth nothing elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import sys
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError

from effects import Refusal, write_atomic
from lab import aws, function_url, paths, process, sigv4
from lab.functions import FunctionFailed, Pool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lab.function_url import Answer

NAME = "api"
HOST = "127.0.0.1"
USER = "lab-operator"
LARGEST = 6 * 1024 * 1024
"""Bytes of a request that Lambda takes (developer guide, "Lambda quotas")."""

_log = logging.getLogger(NAME)


class FunctionUrl:
    """One function's URL: who is let through, and what the function says to it."""

    def __init__(self, pool: Any, keys: Mapping[str, sigv4.Key], domain: str) -> None:
        self._pool, self._keys, self._domain = pool, keys, domain

    def answer(self, incoming: sigv4.Incoming, source: str, now: datetime) -> Answer:
        """Serve one request."""
        try:
            key = sigv4.verify(incoming, self._keys, region=aws.REGION, now=now)
        except sigv4.Forbidden as err:
            _log.warning("%s %s refused: %s", incoming.method, incoming.path, err)
            return function_url.failed(403, "Forbidden")
        event = function_url.event(
            incoming, key, domain=self._domain, account=aws.ACCOUNT, source=source, now=now
        )
        try:
            return function_url.answer(self._pool.call(event))
        except (FunctionFailed, Refusal, ClientError, BotoCoreError) as err:
            _log.error("%s %s failed: %s", incoming.method, incoming.path, err)
            return function_url.failed(502, "Internal Server Error")


def deployed() -> tuple[str, str] | None:
    """Name and URL of the one function that has a URL; None where there is none."""
    client = aws.client("lambda")
    for one in client.list_functions()["Functions"]:
        name = one["FunctionName"]
        with contextlib.suppress(client.exceptions.ResourceNotFoundException):
            return name, client.get_function_url_config(FunctionName=name)["FunctionUrl"]
    return None


def operator() -> sigv4.Key:
    """A user of the lab's own with a new access key."""
    iam = aws.client("iam")
    try:
        user = iam.create_user(UserName=USER)["User"]
    except iam.exceptions.EntityAlreadyExistsException:
        user = iam.get_user(UserName=USER)["User"]
    made = iam.create_access_key(UserName=USER)["AccessKey"]
    return sigv4.Key(made["AccessKeyId"], made["SecretAccessKey"], user["Arn"], user["UserId"])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self._say(function_url.failed(400, "Bad Request"))
            self.close_connection = True
            return
        if int(length) > LARGEST:
            self._say(function_url.failed(413, "Request Too Large"))
            self.close_connection = True
            return
        body = self.rfile.read(int(length))
        headers = tuple((name, str(text)) for name, text in self.headers.items())
        incoming = sigv4.Incoming(self.command, self.path, headers, body)
        url = cast("_Server", self.server).url
        self._say(url.answer(incoming, str(self.client_address[0]), datetime.now(UTC)))

    def _say(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, text in answer.headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815 - the names http.server looks for
    do_DELETE = do_HEAD = do_OPTIONS = _serve  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        _log.info("%s %s", self.client_address[0], format % args)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, url: FunctionUrl) -> None:
        super().__init__((HOST, 0), _Handler)
        self.url = url


def start() -> process.Process:
    """Start the daemon; the stack must be deployed, with an API. Returns when it answers."""
    if process.find(NAME) is None:
        paths.api().unlink(missing_ok=True)
    return process.start(NAME, process.daemon(NAME), ready=paths.api().exists)


def main() -> int:
    """Serve until SIGTERM."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    found = deployed()
    if found is None:
        _log.error("no function has a URL")
        return 2
    name, url = found
    key, pool = operator(), Pool(name)
    domain = urlsplit(url).hostname or ""
    server = _Server(FunctionUrl(pool, {key.id: key}, domain))
    record = {
        "url": f"http://{HOST}:{server.server_address[1]}/",
        "region": aws.REGION,
        "service": sigv4.SERVICE,
        "caller": key.arn,
        "access_key_id": key.id,
        "secret_access_key": key.secret,
    }
    write_atomic(paths.api(), json.dumps(record) + "\n", mode=0o600)
    try:
        server.serve_forever()
    finally:
        pool.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
