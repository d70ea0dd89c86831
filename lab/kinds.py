"""The kinds of machine, and which of them this run of the lab has.

A run has one kind, chosen when it begins and written down in its directory: every command and
daemon of the lab finds it there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from effects import Refusal, write_atomic
from lab import nspawn, paths, qemu

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


class Kind(Protocol):
    """What a kind of machine has to know; all else about machines is the same for each."""

    @property
    def name(self) -> str:
        """What a run writes down."""
        ...

    @property
    def healthy_deadline(self) -> float:
        """Seconds from the first machine's boot until every gateway serves, at the latest."""
        ...

    def preflight(self) -> None:
        """Refuse, with the cure, what would make every boot fail. Changes nothing."""
        ...

    def ensure(self, say: Callable[[str], None]) -> Path:
        """What machines boot from, made if it is not there."""
        ...

    def start(self, instance_id: str, directory: Path, base: Path, namespace: str) -> None:
        """Start a machine in a namespace that has its `eth0`; its own files go to `directory`.

        `base` is what `ensure` returned.

        Its process is `lab.process`'s, under the instance's id.
        """
        ...

    def is_on(self, instance_id: str) -> bool:
        """Whether it runs."""
        ...

    def kill(self, instance_id: str) -> None:
        """End it at once; nothing happens if it does not run."""
        ...

    def freeze(self, instance_id: str) -> None:
        """Stop all that runs in it, as a host that has no time for it would."""
        ...

    def thaw(self, instance_id: str) -> None:
        """Let it go on from where it was."""
        ...

    def clear(self) -> None:
        """Remove what machines of crashed runs left outside the lab's directory."""
        ...

    def enter(self, instance_id: str, command: Sequence[str]) -> list[str]:
        """The host's command that runs `command` as root inside; `Refusal` if it is not on."""
        ...


CONTAINER: Kind = nspawn.Containers()
KERNEL: Kind = qemu.Virtual()
_KINDS = {kind.name: kind for kind in (CONTAINER, KERNEL)}


def present() -> Kind:
    """The kind of this run; containers when none has begun."""
    try:
        return _KINDS[_file().read_text()]
    except FileNotFoundError:
        return CONTAINER


def wanted(kernel: bool) -> Kind:
    """The kind that a run would have; `Refusal` if one has begun with another kind than asked for.

    Without `kernel` a run goes on with the kind it has.
    """
    if not kernel:
        return present()
    if _file().exists() and present() is not KERNEL:
        raise Refusal(
            "--kernel", "the lab is up with machines on the host's kernel", "scripts/lab down first"
        )
    return KERNEL


def choose(kind: Kind) -> None:
    """Write down which kind this run has."""
    write_atomic(_file(), kind.name, mode=0o600)


def _file() -> Path:
    return paths.run() / "kind"
