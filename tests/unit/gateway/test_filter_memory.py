"""What is remembered of nftables' transactions, so that nothing is listed without need."""

from __future__ import annotations

import pytest
from unit.gateway.samples import FILTER, REACHES

from gateway import observe
from gateway.observe import FilterMemory


class Kernel:
    """Counts transactions, and how often it is asked for a listing."""

    def __init__(self) -> None:
        self.generation, self.listings = 100, 0

    def listing(self) -> str:
        self.listings += 1
        return "rules"


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(observe, "_listing", made.listing)
    monkeypatch.setattr(observe, "_answer", lambda *_, **__: made.listing() and "")
    return made


@pytest.fixture
def memory(kernel: Kernel) -> FilterMemory:
    """Of a filter that has just been loaded and looked at."""
    made = FilterMemory(lambda: kernel.generation)
    with made.changing(REACHES):
        kernel.generation += 1
    made.remember(FILTER)
    made.sets()
    made.agree(REACHES)
    kernel.listings = 0
    return made


def test_sessions_that_are_watched_are_no_reason_to_look(
    memory: FilterMemory, kernel: Kernel
) -> None:
    for _ in range(3):
        with memory.beside():
            kernel.generation += 1
    assert memory.present() == FILTER
    assert memory.sets() == (REACHES, frozenset())
    assert kernel.listings == 0


def test_what_somebody_else_does_at_the_same_time_is(memory: FilterMemory, kernel: Kernel) -> None:
    with memory.beside():
        kernel.generation += 2
    assert memory.present() == FILTER
    memory.sets()
    assert kernel.listings > 1


def test_what_somebody_else_did_before_is_not_forgotten(
    memory: FilterMemory, kernel: Kernel
) -> None:
    kernel.generation += 1
    with memory.beside():
        kernel.generation += 1
    memory.present()
    assert kernel.listings == 1
