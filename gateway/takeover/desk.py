"""Who holds which session, and what follows from what is seen and heard. Pure.

One gateway's view. Every method takes one event and the time (milliseconds since the epoch) and
returns what is to be done; the table is the only state.
"""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from gateway.takeover.sessions import LIFETIME, Attempt, Claim, Place, Session, Standing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gateway.takeover.packets import Endpoint
    from gateway.takeover.recipients import PeerId

RETRY = (1_500, 3_000, 5_000)
"""Milliseconds until a takeover is tried again for the same address: an initiation may get lost,
and WireGuard itself would wait for 5 s; but the answer must have time to come."""

ELSEWHERE = 1_000
"""Milliseconds until it is tried for another address: one of the two may be a stranger's. Less than
any of `RETRY`, so that whoever replays a client's packets from many ports leaves the client a
turn."""

UNDER_WAY = 95_000
"""Milliseconds for which WireGuard may go on with a handshake (REKEY_ATTEMPT_TIME is 90 s)."""

GIVE_UP = 10_000
"""Milliseconds without a completed handshake after which a takeover is undone."""

CLOCK_GRAIN = 50
"""Milliseconds by which WireGuard's note of a handshake may be early: kernels keep a coarse clock
for it."""

AT_ONCE = 1_000
"""Milliseconds within which two sessions may be put in the wrong order: the gateways' clocks may
differ so much, and one shook hands before it had heard of the other."""


# ------------------------------------------------------------------ what is to be done


@dataclass(frozen=True)
class Tell:
    """The other gateways have to know."""

    fact: Session | Claim


@dataclass(frozen=True)
class Watch:
    """The kernel has to report packets of this session for so many milliseconds."""

    slot: int
    index: int
    lifetime: int


@dataclass(frozen=True)
class TakeOver:
    """Point the peer at this source and make WireGuard shake hands."""

    place: Place
    source: Endpoint
    again: bool
    """WireGuard may have keys of the peer, or a handshake under way: it has to forget them."""


@dataclass(frozen=True)
class Relinquish:
    """Make WireGuard forget the keys of this peer and where it was."""

    place: Place
    unless_since: int | None = None
    """Not if a handshake was completed at that time or later."""


@dataclass(frozen=True)
class Arrived:
    """The peer's session is here now, and was elsewhere or lost."""

    place: Place


Deed: TypeAlias = Tell | Watch | TakeOver | Relinquish | Arrived

STARTED, UNKNOWN, BARRED, OURS, STALE, LIMITED, OFF = (
    *("started", "unknown", "barred", "ours", "stale", "limited", "off"),
)
"""What becomes of a report."""

OUTCOMES = (STARTED, UNKNOWN, BARRED, OURS, STALE, LIMITED, OFF)
TAKEOVERS, RELINQUISHED = "takeovers", "relinquished"


class Desk:
    """The table of sessions of one gateway, `me` by its instance id.

    `admitted` says whether a peer may be here at all: one that is revoked or expired is never
    taken over.
    """

    def __init__(self, me: str, admitted: Callable[[PeerId], bool] = lambda _: True) -> None:
        self.me = me
        self._admitted = admitted
        self._standings: dict[Place, Standing] = {}
        self._indices: dict[tuple[int, int], Place] = {}
        self._unsettled: set[Place] = set()
        self._owners: dict[PeerId, Claim] = {}
        self._moved: set[PeerId] = set()
        self._over: list[tuple[int, Place]] = []
        """A heap: when something of a place may be over."""
        self._own = 0
        self.active = True
        """Off: sessions are noted and told, but none is taken over, claimed or given up."""
        self.counts: Counter[str] = Counter()
        """Reports by what became of them; claims, takeovers completed, peers relinquished."""
        self.version = 0
        """Rises when somebody's session may have come or gone."""

    # -------------------------------------------------------------- looking

    @property
    def unsettled(self) -> frozenset[Place]:
        """Where a handshake may be completed at any moment."""
        return frozenset(self._unsettled)

    def youngest(self) -> int:
        """When the last of the unsettled handshake messages was sent that somebody waits for.

        0: nobody does. Clients leave all the time, and WireGuard goes on calling each for a while.
        """
        return max((self._standings[place].awaited for place in self._unsettled), default=0)

    def awaits(self, place: Place) -> bool:
        """Whether somebody waits for what comes of the last handshake message there."""
        standing = self._standings.get(place)
        return (
            standing is not None
            and place in self._unsettled
            and standing.awaited == standing.latest
        )

    def holding(self) -> frozenset[Place]:
        """The peers whose session is here: claimed by this gateway, and its keys still live."""
        return frozenset(
            place
            for place, standing in self._standings.items()
            if standing.claim is not None
            and standing.claim.holder == self.me
            and any(standing.kept(self.me))
        )

    def owner(self, peer: PeerId) -> str:
        """Which gateway claimed the peer last, on either slot; empty when none is known to have.

        The last word stands also when that session is over: nobody else has one, and while nothing
        is heard from that gateway it may have renewed it.
        """
        claim = self._owners.get(peer)
        return "" if claim is None else claim.holder

    def take_moved(self) -> set[PeerId]:
        """Those whose owner has changed since the last call."""
        moved, self._moved = self._moved, set()
        return moved

    def watched(self, now: int) -> Iterator[Watch]:
        """All that the kernel should report."""
        for standing in self._standings.values():
            for session in standing.sessions.values():
                if session.holder != self.me or session.index in standing.lost:
                    yield from _watch(session, now)

    def facts(self, holder: str) -> list[Session]:
        """All sessions that are known to be this gateway's."""
        return [
            session
            for standing in self._standings.values()
            for session in standing.sessions.values()
            if session.holder == holder
        ]

    def sessions(self) -> tuple[int, int]:
        """How many are ours, and how many others'."""
        return self._own, len(self._indices) - self._own

    # -------------------------------------------------------------- seen by the kernel

    def sent(self, session: Session, now: int, *, asks: bool = False) -> list[Deed]:
        """This gateway has sent a handshake message; perhaps some time ago.

        `asks`: an initiation. Without a takeover it is WireGuard's own timers that call, which they
        do for a minute and a half once a peer has fallen silent: the client has gone, or this
        machine or its network was away. If the client is known to be elsewhere, it ends here.
        """
        if not session.order:
            # Fixed now: what is heard until the handshake is completed is no reason to put it later
            session = replace(session, order=max(session.began, self._beyond(session.place)))
        standing = self._enter(session)
        standing.lost -= {session.index}
        if asks and standing.attempt is None:
            standing.calls |= {session.index}
            if standing.claim is not None and standing.claim.holder != self.me and self.active:
                return [Tell(session), *self._give_up(session.place, standing)]
        else:
            standing.awaited = now
        standing.latest = now
        claim, kept = standing.claim, [one for one in standing.kept(self.me) if one != session]
        if claim is None or claim.holder != self.me or not kept:
            self._unsettle(session.place, session.began)
        return [Tell(session)]

    def reported(self, slot: int, index: int, source: Endpoint, now: int) -> list[Deed]:
        """A packet of a watched session has come in from `source`."""
        place = self._indices.get((slot, index))
        outcome = UNKNOWN if place is None else self._against(place, index, source, now)
        self.counts[outcome] += 1
        return [] if place is None or outcome != STARTED else [self._take_over(place, source, now)]

    def _against(self, place: Place, index: int, source: Endpoint, now: int) -> str:
        """What speaks against a takeover; `STARTED` when nothing does."""
        standing = self._standings[place]
        session = standing.sessions[index]
        if session.holder == self.me and index not in standing.lost:
            return OURS
        for outcome, so in (
            (OFF, not self.active),
            (BARRED, not self._admitted(place.peer)),
            (STALE, now - session.began > LIFETIME or self._superseded(session, standing)),
            (LIMITED, not _may_try(standing, source, now)),
        ):
            if so:
                return outcome
        return STARTED

    def _take_over(self, place: Place, source: Endpoint, now: int) -> TakeOver:
        standing = self._standings[place]
        attempt = standing.attempt
        ours = any(one.holder == self.me for one in standing.sessions.values())
        again = ours or (attempt is not None and now - attempt.first < UNDER_WAY)
        if attempt is not None and attempt.source.address == source.address:
            tries = attempt.tries + 1
            standing.attempt = replace(attempt, source=source, last=now, tries=tries)
        else:
            standing.attempt = Attempt(source, now, now)
        standing.latest = standing.awaited = now
        self._unsettle(place, now)
        return TakeOver(place, source, again)

    def _superseded(self, session: Session, standing: Standing) -> bool:
        """Whether the peer has been elsewhere since: then the packet is late, or a replay."""
        claim = standing.claim
        if claim is None or claim.order <= session.order + AT_ONCE:
            return False
        if claim.holder == self.me:
            return any(standing.kept(self.me))
        return claim.holder != session.holder

    def confirmed(self, handshakes: Mapping[Place, int], now: int) -> list[Deed]:
        """WireGuard's last completed handshake (whole seconds since the epoch) of some peers.

        Only this proves that the client is here. A message that was sent proves nothing: a packet
        with a made-up source can cause one.
        """
        deeds: list[Deed] = []
        for place in list(self._unsettled):
            standing = self._standings[place]
            done, first = handshakes.get(place, 0), standing.unsettled
            if first is None or done < (first - CLOCK_GRAIN) // 1000:
                continue
            order = max(_completed(standing.kept(self.me), done), default=None)
            if order is None:
                continue
            claim, before = Claim(place, self.me, order), standing.claim
            if before is not None and before.holder != self.me and not claim.outranks(before):
                continue
            taken = standing.attempt is not None
            came = taken or self.owner(place.peer) not in ("", self.me)
            self.counts[TAKEOVERS] += taken
            self._claimed(standing, claim, now)
            standing.attempt = None
            self._settle(place)
            deeds += [Tell(claim), Arrived(place)] if came else [Tell(claim)]
        return deeds

    def _beyond(self, place: Place) -> int:
        """The lowest order that comes after all that others have told of this peer."""
        standing = self._standings.get(place, Standing())
        known = [one.order for one in standing.sessions.values() if one.holder != self.me]
        if standing.claim is not None:
            known.append(standing.claim.order)
        return max(known, default=-1) + 1

    # -------------------------------------------------------------- heard from others

    def heard_session(self, session: Session, now: int) -> list[Deed]:
        """Another gateway has sent a handshake message."""
        if session.holder == self.me or now - session.began > LIFETIME:
            return []
        known = self._indices.get((session.slot, session.index))
        if known is not None and self._standings[known].sessions[session.index] == session:
            return []
        if known is not None and self._standings[known].sessions[session.index].holder == self.me:
            return []  # the same number by chance: packets with it are ours
        self._enter(session)
        return list(_watch(session, now))

    def heard_claim(self, claim: Claim, now: int) -> list[Deed]:
        """Another gateway has completed a handshake with the peer."""
        standing = self._standings.setdefault(claim.place, Standing())
        if claim.holder == self.me or not claim.outranks(standing.claim):
            return []
        self._claimed(standing, claim, now)
        later = [
            one.began
            for one in standing.kept(self.me)
            if one.index not in standing.calls and one.order > claim.order
        ]
        if later:
            # we have shaken hands since, or are about to: if so, that is a claim, too
            self._unsettle(claim.place, max(later))
            return []
        return self._give_up(claim.place, standing)

    def _give_up(
        self, place: Place, standing: Standing, unless_since: int | None = None
    ) -> list[Deed]:
        held = standing.attempt is not None or any(standing.kept(self.me))
        standing.attempt = None
        self._settle(place)
        if not held or not self.active:
            return []
        self.counts[RELINQUISHED] += 1
        return [Relinquish(place, unless_since)]

    # -------------------------------------------------------------- told by the main thread

    def forgotten(self, place: Place, at: int) -> list[Deed]:
        """WireGuard has no keys any more from handshakes before `at`.

        The client may come with them all the same; so they are watched like another gateway's.
        """
        standing = self._standings.get(place)
        if standing is None:
            return []
        gone = [session for session in standing.kept(self.me) if session.began < at]
        standing.lost |= {session.index for session in gone}
        if standing.attempt is None and not any(standing.kept(self.me)):
            standing.awaited = 0  # nothing is under way any more that a takeover would disturb
        self.version += 1
        return [deed for session in gone for deed in _watch(session, at)]

    def interface_made(self, slot: int, at: int) -> list[Deed]:
        """The slot's interface is new, or has another key: no session of before is left."""
        return [
            deed
            for place in list(self._standings)
            if place.slot == slot
            for deed in self.forgotten(place, at)
        ]

    # -------------------------------------------------------------- time

    def undecided(self, now: int) -> list[Deed]:
        """What comes of handshakes that were not completed."""
        deeds: list[Deed] = []
        for place in list(self._unsettled):
            standing = self._standings[place]
            if now - standing.latest <= GIVE_UP:
                continue
            claim, attempt = standing.claim, standing.attempt
            elsewhere = claim is not None and claim.holder != self.me
            if attempt is not None:
                deeds += self._give_up(place, standing, attempt.first)
            elif elsewhere and any(standing.kept(self.me)):
                deeds += self._give_up(place, standing, standing.unsettled)
            elif now - standing.latest > LIFETIME:
                # not before: a session counts from the client's first packet, which may take long
                self._settle(place)
        return deeds

    def expire(self, now: int) -> None:
        """Forget what is over."""
        while self._over and self._over[0][0] < now:
            _when, place = heapq.heappop(self._over)
            if (standing := self._standings.get(place)) is not None:
                self._prune(place, standing, now)

    def _prune(self, place: Place, standing: Standing, now: int) -> None:
        for session in list(standing.sessions.values()):
            if now - session.began > LIFETIME:
                self._forget(standing, session)
        claim = standing.claim
        if (
            claim is not None
            and now - standing.claimed_at > LIFETIME
            and not any(one.holder == claim.holder for one in standing.sessions.values())
        ):
            standing.claim = None
            self.version += 1
            if not self._admitted(place.peer):
                self._owners.pop(place.peer, None)
        if not standing.sessions and standing.claim is None and place not in self._unsettled:
            del self._standings[place]

    # -------------------------------------------------------------- the table

    def _enter(self, session: Session) -> Standing:
        key = session.slot, session.index
        if (before := self._indices.get(key)) is not None:
            former = self._standings[before]
            self._forget(former, former.sessions[session.index])
        standing = self._standings.setdefault(session.place, Standing())
        standing.sessions[session.index] = session
        self._indices[key] = session.place
        heapq.heappush(self._over, (session.began + LIFETIME, session.place))
        self._own += session.holder == self.me
        self.version += 1
        return standing

    def _forget(self, standing: Standing, session: Session) -> None:
        standing.sessions.pop(session.index)
        standing.lost -= {session.index}
        standing.calls -= {session.index}
        del self._indices[session.slot, session.index]
        self._own -= session.holder == self.me
        self.version += 1

    def _claimed(self, standing: Standing, claim: Claim, now: int) -> None:
        standing.claim, standing.claimed_at = claim, now
        peer = claim.place.peer
        before = self._owners.get(peer)
        if claim.outranks(before):
            self._owners[peer] = claim
            if before is None or before.holder != claim.holder:
                self._moved.add(peer)
        heapq.heappush(self._over, (now + LIFETIME, claim.place))
        self.version += 1

    def _unsettle(self, place: Place, since: int) -> None:
        standing = self._standings[place]
        if standing.unsettled is None:
            standing.unsettled = since
        self._unsettled.add(place)

    def _settle(self, place: Place) -> None:
        standing = self._standings[place]
        standing.unsettled = None
        self._unsettled.discard(place)
        if not standing.sessions and standing.claim is None:
            del self._standings[place]


def _watch(session: Session, now: int) -> Iterator[Watch]:
    left = min(session.began + LIFETIME - now, LIFETIME)
    if left > 0:
        yield Watch(session.slot, session.index, left)


def _completed(sessions: Iterable[Session], done: int) -> Iterator[int]:
    """The order of those sessions that a handshake completed at `done` (seconds) can be of.

    A later one was not completed: nobody may have been there to answer it.
    """
    return (one.order for one in sessions if (one.began - CLOCK_GRAIN) // 1000 <= done)


def _may_try(standing: Standing, source: Endpoint, now: int) -> bool:
    attempt = standing.attempt
    if attempt is None or attempt.source.address != source.address:
        return now - standing.awaited >= ELSEWHERE
    return now - attempt.last >= RETRY[min(attempt.tries, len(RETRY)) - 1]
