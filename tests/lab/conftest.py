"""The lab for the end-to-end tests: brought up once, left as it was found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab_driver import UP_LIMIT, LabDriver

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder and put it last; in it, what ends gateways, then the lab."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.lab)
    # One that is killed is a member until its hook's time is up, and confirms nothing: the fence
    # comes before the first such test
    late = {
        "test_benches": 2,
        "test_fault_list": 2,
        "test_fence": 2,
        "test_live_check": 2,
        "test_preshared": 3,
        "test_rotation": 3,
        "test_replacement": 3,
        "test_takeover": 3,
        "test_three_gateways": 3,
        "test_rolling": 4,
        "test_down": 5,
    }
    items.sort(key=lambda i: late.get(i.path.stem, 1) if here in i.path.parents else 0)


@pytest.fixture(scope="session")
def lab() -> Iterator[LabDriver]:
    """The lab, with two healthy gateways."""
    if os.geteuid() != 0:
        pytest.fail("the lab's tests need root: run `make test` as root")
    driver = LabDriver()
    was_up = driver.lab("status", "--json", check=False).status == 0
    driver.lab("up", timeout=UP_LIMIT)
    yield driver
    if not was_up:
        driver.lab("down", timeout=120)
    elif driver.lab("status", "--json", check=False).status != 0:
        driver.lab("up", timeout=UP_LIMIT)
