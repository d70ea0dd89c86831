"""Gateways come and go; what clients trust stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab_driver import LabDriver


@pytest.mark.long  # a planned replacement of both has the same key too: test_rolling
@pytest.mark.timeout(300)
def test_the_key_outlives_both_gateways(lab: LabDriver) -> None:
    (first, second) = lab.both_healthy()
    before = lab.public_keys()
    assert before[0] == before[1]
    for gateway in (first, second):
        lab.lab("kill", gateway)
        lab.both_healthy(but=gateway)
    assert not {first, second} & set(lab.gateways()), "these are other machines"
    assert lab.public_keys() == before
