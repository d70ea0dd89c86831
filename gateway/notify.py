"""Telling systemd that the agent is ready and alive: sd_notify(3) over a plain socket."""

from __future__ import annotations

import contextlib
import os
import socket

READY = "READY=1"
ALIVE = "WATCHDOG=1"
STOPPING = "STOPPING=1"


def notify(*messages: str, address: str | None = None) -> None:
    """Send the messages to the service manager; nothing happens without one."""
    address = os.environ.get("NOTIFY_SOCKET") if address is None else address
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as plug, contextlib.suppress(OSError):
        plug.settimeout(1.0)
        plug.connect(address)
        plug.sendall("\n".join(messages).encode())
