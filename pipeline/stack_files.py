"""Stack files: read as data, edited as text, so that every comment and every other line stays."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from effects import Refusal
from registry import local_cloud

if TYPE_CHECKING:
    from pathlib import Path

_VALUE = r"\[[^\]]*\]|\"[^\"\n]*\"|'[^'\n]*'|[^\s#\[]*"
"""A list in brackets, a quoted text, or a word."""
_DASHED = r"(?:[ \t]*(?:#[^\n]*)?\n[ ]*-[ \t]+[^\n]*)+"
"""A list with one item a line, as `pulumi config set --path` writes it."""


def path_of(stack: str, root: Path) -> Path:
    """The file of a stack that is deployed to AWS. Raises `Refusal` when there is none."""
    path = root / "stacks" / f"Pulumi.{stack}.yaml"
    if stack == local_cloud.STACK:
        raise Refusal(
            f"stack {stack}", "it is the local cloud", "name a stack that is deployed to AWS"
        )
    if not path.exists():
        known = ", ".join(sorted(p.name.split(".")[1] for p in path.parent.glob("Pulumi.*.yaml")))
        raise Refusal(f"stack {stack}", f"{path} does not exist", f"the stacks are: {known}")
    return path


def config(text: str, name: str) -> dict[str, Any]:
    """What stands under `config:`. Raises `Refusal`, which names the file `name`."""
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as err:
        raise Refusal(name, f"is no YAML ({err})", "mend it first") from err
    found = (content or {}).get("config") if isinstance(content or {}, dict) else None
    if found is not None and not isinstance(found, dict):
        raise Refusal(name, "its config: is no block of keys", "write one, with aws:region first")
    return found or {}


def replaced(text: str, key: str, value: str) -> str:
    """A stack file's text with `value` (YAML on one line) as the value of `key`.

    A key that is not there becomes the first one. Raises `Refusal` without a `config:` block.
    """
    line = re.compile(
        rf"^(?P<key>[ ]+{re.escape(key)}:)(?:{_DASHED}|[ \t]*(?:{_VALUE}))", re.MULTILINE
    )
    if line.search(text):
        return line.sub(lambda found: f"{found['key']} {value}", text, count=1)
    block = re.compile(r"^config:[ \t]*(?:#.*)?\n", re.MULTILINE)
    if not block.search(text):
        raise Refusal("stack file", "has no config: block", "write one, with aws:region first")
    return block.sub(lambda found: f"{found[0]}  {key}: {value}\n", text, count=1)
