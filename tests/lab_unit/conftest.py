"""What several tests of this folder stand on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from lab_unit.scaling_cloud import Clock, Cloud
from moto import mock_aws

from lab import paths
from lab.overrides import addresses, autoscaling, balancing, launch_templates

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[Cloud]:
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(tmp_path))
    paths.prepare()
    for subject in (addresses, balancing, autoscaling, launch_templates):
        subject.install(partial(monkeypatch.setattr, raising=False))
    with mock_aws():
        yield Cloud()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The monotonic clock of what time does to a group."""
    made = Clock()
    monkeypatch.setattr(autoscaling.time, "monotonic", lambda: made.now)
    return made
