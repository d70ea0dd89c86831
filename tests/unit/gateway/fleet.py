"""Gateways, clients and the network between them as a simulation of events.

Every gateway has the real table and the real journal, a clock of its own that is wrong, and a model
of WireGuard; gossip takes its time, is lost and overtakes itself. All randomness is from one seed.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import count
from typing import TYPE_CHECKING

from gateway.takeover.desk import Desk, Relinquish, TakeOver, Tell, Watch
from gateway.takeover.journal import Follower, Journal
from gateway.takeover.packets import Endpoint
from gateway.takeover.recipients import PeerId
from gateway.takeover.sessions import Place, Session
from gateway.takeover.words import pack_part, pack_wish, unpack_part, unpack_wish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.takeover.desk import Deed
    from gateway.takeover.journal import Part

EPOCH = 1_800_000_000_000
TRIP = 5
"""Milliseconds between a client and a gateway."""
STOCK = 15_000
"""Milliseconds without an answer after which WireGuard shakes hands by itself (KEEPALIVE_TIMEOUT
and REKEY_TIMEOUT)."""
CALL_EVERY, CALL_FOR = 5_000, 90_000
"""Milliseconds (REKEY_TIMEOUT, REKEY_ATTEMPT_TIME): it goes on so, on a gateway as on a client."""


@dataclass
class Client:
    name: PeerId
    at: str
    """The gateway the balancer sends it to."""
    source: Endpoint
    session: tuple[str, int] | None = None
    """Gateway and index of the session it uses."""
    answered: int = EPOCH
    asked: int = EPOCH
    """Since when it has been waiting for an answer."""
    silences: list[tuple[int, int]] = field(default_factory=list)
    """When each one longer than 100 ms ended, and its length."""

    @property
    def place(self) -> Place:
        return Place(0, self.name)


@dataclass
class WireGuard:
    """One peer as a gateway's WireGuard has it."""

    indices: set[int] = field(default_factory=set)
    under_way: set[int] = field(default_factory=set)
    completed: int = 0
    """Whole seconds, by the gateway's clock."""
    heard: int = EPOCH
    """When it last had something from the client."""
    called: int = EPOCH


@dataclass
class Gateway:
    name: str
    skew: int
    journal: Journal
    desk: Desk
    peers: dict[PeerId, WireGuard] = field(default_factory=dict)
    watched: dict[int, int] = field(default_factory=dict)
    reported: dict[int, int] = field(default_factory=dict)
    followers: dict[str, Follower] = field(default_factory=dict)
    alive: bool = True
    initiations: int = 0


class Fleet:
    """`loss` of gossip, 0 to 1; `delay` of it, at most, in milliseconds."""

    def __init__(
        self, gateways: int, clients: int, seed: int, *, loss: float = 0.0, delay: int = 20
    ) -> None:
        self.random, self.now, self.loss, self.delay = random.Random(seed), EPOCH, loss, delay  # noqa: S311
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order, self._indices = count(), count(1)
        self.cut = False
        """No gossip at all."""
        self.severed: set[str] = set()
        """Gateways without a network."""
        self.gateways: dict[str, Gateway] = {}
        for number in range(gateways):
            name = f"i-{number}"
            skew = self.random.randint(-25, 25)  # two of them differ by 50 ms at most
            self.gateways[name] = Gateway(name, skew, Journal(number + 1), Desk(name))
            self.after(self.random.randint(0, 1000), lambda name=name: self._beat(name))
            self.after(self.random.randint(0, 100), lambda name=name: self._look(name))
            self.after(self.random.randint(0, 1000), lambda name=name: self._timers(name))
        self.clients = [
            Client(
                PeerId(bytes([number]) * 16),
                self.random.choice(list(self.gateways)),
                Endpoint(IPv4Address(f"198.51.100.{number}"), 40000),
            )
            for number in range(clients)
        ]
        for client in self.clients:
            self._initiate(client)
            self.after(self.random.randint(0, 100), lambda client=client: self._ping(client))

    # -------------------------------------------------------------- time

    def after(self, milliseconds: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + milliseconds, next(self._order), what))

    def run(self, milliseconds: int) -> None:
        until = self.now + milliseconds
        while self._events and self._events[0][0] <= until:
            self.now, _order, what = heapq.heappop(self._events)
            what()
        self.now = until

    def clock(self, gateway: Gateway) -> int:
        return self.now + gateway.skew

    # -------------------------------------------------------------- what a test does

    def move(self, client: Client, gateway: str) -> None:
        """The balancer sends the client elsewhere."""
        client.at = gateway

    def roam(self, client: Client, gateway: str) -> None:
        """The client has another address, and so another gateway."""
        client.source = Endpoint(client.source.address, client.source.port + 1)
        client.at = gateway

    def dial(self, client: Client, gateway: str) -> None:
        """The client begins anew: it shakes hands with another gateway by itself."""
        client.at = gateway
        self._initiate(client)

    def kill(self, name: str) -> None:
        self.gateways[name].alive = False

    def replay(self, gateway: str, index: int) -> None:
        """A stranger sends a session's index from an address of his own."""
        stranger = Endpoint(IPv4Address("203.0.113.66"), self.random.randint(1024, 65535))
        self._arrive(self.gateways[gateway], index, stranger, None)

    # -------------------------------------------------------------- clients

    def _ping(self, client: Client) -> None:
        self.after(100, lambda: self._ping(client))
        gateway = self.gateways[client.at]
        if self.now - max(client.answered, client.asked) > STOCK:
            client.asked = self.now
            self._initiate(client)
        if client.session is not None and gateway.alive:
            index = client.session[1]
            self.after(TRIP, lambda: self._arrive(gateway, index, client.source, client))

    def _initiate(self, client: Client) -> None:
        """WireGuard's own handshake, begun by the client."""
        gateway = self.gateways[client.at]
        if not self._reached(gateway):
            return
        index = next(self._indices)

        def respond() -> None:
            wireguard = gateway.peers.setdefault(client.name, WireGuard())
            wireguard.under_way.add(index)
            self._sent(gateway, client, index, client.source)
            self.after(TRIP, done)

        def done() -> None:
            wireguard = gateway.peers[client.name]
            if client.at == gateway.name and index in wireguard.under_way:
                client.session = gateway.name, index
                self.after(TRIP, lambda: self._complete(gateway, client, index))

        self.after(TRIP, respond)

    def _complete(self, gateway: Gateway, client: Client, index: int) -> None:
        wireguard = gateway.peers[client.name]
        if index in wireguard.under_way:
            wireguard.under_way.discard(index)
            wireguard.indices.add(index)
            wireguard.heard = self.now
            wireguard.completed = self.clock(gateway) // 1000

    # -------------------------------------------------------------- gateways

    def _arrive(
        self, gateway: Gateway, index: int, source: Endpoint, client: Client | None
    ) -> None:
        if not self._reached(gateway):
            return
        if client is not None and index in gateway.peers.get(client.name, WireGuard()).indices:
            gateway.peers[client.name].heard = self.now
            self.after(TRIP, lambda: self._answered(client, gateway.name))
        now = self.clock(gateway)
        if gateway.watched.get(index, 0) > now >= gateway.reported.get(index, 0):
            gateway.reported[index] = now + 1000
            self._do(gateway, gateway.desk.reported(0, index, source, now))

    def _answered(self, client: Client, gateway: str) -> None:
        if client.at != gateway:
            return  # the balancer lets no answer through from where the client is no more
        silence = self.now - client.answered
        if silence > 150:
            client.silences.append((self.now, silence))
        client.answered = client.asked = self.now

    def _reached(self, gateway: Gateway) -> bool:
        return gateway.alive and gateway.name not in self.severed

    def _timers(self, name: str) -> None:
        """WireGuard's own on a gateway: it calls clients that have fallen silent."""
        gateway = self.gateways[name]
        if not gateway.alive:
            return
        self.after(1000, lambda: self._timers(name))
        for client in self.clients:
            wireguard = gateway.peers.get(client.name, WireGuard())
            silent = self.now - wireguard.heard
            due = self.now - wireguard.called >= CALL_EVERY
            if wireguard.indices and STOCK < silent < STOCK + CALL_FOR and due:
                wireguard.called = self.now
                index = next(self._indices)
                wireguard.under_way.add(index)
                self._sent(gateway, client, index, client.source, asks=True)
                if self._reached(gateway):
                    self.after(TRIP, lambda g=gateway, c=client, i=index: self._called(g, c, i))

    def _called(self, gateway: Gateway, client: Client, index: int) -> None:
        if client.at == gateway.name:  # the balancer lets nothing else through
            client.session = gateway.name, index
            self.after(TRIP, lambda: self._complete(gateway, client, index))

    def _sent(
        self,
        gateway: Gateway,
        client: Client,
        index: int,
        where: Endpoint,
        *,
        asks: bool = False,
    ) -> None:
        gateway.initiations += 1
        now = self.clock(gateway)
        session = Session(0, index, client.name, gateway.name, now, where)
        self._do(gateway, gateway.desk.sent(session, now, asks=asks))

    def _do(self, gateway: Gateway, deeds: Iterable[Deed]) -> None:
        for deed in deeds:
            match deed:
                case Tell(fact):
                    gateway.journal.note(fact, self.clock(gateway))
                case Watch(_slot, index, lifetime):
                    gateway.watched[index] = self.clock(gateway) + lifetime
                case TakeOver(place, source, again):
                    delay = self.random.randint(5, 30)
                    self.after(delay, lambda d=(place, source, again): self._take_over(gateway, *d))
                case Relinquish(place, unless_since):
                    delay = self.random.randint(5, 60)
                    self.after(delay, lambda d=(place, unless_since): self._relinquish(gateway, *d))
        for part in gateway.journal.news():
            self._send_all(gateway, part)

    def _take_over(self, gateway: Gateway, place: Place, source: Endpoint, again: bool) -> None:
        (client,) = [one for one in self.clients if one.name == place.peer]
        wireguard = gateway.peers.setdefault(place.peer, WireGuard())
        if again:
            self._forget(gateway, place)
        elif wireguard.indices or wireguard.under_way:
            return  # it would use the keys it has
        index = next(self._indices)
        wireguard.under_way.add(index)
        self._sent(gateway, client, index, source, asks=True)

        def answer() -> None:
            if client.source == source and client.at == gateway.name:
                client.session = gateway.name, index
                self.after(TRIP, lambda: self._complete(gateway, client, index))

        self.after(TRIP, answer)

    def _relinquish(self, gateway: Gateway, place: Place, unless_since: int | None) -> None:
        wireguard = gateway.peers.setdefault(place.peer, WireGuard())
        if unless_since is None or wireguard.completed < unless_since // 1000:
            self._forget(gateway, place)

    def _forget(self, gateway: Gateway, place: Place) -> None:
        wireguard = gateway.peers[place.peer]
        wireguard.indices.clear()
        wireguard.under_way.clear()
        wireguard.completed = 0
        self._do(gateway, gateway.desk.forgotten(place, self.clock(gateway)))

    def _look(self, name: str) -> None:
        gateway = self.gateways[name]
        if gateway.alive:
            self.after(self.random.randint(50, 200), lambda: self._look(name))
            now = self.clock(gateway)
            shaken = {
                place: gateway.peers[place.peer].completed
                for place in gateway.desk.unsettled
                if place.peer in gateway.peers
            }
            self._do(gateway, gateway.desk.confirmed(shaken, now))
            self._do(gateway, gateway.desk.undecided(now))

    # -------------------------------------------------------------- gossip

    def _beat(self, name: str) -> None:
        gateway = self.gateways[name]
        if not gateway.alive:
            return
        self.after(1000, lambda: self._beat(name))
        self._send_all(gateway, gateway.journal.beat())
        for sender, follower in gateway.followers.items():
            if follower.behind:
                wish = pack_wish(follower.journal, follower.upto)
                self._post(lambda to=sender, wish=wish: self._wanted(to, name, wish))
        gateway.desk.expire(self.clock(gateway))
        gateway.journal.expire(self.clock(gateway), keep=gateway.desk.holding())

    def _send_all(self, gateway: Gateway, part: Part) -> None:
        for other in self.gateways:
            if other != gateway.name:
                self._send(gateway.name, other, part)

    def _send(self, sender: str, to: str, part: Part) -> None:
        body = pack_part(part)
        if not {sender, to} & self.severed:
            self._post(lambda: self._heard(self.gateways[to], sender, body))

    def _post(self, deliver: Callable[[], None]) -> None:
        if not self.cut and self.random.random() >= self.loss:
            self.after(self.random.randint(1, self.delay), deliver)

    def _wanted(self, to: str, asking: str, wish: bytes) -> None:
        gateway, (_journal, after) = self.gateways[to], unpack_wish(wish)
        if gateway.alive and not {to, asking} & self.severed:
            for part in gateway.journal.since(after):
                self._send(to, asking, part)

    def _heard(self, gateway: Gateway, sender: str, body: bytes) -> None:
        if not gateway.alive:
            return
        part, now = unpack_part(body, sender), self.clock(gateway)
        for fact in part.facts:
            if isinstance(fact, Session):
                self._do(gateway, gateway.desk.heard_session(fact, now))
            else:
                self._do(gateway, gateway.desk.heard_claim(fact, now))
        gateway.followers.setdefault(sender, Follower()).take(part)

    # -------------------------------------------------------------- judging

    def silence(self, since: int) -> int:
        """The longest one of any client that ended after `since`, or goes on."""
        ended = [
            length for client in self.clients for when, length in client.silences if when > since
        ]
        return max([*ended, *(self.now - client.answered for client in self.clients)])

    def disagreements(self) -> list[str]:
        """What is not as it should be once nothing has happened for a while."""
        wrong = []
        for client in self.clients:
            if client.session is None or client.session[0] != client.at:
                wrong.append(f"{client.name[0]} is not served where it is")
                continue
            name, index = client.session
            if index not in self.gateways[name].peers[client.name].indices:
                wrong.append(f"{client.name[0]} has a session that its gateway has not")
            for gateway in self.gateways.values():
                holds = client.place in gateway.desk.holding()
                if gateway.alive and holds != (gateway.name == client.at):
                    wrong.append(f"{gateway.name} holds {client.name[0]}: {holds}")
                keys = gateway.peers.get(client.name, WireGuard()).indices
                if gateway.name != client.at and gateway.alive and keys:
                    wrong.append(f"{gateway.name} has keys of {client.name[0]}")
        return wrong
