"""Every rule is held against every stack there is: the committed ones and the examples."""

from __future__ import annotations

import pytest

import plan as plans


@pytest.fixture(params=plans.STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return request.param
