"""What several tests of this folder stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from lab_unit.overridden import overridden
from lab_unit.scaling_cloud import Clock, Cloud

from lab.overrides import addresses, autoscaling, balancing, launch_templates

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Cloud]:
    subjects = (addresses, balancing, autoscaling, launch_templates)
    with overridden(monkeypatch, tmp_path, *subjects):
        yield Cloud()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic clock of what time does to a group."""
    made = Clock()
    monkeypatch.setattr(autoscaling.time, "monotonic", lambda: made.now)
    return made
