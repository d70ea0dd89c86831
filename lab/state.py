"""What a deployment has made, written after every operation, so a killed run can go on.

The file is JSON: `{"version", "stack", "resources": [...], "outputs": {...}}`, resources in the
order they were made. It never holds a secret: `lab.values` refuses secrets before they get here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from effects import Refusal, write_atomic

if TYPE_CHECKING:
    from pathlib import Path

VERSION = 1


class Phase(StrEnum):
    """Where a resource is in its life."""

    CREATING = "creating"
    """A create was begun and may or may not have happened; `id` is empty."""
    LIVE = "live"
    OUTDATED = "outdated"
    """Replaced by a live one of the same URN; still to be deleted."""


@dataclass
class Resource:
    """One resource as it was last made. `outputs` are what the provider added to the inputs."""

    urn: str
    type: str
    id: str
    inputs: dict[str, Any]
    outputs: dict[str, Any] = field(default_factory=dict)
    phase: Phase = Phase.LIVE
    protect: bool = False
    retain: bool = False
    """Dropped from the state instead of deleted (`retain_on_delete`)."""

    @property
    def properties(self) -> dict[str, Any]:
        """What the program sees: inputs and outputs."""
        return {**self.inputs, **self.outputs}


class State:
    """The resources of one stack, and the file they are kept in."""

    def __init__(self, path: Path, stack: str) -> None:
        """Read `path`, empty if absent. Raises `Refusal` for a file of another kind."""
        self.path = path
        self.stack = stack
        self.resources: list[Resource] = []
        self.outputs: dict[str, Any] = {}
        if path.exists():
            self._read()

    def live(self, urn: str) -> Resource | None:
        """The resource the program knows by `urn`."""
        return next((r for r in self.resources if r.urn == urn and r.phase is Phase.LIVE), None)

    def ids(self, type_: str) -> set[str]:
        """The ids of every resource of that type that is known to exist."""
        return {r.id for r in self.resources if r.type == type_ and r.phase is not Phase.CREATING}

    def add(self, resource: Resource) -> None:
        """Append a resource and write."""
        self.resources.append(resource)
        self.save()

    def remove(self, resource: Resource) -> None:
        """Forget a resource and write."""
        self.resources.remove(resource)
        self.save()

    def reorder(self, urns: list[str]) -> None:
        """Put the resources in the order in which the program declared them in this run.

        What it declared no longer stays where it was, behind everything it depended on then.
        """
        place = {urn: index for index, urn in enumerate(urns)}
        position = -1
        keys: dict[int, tuple[int, int]] = {}
        for index, resource in enumerate(self.resources):
            position = max(position, place.get(resource.urn, position))
            keys[id(resource)] = (place.get(resource.urn, position), index)
        self.resources.sort(key=lambda resource: keys[id(resource)])

    def save(self) -> None:
        """Write the file, readable by its owner only."""
        content = {
            "version": VERSION,
            "stack": self.stack,
            "resources": [asdict(resource) for resource in self.resources],
            "outputs": self.outputs,
        }
        write_atomic(self.path, json.dumps(content, indent=1) + "\n", mode=0o600)

    def _read(self) -> None:
        try:
            content = json.loads(self.path.read_text())
            version, stack = content["version"], content["stack"]
            resources = [
                replace(Resource(**record), phase=Phase(record["phase"]))
                for record in content["resources"]
            ]
            outputs = content["outputs"]
        except (ValueError, KeyError, TypeError) as err:
            raise Refusal(str(self.path), f"not a state file: {err}", "make down, then up") from err
        if version != VERSION or stack != self.stack:
            kind = f"version {version} of stack {stack}"
            wanted = f"version {VERSION} of stack {self.stack} is wanted"
            raise Refusal(f"{self.path}: {kind}", wanted, "make down, then up")
        self.resources, self.outputs = resources, outputs
