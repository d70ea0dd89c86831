"""The whole program, run for one stack against a `Recorder`."""

from __future__ import annotations

import runpy
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pulumi

from lab import project
from recorder import Recorder, install

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parent.parent
COMMITTED = sorted(path.name.split(".")[1] for path in (ROOT / "stacks").glob("Pulumi.*.yaml"))
EXAMPLES = ROOT / "tests" / "program" / "stacks"
STACKS = [*COMMITTED, *sorted(path.name.split(".")[1] for path in EXAMPLES.glob("Pulumi.*.yaml"))]


def config(stack: str) -> dict[str, str]:
    """What the engine hands to the program for a committed stack or an example."""
    example = EXAMPLES / f"Pulumi.{stack}.yaml"
    return project.load(ROOT, stack, example if example.exists() else None).config


def build(stack: str, *, preview: bool, change: Mapping[str, str] | None = None) -> Recorder:
    """What the program declares for `stack`, with `change` in its configuration."""
    recorder = Recorder()
    install(recorder, project="gatepair", stack=stack, preview=preview)
    pulumi.runtime.set_all_config({**config(stack), **(change or {})})
    pulumi.runtime.test(lambda: runpy.run_path(str(ROOT / "__main__.py")) and None)()
    return recorder


@cache
def built(stack: str, *, preview: bool = False) -> Recorder:
    """`build`, once for all tests that only look."""
    return build(stack, preview=preview)
