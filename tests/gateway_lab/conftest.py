"""What several tests of this folder stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import Bed, await_true, standing
from gateway_lab.second import Second, beside, create_group

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Bed, Second, str]]:
    """Both gateways, serving, and the first one's instance id."""
    ids: list[str] = []

    def first(bed: Bed) -> str:
        ids.extend(create_group(bed))
        return ids[0]

    with standing(tmp_path, first) as bed, beside(bed, ids[1]) as second:
        bed.control(7)
        bed.start_agent()
        second.start_agent()
        await_true("healthy", lambda: bed.healthy() and second.healthy(), timeout=30)
        yield bed, second, ids[0]
