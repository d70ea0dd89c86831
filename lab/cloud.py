"""The lab's AWS as a daemon: started, found again, ended. What it answers is `lab.cloud_server`."""

from __future__ import annotations

from lab import paths, process

NAME = "cloud"


def start(*, timeout: float = 60.0, alone: bool = False) -> process.Process:
    """Start the daemon, or find it, and return once it answers; `alone`: on loopback only."""
    if process.find(NAME) is None:
        paths.cloud().unlink(missing_ok=True)
    command = process.daemon("cloud_server", *(["--alone"] if alone else []))
    return process.start(NAME, command, ready=paths.cloud().exists, timeout=timeout)


def stop() -> bool:
    """End the daemon; with it goes everything it held."""
    stopped = process.stop(NAME)
    paths.cloud().unlink(missing_ok=True)
    return stopped
