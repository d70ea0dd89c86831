"""Refusals by what they mean, for callers that tell them apart; all of one call at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from effects import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Absent(Refusal):
    """What was asked for is not there."""


class Taken(Refusal):
    """What was asked for is somebody's already, or was."""


class RefusedInput(Refusal):
    """Everything that is wrong with one call, at once."""

    def __init__(self, faults: Sequence[Refusal]) -> None:
        super().__init__("input", f"{len(faults)} refused")
        self.faults = tuple(faults)


def check(*checks: Callable[[], Any]) -> list[Any]:
    """The checks' values, or `RefusedInput` with every refusal among them."""
    values, faults = [], []
    for judge in checks:
        try:
            values.append(judge())
        except RefusedInput as err:
            faults += err.faults
        except Refusal as err:
            faults.append(err)
    if faults:
        raise RefusedInput(faults)
    return values
