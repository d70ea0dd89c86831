"""The lab's stack file with other values, deployed the way `scripts/lab up` does, and its way back.

The file in the checkout is never touched: a copy with the other values is deployed in its place.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import yaml

from effects import Refusal, write_atomic
from lab import paths, rolling, session

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.ground import Ground

STACK_FILE = paths.CHECKOUT / "stacks" / "Pulumi.lab.yaml"
WELL_WITHIN = 120.0
"""Seconds for the gateways to be well again after the way back."""


class StackFile:
    """What the lab is deployed from. At the end it is what it was, unless the whole lab goes."""

    def __init__(self, ground: Ground, present: Mapping[str, Any]) -> None:
        """`present` is what the lab has now and the file in the checkout may not.

        Raises `Refusal` if the lab was deployed from another file: going back would change it.
        """
        self._ground, self._present = ground, dict(present)
        self._text = STACK_FILE.read_text()
        self._file = ground.directory / STACK_FILE.name
        if not ground.ours:
            self._write({})
            touched = touches(session.deployed(self._file, plan=True))
            if touched:
                names = ", ".join(urn.rpartition("::")[2] for urn in touched)
                raise Refusal(
                    "the lab",
                    f"it was deployed from another stack file or checkout ({names} differ)",
                    "scripts/lab up, or scripts/lab down, then again",
                )
        ground.undo(self.back)
        self._away = False

    def deploy(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Deploy it with these values, by key without the project's name; what changed."""
        self._write(values)
        self._away = True
        began = time.monotonic()
        changes = session.deployed(self._file)
        touched = touches(changes)
        words = ", ".join(f"{key}: {value}" for key, value in values.items()) or "as it was"
        self._ground.say(
            f"deployed {words} in {time.monotonic() - began:.1f} s: {len(touched)} touched"
        )
        return changes

    def back(self) -> None:
        """Deploy it as it was, and wait until the gateways are well."""
        if not self._away:
            return
        changes = self.deploy({})
        self._away = False
        rolling.await_replaced(self._ground.say)
        if touches(changes):
            session.await_healthy(self._ground.say, WELL_WITHIN)

    def _write(self, values: Mapping[str, Any]) -> None:
        write_atomic(self._file, altered(self._text, {**self._present, **values}))


def varied(directory: Path, values: Mapping[str, Any]) -> Path:
    """A copy of the lab's stack file in this directory, with other values, for `up --stack-file`.

    Keys without the project's name.
    """
    file = directory / STACK_FILE.name
    write_atomic(file, altered(STACK_FILE.read_text(), values))
    return file


def altered(text: str, values: Mapping[str, Any]) -> str:
    """A stack file's text with other values; keys without the project's name. Pure."""
    content = yaml.safe_load(text)
    config = content["config"] | {f"gatepair:{key}": value for key, value in values.items()}
    return yaml.safe_dump({**content, "config": config}, sort_keys=False)


def touches(changes: Mapping[str, Any]) -> list[str]:
    """The URN of everything that a deployment has made, changed, replaced or deleted. Pure."""
    return [urn for kind in session.CHANGES for urn in changes[kind]]
