"""Machines as containers: Debian under systemd-nspawn, on the host's kernel.

The disk is an overlay over the base tree, and the machine's init a process that the host sees.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from effects import Failed, Refusal, run
from lab import image, paths, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

RECIPE = image.Recipe(
    # The host's kernel may lack WireGuard. No kernel: machines run on the host's.
    packages=(*image.PACKAGES, "wireguard-go"),
    masked=(
        # The lab sets the interface up from outside
        "systemd-networkd.service",
        "systemd-networkd.socket",
        "systemd-networkd-wait-online.service",
        *image.TIMERS,
        # Devices, consoles and kernel features that a container does not have
        "cloud-init-hotplugd.socket",
        "console-getty.service",
        "dev-hugepages.mount",
        "dev-mqueue.mount",
        "getty.target",
        "modprobe@.service",
        "sys-kernel-debug.mount",
        "sys-kernel-tracing.mount",
        "systemd-hwdb-update.service",
        "systemd-modules-load.service",
        "systemd-pstore.service",
        "systemd-udev-settle.service",
        "systemd-udev-trigger.service",
        "systemd-udevd.service",
        "systemd-udevd-control.socket",
        "systemd-udevd-kernel.socket",
    ),
    layers=(image.ROOTFS / "common", image.ROOTFS / "container"),
)

_BOOT = Path(__file__).with_name("boot-machine")
_TUN = Path("/dev/net/tun")
_CGROUPS = ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd")
# Whoever enters a machine comes from the host with all of root's rights, and must not keep those
# that the machine itself does not have: the clock is the host's. The same list is in boot-machine.
_DROP = ("setpriv", "--bounding-set=-sys_time,-sys_module,-sys_rawio", "--")
_START_TIMEOUT = 20.0


class Containers:
    """The kind of machine that the lab has unless it is told otherwise."""

    name = "container"
    healthy_deadline = 240.0

    def preflight(self) -> None:
        """Refuse, with the cure, what would make every boot fail. Changes nothing."""
        if not _TUN.exists():
            raise Refusal(
                str(_TUN),
                "missing: WireGuard needs it in the machines",
                "modprobe tun, or mknod it",
            )
        _try_overlay()

    def ensure(self, say: Callable[[str], None]) -> Path:
        """The base tree, built if it is not there."""
        return image.ensure(RECIPE, say)

    def start(self, instance_id: str, directory: Path, base: Path, namespace: str) -> None:
        """Start the machine; returns when its init runs."""
        for name in ("upper", "work", "root"):
            (directory / name).mkdir(mode=0o755, exist_ok=True)
        command = [str(_BOOT), instance_id, str(directory), str(base), namespace]
        process.start(
            instance_id,
            command,
            ready=lambda: self.is_on(instance_id),
            timeout=_START_TIMEOUT,
        )

    def is_on(self, instance_id: str) -> bool:
        """Whether its init runs."""
        return _init(instance_id) is not None

    def kill(self, instance_id: str) -> None:
        """End it at once."""
        first = _init(instance_id)
        if first is not None:
            # The kernel kills everything in the machine together with its init
            process.end_process(first, signals=[signal.SIGKILL])
        nspawn = process.find(instance_id)
        if nspawn is not None:
            process.end_process(nspawn, signals=[signal.SIGKILL])
        process.stop(instance_id)
        for root in _CGROUPS:
            _remove_cgroup(Path(root) / "gatepair" / instance_id)

    def freeze(self, instance_id: str) -> None:
        """Stop every process in it; what the host's kernel does for it goes on.

        Raises `Refusal` if it is not on.
        """
        stopped: set[int] = set()
        # Until nobody is left who could have started another one meanwhile
        while fresh := _inside(instance_id) - stopped:
            _signal(fresh, signal.SIGSTOP)
            stopped |= fresh

    def thaw(self, instance_id: str) -> None:
        """Let every process in it go on."""
        _signal(_inside(instance_id), signal.SIGCONT)

    def clear(self) -> None:
        """Remove what machines of crashed runs left outside the lab's directory."""
        for root in _CGROUPS:
            _remove_cgroup(Path(root) / "gatepair")

    def enter(self, instance_id: str, command: Sequence[str]) -> list[str]:
        """The command that runs `command` as root inside; `Refusal` if it is not on."""
        first = _running(instance_id)
        return [
            *("nsenter", f"--target={first.pid}", "--mount", "--uts", "--ipc", "--net", "--pid"),
            *("--cgroup", "--root", "--wd", "--", *_DROP, *command),
        ]


def _init(instance_id: str) -> process.Process | None:
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


def _running(instance_id: str) -> process.Process:
    first = _init(instance_id)
    if first is None:
        raise Refusal(f"machine {instance_id}", "it is not running", "see scripts/lab status")
    return first


def _inside(instance_id: str) -> set[int]:
    """The pids, as the host sees them, of all that runs in the machine."""
    own = _pid_namespace(_running(instance_id).pid)
    pids = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()}
    return {pid for pid in pids if own and _pid_namespace(pid) == own}


def _pid_namespace(pid: int) -> str:
    """What names it; empty of a process that has gone."""
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


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


def _remove_cgroup(top: Path) -> None:
    if not top.is_dir():
        return
    for directory, _, _ in os.walk(top, topdown=False):
        # rmdir refuses what still has a process in it
        with contextlib.suppress(OSError):
            Path(directory).rmdir()
