"""Machines with a kernel of their own: Debian's cloud kernel under QEMU, emulated.

The machine stands behind the `eth0` that its namespace has: all that arrives there is handed to a
tap and back, untouched, so the rest of the lab sees no difference. It boots its kernel directly,
with a disk over the base disk of `lab.disk`, and looks to cloud-init as an EC2 instance does, by
its DMI strings. Root's way in is QEMU's guest agent (`lab.guest`).

Emulation in software, also where there is KVM: one way that works everywhere, and the same figures.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
import signal
import sys
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

from effects import Refusal, run
from lab import disk, image, netns, paths, process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PROGRAMS = ("qemu-system-x86_64", "qemu-img", "mkfs.ext4", "chroot", "tc")
CLOCK_AHEAD = "clock-ahead"
"""File of a run, if there is one: seconds by which the real-time clock of machines that start from
now on is ahead."""
MEMORY = 768
"""MiB. Booting takes the most, by cloud-init and apt's caches; a gateway then runs in a third."""
TAP = "vm0"
CHANNEL = "agent.sock"
_START_TIMEOUT = 20.0


@dataclass(frozen=True)
class Nic:
    """What the machine takes over from its namespace's `eth0`."""

    mac: str
    address: IPv4Interface
    router: str
    mtu: int


class Virtual:
    """The kind of machine that `scripts/lab up --kernel` has."""

    name = "kernel"
    # Two of them boot at once, and each instruction costs several
    healthy_deadline = 900.0

    def preflight(self) -> None:
        """Refuse, with the cure, what would make every boot fail. Changes nothing."""
        if platform.machine() != "x86_64":
            raise Refusal(
                "--kernel", f"this machine is {platform.machine()}", "it needs an x86_64 one"
            )
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise Refusal(", ".join(missing), "not installed", "run scripts/install kernel")

    def ensure(self, say: Callable[[str], None]) -> Path:
        """The base disk with its kernel, built if it is not there."""
        return image.ensure(disk.RECIPE, say)

    def start(self, instance_id: str, directory: Path, base: Path, namespace: str) -> None:
        """Start the machine; returns when QEMU runs."""
        overlay = directory / "disk.qcow2"
        if not overlay.exists():
            backing = ["-F", "raw", "-b", str(base / disk.ROOT)]
            run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(overlay)])
        nic = read_nic(
            netns.ip(namespace, "-json", "address", "show", "dev", "eth0").stdout,
            netns.ip(namespace, "-json", "route", "show", "default").stdout,
        )
        netns.delete_link(netns.End(namespace, TAP))
        for words in splice(namespace, nic.mtu):
            run(words)
        channel = directory / CHANNEL
        channel.unlink(missing_ok=True)
        process.start(
            instance_id,
            netns.within(namespace, command(instance_id, nic, base, directory)),
            ready=channel.exists,
            timeout=_START_TIMEOUT,
        )

    def is_on(self, instance_id: str) -> bool:
        """Whether QEMU runs."""
        return process.find(instance_id) is not None

    def kill(self, instance_id: str) -> None:
        """End it at once."""
        found = process.find(instance_id)
        if found is not None:
            process.end_process(found, signals=[signal.SIGKILL])
        process.stop(instance_id)

    def freeze(self, instance_id: str) -> None:
        """Its processor stands still, and its clock goes on: it is the host's."""
        self._signal(instance_id, signal.SIGSTOP)

    def thaw(self, instance_id: str) -> None:
        """Let it go on."""
        self._signal(instance_id, signal.SIGCONT)

    def _signal(self, instance_id: str, number: signal.Signals) -> None:
        found = process.find(instance_id)
        if found is None:
            raise Refusal(f"machine {instance_id}", "it is not running", "see scripts/lab status")
        os.kill(found.pid, number)

    def clear(self) -> None:
        """Nothing of it is outside the lab's directory and its namespaces."""

    def enter(self, instance_id: str, command: Sequence[str]) -> list[str]:
        """The command that has the machine's agent run `command`; `Refusal` if it is not on."""
        if not self.is_on(instance_id):
            raise Refusal(f"machine {instance_id}", "it is not running", "see scripts/lab status")
        channel = paths.run() / "machines" / instance_id / CHANNEL
        here = ["env", f"--chdir={paths.CHECKOUT}", sys.executable, "-m", "lab.guest"]
        # The agent wants the whole path of a program
        return [*here, str(channel), "/usr/bin/env", "--", *command]


def read_nic(addresses: str, routes: str) -> Nic:
    """From the JSON of `ip address show dev eth0` and of `ip route show default`."""
    (link,) = json.loads(addresses)
    (route,) = json.loads(routes)
    inet = next(one for one in link["addr_info"] if one["family"] == "inet")
    address = IPv4Interface(f"{inet['local']}/{inet['prefixlen']}")
    return Nic(link["address"], address, route["gateway"], link["mtu"])


def splice(namespace: str, mtu: int) -> Iterator[list[str]]:
    """The commands that make the tap and tie it to `eth0`, frame by frame, both ways.

    No bridge: that would answer for the machine's addresses itself.
    """
    yield ["ip", "-n", namespace, "tuntap", "add", TAP, "mode", "tap"]
    yield ["ip", "-n", namespace, "link", "set", TAP, "mtu", str(mtu), "up"]
    for one, other in (("eth0", TAP), (TAP, "eth0")):
        yield ["tc", "-n", namespace, "qdisc", "replace", "dev", one, "ingress"]
        everything = ["protocol", "all", "u32", "match", "u32", "0", "0"]
        redirect = ["action", "mirred", "egress", "redirect", "dev", other]
        place = ["dev", one, "parent", "ffff:"]
        yield ["tc", "-n", namespace, "filter", "replace", *place, *everything, *redirect]


def command(instance_id: str, nic: Nic, base: Path, directory: Path) -> list[str]:
    """QEMU with its arguments. The console is its output.

    `-rtc` is the clock that the machine boots with: another base is another time of day.
    """
    ahead = clock_ahead()
    base_time = f"{datetime.now(UTC) + ahead:%Y-%m-%dT%H:%M:%S}" if ahead else "utc"
    serial = dmi_serial(instance_id)
    kernel_line = [
        "root=/dev/vda rw console=ttyS0 net.ifnames=0",
        # For lab-network.service, before cloud-init, and for systemd-networkd, by way of
        # systemd-network-generator(8). Not by ip=: the initial RAM disk would read that, too, and
        # wait for the network
        _credential("lab.network", network_commands(nic)),
        _credential("network.network.10-eth0", network_file(nic)),
        # Guards against what a processor does that is not there
        "mitigations=off",
    ]
    smbios = f"type=1,manufacturer=Amazon EC2,serial={serial},uuid={serial}"
    drive = f"if=none,id=disk,format=qcow2,file={directory / 'disk.qcow2'}"
    channel = f"socket,id=agent,path={directory / CHANNEL},server=on,wait=off"
    return [
        *("qemu-system-x86_64", "-name", instance_id),
        *("-machine", "q35,sata=off,smbus=off,usb=off", "-accel", "tcg"),
        # Not `max`: for all that it can do udev would load modules, of AES to virtualisation
        *("-cpu", "Nehalem", "-smp", "1", "-m", str(MEMORY)),
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-rtc", f"base={base_time},clock=host", "-smbios", smbios),
        *("-kernel", str(base / disk.KERNEL), "-initrd", str(base / disk.INITRD)),
        *("-append", " ".join(kernel_line)),
        *("-drive", drive, "-device", "virtio-blk-pci,drive=disk"),
        *("-netdev", f"tap,id=net,ifname={TAP},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=net,mac={nic.mac},host_mtu={nic.mtu}"),
        *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci", "-chardev", channel),
        *("-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
    ]


def clock_ahead() -> timedelta:
    """By how much a machine that starts now has a wrong clock."""
    try:
        return timedelta(seconds=float((paths.run() / CLOCK_AHEAD).read_text()))
    except (OSError, ValueError):
        return timedelta()


def dmi_serial(instance_id: str) -> str:
    """UUID and serial number, equal and beginning with ec2: by this cloud-init knows an instance.

    EC2 user guide, "Detect whether a host is an EC2 instance".
    """
    return "ec2" + str(uuid.uuid5(uuid.NAMESPACE_OID, instance_id))[3:]


def network_file(nic: Nic) -> str:
    """The machine's `eth0` for systemd-networkd, which would have asked DHCP for the same."""
    lines = ["[Match]", "Name=eth0", "[Network]", f"Address={nic.address}", f"Gateway={nic.router}"]
    return "\n".join([*lines, "IPv6AcceptRA=no", "LinkLocalAddressing=no", ""])


def network_commands(nic: Nic) -> str:
    """The same for `ip -batch`."""
    lines = [f"address add {nic.address} dev eth0", "link set eth0 up"]
    return "\n".join([*lines, f"route add default via {nic.router} dev eth0", ""])


def _credential(name: str, text: str) -> str:
    """A word of the kernel's command line, for systemd (systemd.exec(5), "CREDENTIALS")."""
    return f"systemd.set_credential_binary={name}:{base64.b64encode(text.encode()).decode()}"
