"""`python -m lab.cloud_server`: AWS as far as the lab needs it, by moto in server mode.

Answers on 127.0.0.1 in the root namespace and, for the machines, on 169.254.170.2:80 inside the
VPC's namespace if that is there when the cloud starts. `run/cloud.json` appears once it answers.
Apart from `lab.cloud`, because moto takes a second to import.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import make_server

from effects import Refusal, write_atomic
from lab import aws, netns, overrides, paths
from lab.overrides import autoscaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from moto.backends import SERVICE_NAMES
    from werkzeug.serving import BaseWSGIServer

HOST = "127.0.0.1"
VPC_NAMESPACE = "gp-vpc"
INSIDE = ("169.254.170.2", 80)
"""Where the machines find it: a link-local address the VPC's router has, as metadata is on AWS."""
SERVICES: Sequence[SERVICE_NAMES] = (
    "autoscaling",
    "dynamodb",
    "ec2",
    "elbv2",
    "iam",
    "kms",
    "s3",
    "secretsmanager",
    "ssm",
    "sts",
)
"""Loaded before the cloud says it is ready; any other one on its first call."""
_BACKLOG = 128
_LOG = logging.getLogger(__name__)


class _Handler(MotoRequestHandler):
    """Connections are kept, and only failures are logged: gateways ask every second."""

    protocol_version = "HTTP/1.1"
    # Head and body are written apart; with Nagle's algorithm the second write waits for an ACK
    disable_nagle_algorithm = True
    timeout = 300
    """Seconds after which an idle connection's thread ends."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if str(code).startswith("5"):
            _LOG.error("%s: %s, %s bytes", self.requestline, code, size)


def application() -> DomainDispatcherApplication:
    """moto with the lab's overrides, its main services loaded."""
    os.environ.setdefault("MOTO_ACCOUNT_ID", aws.ACCOUNT)
    overrides.install()
    app = DomainDispatcherApplication(create_backend_app)
    for service in SERVICES:
        app.app_instances[service] = create_backend_app(service)
    return app


def serve(app: Any, listener: socket.socket) -> BaseWSGIServer:
    """Answer on `listener` from a thread of its own."""
    host, port = listener.getsockname()[:2]
    server: Any = make_server(
        host, port, app, threaded=True, request_handler=_Handler, fd=listener.fileno()
    )
    # Requests under way must not hold up the end of the process
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name=f"{host}:{port}", daemon=True).start()
    return server


def listeners(port: int, *, alone: bool) -> list[socket.socket]:
    """The sockets: on loopback and, unless `alone`, in the VPC if its namespace is there."""
    made = [socket.create_server((HOST, port), backlog=_BACKLOG)]
    if not alone and netns.exists(VPC_NAMESPACE):
        with netns.inside(VPC_NAMESPACE):
            made.append(socket.create_server(INSIDE, backlog=_BACKLOG))
    return made


def main(arguments: list[str] | None = None) -> int:
    """The daemon; runs until SIGTERM."""
    parser = argparse.ArgumentParser(prog="lab.cloud_server", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on loopback; 0 takes a free one")
    parser.add_argument("--alone", action="store_true", help="on loopback only")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # Blocked here, so that every thread inherits it and this one waits for it
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    paths.prepare()
    # What a former cloud held died with it
    for stale in (paths.state(), paths.target_health()):
        stale.unlink(missing_ok=True)
    try:
        app = application()
        sockets = listeners(options.port, alone=options.alone)
    except (Refusal, OSError) as err:
        sys.stderr.write(f"cloud: {err}\n")
        return 1
    for listener in sockets:
        serve(app, listener)
    autoscaling.watch()
    port = sockets[0].getsockname()[1]
    record = {"endpoint": f"http://{HOST}:{port}", "port": port}
    write_atomic(paths.cloud(), json.dumps(record) + "\n")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    sys.exit(main())
