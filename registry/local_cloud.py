"""Where the local cloud keeps its things, and how a command on the stack `lab` finds it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from effects import Refusal

STACK = "lab"
"""The stack that stands in it, and is never deployed to AWS."""

DIRECTORY_VARIABLE = "GATEPAIR_LAB"
"""Environment variable that puts the local cloud elsewhere than in `DIRECTORY`."""

DIRECTORY = Path("/var/lib/gatepair-lab")


def directory() -> Path:
    """Root-owned; there while the local cloud runs, and after that for its cached base image."""
    return Path(os.environ.get(DIRECTORY_VARIABLE, DIRECTORY))


def address() -> Path:
    """`{"endpoint": "http://127.0.0.1:PORT", "port": PORT}`, there once the cloud answers."""
    return directory() / "run" / "cloud.json"


def endpoint() -> str:
    """Where its requests go. Raises `Refusal` when the lab is not up."""
    try:
        return str(json.loads(address().read_text())["endpoint"])
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise Refusal(f"stack {STACK}", "the lab is not up", "start it with `make up`") from err
