"""An agent for real that is told to take back a generation which operators have burnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from gateway_lab.bed import Bed, await_true, standing

from registry.items import Burnt, Command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 60.0

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    """The bed with a healthy gateway at generation 8, and generation 7 burnt."""
    with standing(tmp_path) as ready:
        ready.control(8)
        with ready.aws("dynamodb") as dynamodb:
            burnt = Command(burnt={7: Burnt("2026-01-01T00:00:00Z", "arn:me")})
            dynamodb.put_item(TableName="registry", Item=burnt.to_item())
        ready.start_agent()
        await_true("healthy", ready.healthy, LIMIT)
        yield ready


def test_a_burnt_generation_is_refused_and_the_other_one_served(bed: Bed) -> None:
    key = bed.wg("show", "wg1", "public-key")
    bed.control(7, 8)

    def said() -> bool:
        return "7 is burnt and does not come back" in bed.get(9585, "/healthz/1")[1]

    await_true("the fault", said, LIMIT)
    assert bed.interfaces() == {"wg1"}
    assert bed.wg("show", "wg1", "public-key") == key
    assert bed.healthy(0)
    assert bed.healthy(1)
    bed.control(8, 9)
    await_true("the next one", lambda: bed.wg("show", "wg0", "public-key"), LIMIT)
    await_true("no fault any more", lambda: "burnt" not in bed.get(9585, "/healthz/1")[1], LIMIT)


def test_a_new_gateway_does_not_begin_with_it(bed: Bed) -> None:
    bed.stop_agent()
    (bed.directory / "served.json").unlink()
    bed.control(7, 8)
    bed.start_agent()
    await_true("the rest of it", lambda: bed.healthy(0) and bed.healthy(1), LIMIT)
    assert bed.interfaces() == {"wg1"}
    assert not (bed.directory / "keys" / "7").exists()
