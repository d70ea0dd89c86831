"""Gateways come and go; what clients trust stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lab_driver import LabDriver


def public_keys(lab: LabDriver) -> list[dict[str, str]]:
    """For each gateway, generation to public key, as it says of itself."""
    return [gateway["public_key"] for gateway in lab.status()["gateways"]]


@pytest.mark.timeout(300)
def test_the_key_outlives_both_gateways(lab: LabDriver) -> None:
    (first, second) = lab.both_healthy()
    before = public_keys(lab)
    assert before[0] == before[1]
    for gateway in (first, second):
        lab.lab("kill", gateway)
        lab.both_healthy(but=gateway)
    assert not {first, second} & set(lab.gateways()), "these are other machines"
    assert public_keys(lab) == before
