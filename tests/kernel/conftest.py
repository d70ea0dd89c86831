"""The lab with machines that have Debian's own kernel: brought up once, left as it was found."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab_driver import LabDriver

if TYPE_CHECKING:
    from collections.abc import Iterator

UP_LIMIT = 1500.0
"""Seconds that two emulated machines may take, and making what they boot from the first time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder; what ends a gateway comes last."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.kernel)
    late = {"test_takeover": 1, "test_clock": 2}
    items.sort(key=lambda i: late.get(i.path.stem, 0) if here in i.path.parents else 0)


@pytest.fixture(scope="session")
def lab() -> Iterator[LabDriver]:
    """The lab, with two healthy gateways on kernels of their own."""
    if os.geteuid() != 0:
        pytest.fail("the lab's tests need root: run `make test-kernel` as root")
    driver = LabDriver()
    was_up = driver.lab("status", "--json", check=False).status == 0
    try:
        driver.lab("up", "--kernel", timeout=UP_LIMIT)
        yield driver
    finally:
        if not was_up:
            driver.lab("down", timeout=120)
