"""What the lab's machines boot from: a Debian 13 tree, made once by mmdebstrap and cached.

It stands in for the AMI. It lies in `base/DIGEST/`, where the digest covers all that decides what
is in it (`Recipe.facts`), so a changed recipe is a new tree. It is built beside its place and
renamed into it: what has the right name is complete. Each kind of machine has a recipe of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from effects import Failed, Refusal, run
from lab import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

SUITE = "trixie"
PACKAGES = (
    "ca-certificates",
    "chrony",
    "cloud-init",
    "conntrack",
    "dbus",
    "iproute2",
    "iputils-ping",
    "nftables",
    "python3-boto3",
    "python3-prometheus-client",
    "systemd",
    "systemd-sysv",
    "udev",
    "wireguard-tools",
)
"""What Debian's cloud image has or the gateways' user data asks for."""

TIMERS = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
)
"""Would only load the processor while something is being measured."""

ROOTFS = Path(__file__).parent / "rootfs"
"""Files laid over the trees: `common/` over each, and a folder for each kind of machine."""

# Nothing in a machine reads them, and they are a fifth of the tree
_EXCLUDED = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")
_FORMAT = 2
"""Raise it when the code below makes another tree out of the same recipe."""
_BUILD_TIMEOUT = 1200.0
_NEEDED_BYTES = 1_500_000_000
_REPORT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one kind of machine's tree is made."""

    packages: tuple[str, ...]
    masked: tuple[str, ...]
    """Units that never start."""
    layers: tuple[Path, ...]
    """Directories laid over the tree, in this order."""
    prefix: str = ""
    """Of the names that its trees have under `base/`."""
    enabled: tuple[str, ...] = ()
    """Units that start at boot besides those that their packages enable."""
    pack: Callable[[Path], None] | None = None
    """Turns the finished tree, in its place, into what is booted."""

    def facts(self) -> dict[str, str]:
        """All that decides what is in the tree, as name -> value."""
        files = {
            f"file {path.relative_to(layer)}": f"{path.stat().st_mode & 0o777:o} {_digest(path)}"
            for layer in self.layers
            for path in sorted(layer.rglob("*"))
            if path.is_file()
        }
        found = {
            "format": str(_FORMAT),
            "suite": SUITE,
            "machine": platform.machine(),
            "packages": " ".join(sorted(self.packages)),
            "masked": " ".join(self.masked),
            "excluded": " ".join(_EXCLUDED),
            **files,
        }
        return found | ({"enabled": " ".join(self.enabled)} if self.enabled else {})

    def location(self) -> Path:
        """Where the tree is, or would be."""
        text = "\n".join(f"{name}={value}" for name, value in sorted(self.facts().items()))
        return paths.base() / f"{self.prefix}{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def ensure(recipe: Recipe, say: Callable[[str], None]) -> Path:
    """Return the tree, building it first if it is not there (a minute, and some downloading).

    `say` gets a line of progress every few seconds. Trees of former recipes of this kind are
    removed, also what a killed build left. Raises `Refusal` when the disk is too full, `Failed`
    when mmdebstrap fails.
    """
    tree = recipe.location()
    if tree.is_dir():
        return tree
    paths.base().mkdir(mode=0o700, parents=True, exist_ok=True)
    with _alone(say):
        if not tree.is_dir():
            _clean(recipe.prefix, keep=tree)
            _build(recipe, tree, say)
    return tree


def sources(targets: str, codename: str) -> list[str]:
    """The host's Debian archives as one-line apt sources for `SUITE`.

    `targets` are lines `CREATED_BY RELEASE COMPONENT REPO_URI` of `apt-get indextargets`. Taken are
    the host's release itself, its updates and its security archive, over http(s) only; nothing if
    the release itself is not among them (then mmdebstrap's own choice is better than half of ours).
    """
    found: dict[str, str] = {}
    for line in targets.splitlines():
        kind, release, component, uri = [*line.split(), "", "", "", ""][:4]
        wanted = release in {codename, f"{codename}-updates", f"{codename}-security"}
        if kind == "Packages" and wanted and component == "main" and uri.startswith("http"):
            suite = SUITE + release.removeprefix(codename)
            found.setdefault(suite, f"deb {uri} {suite} main")
    return [found[suite] for suite in sorted(found)] if SUITE in found else []


def codename(os_release: str) -> str | None:
    """The host's Debian release by its /etc/os-release; None if it is another distribution."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    if fields.get("ID", "").strip('"') != "debian":
        return None
    return fields.get("VERSION_CODENAME", "").strip('"') or None


def command(
    recipe: Recipe, tree: Path, log: Path, archives: list[str], options: list[str]
) -> list[str]:
    """The mmdebstrap command that makes `tree`. `options` are apt options of the host to keep."""
    return [
        # Its many children share a namespace that dies with this process, however it dies
        *("setpriv", "--pdeathsig=KILL"),
        *("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
        "mmdebstrap",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(recipe.packages)}",
        f"--logfile={log}",
        "--aptopt=Acquire::Retries=3",
        *[f"--aptopt={option}" for option in options],
        *[f"--dpkgopt=path-exclude={pattern}" for pattern in _EXCLUDED],
        SUITE,
        str(tree),
        *archives,
    ]


def _build(recipe: Recipe, tree: Path, say: Callable[[str], None]) -> None:
    free = shutil.disk_usage(paths.base()).free
    if free < _NEEDED_BYTES:
        raise Refusal(
            str(paths.base()),
            f"{free // 1_000_000} MB free, the machines' base tree needs {_NEEDED_BYTES // 10**6}",
            f"make room, or put the lab elsewhere with {paths.ROOT_VARIABLE}=DIRECTORY",
        )
    say(f"machines: making their Debian {SUITE} tree, once (about a minute) ...")
    building = paths.base() / f".building-{os.getpid()}"
    log = paths.base() / "build.log"
    log.unlink(missing_ok=True)
    started = time.monotonic()
    making = command(recipe, building, log, _host_archives(), _host_options())
    with _reporting(log, say):
        run(making, timeout=_BUILD_TIMEOUT)
    _finish(recipe, building)
    if recipe.pack is not None:
        recipe.pack(building)
    # Without this a crash of the host could leave a complete name with empty files in it
    os.sync()
    building.rename(tree)
    say(f"machines: tree made in {time.monotonic() - started:.0f} s")


def _finish(recipe: Recipe, tree: Path) -> None:
    """What the packages do not do: our files, units, and no identity."""
    # Debian's may be a link that points out of the tree
    (tree / "etc/resolv.conf").unlink(missing_ok=True)
    for layer in recipe.layers:
        shutil.copytree(layer, tree, dirs_exist_ok=True)
    if recipe.enabled:
        run(["chroot", str(tree), "systemctl", "enable", "--quiet", *recipe.enabled])
    units = tree / "etc/systemd/system"
    for unit in recipe.masked:
        (units / unit).unlink(missing_ok=True)
        (units / unit).symlink_to("/dev/null")
    (tree / "etc/hostname").unlink(missing_ok=True)
    # Empty, not missing: each boot gets an id, and none counts as a first boot with its questions
    (tree / "etc/machine-id").write_text("")
    (tree / "var/lib/dbus/machine-id").unlink(missing_ok=True)
    (tree / "var/log/journal").mkdir(exist_ok=True)
    # systemd rebuilds its caches at boot unless these are newer than /usr
    (tree / "etc/.updated").touch()
    (tree / "var/.updated").touch()


def _host_archives() -> list[str]:
    """One-line sources as the host is configured; empty means mmdebstrap's own default."""
    try:
        name = codename(Path("/etc/os-release").read_text())
        if name is None:
            return []
        fields = "$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)"
        return sources(run(["apt-get", "indextargets", "--format", fields]).stdout, name)
    except (OSError, Failed):
        return []


def _host_options() -> list[str]:
    """The host's apt options for reaching an archive (proxy, certificates), if it has any."""
    dump = run(["apt-config", "dump", "--format", '%f "%v";%n'], check=False).stdout
    prefixes = ("Acquire::http::", "Acquire::https::")
    return [line.strip() for line in dump.splitlines() if line.startswith(prefixes)]


def _clean(prefix: str, *, keep: Path) -> None:
    ours = re.compile(rf"\.building-\d+(\.packed)?|{re.escape(prefix)}[0-9a-f]{{16}}")
    for entry in paths.base().iterdir():
        if entry.is_dir() and entry != keep and ours.fullmatch(entry.name):
            shutil.rmtree(entry)


@contextmanager
def _alone(say: Callable[[str], None]) -> Generator[None]:
    """One build at a time; the kernel frees the lock of a killed one."""
    with (paths.base() / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("machines: another process is making their tree, waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _reporting(log: Path, say: Callable[[str], None]) -> Generator[None]:
    """While the block runs, say every few seconds what mmdebstrap is doing."""
    done = threading.Event()
    started = time.monotonic()

    def report() -> None:
        while not done.wait(_REPORT_SECONDS):
            say(f"machines: {time.monotonic() - started:.0f} s: {_latest(log)}")

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _latest(log: Path) -> str:
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    steps = [line.removeprefix("I: ") for line in lines if line.startswith("I: ")]
    return steps[-1] if steps else "starting"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
