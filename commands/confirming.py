"""Waiting for the gateways' confirmation, told to people and to programs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from commands import terminal
from registry.waiting import wait

if TYPE_CHECKING:
    from commands.stacks import Stack
    from registry.confirmation import Awaited, Member
    from registry.waiting import Answer, Waited

TIMEOUT = 30.0
"""Seconds. A gateway that has not confirmed by then is not going to by itself."""


def confirm(stack: Stack, awaited: Awaited, *, began: float, timeout: float, quiet: bool) -> Waited:
    """Wait, and tell each gateway's confirmation as it comes, on stdout unless `quiet`.

    `began` is the monotonic moment at which the command started.
    """

    def say(member: Member, answer: Answer) -> None:
        relay = answer.confirmed.relayed_by
        how = f" (relayed by {relay})" if relay else ""
        if not quiet:
            terminal.print_utf8(
                f"{member.instance_id} {member.zone} confirmed after {answer.seconds:.2f} s{how}\n"
            )

    return wait(stack.fleet, awaited, began=began, timeout=timeout, tell=say)


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


def as_json(waited: Waited) -> list[dict[str, Any]]:
    """Every member, with its confirmation."""
    return [_member(member, waited.answers.get(member.instance_id)) for member in waited.members]


def _member(member: Member, answer: Answer | None) -> dict[str, Any]:
    return {
        "id": member.instance_id,
        "zone": member.zone,
        "lifecycle": member.lifecycle,
        "confirmed": answer is not None,
        "seconds": None if answer is None else round(answer.seconds, 3),
        "relayed_by": (answer.confirmed.relayed_by or None) if answer else None,
    }
