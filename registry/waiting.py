"""Waiting until every gateway has confirmed a change, with a deadline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import monotonic, sleep
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from registry.confirmation import Awaited, Confirmed, Member, confirmed_by
from registry.errors import RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from registry.membership import Fleet

PAUSE = 0.2
"""Seconds between looks at the gateways' items; a gateway polls the registry once a second."""

MEMBERSHIP_EVERY = 2.0
"""Seconds between looks at the group: it changes rarely, and Auto Scaling limits its callers."""


@dataclass(frozen=True)
class Answer:
    """One gateway's confirmation, and when it was seen."""

    confirmed: Confirmed
    seconds: float
    """Since the caller began."""


@dataclass(frozen=True)
class Waited:
    """How a wait ended."""

    members: tuple[Member, ...]
    """As they were at the end."""
    answers: Mapping[str, Answer]
    """By instance id."""
    known: bool
    """Whether Auto Scaling ever told who the members are."""
    trouble: str = ""
    """What AWS answered last, where that was an error."""

    @property
    def silent(self) -> tuple[Member, ...]:
        """The members that have not confirmed and are not terminated."""
        return tuple(
            member
            for member in self.members
            if not member.gone and member.instance_id not in self.answers
        )

    @property
    def complete(self) -> bool:
        """Whether no gateway can serve what the change took away."""
        return self.known and not self.silent


def wait(
    fleet: Fleet,
    awaited: Awaited,
    *,
    began: float,
    timeout: float,
    tell: Callable[[Member, Answer], None],
) -> Waited:
    """Wait until every member has confirmed `awaited`, at most `timeout` seconds from now.

    `began` is the monotonic moment the answers' seconds count from; `tell` is called for each
    answer as it comes. An error of AWS ends nothing before the deadline: the change is made, and
    the question is only who knows.
    """
    deadline = monotonic() + timeout
    looked = float("-inf")
    waited = Waited((), {}, known=False)
    while True:
        try:
            if monotonic() - looked >= MEMBERSHIP_EVERY:
                again = waited.known
                members = fleet.group().members
                looked = monotonic()
                if again:  # whoever is silent by now may be gone, which EC2 knows first
                    silent = {member.instance_id for member in waited.silent}
                    doubted = [member for member in members if member.instance_id in silent]
                    gone = {one.instance_id: one for one in fleet.without_terminated(doubted)}
                    members = tuple(gone.get(one.instance_id, one) for one in members)
                waited = replace(waited, members=members, known=True)
            waited = replace(_asked(fleet, awaited, waited, began, tell), trouble="")
        except (ClientError, BotoCoreError, RegistryError) as err:
            waited = replace(waited, trouble=str(err))
        if waited.complete or monotonic() >= deadline:
            return waited
        sleep(min(PAUSE, max(0.0, deadline - monotonic())))


def _asked(
    fleet: Fleet,
    awaited: Awaited,
    waited: Waited,
    began: float,
    tell: Callable[[Member, Answer], None],
) -> Waited:
    """What is known after one more look at the items of all members."""
    records = fleet.records(waited.members)
    answers = dict(waited.answers)
    for member in waited.silent:
        confirmed = confirmed_by(member.instance_id, awaited, records)
        if confirmed is not None:
            answer = Answer(confirmed, monotonic() - began)
            answers[member.instance_id] = answer
            tell(member, answer)
    return replace(waited, answers=answers)
