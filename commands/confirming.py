"""Waiting for the gateways' confirmation, told to people and to programs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from commands import terminal
from registry.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.confirmation import Awaited, Member
    from registry.stack import Stack
    from registry.waiting import Answer, Waited

TIMEOUT = 30.0
"""Seconds. A gateway that has not confirmed by then is not going to by itself."""


def teller(*, quiet: bool) -> Callable[[Member, Answer], None]:
    """What tells each gateway's confirmation as it comes, on stdout unless `quiet`."""

    def say(member: Member, answer: Answer) -> None:
        relay = answer.confirmed.relayed_by
        how = f" (relayed by {relay})" if relay else ""
        if not quiet:
            terminal.print_utf8(
                f"{member.instance_id} {member.zone} confirmed after {answer.seconds:.2f} s{how}\n"
            )

    return say


def confirm(stack: Stack, awaited: Awaited, *, began: float, timeout: float, quiet: bool) -> Waited:
    """Wait, and tell; `began` is the monotonic moment at which the command started."""
    return wait(stack.fleet, awaited, began=began, timeout=timeout, tell=teller(quiet=quiet))


def complain(program: str, stack: Stack, waited: Waited, what: str) -> None:
    """Name every gateway that has not confirmed, with what to do about it."""
    tell = partial(terminal.tell, program)
    if waited.trouble:
        tell(f"AWS: {waited.trouble}")
    if not waited.known:
        tell(f"Auto Scaling did not say who the gateways are: nobody knows whether {what}")
    for member in waited.silent:
        tell(
            f"{member.instance_id} ({member.zone}, {member.lifecycle}) has not confirmed that "
            f"{what}; wait again, or cut it off with "
            f"`scripts/gateways --stack {stack.name} fence {member.instance_id}`"
        )
