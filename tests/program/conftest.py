"""Plans of every stack there is: the committed ones and the examples beside these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import plan as plans

if TYPE_CHECKING:
    from recorder import Recorder


@pytest.fixture(params=plans.STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def plan(stack: str) -> Recorder:
    return plans.built(stack)


@pytest.fixture
def mine() -> Recorder:
    """The example that gives every loop two or more elements to get wrong."""
    return plans.built("mine")
