"""Has the pre-shared keys decrypted that the known peers need; the main thread goes on meanwhile.

KMS is asked once for each ciphertext. While it is away nothing changes for a peer whose key is
here; one whose key is not is left out, by name, and tried again.
"""

from __future__ import annotations

import base64
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from gateway.aws import reason
from gateway.messages import PresharedSeen
from gateway.preshared import seal
from gateway.registry_watch import TAKEN_OVER_WITHIN
from registry.preshared import context

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from gateway.messages import Message
    from gateway.peers import KnownPeers
    from gateway.preshared import Opened, Preshared, PresharedFiles
    from gateway.status import Board
    from registry.items import Peer

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds after which it looks again, if no peers are published before."""

AGAIN = 30.0
"""Seconds before a ciphertext that KMS refused is tried again: somebody may have mended it."""

AT_ONCE = 8
"""Requests under way at a time, far below KMS's quotas: a thousand keys in 2.4 s where each takes
10 ms."""

BATCH = 256
"""Keys after which the main thread is told, so that the first peers do not wait for the last."""

BUSY = {
    "DependencyTimeoutException",
    "InternalFailure",
    "KMSInternalException",
    "LimitExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}
"""Error codes that say nothing of a ciphertext."""


class Unavailable(OSError):  # noqa: N818 - an answer
    """KMS does not answer, or not now; said of no single peer."""


class Opener:
    """Decrypts. `connect` makes the KMS client when it is first needed: most stacks never do."""

    def __init__(self, connect: Callable[[], Any], stack: str) -> None:
        self._connect, self._stack = connect, stack
        self._client: Any = None

    def connect(self) -> None:
        """Make the client; not by several threads at once, which boto3's sessions do not bear."""
        if self._client is None:
            self._client = self._connect()

    def open(self, peer: Peer) -> bytes:
        """The key in the clear. Raises `ClientError` for a refusal, and `Unavailable`.

        The policies allow one KMS key only, so a ciphertext under another one is refused too.
        """
        try:
            answer = self._client.decrypt(
                CiphertextBlob=base64.b64decode(peer.preshared),
                EncryptionContext=context(self._stack, peer.public_key),
            )
        except ClientError as err:
            if err.response.get("Error", {}).get("Code") in BUSY:
                raise Unavailable(reason(err)) from None
            raise
        except BotoCoreError as err:
            raise Unavailable(reason(err)) from None
        return answer["Plaintext"]


@dataclass(frozen=True)
class _Tried:
    """What has become of one ciphertext."""

    name: str
    key: Preshared | None = None
    why: str = ""
    away: bool = False
    """It is KMS that does not answer; the ciphertext may be good."""


class PresharedWatch:
    """One step of its poller."""

    def __init__(
        self,
        opener: Opener,
        files: PresharedFiles,
        board: Board,
        post: Callable[[Message], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opener, self._files, self._board, self._post = opener, files, board, post
        self._now = now
        self._seen: KnownPeers | None = None
        self._not_before: dict[str, float] = {}
        self._faults: dict[str, str] = {}
        self._away = ""

    def step(self) -> float:
        """Decrypt what is due, forget what nobody needs; returns the seconds until the next time.

        Raises `Unavailable`.
        """
        self._board.wait_until(lambda status: status.state.known is not self._seen, INTERVAL)
        state = self._board.status.state
        known = state.known
        if known is None:
            return 0.0
        needed = {seal(peer): peer for peer in known.peers.values() if peer.preshared}
        here = self._files.names()
        self._forget(needed, state.preshared, here)
        due = [
            (name, peer)
            for name, peer in needed.items()
            # a file that somebody has deleted is made anew, before `wg` wants to read it
            if (name not in state.preshared or name not in here)
            and self._now() >= self._not_before.get(name, float("-inf"))
        ]
        self._decrypt(due)
        self._seen = known
        return 0.0

    def _forget(self, needed: Container[str], opened: Opened, here: set[str]) -> None:
        """A file goes only when the published state does without it: `wg` may be reading it."""
        self._faults = {name: why for name, why in self._faults.items() if name in needed}
        self._not_before = {name: at for name, at in self._not_before.items() if name in needed}
        if gone := frozenset(name for name in opened if name not in needed):
            self._post(PresharedSeen({}, dict(self._faults), gone))
        self._files.forget(name for name in here if name not in needed and name not in opened)

    def _decrypt(self, due: Iterable[tuple[str, Peer]]) -> None:
        rest, self._away = iter(due), ""
        while batch := list(islice(rest, BATCH)):
            self._opener.connect()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                tried = [*pool.map(self._try, batch)]
            for (_, peer), one in zip(batch, tried, strict=True):
                self._note(peer, one)
            opened = {one.name: one.key for one in tried if one.key is not None}
            self._post(PresharedSeen(opened, dict(self._faults)))
            self._board.wait_until(
                lambda status, opened=opened: opened.keys() <= status.state.preshared.keys(),
                TAKEN_OVER_WITHIN,
            )
            if away := next((one.why for one in tried if one.away), ""):
                raise Unavailable(away)

    def _try(self, item: tuple[str, Peer]) -> _Tried:
        name, peer = item
        if self._away:  # asking for each of thousands would take its time limit each time
            return _Tried(name, why=self._away, away=True)
        try:
            return _Tried(name, self._files.keep(name, self._opener.open(peer)))
        except Unavailable as err:
            self._away = str(err)
            return _Tried(name, why=self._away, away=True)
        except ClientError as err:
            return _Tried(name, why=reason(err))
        except (ValueError, OSError) as err:
            return _Tried(name, why=str(err))

    def _note(self, peer: Peer, one: _Tried) -> None:
        if one.key is not None:
            self._faults.pop(one.name, None)
            self._not_before.pop(one.name, None)
            return
        if not one.away:
            self._not_before[one.name] = self._now() + AGAIN
        if self._faults.get(one.name) != one.why:
            self._faults[one.name] = one.why
            log.warning("peer %s is left out: its pre-shared key: %s", peer.name, one.why)
