"""The two slots in which generations of the server's key live, in turn. Pure."""

from __future__ import annotations

SLOTS = (0, 1)
"""Each has a UDP port, and a WireGuard interface on every gateway."""


def slot_of(generation: int) -> int:
    """Where a generation lives: neighbours never share a slot."""
    return (generation - 1) % len(SLOTS)


def port_of(generation: int, first: int) -> int:
    """The UDP port on which a generation's key answers; `first` is slot 0's."""
    return first + slot_of(generation)
