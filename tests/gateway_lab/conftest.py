"""What several tests of this folder stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway_lab import routed_pair, second

from gateway.access import EVERYWHERE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from gateway_lab.bed import Bed


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Bed, second.Second, str]]:
    """Both gateways, serving, and the first one's instance id."""
    with second.both(tmp_path) as found:
        yield found


@pytest.fixture
def lane(tmp_path: Path) -> Iterator[routed_pair.Pair]:
    """Routed; the client's session is on the second gateway, the VPC's route on the first."""
    with routed_pair.pair(tmp_path) as both:
        both.load(routed_pair.ROUTED, {routed_pair.CLIENT: EVERYWHERE})
        both.hold(routed_pair.SECOND)
        yield both
