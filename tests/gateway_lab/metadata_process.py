"""An instance metadata service on loopback, for an agent: its id, a file, and its address."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

INSTANCE, STATE_FILE = sys.argv[1], Path(sys.argv[2])
ADDRESS = sys.argv[3] if len(sys.argv) > 3 else "10.20.0.10"
TOKEN = "token"
MAC = "02:00:00:00:00:01"


class Handler(BaseHTTPRequestHandler):
    """Version 2: a token first."""

    def do_PUT(self) -> None:
        """Hand out the token."""
        self._answer(200, TOKEN)

    def do_GET(self) -> None:
        """What the agent reads."""
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self._answer(401, "")
        elif self.path == "/latest/dynamic/instance-identity/document":
            document = {
                "instanceId": INSTANCE,
                "accountId": "123456789012",
                "region": "eu-west-1",
                "availabilityZone": "eu-west-1a",
                "privateIp": ADDRESS,
            }
            self._answer(200, json.dumps(document))
        elif self.path == "/latest/meta-data/autoscaling/target-lifecycle-state":
            self._answer(200, STATE_FILE.read_text() if STATE_FILE.exists() else "InService")
        elif self.path == "/latest/meta-data/mac":
            self._answer(200, MAC)
        elif self.path == f"/latest/meta-data/network/interfaces/macs/{MAC}/interface-id":
            self._answer(200, f"eni-{INSTANCE.removeprefix('i-')}")
        else:
            self._answer(404, "")

    def _answer(self, code: int, body: str) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Nothing."""


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 1338), Handler).serve_forever()
