"""Which kind of machine a run has, and the kind that has a kernel of its own."""

from __future__ import annotations

import base64
import configparser
import json
import re
import sys
import uuid
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from effects import Refusal
from lab import disk, kinds, machine, paths, qemu

NIC = qemu.Nic("0e:00:00:00:00:01", IPv4Interface("10.20.0.132/28"), "10.20.0.129", 9001)
ADDRESSES = [
    {
        "ifname": "eth0",
        "mtu": 9001,
        "address": "0e:00:00:00:00:01",
        "addr_info": [
            {"family": "inet6", "local": "fe80::1", "prefixlen": 64},
            {"family": "inet", "local": "10.20.0.132", "prefixlen": 28},
        ],
    }
]
ROUTES = [{"dst": "default", "gateway": "10.20.0.129", "dev": "eth0"}]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lab directory of the test's own."""
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path / "lab"))


def command() -> list[str]:
    return qemu.command("i-0123456789abcdef0", NIC, Path("/base"), Path("/run/machine"))


def option(name: str) -> list[str]:
    """What stands behind each `name` of the command."""
    words = command()
    return [words[at + 1] for at, word in enumerate(words) if word == name]


def test_a_run_has_containers_unless_it_begins_otherwise_and_keeps_what_it_has() -> None:
    assert kinds.present() is kinds.CONTAINER
    assert kinds.wanted(kernel=False) is kinds.CONTAINER
    assert kinds.wanted(kernel=True) is kinds.KERNEL
    paths.prepare()
    kinds.choose(kinds.KERNEL)
    assert kinds.present() is kinds.KERNEL
    assert kinds.wanted(kernel=False) is kinds.KERNEL
    assert kinds.wanted(kernel=True) is kinds.KERNEL


def test_a_run_with_containers_cannot_go_on_with_kernels() -> None:
    paths.prepare()
    kinds.choose(kinds.CONTAINER)
    with pytest.raises(Refusal, match="scripts/lab down first"):
        kinds.wanted(kernel=True)


def test_what_the_kernel_kind_lacks_is_refused_with_its_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(qemu.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(qemu.shutil, "which", lambda name: None if "qemu" in name else name)
    with pytest.raises(Refusal, match=r"qemu-system-x86_64, qemu-img: .*scripts/install kernel"):
        kinds.KERNEL.preflight()
    monkeypatch.setattr(qemu.platform, "machine", lambda: "aarch64")
    with pytest.raises(Refusal, match="aarch64"):
        kinds.KERNEL.preflight()


def test_the_machine_takes_over_the_interface_of_its_namespace() -> None:
    assert qemu.read_nic(json.dumps(ADDRESSES), json.dumps(ROUTES)) == NIC
    (device,) = [one for one in option("-device") if one.startswith("virtio-net")]
    assert "mac=0e:00:00:00:00:01" in device
    assert "host_mtu=9001" in device


def test_the_machine_is_told_its_address_for_its_first_moment_and_for_networkd() -> None:
    (line,) = option("-append")
    words = re.findall(r"systemd\.set_credential_binary=([a-z0-9.-]+):(\S+)", line)
    told = {name: base64.b64decode(text).decode() for name, text in words}
    assert told["lab.network"].splitlines() == [
        "address add 10.20.0.132/28 dev eth0",
        "link set eth0 up",
        "route add default via 10.20.0.129 dev eth0",
    ]
    file = configparser.ConfigParser()
    file.read_string(told["network.network.10-eth0"])
    assert file["Match"]["Name"] == "eth0"
    assert file["Network"]["Address"] == "10.20.0.132/28"
    assert file["Network"]["Gateway"] == "10.20.0.129"
    assert " ip=" not in line, "the initial RAM disk would wait for the network"


def test_frames_pass_between_the_tap_and_the_link_both_ways() -> None:
    commands = [" ".join(words) for words in qemu.splice("gp-i-01234567", 9001)]
    assert all(" -n gp-i-01234567 " in one for one in commands)
    assert "ip -n gp-i-01234567 link set vm0 mtu 9001 up" in commands
    ways = [re.search(r"filter replace dev (\S+) .* redirect dev (\S+)", one) for one in commands]
    assert {found.groups() for found in ways if found} == {("eth0", "vm0"), ("vm0", "eth0")}


def test_cloud_init_knows_the_machine_for_an_instance() -> None:
    (smbios,) = option("-smbios")
    fields = dict(one.split("=") for one in smbios.split(","))
    assert fields["serial"] == fields["uuid"]
    assert fields["uuid"].startswith("ec2")
    assert str(uuid.UUID(fields["uuid"])) == fields["uuid"]
    assert qemu.dmi_serial("i-1") != qemu.dmi_serial("i-2")


def test_the_machine_boots_a_kernel_and_a_disk_of_its_own() -> None:
    assert option("-kernel") == ["/base/vmlinuz"]
    assert option("-initrd") == ["/base/initrd"]
    (drive,) = option("-drive")
    assert drive.endswith("file=/run/machine/disk.qcow2"), "the base disk is never written"
    assert option("-accel") == ["tcg"]
    assert option("-rtc") == ["base=utc,clock=host"]


def test_the_clock_that_a_machine_boots_with_can_be_set_ahead() -> None:
    paths.prepare()
    (paths.run() / qemu.CLOCK_AHEAD).write_text("60")
    (clock,) = option("-rtc")
    base, _, rest = clock.removeprefix("base=").partition(",")
    ahead = datetime.fromisoformat(base).replace(tzinfo=UTC) - datetime.now(UTC)
    assert timedelta(seconds=55) < ahead < timedelta(seconds=65)
    assert rest == "clock=host", "and goes on from there"


def test_the_way_in_is_the_agent_and_only_while_the_machine_is_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths.prepare()
    kinds.choose(kinds.KERNEL)
    with pytest.raises(Refusal, match="not running"):
        machine.command_in("i-1", ["true"])
    monkeypatch.setattr(type(kinds.KERNEL), "is_on", lambda *_: True)
    words = machine.command_in("i-1", ["wg", "show"])
    assert words[2:5] == [sys.executable, "-m", "lab.guest"]
    assert words[5] == str(paths.run() / "machines/i-1/agent.sock")
    assert words[6] == "/usr/bin/env"
    assert words[-2:] == ["wg", "show"]


def test_packing_leaves_a_disk_and_what_boots_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = tmp_path / "tree"
    (tree / "boot").mkdir(parents=True)
    (tree / "boot/vmlinuz-6.12").write_text("kernel")
    ran: list[list[str]] = []

    def run(words: list[str], **_: object) -> None:
        ran.append(words)
        if "update-initramfs" in words:
            (tree / "boot/initrd.img-6.12").write_text("made anew")
        else:
            assert not list((tree / "boot").iterdir()), "the kernel is beside the disk, not on it"

    monkeypatch.setattr(disk, "run", run)
    disk.pack(tree)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["tree"]
    assert sorted(entry.name for entry in tree.iterdir()) == ["initrd", "root.ext4", "vmlinuz"]
    assert (tree / "initrd").read_text() == "made anew"
    assert (tree / "root.ext4").stat().st_size == disk.SIZE
    assert ran[-1][0] == "mkfs.ext4"
    assert str(tree) in ran[-1]
