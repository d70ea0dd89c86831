"""What all tests of this folder compare with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from exposition import exposition, series

if TYPE_CHECKING:
    from pathlib import Path

    from exposition import Series


@pytest.fixture
def emitted(tmp_path: Path) -> Series:
    """All series that a gateway's /metrics has."""
    return series(exposition(tmp_path))
