"""Pulumi.yaml and a stack file, merged the way the engine merges them before it starts a program.

The engine hands a program its configuration as text: strings as they are, everything else as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from effects import Refusal

if TYPE_CHECKING:
    from pathlib import Path

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


@dataclass(frozen=True)
class Project:
    """A project with one stack's configuration. `config` is what `pulumi.Config` reads."""

    name: str
    directory: Path
    stack: str
    config: dict[str, str]

    @property
    def region(self) -> str:
        """The provider's region."""
        return self.config.get("aws:region", "")

    @property
    def program(self) -> Path:
        """The program's entry point."""
        return self.directory / "__main__.py"


def load(directory: Path, stack: str, stack_file: Path | None = None) -> Project:
    """Read `directory/Pulumi.yaml` and the stack's file (`stack_file`, if it is another one).

    Raises `Refusal` for a file that is not there or not YAML, a value of another type than
    declared, one that is missing, and an encrypted one: the lab has no key to read it.
    """
    project = _read(directory / "Pulumi.yaml")
    name = str(project.get("name", ""))
    folder = directory / str(project.get("stackConfigDir", "."))
    chosen = stack_file or folder / f"Pulumi.{stack}.yaml"
    given = {_full(name, key): value for key, value in (_read(chosen).get("config") or {}).items()}
    config = {key: _text(key, value, chosen) for key, value in given.items()}
    for short, declared in (project.get("config") or {}).items():
        key = _full(name, short)
        schema = declared if isinstance(declared, dict) else {"default": declared}
        if key in given:
            _check_type(key, given[key], schema, chosen)
        elif "default" in schema or "value" in schema:
            default = schema.get("default", schema.get("value"))
            config[key] = _text(key, default, directory / "Pulumi.yaml")
        else:
            raise Refusal(key, "no value and no default", f"set it in {chosen.name}")
    return Project(name, directory, stack, config)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as err:
        raise Refusal(str(path), "no such file", "name another stack") from err
    except yaml.YAMLError as err:
        raise Refusal(str(path), f"not YAML: {' '.join(str(err).split())}", "mend it") from err
    if not isinstance(content or {}, dict):
        raise Refusal(str(path), "not a mapping", "mend it")
    return content or {}


def _full(project: str, key: str) -> str:
    return key if ":" in key else f"{project}:{key}"


def _text(key: str, value: Any, source: Path) -> str:
    if isinstance(value, dict) and set(value) == {"secure"}:
        raise Refusal(f"{key} in {source.name}", "encrypted", "the lab's stack needs no secret")
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))


def _check_type(key: str, value: Any, schema: dict[str, Any], source: Path) -> None:
    wanted = schema.get("type")
    expected = _TYPES.get(str(wanted))
    if expected is None:
        return
    # In Python a bool is an int; in YAML `true` is no integer
    fits = isinstance(value, expected) and not (wanted == "integer" and isinstance(value, bool))
    if not fits:
        got = json.dumps(value, default=str)
        raise Refusal(f"{key} in {source.name}: {got}", f"not of type {wanted}", "mend it")
