"""Custody of the server's private keys. The decision is pure; `KeyKeeper` carries it out.

The registry holds each generation's public key, which clients trust; Secrets Manager holds the
private key, under a version id that every gateway computes by itself. Whatever is found, a key that
the registry already names is never replaced by another one.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from effects import Failed, run, write_atomic
from gateway.custody import READ_TRIES, Custody, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gateway.custody import Store

log = logging.getLogger(__name__)


class Step(Enum):
    """What to do about a generation's key."""

    SERVE = auto()
    PUBLISH = auto()
    """The secret has the key and the registry no public key: publish it, then compare."""
    GENERATE = auto()
    REFUSE = auto()


@dataclass(frozen=True)
class Judgement:
    """A step, and why when it is a refusal."""

    step: Step
    why: str = ""


def judge(published: str | None, held: str | None) -> Judgement:
    """What to do when the registry names `published` and the public key of the secret is `held`.

    None: there is none.
    """
    if published is None:
        return Judgement(Step.GENERATE if held is None else Step.PUBLISH)
    if held is None:
        return Judgement(
            Step.REFUSE,
            f"the registry names public key {published}, the secret has no such version: "
            "docs/runbooks/key-refused.md",
        )
    if held != published:
        return Judgement(
            Step.REFUSE,
            f"the registry names public key {published}, the secret holds the key of {held}: "
            "docs/runbooks/key-refused.md",
        )
    return Judgement(Step.SERVE)


class KeyRefused(Exception):  # noqa: N818 - an answer
    """The key must not be served. Looked at again later: an operator may mend it."""


class PublishedKeys(Protocol):
    """The registry's part."""

    def server_key(self, generation: int) -> str | None:
        """The public key that the registry names."""
        ...

    def publish_server_key(self, generation: int, public_key: str, by: str) -> str:
        """Publish unless published; the key that is published then."""
        ...


def generate_private_key() -> str:
    """A new private key, base64."""
    return run(("wg", "genkey")).stdout.strip()


def public_key_of(private_key: str) -> str:
    """Its public key. Raises `KeyRefused` when the text is no private key; never repeats it."""
    try:
        decode(private_key)
    except ValueError as err:
        why = f"the secret's text is no WireGuard private key ({err}): rotate to the next one"
        raise KeyRefused(why) from None
    try:
        return run(("wg", "pubkey"), stdin=private_key.strip() + "\n").stdout.strip()
    except Failed as err:
        raise KeyRefused(f"wg pubkey: exit status {err.status}") from None


class KeyFiles:
    """Private keys on this machine, one file a generation, readable by root alone."""

    def __init__(self, directory: Path, derive: Callable[[str], str] = public_key_of) -> None:
        self._directory, self._derive = directory, derive

    def path(self, generation: int) -> Path:
        """Where `wg set ... private-key` reads it."""
        return self._directory / str(generation)

    def public_key(self, generation: int) -> str | None:
        """Of the key that is kept here; None when there is none or the file is damaged."""
        try:
            return self._derive(self.path(generation).read_text())
        except (OSError, UnicodeDecodeError, KeyRefused):
            return None

    def keep(self, generation: int, private_key: str) -> None:
        """Write it, readable by root alone from the first byte."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomic(self.path(generation), private_key.strip() + "\n", mode=0o600)

    def forget_others(self, keep: Iterable[int]) -> None:
        """Delete the keys of every generation but these."""
        names = {str(generation) for generation in keep}
        if self._directory.is_dir():
            for path in self._directory.iterdir():
                if path.name not in names:
                    os.unlink(path)  # noqa: PTH108 - the directory holds nothing but such files


@dataclass(frozen=True, kw_only=True)
class KeyKeeper:
    """Carries the custody protocol out. Errors of AWS's clients pass through: try again later."""

    store: Store
    published: PublishedKeys
    files: KeyFiles
    version_of: Callable[[int], str]
    """VersionId of a generation."""
    name: Callable[[], str]
    """This instance's id, for the registry's note of who published."""
    generate: Callable[[], str] = generate_private_key
    derive: Callable[[str], str] = public_key_of
    pause: Callable[[float], None] = time.sleep

    @property
    def _custody(self) -> Custody:
        return Custody(self.store, self.pause)

    def obtain(self, generation: int) -> str:
        """The public key of `generation`, its private key being on disk.

        Raises `KeyRefused` and `custody.KeyPending`.
        """
        published = self.published.server_key(generation)
        if published is not None and self.files.public_key(generation) == published:
            return published
        # If nothing is published, an absent version is the normal case on the very first start
        tries = 1 if published is None else READ_TRIES
        private = self._custody.read(self.version_of(generation), tries=tries)
        held = None if private is None else self.derive(private)
        judgement = judge(published, held)
        if judgement.step is Step.REFUSE:
            raise KeyRefused(judgement.why)
        if judgement.step is Step.GENERATE:
            private = self._generate(generation)
            held = self.derive(private)
        if private is None or held is None:
            raise KeyRefused("no key was found and none was made")
        if published is None:
            self._publish(generation, held)
        self.files.keep(generation, private)
        return held

    def _generate(self, generation: int) -> str:
        """A key that the secret holds: ours, or that of the gateway which was faster."""
        version, stage = self.version_of(generation), f"generation-{generation}"
        made = self._custody.make(version, self.generate(), stage)
        by = "made" if made.ours else "another gateway made it"
        log.info("key generation %d: %s", generation, by)
        return made.text

    def _publish(self, generation: int, public_key: str) -> None:
        named = self.published.publish_server_key(generation, public_key, self.name())
        judgement = judge(named, public_key)
        if judgement.step is not Step.SERVE:
            raise KeyRefused(judgement.why)
