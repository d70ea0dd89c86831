"""Generations of the server's key and the two slots they live in. Pure."""

from __future__ import annotations

from dataclasses import dataclass

SLOTS = (0, 1)


def slot_of(generation: int) -> int:
    """Where a generation lives: neighbours never share a slot."""
    return (generation - 1) % 2


def interface_of(slot: int) -> str:
    """The WireGuard interface of a slot."""
    return f"wg{slot}"


INTERFACES = tuple(interface_of(slot) for slot in SLOTS)


@dataclass(frozen=True)
class Served:
    """What is to be served from now on, the newest last, and why it is not what was asked."""

    generations: tuple[int, ...]
    fault: str = ""


def next_served(serving: tuple[int, ...], wanted: tuple[int, ...]) -> Served:
    """What to serve when the control item says `wanted` and the gateway serves `serving`.

    A step goes to what is served, or one further: a number that is skipped would cut off every
    client at once. A gateway that serves nothing yet takes what it is told.
    """
    asked = list(wanted)
    if not 1 <= len(wanted) <= len(SLOTS) or min(wanted) < 1 or not _adjacent(wanted):
        return Served(serving, f"control wants key generations {asked}: not one or two adjacent")
    if serving and (min(wanted) > max(serving) + 1 or max(wanted) < min(serving) - 1):
        return Served(
            serving, f"control wants key generations {asked} while {list(serving)} served: a jump"
        )
    return Served(wanted)


def _adjacent(generations: tuple[int, ...]) -> bool:
    return max(generations) - min(generations) == len(generations) - 1
