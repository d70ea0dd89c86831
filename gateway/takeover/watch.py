"""The takeover thread: what the kernel and the others report, into the table; what follows, out.

It changes nothing on the machine but the sets of watched sessions and of clients that have just
come. What WireGuard has to do it asks of the main thread.
"""

from __future__ import annotations

import logging
import secrets
import select
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from effects import Failed, run
from gateway import wireguard
from gateway.access import TABLE
from gateway.circle import others
from gateway.firewall import LOAD
from gateway.generations import interface_of
from gateway.gossip import Kind
from gateway.messages import OwnersMove, SessionsMove
from gateway.presence import SILENT
from gateway.takeover import packets, rules, words
from gateway.takeover.desk import Arrived, Desk, Relinquish, TakeOver, Tell, Watch
from gateway.takeover.hub import FilterLoaded, Forgotten, InterfaceMade, Told
from gateway.takeover.journal import PART, Follower, Journal
from gateway.takeover.moves import LetGo, Move, PointAt
from gateway.takeover.nflog import Nflog
from gateway.takeover.recipients import Recipients
from gateway.takeover.resume import Resumption
from gateway.takeover.sessions import LIFETIME, Place, Session
from registry.key_slots import SLOTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from ipaddress import IPv4Address

    from gateway.gossip_link import Link
    from gateway.messages import Message
    from gateway.observe import FilterMemory
    from gateway.status import Board, Status
    from gateway.takeover.connections import Connection
    from gateway.takeover.desk import Deed
    from gateway.takeover.hub import Hub, Item
    from gateway.takeover.journal import Fact
    from gateway.takeover.packets import Datagram, Handshake
    from gateway.takeover.recipients import PeerId

log = logging.getLogger(__name__)

TICK = 0.5
"""Seconds between looks at the time when nothing happens."""

BEAT = 1.0
"""Seconds between telling the others how far the journal goes."""

EXPIRE_EVERY = 10.0

WATCH_AGAIN_EVERY = 60.0
"""Seconds between writing all watched sessions: somebody may have emptied the kernel's set."""

WRITE_EVERY = 0.1
"""Seconds between two changes of the kernel's set: each starts a program."""

FIRST_LOOK = 0.03
"""Seconds from a handshake message until its completion is looked for."""

LOOK_SHARE = 0.1
"""Of the time, at most, that goes into looking for completed handshakes; also how much longer one
that takes long is waited for before the next look."""

LOOK_AT_LEAST_EVERY = 0.1
LOOK_AT_MOST_EVERY = 10.0
"""Seconds between looks. Only so often while nobody waits for the outcome: somebody whom WireGuard
still calls may be there after all, and then this is a claim, some seconds late."""

AGAIN = 0.3
"""Seconds before the same part of the journal is sent to the same gateway again."""

IN_STEP_AT_MOST = 5.0
"""Seconds after the start, after which what others have not told is not waited for any more."""

UNMATCHED = 64
"""Handshake messages for nobody we know that are kept: the peer may be admitted in a moment."""

_TIMEOUT = 10.0


def _run(command: tuple[str, ...], stdin: str | None = None) -> str:
    return run(command, stdin=stdin, timeout=_TIMEOUT).stdout


class TakeoverWatch:
    """One step of the takeover poller."""

    def __init__(
        self,
        port: int,
        link: Link,
        board: Board,
        hub: Hub,
        *,
        memory: FilterMemory,
        post: Callable[[Message], None],
        listen: Callable[[tuple[int, ...]], Nflog] = Nflog,
        send: Callable[[bytes], None] | None = None,
        open_of: Callable[[IPv4Address], Iterable[Connection]] = lambda _client: (),
        call: Callable[..., str] = _run,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._port, self._link, self._board, self._hub = port, link, board, hub
        self._memory, self._post, self._listen, self._call = memory, post, listen, call
        self._wall, self._monotonic = wall, monotonic
        self._resumption = Resumption(send, monotonic, open_of)
        self._stranded: dict[str, float] = {}
        """Instance id -> when its clients were last expected here."""
        self._recipients = Recipients()
        self._admitted_from: object = None
        self._journal = Journal(secrets.randbits(63) + 1)
        self._followers: dict[str, Follower] = {}
        self._sources: dict[str, IPv4Address] = {}
        self._answered: dict[tuple[str, int], float] = {}
        self._unplaced: set[tuple[int, int]] = set()
        self._unmatched: deque[tuple[Handshake, Datagram]] = deque(maxlen=UNMATCHED)
        self._desk: Desk | None = None
        self._ears: Nflog | None = None
        self._moves: list[Move] = []
        self._to_watch: dict[tuple[int, int], int] = {}
        self._beat_at = self._expire_at = self._write_at = self._rest_until = float("-inf")
        self._watch_again_at = monotonic() + WATCH_AGAIN_EVERY
        self._look_at = float("inf")
        self._viewed = -1
        self._elsewhere: dict[str, str] = {}
        self._unnamed: set[PeerId] = set()
        self._named_anew = False
        self._in_step_by = float("inf")
        self._why = ""
        for kind in (Kind.SESSIONS, Kind.SESSIONS_WANTED, Kind.SESSIONS_RETURNED):
            link.on(kind, lambda frame, source: hub.put(Told(frame, source)))

    # -------------------------------------------------------------- the loop

    def step(self) -> float:
        """Wait for something to happen, and do what follows; no pause afterwards."""
        status = self._board.status
        if status.state.identity is None:
            self._board.wait_until(lambda now: now.state.identity is not None, TICK)
            return 0.0
        desk = self._desk = self._desk or Desk(status.state.identity.instance_id, self._is_admitted)
        self._admit(status)
        if self._ears is None:
            self._ears = self._listen((rules.HANDSHAKES, rules.MOVED, rules.STALLED))
            self._restore(desk)
        try:
            select.select([self._ears, self._hub], [], [], self._pause(desk))
            heard = self._ears.read()
        except OSError:
            self._ears.close()
            self._ears = None
            raise
        status = self._board.status
        self._admit(status)
        control = status.state.control
        desk.active = control is None or control.takeover
        routed = control is not None and control.routed
        self._resumption.pool = control.client_pool if control is not None and routed else None
        for group, packet in heard:
            self._packet(desk, group, packet)
        for item in self._hub.take():
            self._item(desk, item)
        self._look(desk)
        self._tell_owners(desk, status)
        self._expect_stranded()
        self._flush(desk, status)
        self._resumption.ask()
        return 0.0

    def _pause(self, desk: Desk) -> float:
        now = self._monotonic()
        until = [TICK, self._resumption.next_ask - now]
        if desk.unsettled:
            until.append(self._look_at - now)
        if self._to_watch or self._resumption.unshown:
            until.append(self._write_at - now)
        return max(0.0, min(until))

    def _now(self) -> int:
        return int(self._wall() * 1000)

    def _is_admitted(self, peer: PeerId) -> bool:
        return self._recipients.public_key(peer) is not None

    def _admit(self, status: Status) -> None:
        addresses = status.admitted.addresses
        if addresses is self._admitted_from:
            return
        self._recipients.admit(addresses)
        self._admitted_from = addresses
        self._named_anew = True
        desk = self._desk
        again, self._unmatched = list(self._unmatched), deque(maxlen=UNMATCHED)
        for message, datagram in again:
            if desk is not None:
                self._handshake(desk, message, datagram)

    # -------------------------------------------------------------- what comes in

    def _packet(self, desk: Desk, group: int, packet: bytes) -> None:
        if group == rules.STALLED:
            self._resumption.segment(packet)
            return
        try:
            datagram = packets.parse(packet)
            if group == rules.HANDSHAKES:
                self._handshake(desk, packets.handshake(datagram.payload), datagram)
            else:
                index = packets.index_of(datagram.payload)
                slot = datagram.destination.port - self._port
                self._do(desk.reported(slot, index, datagram.source, self._now()))
        except ValueError:
            desk.counts["garbled"] += 1

    def _handshake(self, desk: Desk, message: Handshake, datagram: Datagram) -> None:
        slot, where = datagram.source.port - self._port, datagram.destination
        peer = self._recipients.find(message, where)
        if peer is None:
            desk.counts["unmatched"] += 1
            self._unmatched.append((message, datagram))
        elif slot in SLOTS:
            now = self._now()
            session = Session(slot, message.index, peer, desk.me, now, where)
            self._do(desk.sent(session, now, asks=message.asks))
            if desk.awaits(session.place):
                self._look_soon()

    def _item(self, desk: Desk, item: Item) -> None:
        match item:
            case Told(frame, source):
                try:
                    self._told(desk, frame.kind, frame.sender, frame.body, source)
                except ValueError:
                    desk.counts["garbled"] += 1
            case Forgotten(interface, public_keys, at):
                for peer in map(self._recipients.id_of, public_keys):
                    if peer is not None:
                        self._do(desk.forgotten(Place(_slot(interface), peer), at))
            case InterfaceMade(interface, at):
                self._do(desk.interface_made(_slot(interface), at))
            case FilterLoaded():
                self._do(desk.watched(self._now()))

    # -------------------------------------------------------------- the others

    def _told(self, desk: Desk, kind: int, sender: str, body: bytes, source: IPv4Address) -> None:
        self._sources[sender] = source
        match kind:
            case Kind.SESSIONS:
                part = words.unpack_part(body, sender)
                if self._followers.setdefault(sender, Follower()).take(part):
                    self._give_back(desk, sender, source)
                for fact in part.facts:
                    self._fact(desk, fact)
            case Kind.SESSIONS_WANTED:
                journal, after = words.unpack_wish(body)
                self._send_since(sender, after if journal == self._journal.name else 0, source)
            case Kind.SESSIONS_RETURNED:
                for fact in words.unpack_facts(body, desk.me):
                    self._returned(desk, fact)

    def _fact(self, desk: Desk, fact: Fact) -> None:
        if isinstance(fact, Session):
            if fact.endpoint is not None:
                # the client may come to us from the same place
                self._recipients.hint(fact.endpoint, fact.peer)
            self._do(desk.heard_session(fact, self._now()))
        else:
            self._do(desk.heard_claim(fact, self._now()))

    def _send_since(self, sender: str, after: int, source: IPv4Address) -> None:
        now = self._monotonic()
        if now - self._answered.get((sender, after), float("-inf")) < AGAIN:
            return
        self._answered = {key: at for key, at in self._answered.items() if now - at < AGAIN}
        self._answered[sender, after] = now
        for part in self._journal.since(after):
            self._link.send(Kind.SESSIONS, words.pack_part(part), (source,))

    def _give_back(self, desk: Desk, sender: str, source: IPv4Address) -> None:
        """Tell a gateway whose agent has just come what it had told before."""
        known = desk.facts(sender)
        for start in range(0, len(known), PART):
            body = words.pack_facts(known[start : start + PART])
            self._link.send(Kind.SESSIONS_RETURNED, body, (source,))

    def _returned(self, desk: Desk, fact: Fact) -> None:
        """Only what the kernel says is ours, and we could not say whose it is."""
        if isinstance(fact, Session) and (fact.slot, fact.index) in self._unplaced:
            self._unplaced.discard((fact.slot, fact.index))
            self._again(desk, fact)

    # -------------------------------------------------------------- after a start

    def _restore(self, desk: Desk) -> None:
        """The kernel has noted what was handed out while nobody listened, and where it went."""
        try:
            handed = rules.parse_handed(self._call(rules.list_handed(TABLE)))
            peers = self._peers_by_endpoint() if handed else {}
        except (Failed, ValueError) as err:
            log.warning("takeover: sessions of before are not known: %s", err)
            return
        now = self._now()
        for one in handed:
            slot = one.port - self._port
            likely = peers.get((interface_of(slot), str(one.endpoint)), [])
            if len(likely) == 1:
                began = now - one.age
                self._again(desk, Session(slot, one.index, likely[0], desk.me, began, one.endpoint))
            elif slot in SLOTS:
                self._unplaced.add((slot, one.index))
        if handed:
            placed = len(handed) - len(self._unplaced)
            log.info("takeover: %d of %d sessions of before are known", placed, len(handed))

    def _peers_by_endpoint(self) -> dict[tuple[str, str], list[PeerId]]:
        oldest = (self._now() - LIFETIME) // 1000
        found: dict[tuple[str, str], list[PeerId]] = {}
        for name, device in wireguard.parse_dump(self._call(wireguard.DUMP)).items():
            for public_key, peer in device.peers.items():
                known = self._recipients.id_of(public_key)
                if known is not None and peer.latest_handshake > oldest:
                    found.setdefault((name, peer.endpoint), []).append(known)
        return found

    def _again(self, desk: Desk, session: Session) -> None:
        if session.endpoint is not None:
            self._recipients.hint(session.endpoint, session.peer)
        self._do(desk.sent(session, self._now()))
        self._look_soon()

    # -------------------------------------------------------------- completed handshakes

    def _look_soon(self) -> None:
        self._look_at = min(self._look_at, max(self._rest_until, self._monotonic() + FIRST_LOOK))

    def _look(self, desk: Desk) -> None:
        began, now = self._monotonic(), self._now()
        if not desk.unsettled:
            self._look_at = float("inf")
            return
        if self._look_at == float("inf"):
            self._look_at = began + TICK
        if desk.active:
            if began < self._look_at:
                return
            try:
                table = wireguard.parse_handshakes(self._call(wireguard.HANDSHAKES))
            except (Failed, ValueError) as err:
                self._say(str(err))
                table = {}
            shaken = {
                place: table.get((interface_of(place.slot), public_key), 0)
                for place in desk.unsettled
                if (public_key := self._recipients.public_key(place.peer)) is not None
            }
            self._do(desk.confirmed(shaken, now))
            after = self._monotonic()
            waiting = max(0.0, (now - desk.youngest()) / 1000)
            pause = min(LOOK_AT_MOST_EVERY, max(LOOK_AT_LEAST_EVERY, waiting * LOOK_SHARE))
            self._rest_until = after + (after - began) / LOOK_SHARE
            self._look_at = max(self._rest_until, after + pause)
        self._do(desk.undecided(now))

    # -------------------------------------------------------------- what follows

    def _do(self, deeds: Iterable[Deed]) -> None:
        for deed in deeds:
            match deed:
                case Tell(fact):
                    self._journal.note(fact, self._now())
                case Watch(slot, index, lifetime):
                    self._to_watch[self._port + slot, index] = lifetime
                case TakeOver(place, source, again):
                    public_key = self._recipients.public_key(place.peer)
                    if public_key is not None:
                        self._recipients.hint(source, place.peer)
                        name = interface_of(place.slot)
                        self._moves.append(PointAt(name, public_key, str(source), again))
                        self._at(public_key, self._resumption.expect)
                case Arrived(place):
                    public_key = self._recipients.public_key(place.peer)
                    if public_key is not None:
                        self._at(public_key, self._resumption.arrived)
                case Relinquish(place, unless_since):
                    public_key = self._recipients.public_key(place.peer)
                    if public_key is not None:
                        since = None if unless_since is None else unless_since // 1000
                        name = interface_of(place.slot)
                        self._moves.append(LetGo(name, public_key, since))

    def _at(self, public_key: str, tell: Callable[[IPv4Address], None]) -> None:
        address = self._board.status.admitted.addresses.get(public_key)
        if address is not None:
            tell(address)

    def _tell_owners(self, desk: Desk, status: Status) -> None:
        """Whose session is where, if that has changed: at once, or answers go astray."""
        moved = desk.take_moved()
        if self._named_anew:
            moved |= self._unnamed
            self._unnamed, self._named_anew = set(), False
        changed: dict[str, str] = {}
        for peer in moved:
            public_key = self._recipients.public_key(peer)
            if public_key is None:
                self._unnamed.add(peer)
            else:
                changed[public_key] = desk.owner(peer)
        for key, holder in changed.items():
            if holder not in ("", desk.me):
                self._at(key, self._resumption.found)
        view = self._hub.view
        in_step = view.in_step or self._in_step(status)
        if not changed and in_step == view.in_step:
            return
        self._elsewhere = {
            key: holder
            for key, holder in (self._elsewhere | changed).items()
            if holder not in ("", desk.me)
        }
        addresses = {holder: self._sources[holder] for holder in set(self._elsewhere.values())}
        self._hub.view = replace(
            view,
            holding=self._holding(desk) if not view.in_step else view.holding,
            elsewhere=self._elsewhere,
            addresses=view.addresses if view.addresses == addresses else addresses,
            in_step=in_step,
        )
        if status.state.control is not None and status.state.control.routed:
            self._post(OwnersMove())

    def _expect_stranded(self) -> None:
        """The clients of a gateway that has fallen silent may be here at any moment."""
        now = self._monotonic()
        for holder in self._hub.view.addresses:
            if now - self._link.heard_at.get(holder, now) < SILENT:
                self._stranded.pop(holder, None)
            elif now - self._stranded.get(holder, float("-inf")) >= rules.RESUMED_LIFETIME / 2:
                self._stranded[holder] = now
                admitted = self._board.status.admitted.addresses
                keys = [key for key, at in self._elsewhere.items() if at == holder]
                self._resumption.expect(*(admitted[key] for key in keys if key in admitted))

    def _in_step(self, status: Status) -> bool:
        """Whether every other gateway has told what it knows, or enough time has gone by."""
        now, circle = self._monotonic(), others(status.state)
        self._in_step_by = min(self._in_step_by, now + IN_STEP_AT_MOST)
        told = {
            self._sources[name] for name, follower in self._followers.items() if not follower.behind
        }
        return now >= self._in_step_by or (bool(circle) and circle <= told)

    def _flush(self, desk: Desk, status: Status) -> None:
        if self._moves:
            moves, self._moves = tuple(self._moves), []
            self._post(SessionsMove(moves))
        now, circle = self._monotonic(), others(status.state)
        for part in self._journal.news():
            self._link.send(Kind.SESSIONS, words.pack_part(part), circle)
        if now - self._beat_at >= BEAT:
            self._beat_at = now
            self._link.send(Kind.SESSIONS, words.pack_part(self._journal.beat()), circle)
            self._ask(circle)
            self._show(desk)
        if now - self._expire_at >= EXPIRE_EVERY:
            self._expire_at = now
            desk.expire(self._now())
            self._journal.expire(self._now(), keep=desk.holding())
        if now >= self._watch_again_at:
            self._watch_again_at = now + WATCH_AGAIN_EVERY
            self._do(desk.watched(self._now()))
        self._write(now)

    def _ask(self, circle: frozenset[IPv4Address]) -> None:
        for sender, follower in self._followers.items():
            source = self._sources[sender]
            if follower.behind and source in circle:
                wish = words.pack_wish(follower.journal, follower.upto)
                self._link.send(Kind.SESSIONS_WANTED, wish, (source,))

    def _write(self, now: float) -> None:
        unshown = self._resumption.unshown
        if not (self._to_watch or unshown) or now < self._write_at:
            return
        elements = [(port, index, left) for (port, index), left in self._to_watch.items()]
        self._write_at = now + WRITE_EVERY
        try:
            for text in (*rules.resume(TABLE, unshown), *rules.watch(TABLE, elements)):
                with self._memory.beside():
                    self._call(LOAD, text)
        except Failed as err:
            # the filter is away; it is loaded again in a moment, and then all of this comes again
            self._say(str(err))
            self._write_at = now + BEAT
            return
        self._to_watch.clear()
        unshown.clear()
        self._say("")

    def _show(self, desk: Desk) -> None:
        view = self._hub.view
        holding = view.holding
        if self._viewed != desk.version:
            self._viewed = desk.version
            holding = self._holding(desk)
        own, remote = desk.sessions()
        counts = dict(desk.counts)
        if self._ears is not None and self._ears.lost:
            counts["overrun"] = self._ears.lost
        self._hub.view = replace(
            view,
            working=desk.active and self._ears is not None,
            holding=holding,
            unsettled=len(desk.unsettled),
            own=own,
            remote=remote,
            counts=counts,
        )

    def _holding(self, desk: Desk) -> frozenset[tuple[str, str]]:
        return frozenset(
            (interface_of(place.slot), public_key)
            for place in desk.holding()
            if (public_key := self._recipients.public_key(place.peer)) is not None
        )

    def _say(self, why: str) -> None:
        if why and why != self._why:
            log.warning("takeover: %s", why[:300])
        self._why = why


def _slot(interface: str) -> int:
    return next(slot for slot in SLOTS if interface_of(slot) == interface)
