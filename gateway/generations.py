"""Which generations of the server's key to serve, and on which interfaces. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.key_slots import SLOTS

if TYPE_CHECKING:
    from collections.abc import Collection


def interface_of(slot: int) -> str:
    """The WireGuard interface of a slot."""
    return f"wg{slot}"


INTERFACES = tuple(interface_of(slot) for slot in SLOTS)


@dataclass(frozen=True)
class Served:
    """What is to be served from now on, the newest last, and why it is not what was asked."""

    generations: tuple[int, ...]
    fault: str = ""


def next_served(
    serving: tuple[int, ...], wanted: tuple[int, ...], burnt: Collection[int] = ()
) -> Served:
    """What to serve when the control item says `wanted` and the gateway serves `serving`.

    A step goes to what is served, or one further: a number that is skipped would cut off every
    client at once. One that is `burnt` does not come back, and is stepped over; it goes only when
    control says so, or a slip of the hand would cut off whoever still uses it. A gateway that
    serves nothing yet takes what it is told, but for what is burnt.
    """
    asked = list(wanted)
    if not 1 <= len(wanted) <= len(SLOTS) or min(wanted) < 1 or not _adjacent(wanted):
        return Served(serving, f"control wants key generations {asked}: not one or two adjacent")
    back = [number for number in wanted if number in burnt and number not in serving]
    if back:
        left = tuple(number for number in wanted if number not in back)
        named = ", ".join(map(str, sorted(back)))
        return Served(
            serving or left,
            f"control wants key generations {asked}: {named} is burnt and does not come back",
        )
    if serving and not _within_a_step(serving, wanted, burnt):
        return Served(
            serving, f"control wants key generations {asked} while {list(serving)} served: a jump"
        )
    return Served(wanted)


def _within_a_step(
    serving: tuple[int, ...], wanted: tuple[int, ...], burnt: Collection[int]
) -> bool:
    following = max(serving) + 1
    while following in burnt:
        following += 1
    return min(serving) - 1 <= max(wanted) and min(wanted) <= following


def _adjacent(generations: tuple[int, ...]) -> bool:
    return max(generations) - min(generations) == len(generations) - 1
