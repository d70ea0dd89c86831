"""The ground a bench stands on: the lab, its gateways, its cloud, and the way back.

A lab that runs is used and left as it was; otherwise it is brought up, and ended with the bench.
No other command may change it meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from bench.command import NotMeasured
from commands.stacks import Stack, connect
from effects import Failed, Refusal, run
from lab import cloud, host, machine, paths, process, session, status
from registry import local_cloud
from registry.confirmation import Awaited
from registry.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from bench.command import Say
    from effects import Ran
    from registry.items import Head

WELL_LIMIT = 30.0
"""Seconds in which a lab that runs already has to show that it is well."""

APPLIED_LIMIT = 120.0
"""Seconds for every gateway to apply what a bench has written, thousands of peers included."""

COMMAND_LIMIT = 60.0
"""Seconds for one of the operator's commands, its wait for confirmation included."""


@dataclass
class Ground:
    """The lab while a bench has it."""

    say: Say
    stack: Stack
    host: IPv4Address
    directory: Path
    exits: ExitStack
    """Undone at the end, last first, unless the whole lab goes."""
    ours: bool
    """The lab was brought up for this bench."""

    def gateways(self) -> dict[str, IPv4Address]:
        """Instance id -> private address of every gateway, in the order of their ids."""
        return {one.id: IPv4Address(one.address) for one in status.read().gateways}

    def undo(self, call: Callable[..., object], *arguments: object) -> None:
        """Call it at the end; what goes wrong in it stops nothing else. Not if the lab goes."""
        if not self.ours:
            self.exits.callback(self._try, call, *arguments)

    def _try(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception as err:  # noqa: BLE001 - the rest has to be undone too
            self.say(f"not undone: {getattr(call, '__name__', call)}: {err}")

    def await_applied(self, head: Head | None = None, within: float = APPLIED_LIMIT) -> float:
        """Return once every gateway has confirmed the registry as it is; seconds that it took."""
        head = head or self.stack.registry.head()
        began = time.monotonic()
        waited = wait(
            self.stack.fleet,
            Awaited(head.generation, head.epoch),
            began=began,
            timeout=within,
            tell=lambda *_: None,
        )
        if not waited.complete:
            silent = ", ".join(one.instance_id for one in waited.silent)
            raise NotMeasured(f"{silent} did not apply change {head.generation}")
        return time.monotonic() - began

    @contextmanager
    def without_cloud(self) -> Generator[None]:
        """The cloud answers nobody meanwhile: its process is stopped, and goes on with what it had.

        Connections hang, which is worse for a gateway than a refusal.
        """
        found = process.find(cloud.NAME)
        if found is None:
            raise NotMeasured("the lab's cloud does not run")
        os.kill(found.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(found.pid, signal.SIGCONT)


@contextmanager
def standing(name: str, say: Say) -> Generator[Ground]:
    """The lab for bench `name`. Raises `Refusal` when it cannot be had."""
    session.preflight()
    with session.alone(f"bench/{name}.py", program=""), ExitStack() as last:
        ours = process.find(cloud.NAME) is None
        last.callback(_end, ours, say)
        if ours:
            session.up(None, say)
        else:
            _must_be_well()
        exits = last.enter_context(ExitStack())
        directory = paths.run() / "bench"
        directory.mkdir(mode=0o700, exist_ok=True)
        ground = Ground(say, connect(local_cloud.STACK), host.create(), directory, exits, ours)
        with _deaf_at_the_end():
            yield ground
            say("leaving the lab as it was" if not ours else "ending the lab")


@contextmanager
def _deaf_at_the_end() -> Generator[None]:
    """From the end on, whatever it is, another Ctrl-C does not cut the cleaning up short."""
    try:
        yield
    finally:
        _deafen()


def _deafen() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _must_be_well() -> None:
    try:
        session.await_healthy(lambda _: None, WELL_LIMIT)
    except TimeoutError as err:
        raise Refusal("the lab", str(err), "scripts/lab down, then again") from err


def _end(ours: bool, say: Say) -> None:
    if not ours:
        return
    _deafen()
    left = session.clear()
    if left:
        say(f"still there: {', '.join(left)}")


def operators_command(
    name: str, *words: str, check: bool = True, limit: float = COMMAND_LIMIT
) -> Ran:
    """One of the operator's commands on the lab's stack, as a process of its own.

    It may take `limit` seconds.
    """
    script = str(paths.CHECKOUT / "scripts" / name)
    command = [sys.executable, script, "--stack", local_cloud.STACK, *words]
    env = process.mark(f"bench-{name}-{words[0]}")
    return run(command, timeout=limit, check=check, env=env)


def surroundings(ground: Ground) -> Mapping[str, Any]:
    """What every bench's figures depend on."""
    gateways = ground.gateways()
    return {
        "gateways": len(gateways),
        "wireguard": _wireguard(next(iter(gateways))),
        "cloud": "moto, on this machine",
        "processors": os.cpu_count() or 0,
        "load_before": load(),
        "kernel": platform.release(),
    }


def load() -> float:
    """How many processes have wanted a processor in the last minute, on average. With more of them
    than there are processors, what is measured waits for its turn like everything else."""
    return round(os.getloadavg()[0], 2)


def _wireguard(gateway: str) -> str:
    """What carries wg0 on a gateway: the kernel's WireGuard, or a process."""
    with contextlib.suppress(Failed):
        command = machine.command_in(gateway, ["ip", "-d", "link", "show", "wg0"])
        if "wireguard" in run(command).stdout:
            return "kernel"
    return "wireguard-go (user space)"
