"""The known peers on disk, so that a restart without AWS serves the last known set.

`peers.set` is the whole set at one generation: a line that says which, then a line for each peer.
`peers.journal` has the changes since, on disk before they count as applied: a peer whose revocation
was confirmed does not come back. The lines are JSON in the registry's own attribute form, read back
by the registry's own parser; lines, and not one document, because the set may be large.
"""

from __future__ import annotations

import io
import json
import logging
import os
from typing import TYPE_CHECKING

from effects import write_atomic
from gateway.peers import KnownPeers, advance
from registry.items import Change, Control, ItemError, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

LONGEST_JOURNAL = 2000
"""Lines, after which the whole set is written anew."""


class PeerCache:
    """Files in the agent's state directory."""

    def __init__(self, directory: Path) -> None:
        self._whole, self._journal = directory / "peers.set", directory / "peers.journal"
        self._lines = 0
        self.recent: tuple[Change, ...] = ()
        """The changes in the journal that led to what `load` returned."""

    def load(self) -> KnownPeers | None:
        """The last known set; None when there is none that can be trusted."""
        try:
            with self._whole.open() as lines:
                known = _known(lines)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, ItemError) as err:
            log.warning("peers on disk are not readable and are not used: %s", err)
            return None
        step = advance(known, self._read_journal(known.epoch))
        self.recent = step.applied
        return step.known

    def _read_journal(self, epoch: str) -> list[Change]:
        changes: list[Change] = []
        self._lines = LONGEST_JOURNAL  # nothing is added to it before it has been read whole
        try:
            text = self._journal.read_text()
        except OSError:
            text = ""
        for line in text.splitlines():
            try:
                document = json.loads(line)
                if document["epoch"] == epoch:
                    changes.append(Change.from_item(document["change"]))
            except (ValueError, KeyError, TypeError, ItemError):
                return changes  # cut off by a crash: this change was never confirmed
        self._lines = len(changes)
        return changes

    def append(self, known: KnownPeers, changes: Sequence[Change]) -> None:
        """Note `changes`, which have led to `known`."""
        if self._lines + len(changes) > LONGEST_JOURNAL or not self._whole.exists():
            self.replace(known)
            return
        lines = (
            json.dumps({"epoch": known.epoch, "change": change.to_item()}) for change in changes
        )
        fresh = not self._journal.exists()
        handle = os.open(self._journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(handle, "a") as out:
            out.writelines(f"{line}\n" for line in lines)
            out.flush()
            os.fsync(out.fileno())
        if fresh:
            _sync_directory(self._journal.parent)
        self._lines += len(changes)

    def replace(self, known: KnownPeers) -> None:
        """Write the whole set. The older journal is harmless until it is gone: it is in the set."""
        head = {
            "epoch": known.epoch,
            "generation": known.generation,
            "unreadable": known.unreadable,
            "peers": len(known.peers),
        }
        lines = io.BytesIO()
        lines.write(f"{json.dumps(head)}\n".encode())
        for peer in known.peers.values():
            lines.write(f"{json.dumps(peer.to_item())}\n".encode())
        write_atomic(self._whole, lines.getvalue(), mode=0o600)
        _sync_directory(self._whole.parent)
        self._journal.unlink(missing_ok=True)
        self._lines = 0


def _known(lines: Iterator[str]) -> KnownPeers:
    head = json.loads(next(lines, ""))
    found = (Peer.from_item(json.loads(line)) for line in lines)
    peers = {peer.name: peer for peer in found}
    if len(peers) != head["peers"]:
        raise ValueError(f"{len(peers)} peers where {head['peers']} are due")
    return KnownPeers(
        epoch=head["epoch"],
        generation=int(head["generation"]),
        peers=peers,
        unreadable=int(head["unreadable"]),
    )


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class ServedCache:
    """What else the gateway has to remember: what it served, and what it was told."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "served.json"

    def load(self) -> tuple[tuple[int, ...], bool, Control | None, tuple[str, ...]]:
        """Generations served, whether all were served at once, the control item, the gateways."""
        try:
            document = json.loads(self._path.read_text())
            control = document["control"]
            return (
                tuple(int(number) for number in document["generations"]),
                bool(document["complete"]),
                None if control is None else Control.from_item(control),
                tuple(str(address) for address in document["gateways"]),
            )
        except (OSError, ValueError, KeyError, TypeError, ItemError):
            return (), False, None, ()

    def save(
        self,
        generations: tuple[int, ...],
        control: Control | None,
        gateways: tuple[str, ...],
        *,
        complete: bool,
    ) -> None:
        """Replace it in one step."""
        document = {
            "generations": generations,
            "complete": complete,
            "control": None if control is None else control.to_item(),
            "gateways": gateways,
        }
        write_atomic(self._path, json.dumps(document), mode=0o600)
