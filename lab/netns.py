"""Network namespaces of the lab, all named `gp-*`: made, joined by veth pairs, entered, removed."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from effects import DEFAULT_TIMEOUT, Ran, run

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

PREFIX = "gp-"
INTERNET_MTU = 1500
VPC_MTU = 9001
"""What EC2 gives an instance's interface inside a VPC."""

_DIRECTORY = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_NAME_LIMIT = 15


@dataclass(frozen=True)
class End:
    """One end of a veth pair. `namespace` None is the namespace the command runs in."""

    namespace: str | None
    interface: str
    mac: str | None = None


def path(name: str) -> Path:
    """The file that stands for namespace `name` (for nsenter, setns, systemd-nspawn)."""
    return _DIRECTORY / name


def exists(name: str) -> bool:
    """Whether namespace `name` is there."""
    return path(name).exists()


def names() -> list[str]:
    """The lab's namespaces."""
    if not _DIRECTORY.exists():
        return []
    return sorted(entry.name for entry in _DIRECTORY.iterdir() if entry.name.startswith(PREFIX))


def create(name: str) -> None:
    """Make namespace `name` with its loopback up; nothing happens if it is there."""
    if not name.startswith(PREFIX):
        message = f"namespace {name!r}: the lab's names begin with {PREFIX!r}"
        raise ValueError(message)
    if not exists(name):
        run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])


def delete(name: str) -> None:
    """Remove namespace `name` and its interfaces; nothing happens if it is not there.

    Processes in it keep it alive without a name: stop them first (`pids`).
    """
    if exists(name):
        run(["ip", "netns", "delete", name])


def pids(name: str) -> list[int]:
    """The processes whose network namespace is `name`."""
    if not exists(name):
        return []
    return [int(line) for line in run(["ip", "netns", "pids", name]).stdout.split()]


def veth(one: End, other: End, *, mtu: int = INTERNET_MTU) -> None:
    """Join two namespaces by a veth pair, both ends up. A former pair of these names goes first."""
    for end in (one, other):
        if len(end.interface) > _NAME_LIMIT:
            message = f"interface {end.interface!r}: longer than {_NAME_LIMIT} characters"
            raise ValueError(message)
        delete_link(end)
    run(["ip", "link", "add", *_end(one, mtu), "type", "veth", "peer", *_end(other, mtu)])
    for end in (one, other):
        ip(end.namespace, "link", "set", end.interface, "up")


def delete_link(end: End) -> None:
    """Remove an interface (with it goes the pair's other end); nothing happens if there is none."""
    if has_link(end):
        ip(end.namespace, "link", "delete", end.interface)


def has_link(end: End) -> bool:
    """Whether the interface is there."""
    command = _ip(end.namespace, ["link", "show", end.interface])
    return run(command, check=False).status == 0


def ip(namespace: str | None, *arguments: str) -> Ran:
    """`ip ARGUMENTS` in a namespace."""
    return run(_ip(namespace, arguments))


def within(namespace: str, command: Sequence[str]) -> list[str]:
    """The command that runs `command` in `namespace` (network only), for a daemon or `run`."""
    return ["nsenter", f"--net={path(namespace)}", "--", *command]


def run_in(
    namespace: str,
    command: Sequence[str],
    *,
    stdin: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    check: bool = True,
) -> Ran:
    """`effects.run` in `namespace`."""
    return run(within(namespace, command), stdin=stdin, timeout=timeout, check=check)


@contextmanager
def inside(namespace: str) -> Generator[None]:
    """Move the calling thread, and no other, into `namespace` and back.

    A socket made meanwhile stays in that namespace for good; so do threads and processes started
    meanwhile. Do nothing else in there. Raises `OSError` if the namespace is not there, or when
    not root; if the way back fails the thread must not go on, so that error is not swallowed.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path(namespace), os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(there)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _setns(handle: int) -> None:
    # os.setns is there from Python 3.12 on only
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(handle, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _end(end: End, mtu: int) -> list[str]:
    # After `peer` iproute2 wants the word `name`, and takes it for the first end as well
    words = ["name", end.interface, "mtu", str(mtu)]
    if end.mac is not None:
        words += ["address", end.mac]
    if end.namespace is not None:
        words += ["netns", end.namespace]
    return words


def _ip(namespace: str | None, arguments: Sequence[str]) -> list[str]:
    return ["ip", *([] if namespace is None else ["-n", namespace]), *arguments]
