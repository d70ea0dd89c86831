"""A run of the lab: what may begin it, how it is brought up, how it ends for certain.

One command at a time changes the lab (`alone`). `up` goes on from whatever it finds; what a killed
run left that cannot be gone on from is removed first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effects import Failed, Refusal, run
from lab import (
    api,
    balancer,
    clients,
    cloud,
    edge,
    host,
    kinds,
    machine,
    machines,
    metadata,
    netns,
    paths,
    process,
    project,
    proofs,
    rolling,
    status,
    vpc,
)
from registry import environment, local_cloud

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    Say = Callable[[str], None]

PROGRAMS = (
    *("bridge", "chronyd", "conntrack", "dnsmasq", "ip", "mmdebstrap", "mount", "nft", "nsenter"),
    *("ping", "ss", "systemd-nspawn", "unshare", "wg", "wg-quick", "wireguard-go"),
)
FREE_DISK = 4 << 30
"""Bytes: the base image, what mmdebstrap needs to make it, and the machines' own writing."""
TUN = Path("/dev/net/tun")
CLIENTS = ("alice", "bob")
CHANGES = ("created", "updated", "replaced", "deleted")
"""What a deployment does to a resource."""
_DEPLOY_DEADLINE = 300.0
_PLANNED = 3
"""Exit status of a plan that has changes."""
_NETNS_FILES = Path("/etc/netns")


def preflight(stack_file: Path | None = None, kind: kinds.Kind = kinds.CONTAINER) -> None:
    """Refuse what would fail later, with the cure, before anything is created."""
    project.load(paths.CHECKOUT, local_cloud.STACK, stack_file)
    if os.geteuid() != 0:
        raise Refusal("lab", "needs root for namespaces and machines", "run it with sudo")
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise Refusal(", ".join(missing), "not installed", "run scripts/install")
    if not TUN.is_char_device():
        cure = "modprobe tun; or mkdir -p /dev/net && mknod /dev/net/tun c 10 200"
        raise Refusal(str(TUN), "missing, and WireGuard needs it", cure)
    place = next(p for p in (paths.root(), *paths.root().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < FREE_DISK:
        cure = f"free some, or put the lab elsewhere with {paths.ROOT_VARIABLE}=DIRECTORY"
        why = f"{free / 2**30:.1f} GiB free, {FREE_DISK >> 30} GiB are needed"
        raise Refusal(str(place), why, cure)
    kind.preflight()


@contextlib.contextmanager
def alone(what: str, program: str = "scripts/lab ") -> Generator[None]:
    """Be the only command that changes the lab. Raises `Refusal` naming the one that does."""
    paths.root().mkdir(mode=0o700, parents=True, exist_ok=True)
    # Not removed at the end: whoever opened it before would lock a file nobody else can see
    with paths.lock().open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "another command"
            raise Refusal("lab", f"{holder} is at work", "wait until it has ended") from None
        lock.truncate(0)
        lock.write(f"{program}{what} (pid {os.getpid()})\n")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def up(stack_file: Path | None, say: Say, kind: kinds.Kind = kinds.CONTAINER) -> proofs.Scene:
    """Bring the lab up, or what of it is missing; returns who takes part in the proofs.

    `kind` is the machines', as `kinds.wanted` said.
    """
    if process.find(cloud.NAME) is None and _begun():
        # With the cloud went all that the rest was made by
        say("clearing what a former run left")
        _complain(clear())
    paths.prepare()
    kinds.choose(kind)
    say(f"base image {kind.ensure(say).name}")
    edge.create()
    vpc.up()
    if not netns.has_link(netns.End(edge.BALANCER, "vpc-lb")):
        vpc.attach_balancer()
    cloud.start()
    say("networks and cloud")
    metadata.start()
    machines.start(say)
    say(f"deploying stacks/Pulumi.lab.yaml: {deploy(stack_file)}")
    process.start("balancer", process.daemon("balancer"), ready=balancer.ready)
    if environment.find(local_cloud.STACK).api_function:
        api.start()
        say(f"HTTP API; {paths.api()} says where, and has a key to sign with")
    address = host.create()
    say(f"private host {address}")
    rolling.await_replaced(say)
    await_healthy(say, kind.healthy_deadline)
    tunnels = [clients.up(name, applied) for name in CLIENTS]
    served = status.read().public_keys
    renewed = [one.client.name for one in tunnels if clients.renew(one, served)]
    say(f"clients {', '.join(CLIENTS)}")
    if renewed:
        say(f"their server key is retired, new configs for {', '.join(renewed)}")
    return proofs.scene(tunnels, address)


def deploy(stack_file: Path | None) -> str:
    """Deploy the program to the cloud; returns what changed, in one line."""
    changes = deployed(stack_file)
    counts = [f"{len(changes[kind])} {kind}" for kind in CHANGES if changes[kind]]
    return ", ".join(counts) or "no change"


def deployed(stack_file: Path | None, *, plan: bool = False) -> dict[str, Any]:
    """Deploy the program to the cloud, or say what that would do; returns `engine.Changes`' fields.

    Raises `Refusal` for what the program refuses, `Failed` when it does not get through.
    """
    command = process.daemon("deploy", "--json", *(["--plan"] if plan else []))
    if stack_file is not None:
        command += ["--stack-file", str(stack_file.resolve())]
    # One at a time: a former command may have been killed, and not what it had started
    process.outlast("deploy", timeout=_DEPLOY_DEADLINE)
    env = process.mark("deploy")
    done = run(command, timeout=_DEPLOY_DEADLINE, check=False, cwd=paths.CHECKOUT, env=env)
    if done.status == 2:  # noqa: PLR2004 - the program's own word for refused input
        raise Refusal("the program", done.stderr.strip().removeprefix("deploy: "), "")
    if done.status not in {0, _PLANNED}:
        raise Failed(command, done.status, done.stderr)
    if not plan:
        # What the operator of the VPC's other hosts would do by hand
        host.follow()
    return json.loads(done.stdout.strip().splitlines()[-1])


def applied() -> bool:
    """Whether every gateway has applied what is in the registry."""
    return status.read().well


def await_healthy(say: Say, timeout: float) -> None:
    """Wait until every gateway serves; raises `TimeoutError` with what is wrong instead."""
    end = time.monotonic() + timeout
    before = ""
    while True:
        now = status.read()
        if now.well:
            return
        if (summary := _summary(now)) != before:
            say(f"waiting for the gateways: {summary}")
            before = summary
        if time.monotonic() > end:
            text = "\n  ".join(status.lines(now))
            message = f"the gateways are not healthy after {timeout:g} s:\n  {text}"
            raise TimeoutError(message)
        time.sleep(0.3)


def clear() -> list[str]:
    """End and remove all there is of a run; returns what is still there, nothing if all went."""
    # What would make things anew goes first
    for name in (machines.NAME, metadata.NAME, "balancer"):
        process.stop(name)
    for client in edge.clients():
        with contextlib.suppress(Failed):
            clients.down(client.name)
    machine.destroy_all()
    for one in (*process.running(), *process.strays()):
        process.end_process(one)
    for name in netns.names():
        clients.end_processes(name)
        netns.delete(name)
    _unmount()
    for directory in _NETNS_FILES.glob(f"{netns.PREFIX}*"):
        shutil.rmtree(directory)
    if paths.run().exists():
        shutil.rmtree(paths.run())
    return leftovers()


def remove_image() -> None:
    """Remove the cached base image: the next `up` makes it again, with some downloading."""
    if paths.base().exists():
        shutil.rmtree(paths.base())


def leftovers() -> list[str]:
    """What of a run is still there: namespaces, mounts, processes, files."""
    found = [f"namespace {name}" for name in netns.names()]
    found += [f"mount {place}" for place in _mounts()]
    found += [f"process {one.pid} ({one.name})" for one in process.strays()]
    found += [str(path) for path in _NETNS_FILES.glob(f"{netns.PREFIX}*")]
    if paths.run().exists():
        found.append(str(paths.run()))
    return found


def _begun() -> bool:
    files = (paths.state(), paths.cloud(), *paths.pids().glob("*"))
    return bool(netns.names()) or any(path.exists() for path in files)


def _complain(left: Sequence[str]) -> None:
    if left:
        raise Refusal("lab", f"a former run left {', '.join(left)}", "remove it, then run again")


def _summary(now: status.Status) -> str:
    states = []
    for one in now.gateways:
        found = next((t for t in now.targets if t.id == one.id), None)
        word = "healthy" if one.healthy else (found.state if found else one.lifecycle)
        detail = one.faults[0] if one.faults else (found.description if found else "")
        states.append(f"{one.id[:10]} {word}{f' ({detail})' if detail else ''}")
    return ", ".join(states) or "none is there yet"


def _mounts() -> list[str]:
    """Mount points under the run, the innermost first; octal escapes as in /proc/mounts."""
    places = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    inside = f"{paths.run()}/"
    return sorted((place for place in places if f"{place}/".startswith(inside)), reverse=True)


def _unmount() -> None:
    for place in _mounts():
        run(["umount", "--lazy", place], check=False)


def progress(began: float | None = None) -> Say:
    """Lines on stderr with the seconds since the command began."""
    start = time.monotonic() if began is None else began

    def say(text: str) -> None:
        sys.stderr.write(f"lab {time.monotonic() - start:6.1f} s  {text}\n")
        sys.stderr.flush()

    return say
