"""What the connection log has counted, for the agent's metrics: a small file, replaced whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from effects import write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FRESH = 30.0
"""Seconds: a running process writes it every 5 s."""


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Since the process started."""

    at: float
    """Monotonic seconds, which all processes of a machine share."""
    recorded: int = 0
    shipped: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    """By reason."""
    queue_bytes: int = 0

    def working(self, now: float) -> bool:
        """Whether the process that wrote it still runs; `now` in monotonic seconds."""
        return 0 <= now - self.at <= FRESH


def write(path: Path, counts: Counts) -> None:
    """Raises `OSError`."""
    write_atomic(path, json.dumps(asdict(counts)))


def read(path: Path) -> Counts | None:
    """None when there is none yet, or none that can be read."""
    try:
        document = json.loads(path.read_text())
        return Counts(
            at=float(document["at"]),
            recorded=int(document["recorded"]),
            shipped=int(document["shipped"]),
            left_out={str(why): int(count) for why, count in document["left_out"].items()},
            queue_bytes=int(document["queue_bytes"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
