"""An AWS in this process as the lab has it: moto, and overrides of it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from moto import mock_aws

from lab import paths

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from types import ModuleType

    import pytest


@contextmanager
def overridden(
    monkeypatch: pytest.MonkeyPatch, directory: Path, *subjects: ModuleType
) -> Generator[None]:
    """With these modules of `lab.overrides`; what they write goes to `directory`."""
    monkeypatch.setenv(paths.ROOT_VARIABLE, str(directory))
    paths.prepare()
    for subject in subjects:
        subject.install(partial(monkeypatch.setattr, raising=False))
    with mock_aws():
        yield
