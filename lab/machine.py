"""One machine of the lab: an EC2 instance as a Debian system under systemd-nspawn.

Its disk is an overlay over the base tree (`lab.image`), its network a namespace with one link to
the VPC router (`lab.vpc`). All that is known of it lies in `run/machines/ID/`, so any process can
take over from one that died.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from effects import Failed, Refusal, run, write_atomic
from lab import netns, paths, process, vpc

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network

    from lab.inventory import Instance

ON = "on"
OFF = "off"
"""Stopped by the API; starts again when the instance does."""
CUT = "cut"
"""Lost its power, or ended by itself: stays dark until the instance is stopped or terminated."""
LOST = "lost"
"""As `CUT`, and Auto Scaling has heard of it."""

_BOOT = Path(__file__).with_name("boot-machine")
_TUN = Path("/dev/net/tun")
_CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
# Whoever enters a machine comes from the host with all of root's rights, and must not keep those
# that the machine itself does not have: the clock is the host's. The same list is in boot-machine.
_DROP = ("setpriv", "--bounding-set=-sys_time,-sys_module,-sys_rawio", "--")
_START_TIMEOUT = 20.0
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


def preflight() -> None:
    """Refuse, with the cure, what would make every boot fail. Changes nothing."""
    if os.geteuid() != 0:
        raise Refusal("lab", "machines need root", "run it with sudo")
    if not _TUN.exists():
        raise Refusal(
            str(_TUN), "missing: WireGuard needs it in the machines", "modprobe tun, or mknod it"
        )
    _try_overlay()


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
    directory = _directory() / instance.id
    for name in ("upper", "work", "root"):
        (directory / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    netns.create(namespace(instance.id))
    vpc.attach(namespace(instance.id), instance.attachment(), subnet, mac=instance.mac)


def boot(instance_id: str, base: Path) -> None:
    """Switch a wired machine on. Returns when its init runs; it then boots on its own."""
    directory = _directory() / instance_id
    _write(instance_id, ON)
    command = [str(_BOOT), instance_id, str(directory), str(base), namespace(instance_id)]
    process.start(
        instance_id, command, ready=lambda: init(instance_id) is not None, timeout=_START_TIMEOUT
    )


def power_off(instance_id: str, power: str) -> None:
    """Cut the power: the network is gone first, so not even a closing socket says good-bye.

    `power` is what it stays afterwards, `OFF` or `CUT`. The disk and the namespace stay.
    """
    _write(instance_id, power)
    vpc.detach(instance_id[:10])
    first = init(instance_id)
    if first is not None:
        # The kernel kills everything in the machine together with its init
        process.end_process(first, signals=[signal.SIGKILL])
    nspawn = process.find(instance_id)
    if nspawn is not None:
        process.end_process(nspawn, signals=[signal.SIGKILL])
    process.stop(instance_id)
    _clear_cgroups(instance_id)


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
    for root in _CGROUPS:
        _remove_cgroup(Path(root) / "gatepair")


def command_in(instance_id: str, command: Sequence[str]) -> list[str]:
    """The command that runs `command` as root inside the machine; `Refusal` if it is not on."""
    first = init(instance_id)
    if first is None:
        raise Refusal(f"machine {instance_id}", "it is not running", "see scripts/lab status")
    return [
        *("nsenter", f"--target={first.pid}", "--mount", "--uts", "--ipc", "--net", "--pid"),
        *("--cgroup", "--root", "--wd", "--", *_DROP, "env", "-i", *_ENVIRONMENT, *command),
    ]


def init(instance_id: str) -> process.Process | None:
    """The machine's PID 1 as the host sees it; None before it runs and after it died."""
    nspawn = process.find(instance_id)
    if nspawn is None:
        return None
    todo = [nspawn.pid]
    while todo:
        pid = todo.pop()
        # NSpid lists the pid in every nested namespace: the machine's init is 1 in its own
        if pid != nspawn.pid and _field(pid, "NSpid")[-1:] == ["1"]:
            return process.look(instance_id, pid)
        todo += _children(pid)
    return None


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(word) for word in text.split()]


def _field(pid: int, name: str) -> list[str]:
    """The words of a field of /proc/PID/status."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return next((line.split()[1:] for line in lines if line.startswith(f"{name}:")), [])


def _try_overlay() -> None:
    """Mount a small overlay in the lab's directory: what lies on an overlay itself cannot be one's
    upper layer, for example."""
    paths.prepare()
    with tempfile.TemporaryDirectory(dir=paths.root()) as name:
        top = Path(name)
        for part in ("lower", "upper", "work", "root"):
            (top / part).mkdir()
        options = f"lowerdir={top}/lower,upperdir={top}/upper,workdir={top}/work"
        mount = ["mount", "-t", "overlay", "overlay", "-o", options, str(top / "root")]
        try:
            # In a mount namespace of its own, so that nothing stays
            run(["unshare", "--mount", "--propagation", "private", *mount])
        except Failed as err:
            raise Refusal(
                str(paths.root()),
                f"no overlay can be mounted there ({err.stderr.strip()})",
                f"put the lab on ext4, xfs or tmpfs with {paths.ROOT_VARIABLE}=DIRECTORY",
            ) from err


def _write(instance_id: str, power: str) -> None:
    record = {"power": power, "since": time.time()}
    write_atomic(_record(instance_id), json.dumps(record), mode=0o600)


def _clear_cgroups(instance_id: str) -> None:
    for root in _CGROUPS:
        _remove_cgroup(Path(root) / "gatepair" / instance_id)


def _remove_cgroup(top: Path) -> None:
    if not top.is_dir():
        return
    for directory, _, _ in os.walk(top, topdown=False):
        # rmdir refuses what still has a process in it
        with contextlib.suppress(OSError):
            Path(directory).rmdir()


def _directory() -> Path:
    return paths.run() / "machines"


def _record(instance_id: str) -> Path:
    return _directory() / instance_id / "machine.json"
