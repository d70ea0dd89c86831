"""What machines with a kernel of their own boot from: a kernel, an initial RAM disk, a base disk.

Made of a tree like the containers' (`lab.image`), with Debian's cloud kernel in it.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from effects import run
from lab import image

if TYPE_CHECKING:
    from pathlib import Path

ROOT, KERNEL, INITRD = "root.ext4", "vmlinuz", "initrd"
SIZE = 2 << 30
"""Bytes of the file system; the file has holes, and takes what is in it."""
_TIMEOUT = 300.0


def pack(tree: Path) -> None:
    """Turn a finished tree, in its place, into `ROOT`, `KERNEL` and `INITRD`."""
    # Anew, with the few modules that the lab's layer names: the emulated machine unpacks it
    run(["chroot", str(tree), "update-initramfs", "-u"], timeout=_TIMEOUT)
    packed = tree.with_name(f"{tree.name}.packed")
    packed.mkdir()
    for pattern, name in (("vmlinuz-*", KERNEL), ("initrd.img-*", INITRD)):
        (found,) = (tree / "boot").glob(pattern)
        shutil.move(found, packed / name)
    with (packed / ROOT).open("wb") as file:
        file.truncate(SIZE)
    run(["mkfs.ext4", "-q", "-F", "-d", str(tree), str(packed / ROOT)], timeout=_TIMEOUT)
    shutil.rmtree(tree)
    packed.rename(tree)


RECIPE = image.Recipe(
    # No wireguard-go: what carries wg0 here can only be the kernel. e2fsprogs: cloud-init wants to
    # make the root file system as large as the disk.
    packages=(*image.PACKAGES, "e2fsprogs", "linux-image-cloud-amd64", "qemu-guest-agent"),
    masked=(
        *image.TIMERS,
        # Nobody sits there, and each costs an emulated machine seconds
        "cloud-init-hotplugd.socket",
        "getty.target",
        "modprobe@drm.service",
        "serial-getty@.service",
        "systemd-binfmt.service",
        "systemd-hwdb-update.service",
        "systemd-logind.service",
        "systemd-pstore.service",
        "systemd-udev-settle.service",
    ),
    layers=(image.ROOTFS / "common", image.ROOTFS / "kernel"),
    prefix="kernel-",
    enabled=("systemd-networkd.service", "lab-network.service"),
    pack=pack,
)
