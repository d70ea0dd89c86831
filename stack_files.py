"""What Pulumi's engine would hand to the program for one stack, without the engine.

For the lab, which deploys the program by itself, and for the tests. Pulumi's rule: the defaults of
Pulumi.yaml under the values of the stack file, everything as text, lists and objects as JSON.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from effects import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def stack_names(root: Path) -> list[str]:
    """The stacks that have a file under `root`/stacks."""
    return sorted(path.name.split(".")[1] for path in (root / "stacks").glob("Pulumi.*.yaml"))


def read(root: Path, stack: str) -> dict[str, str]:
    """The configuration of one stack file, by full key (`gatepair:port`, `aws:region`)."""
    path = root / "stacks" / f"Pulumi.{stack}.yaml"
    if not path.exists():
        known = ", ".join(stack_names(root)) or "none"
        raise Refusal(f"stack {stack}", f"{path} does not exist", f"the stacks are: {known}")
    return merge(root, yaml.safe_load(path.read_text()).get("config") or {})


def merge(root: Path, chosen: Mapping[str, Any]) -> dict[str, str]:
    """`chosen` over the project's defaults, as text."""
    project = yaml.safe_load((root / "Pulumi.yaml").read_text())
    defaults = {
        f"{project['name']}:{key}": declared["default"]
        for key, declared in project["config"].items()
        if "default" in declared
    }
    return {key: _text(value) for key, value in {**defaults, **chosen}.items()}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
