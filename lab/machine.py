"""One machine of the lab: an EC2 instance as a Debian system of its own.

Its network is a namespace with one link to the VPC router (`lab.vpc`). What it is beyond that is
the business of its kind (`lab.kinds`). All that is known of it lies in `run/machines/ID/`, so any
process can take over from one that died.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from effects import Refusal, write_atomic
from lab import kinds, netns, paths, process, vpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv4Network
    from pathlib import Path

    from lab.inventory import Instance

ON = "on"
OFF = "off"
"""Stopped by the API; starts again when the instance does."""
CUT = "cut"
"""Lost its power, or ended by itself: stays dark until the instance is stopped or terminated."""
LOST = "lost"
"""As `CUT`, and Auto Scaling has heard of it."""

_ENVIRONMENT = (
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME=/root",
    "LANG=C.UTF-8",
    "AWS_ENDPOINT_URL=http://169.254.170.2",
)


@dataclass(frozen=True)
class Machine:
    """A machine as it is found on disk. `power`: what was last done to it."""

    id: str
    power: str
    alive: bool
    since: float = 0.0
    """When `power` was written, in seconds since the epoch."""

    @property
    def namespace(self) -> str:
        """Its network namespace."""
        return namespace(self.id)


def namespace(instance_id: str) -> str:
    """The network namespace of an instance's machine."""
    return netns.PREFIX + instance_id[:10]


def link(instance_id: str) -> str:
    """The VPC router's interface that leads to an instance's machine."""
    return instance_id[:10]


def preflight() -> None:
    """Refuse, with the cure, what would make every boot fail. Changes nothing."""
    if os.geteuid() != 0:
        raise Refusal("lab", "machines need root", "run it with sudo")
    kinds.present().preflight()


def ensure_image(say: Callable[[str], None]) -> Path:
    """What the lab's machines boot from, made first if it is not there."""
    return kinds.present().ensure(say)


def found() -> dict[str, Machine]:
    """Every machine there is a directory of, by instance id; `power` is "" of a half-made one."""
    directory = _directory()
    if not directory.exists():
        return {}
    return {entry.name: find(entry.name) for entry in sorted(directory.iterdir())}


def find(instance_id: str) -> Machine:
    """The machine of an instance."""
    alive = process.find(instance_id) is not None
    try:
        record = json.loads(_record(instance_id).read_text())
        return Machine(instance_id, record["power"], alive, float(record["since"]))
    except (OSError, ValueError, KeyError):
        return Machine(instance_id, "", alive)


def match(name: str) -> str:
    """The id of the one machine whose id begins with `name`; `Refusal` if it is not exactly one."""
    ids = [one for one in found() if one.startswith(name)]
    if len(ids) != 1:
        there = ", ".join(found()) or "none"
        why = "more than one machine begins so" if ids else "no such machine"
        raise Refusal(f"machine {name!r}", why, f"there are: {there}")
    return ids[0]


def wire(instance: Instance, subnet: IPv4Network) -> None:
    """Give the instance a namespace with its address and its link; no packet passes yet."""
    (_directory() / instance.id).mkdir(mode=0o755, parents=True, exist_ok=True)
    netns.create(namespace(instance.id))
    vpc.attach(namespace(instance.id), instance.attachment(), subnet, mac=instance.mac)


def boot(instance_id: str, image: Path) -> None:
    """Switch a wired machine on. Returns when it runs; it then boots on its own."""
    _write(instance_id, ON)
    directory = _directory() / instance_id
    kinds.present().start(instance_id, directory, image, namespace(instance_id))


def is_on(instance_id: str) -> bool:
    """Whether it has power."""
    return kinds.present().is_on(instance_id)


def power_off(instance_id: str, power: str) -> None:
    """Cut the power: the network is gone first, so not even a closing socket says good-bye.

    `power` is what it stays afterwards, `OFF` or `CUT`. The disk and the namespace stay.
    """
    _write(instance_id, power)
    vpc.detach(link(instance_id))
    kinds.present().kill(instance_id)


def reset(instance_id: str) -> None:
    """Press its reset button: its kernel forgets all, and it boots again from its disk.

    It is switched on again by the daemon that keeps the machines, within a second.
    """
    power_off(instance_id, CUT)
    netns.delete(namespace(instance_id))
    _write(instance_id, OFF)


def freeze(instance_id: str) -> None:
    """Stop all that runs in it, until `thaw`; `Refusal` if it is not on."""
    kinds.present().freeze(instance_id)


def thaw(instance_id: str) -> None:
    """Let it go on from where it was; `Refusal` if it is not on."""
    kinds.present().thaw(instance_id)


def report(instance_id: str) -> None:
    """Note that Auto Scaling has heard of a machine that has lost its power."""
    _write(instance_id, LOST)


def destroy(instance_id: str) -> None:
    """Power off and remove all there is of a machine; nothing happens if there is nothing."""
    if (_directory() / instance_id).exists():
        power_off(instance_id, CUT)
        shutil.rmtree(_directory() / instance_id)
    netns.delete(namespace(instance_id))


def destroy_all() -> None:
    """Remove every machine, and what crashed runs left of some."""
    for instance_id in found():
        destroy(instance_id)
    for name in netns.names():
        if name.startswith(netns.PREFIX + "i-"):
            netns.delete(name)
    kinds.present().clear()


def command_in(instance_id: str, command: Sequence[str]) -> list[str]:
    """The command that runs `command` as root inside the machine; `Refusal` if it is not on."""
    words = ["env", "-i", *_ENVIRONMENT, *command]
    return kinds.present().enter(instance_id, words)


def _write(instance_id: str, power: str) -> None:
    record = {"power": power, "since": time.time()}
    write_atomic(_record(instance_id), json.dumps(record), mode=0o600)


def _directory() -> Path:
    return paths.run() / "machines"


def _record(instance_id: str) -> Path:
    return _directory() / instance_id / "machine.json"
