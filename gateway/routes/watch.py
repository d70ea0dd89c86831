"""The routes' thread: gathers what is known, carries out what follows from it, tells the others.

Each failing step is tried again after a while that doubles up to `AT_MOST`; meanwhile the rest goes
on. That nothing more than the reads of gateway.routes.decide happens is decided there.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from effects import write_atomic
from gateway.aws import reason
from gateway.gossip import Applied
from gateway.messages import RoutesSeen, Trouble
from gateway.poller import EXPECTED
from gateway.presence import SILENT, word_of
from gateway.routes import decide
from gateway.routes.decide import (
    NEVER,
    AskHealth,
    DeleteHold,
    DeleteRoute,
    Facts,
    GiveUp,
    Known,
    LookAtCheck,
    LookAtTables,
    Own,
    Point,
    ReadHolds,
    SetCheck,
    Take,
)
from gateway.routes.view import RoutesView

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from gateway.circle import Circle
    from gateway.messages import Message
    from gateway.presence import Other, Presence
    from gateway.routes.cloud import RouteCloud
    from gateway.routes.decide import Step
    from gateway.status import Board, Status
    from registry.items import Control
    from registry.route_holds import RouteHolds

log = logging.getLogger(__name__)

PAUSE = 0.5
"""Seconds between two decisions; most lead to nothing, and make no request."""

ROUNDS = 16
"""Decisions in one step: each leads to reads or to writes, and the next one sees what they did."""

FIRST, AT_MOST = 0.5, 5.0
"""Seconds until a step that failed is tried again, doubling."""

SELDOM = 60.0
"""The same for what a gateway does to leave no traces: its rights may be gone with the mode."""

OFF = "off"
"""What is kept on disk once the check was off: so it is after a restart, with AWS away or not."""

PART = "VPC routes"
"""What is wrong with the routes is a trouble of."""


@dataclass(frozen=True)
class _Failed:
    times: int
    again_at: float
    why: str


class RouteWatch:
    """One step of the routes' poller."""

    def __init__(
        self,
        holds: RouteHolds,
        cloud: RouteCloud,
        board: Board,
        post: Callable[[Message], None],
        *,
        presence: Presence,
        circle: Circle,
        interface: Callable[[], str],
        marker: Path,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`interface`: this instance's network interface, from the metadata.

        `marker`: a file that is there while this gateway may have to do with routes; `OFF` is in it
        once its check was seen to be off.
        """
        self._holds, self._cloud, self._presence, self._circle = holds, cloud, presence, circle
        self._board, self._post, self._find_interface = board, post, interface
        self._marker, self._monotonic = marker, monotonic
        self._marked = marker.read_text() if marker.exists() else None
        self._interface = ""
        self._known = Known()
        self._no = 0
        self._word: tuple[str, float] = ("", NEVER)
        self._free_since: dict[str, float] = {}
        self._uneasy_since: float | None = None
        self._failed: dict[Step, _Failed] = {}
        self._seen: RoutesView | None = None
        self._trouble = ""
        self.counts: Counter[str] = Counter()
        """Steps carried out, by name: what the thread asks of AWS."""
        self._changes = 0

    def step(self) -> float:
        """Decide and do; returns the seconds until the next time."""
        status = self._board.status
        control, identity = status.state.control, status.state.identity
        if control is None or identity is None:
            return PAUSE
        facts = None
        if control.routed and self._marked is None:
            self._mark("")  # before anything is done that has to be undone one day
        if self._marked is not None:
            self._interface = self._interface or self._find_interface()
            facts = self._go_on(status, identity.instance_id, control)
        self._tell(facts)
        return PAUSE

    def _go_on(self, status: Status, own: str, control: Control) -> Facts | None:
        """What is known when there is nothing more to do; None if that is nothing at all."""
        facts = self._facts(status, own, control)
        for _round in range(ROUNDS):
            steps = decide.decide(facts)
            if not steps:
                break
            for one in steps:
                self._carry_out(one, status, own, control)
            facts = self._facts(status, own, control)
        traces = (*decide.mine(facts), *decide.pointing(facts))
        if not control.routed and self._known.check and not traces:
            self._marker.unlink(missing_ok=True)
            self._marked = None
            self._known, self._failed = Known(), {}
            log.info("routes: none leads here, and the source/destination check is on")
            return None
        return facts

    # -------------------------------------------------------------- facts

    def _facts(self, status: Status, own: str, control: Control) -> Facts:
        state, now, word = status.state, self._monotonic(), word_of(status)
        if word != self._word[0]:
            self._word = word, now
        names = {hold.holder for hold in self._known.holds.values()} | set(state.members)
        others = self._presence.others(frozenset(names - {own, ""}))
        facts = Facts(
            now=now,
            own=Own(
                name=own,
                interface=self._interface,
                word=word,
                word_since=self._word[1],
                ending=state.ending,
                in_step=self._in_step(status, own, others),
            ),
            tables=control.route_tables if control.routed else (),
            others={name: other for name, other in others.items() if name != own},
            members=state.members,
            known=self._known,
            held_back=frozenset(
                step for step, failed in self._failed.items() if now < failed.again_at
            ),
        )
        may = decide.free(facts)
        self._free_since = {table: self._free_since.get(table, now) for table in may}
        if not decide.uneasy(facts):
            self._uneasy_since = None
        elif self._uneasy_since is None:
            self._uneasy_since = now
        return replace(facts, free_since=self._free_since, uneasy_since=self._uneasy_since)

    def _in_step(self, status: Status, own: str, others: Mapping[str, Other]) -> bool:
        """Whether it knows of clients' sessions and peers what all other members know."""
        known, heard = status.state.known, self._circle.heard
        if known is None or not status.sessions.working:
            return False
        here = Applied(known.epoch, status.applied)
        return all(
            others[name].silent < SILENT and name in heard and heard[name].applied == here
            for name in status.state.members
            if name != own
        )

    # -------------------------------------------------------------- steps

    def _carry_out(self, step: Step, status: Status, own: str, control: Control) -> None:
        self._no += 1
        self.counts[type(step).__name__] += 1
        try:
            match step:
                case ReadHolds() | LookAtTables() | AskHealth() | LookAtCheck():
                    self._read(step, status, own, control)
                case Take() | GiveUp() | DeleteHold():
                    self._hold(step, own)
                case _:
                    self._write(step, own, control)
        except EXPECTED as err:
            self._note(step, reason(err), AT_MOST if control.routed else SELDOM)
        else:
            if self._failed.pop(step, None) is not None:
                log.info("routes: %s: well", _words(step))

    def _note(self, step: Step, why: str, at_most: float) -> None:
        """It failed, or its answer was lost: look again at what it may have changed."""
        before = self._failed.get(step)
        times = 1 if before is None else before.times + 1
        pause = min(at_most, FIRST * 2 ** min(times - 1, 10))
        self._failed[step] = _Failed(times, self._monotonic() + pause, why)
        if before is None or before.why != why:
            log.warning("routes: %s: %s", _words(step), why)
        match step:
            case Take() | GiveUp() | DeleteHold():
                self._known = replace(self._known, holds_at=NEVER)
            case Point() | DeleteRoute():
                self._known = replace(self._known, wrote_no=self._no)
            case SetCheck():
                self._known = replace(self._known, check_at=NEVER)

    def _read(self, step: Step, status: Status, own: str, control: Control) -> None:
        known, now = self._known, self._monotonic()
        match step:
            case ReadHolds():
                holds, bad = self._holds.read()
                unreadable = frozenset(one.key.partition("/")[2] for one in bad)
                self._known = replace(
                    known, holds=holds, unreadable=unreadable, holds_at=now, holds_no=self._no
                )
            case LookAtTables(tables):
                found = self._cloud.routes(tables, control.client_pool)
                self._known = replace(known, found=found, found_at=now, found_no=self._no)
            case AskHealth():
                health = self._cloud.health(status.state.target_groups)
                self._known = replace(known, health=health, health_at=now)
            case LookAtCheck():
                check = self._cloud.check(own)
                self._known = replace(known, check=check, check_at=now)
                if not check and self._marked != OFF:
                    self._mark(OFF)

    def _hold(self, step: Take | GiveUp | DeleteHold, own: str) -> None:
        """Change an item; one that somebody else has changed first is read again."""
        known, table, now = self._known, step.table, self._monotonic()
        before = known.holds.get(table)
        rest = {name: one for name, one in known.holds.items() if name != table}
        match step:
            case Take(_, why, moves):
                after = self._holds.take(table, before, own, self._interface)
                if after is not None:
                    log.info("route of %s: taken: %s", table, why)
                    moved = now if moves else known.moved_at
                    known = replace(known, took_at=now, wrote_no=self._no, moved_at=moved)
            case GiveUp(_, why):
                after = None if before is None else self._holds.give_up(before)
                if after is not None:
                    log.info("route of %s: given up: %s", table, why)
            case DeleteHold():
                after = None
                if before is not None and self._holds.delete(before):
                    log.info("route of %s: held by nobody", table)
        if after is None:
            self._known = replace(known, holds=rest, holds_at=NEVER)
        else:
            self._known = replace(known, holds={**rest, table: after})

    def _write(self, step: Step, own: str, control: Control) -> None:
        known, pool = self._known, control.client_pool
        match step:
            case SetCheck(on):
                self._cloud.set_check(own, on=on)
                log.info("routes: source/destination check switched %s", "on" if on else "off")
                self._known = replace(known, check=None)
            case Point(table, anew):
                write = self._cloud.create_route if anew else self._cloud.replace_route
                write(table, pool, self._interface)
                self._wrote(table, "leads here")
            case DeleteRoute(table):
                self._cloud.delete_route(table, pool)
                self._wrote(table, "deleted")

    def _mark(self, text: str) -> None:
        write_atomic(self._marker, text)
        self._marked = text

    def _wrote(self, table: str, what: str) -> None:
        log.info("route of %s: %s", table, what)
        self._changes += 1
        self._known = replace(self._known, wrote_no=self._no)

    # -------------------------------------------------------------- telling

    def _tell(self, facts: Facts | None) -> None:
        """To the main thread, once each time that something has changed."""
        view = RoutesView(changes=self._changes)
        if facts is not None:
            failed = (f"{_words(step)}: {one.why}" for step, one in self._failed.items())
            view = RoutesView(
                held=decide.mine(facts),
                pointing=decide.pointing(facts),
                forwards=self._known.check is False
                or (self._known.check is None and self._marked == OFF),
                changes=self._changes,
                faults=tuple(sorted({*failed, *decide.faults(facts)})),
            )
        if view != self._seen:
            before, self._seen = self._seen, view
            self._post(RoutesSeen(view))
            if view.faults != (before.faults if before is not None else ()):
                self._post(Trouble(PART, "; ".join(view.faults)[:300]))


def _words(step: Step) -> str:
    """A step for logs and faults."""
    table = getattr(step, "table", "")
    return f"{_NAMES[type(step)]} {table}".rstrip()


_NAMES: dict[type, str] = {
    ReadHolds: "reading who holds the routes",
    LookAtTables: "looking at the route tables",
    AskHealth: "asking the load balancer about the others",
    LookAtCheck: "looking at the source/destination check",
    SetCheck: "switching the source/destination check",
    Take: "taking the route of",
    GiveUp: "giving up the route of",
    DeleteHold: "giving up for good the route of",
    Point: "writing the route of",
    DeleteRoute: "deleting the route of",
}
