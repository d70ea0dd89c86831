"""The main thread: it alone owns the state and changes the machine.

Messages in, one state; from the state and a look at the machine the actions; after them a new
status for everybody else. It looks every few seconds whether or not anything was said, so that
whatever happens to the machine is put right.
"""

from __future__ import annotations

import logging
import queue
import time
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from effects import Failed
from gateway import drain, notify, sysctl
from gateway.act import Actor
from gateway.chrony import UNKNOWN
from gateway.circle import others
from gateway.decide import (
    FILTER,
    Command,
    CutFlows,
    Decider,
    Desired,
    LoadFilter,
    SlotPlan,
    peer_delta,
    step,
)
from gateway.drain import Drain
from gateway.firewall import Filter, intersection
from gateway.forwarding import DEVICE, NO_ROUTES, Forwarding, RouteReader
from gateway.generations import INTERFACES, interface_of
from gateway.health import Verdict, complete, serves, unready, verdict
from gateway.keys import KeyFiles
from gateway.last_answer import LastAnswer
from gateway.messages import ChangesSeen, HeadSeen, KeyFault, PeersRead, SessionsMove
from gateway.network import own_addresses
from gateway.observe import FilterMemory, clock, kernel_has_wireguard, list_devices, observe
from gateway.peer_cache import PeerCache, ServedCache
from gateway.peers import Admitted, KnownPeers, admitted
from gateway.preshared import PresharedFiles
from gateway.ratchet import Ratchet
from gateway.routed import Routed
from gateway.state import RECENT, State, receive
from gateway.status import Board, Status
from gateway.takeover.hub import FilterLoaded, Hub, InterfaceMade
from gateway.takeover.mover import Mover
from gateway.ways import Ways
from gateway.wireguard import DumpReader, changed, forgotten, set_key
from registry.items import (
    DRAINED,
    DRAINING,
    SERVING,
    UNWELL,
    Change,
    GatewayRecord,
    Unreadable,
)
from registry.key_slots import SLOTS, port_of, slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from gateway.chrony import Clock
    from gateway.decide import Action, Observed
    from gateway.environment import Environment
    from gateway.forwarding import Routes
    from gateway.messages import Message
    from gateway.paths import Paths
    from gateway.preshared import Opened
    from gateway.takeover.moves import Move

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0
"""Seconds between looks at the machine."""

SHARE = 0.005
"""Of the time, that may go into listing all peers: with thousands it is done more rarely than the
rest of the look, because WireGuard has no way to ask for less."""

LIST_AT_LEAST_EVERY = 120.0
"""Seconds between listings of all peers, however many there are."""

ROUNDS = 3
"""Looks in one pass: after acting the machine is looked at again, until nothing is left to do."""

TUNNELS = (*INTERFACES, DEVICE)
"""Interfaces whose addresses are not the machine's own, but every gateway's."""

WAKE_AT_MOST = 1.0
"""Seconds; the watchdog is fed at least that often."""


def reach_of(environment: Environment, state: State) -> tuple:
    """Where clients may go: what the launch template allows and the control item does not take."""
    if state.control is None:
        return ()
    return intersection(
        (*environment.vpc_cidrs, *environment.routed_cidrs),
        (*state.control.vpc_cidrs, *state.control.routed_cidrs),
    )


def routed_of(environment: Environment, state: State) -> Routed | None:
    """What the packet filter needs in routed mode; None in the other."""
    control = state.control
    if control is None or not control.routed:
        return None
    return Routed(
        vpc=environment.vpc_cidrs,
        monitoring=control.monitoring_cidrs,
        connections_to_clients=control.connections_to_clients,
    )


@dataclass(frozen=True)
class Seen:
    """The latest look at the machine, and what it was compared with."""

    observed: Observed
    desired: Desired
    failed: dict[str, str]


def _after(seen: Seen, desired: Desired) -> Observed:
    """What a look would find once `desired`'s peers and routes are in force, without looking."""
    if desired.forwarding is not None:
        present = replace(seen.observed.forwarding, routes=desired.forwarding.routes)
        seen = replace(seen, observed=replace(seen.observed, forwarding=present))
    if desired.peers is seen.desired.peers:
        return seen.observed
    changes = peer_delta(seen.desired, desired)
    devices = {
        name: changed(device, changes) if desired.plan_of(name) else device
        for name, device in seen.observed.devices.items()
    }
    return _agreed(replace(seen.observed, devices=devices), desired)


def _routes(desired: Desired) -> Routes | None:
    return None if desired.forwarding is None else desired.forwarding.routes


def _agreed(observed: Observed, desired: Desired) -> Observed:
    """The same, with a note that the devices have the desired peers."""
    devices = {
        name: replace(device, holds=desired.peers) if desired.plan_of(name) else device
        for name, device in observed.devices.items()
    }
    return replace(observed, devices=devices)


class Agent:
    """The main loop. `post` is what the other threads call."""

    def __init__(
        self,
        environment: Environment,
        paths: Paths,
        decider: Decider | None = None,
        *,
        look_at_clock: Callable[[], Clock] = clock,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.environment, self.paths, self.board = environment, paths, Board()
        self.key_files = KeyFiles(paths.keys)
        self.preshared_files = PresharedFiles(paths.preshared)
        self._decider = decider or Decider()
        self._look_at_clock, self._wall, self._monotonic = look_at_clock, wall, monotonic
        self._ratchet = Ratchet(paths.clock, wall, monotonic)
        self._last_answer = LastAnswer(paths.last_answer, self._ratchet.now, monotonic)
        self._queue: queue.Queue[Message] = queue.Queue()
        self.memory, self._dumps, self._route_reader = FilterMemory(), DumpReader(), RouteReader()
        self._actor = Actor(paths, self.memory, lambda: notify.notify(notify.ALIVE))
        self.hub = Hub()
        self._mover = Mover(self.hub, self._carry_out, wall=wall, monotonic=monotonic)
        self._moves: list[Move] = []
        self._peer_cache, self._served_cache = PeerCache(paths.state), ServedCache(paths.state)
        self._sysctl = sysctl.parse(paths.sysctl_wanted.read_text())
        self._kernel_wireguard = kernel_has_wireguard()
        self.boot_id = paths.boot_id.read_text().strip()
        self._state = State()
        self._admitted = Admitted({}, {})
        self._admitted_from: tuple[KnownPeers, Opened] | None = None
        self._ways, self._routes_there = Ways(), NO_ROUTES
        self._seen: Seen | None = None
        self._blind = ""
        self._clock = UNKNOWN
        self._applied = 0
        self._was_ready = False
        self._failures = self._unreadable = 0
        self._drain = Drain()
        self._looked_at = self._listed_at = float("-inf")
        self._listing_cost = 0.0
        self._to_cut: frozenset[IPv4Address] = frozenset()

    def post(self, message: Message) -> None:
        """Hand a message to the main thread; from any thread."""
        self._queue.put(message)

    # -------------------------------------------------------------- life

    def start(self) -> None:
        """Recall what was known before the restart and bring the machine to it, without AWS."""
        served, was_complete, control, gateways = self._served_cache.load()
        self._was_ready = was_complete
        keys = {number: self.key_files.public_key(number) for number in served}
        self._state = State(
            served=served,
            complete=was_complete,
            control=control,
            gateways=frozenset(map(IPv4Address, gateways)),
            keys={number: key for number, key in keys.items() if key},
            preshared=self.preshared_files.recall(),
            known=self._peer_cache.load(),
            recent=self._peer_cache.recent[-RECENT:],
            contact=self._last_answer.recall(),
        )
        self._pass()
        self._publish()
        notify.notify(notify.READY)

    def run(self, ended: Callable[[], bool]) -> None:
        """Until `ended()`. The interfaces stay as they are: a restart keeps the sessions."""
        while not ended():
            self.turn()
        self._last_answer.keep()
        notify.notify(notify.STOPPING)

    def turn(self) -> None:
        """Wait for messages or the next look, and do what follows from them."""
        before = self._state
        self._receive_all()
        self._advance_drain()
        self._move_sessions()
        if not self._clock.synchronised:
            self._clock = self._look_at_clock()  # health waits for it
        if self._state is not before:
            self._remember(before)
        self._act()
        self._publish()
        notify.notify(notify.ALIVE)

    # -------------------------------------------------------------- messages

    def _receive_all(self) -> None:
        for message in self._waiting():
            before = self._state
            self._state = receive(before, message)
            match message:
                case HeadSeen(_, at) if self._state.contact == at:
                    self._last_answer.note(at)
                case ChangesSeen(_, changes):
                    self._unreadable += sum(isinstance(item, Unreadable) for item in changes)
                    self._journal(before, changes)
                case PeersRead(_, unreadable):
                    self._unreadable += len(unreadable)
                    if self._state.known is not before.known and self._state.known is not None:
                        self._peer_cache.replace(self._state.known)
                case KeyFault(generation, why, refused):
                    if before.key_faults.get(generation) != message:
                        log.log(
                            logging.ERROR if refused else logging.WARNING,
                            "key generation %d is not served: %s",
                            generation,
                            why,
                        )
                case SessionsMove(moves):
                    self._moves += moves

    def _waiting(self) -> list[Message]:
        found: list[Message] = []
        try:
            found.append(self._queue.get(timeout=self._pause()))
            while True:
                found.append(self._queue.get_nowait())
        except queue.Empty:
            return found

    def _pause(self) -> float:
        until_look = self._looked_at + LOOK_EVERY - self._monotonic()
        expiry = self._admitted.next_expiry
        until_expiry = WAKE_AT_MOST if expiry is None else expiry - self._ratchet.now()
        calm = self._mover.next_due
        until_calm = WAKE_AT_MOST if calm is None else calm - self._monotonic()
        return max(0.0, min(WAKE_AT_MOST, until_look, until_expiry, until_calm))

    def _journal(self, before: State, changes: tuple[Change | Unreadable, ...]) -> None:
        """On disk before it is in force: what was confirmed once holds after a restart."""
        known = self._state.known
        if known is None or before.known is None or known is before.known:
            return
        fresh = [
            change
            for change in changes
            if isinstance(change, Change)
            and before.known.generation < change.generation <= known.generation
        ]
        self._peer_cache.append(known, fresh)

    def _advance_drain(self) -> None:
        before, seen, wall = self._drain, self._drain.clients, self._ratchet.now()
        if self._seen is not None and before.begun and self._listed_at > seen.at:
            seen = drain.clients(seen, self._seen.observed.devices, self._listed_at, wall)
        self._drain = drain.advance(
            before,
            drain.reason(self._state, wall),
            replaceable=drain.replaceable(self._state, wall),
            seen=seen,
            now=self._monotonic(),
            routed=not self._state.routes.rid,
        )
        if self._drain.word != before.word:
            log.info("%s: %s", self._drain.word, self._drain.why or "no longer told to drain")

    def _remember(self, before: State) -> None:
        state = self._state
        if state.served_fault and state.served_fault != before.served_fault:
            log.error("%s", state.served_fault)
        if state.served != before.served:
            log.info("key generations to serve: %s", list(state.served))
            self.key_files.forget_others(state.served)
        if (state.served, state.complete, state.control, state.gateways) != (
            before.served,
            before.complete,
            before.control,
            before.gateways,
        ):
            self._served_cache.save(
                state.served,
                state.control,
                tuple(sorted(map(str, state.gateways))),
                complete=state.complete,
            )

    # -------------------------------------------------------------- acting

    def _move_sessions(self) -> None:
        """First of all, and all that wait at once: clients are silent until it is done."""
        moves, self._moves = self._moves, []
        seen, admitted = self._seen, self._admit().addresses
        if seen is None:
            return
        if moves:
            reset = self._mover.move(moves, seen.desired, admitted)
            devices = {
                name: forgotten(device, reset[name]) if name in reset else device
                for name, device in seen.observed.devices.items()
            }
            self._seen = replace(seen, observed=replace(seen.observed, devices=devices))
        self._mover.calm(seen.desired, admitted)

    def _desired(self, own: frozenset[IPv4Address]) -> Desired:
        environment, state = self.environment, self._state
        slots = () if self._drain.done else state.served
        return Desired(
            slots=tuple(
                SlotPlan(
                    slot=slot_of(number),
                    generation=number,
                    interface=interface_of(slot_of(number)),
                    port=port_of(number, environment.port),
                    public_key=state.keys[number],
                    key_file=self.key_files.path(number),
                )
                for number in slots
                if number in state.keys
            ),
            peers=self._admit().addresses,
            preshared=self._admit().preshared,
            reaches=self._admit().reaches,
            pool=environment.client_pool,
            own_address=environment.own_address,
            mtu=environment.mtu,
            filter=Filter(
                port=environment.port,
                health_port=environment.health_port,
                metrics_port=environment.metrics_port,
                gossip_port=environment.gossip_port,
                client_pool=environment.client_pool,
                reach=reach_of(environment, state),
                gateways=state.gateways | own,
                peer_to_peer=environment.peer_to_peer,
                takeover=state.control is None or state.control.takeover,
                routed=routed_of(environment, state),
            ),
            sysctl=self._sysctl,
            forwarding=self._forwarding(),
        )

    def _forwarding(self) -> Forwarding | None:
        state = self._state
        if state.control is None or not state.control.routed:
            return None
        local = IPv4Address(state.identity.address) if state.identity else None
        # without an own address nobody can be told from the others
        gateways = others(state) if state.identity else frozenset()
        return Forwarding(
            local=local,
            address=self.environment.own_address,
            mtu=self.environment.mtu,
            gateways=gateways,
            routes=self._ways.routes(
                self.hub.view, self._admit().addresses, gateways, self._routes_there
            ),
        )

    def _admit(self) -> Admitted:
        """Who is admitted now; worked out again only when the peers or an expiry ask for it."""
        known, opened = self._state.known, self._state.preshared
        expiry, now = self._admitted.next_expiry, self._ratchet.now()
        expired = expiry is not None and expiry <= now
        if known is None:
            return self._admitted
        before = self._admitted_from
        if before is None or before[0] is not known or before[1] is not opened or expired:
            self._admitted = admitted(known, self.environment.client_pool, now, opened)
            self._admitted_from = known, opened
            if expired:
                self._ratchet.keep()
        return self._admitted

    def _act(self) -> None:
        """A small step if only peers or their ways have changed on a machine that is well; else a
        full pass."""
        seen = self._seen
        if seen is None or self._monotonic() - self._looked_at >= LOOK_EVERY:
            self._pass()
            return
        own = own_addresses(dict(seen.observed.links), TUNNELS)
        desired = self._desired(own)
        if desired != seen.desired:
            self._pass()
            return
        if desired.peers is not seen.desired.peers or _routes(desired) is not _routes(seen.desired):
            failed = self._carry_out(step(seen.desired, desired))
            if failed:
                # `applied` stays; the next turn looks again, at everything
                self._seen = Seen(seen.observed, desired, failed)
                self._looked_at = self._listed_at = float("-inf")
                return
            self._seen = Seen(_after(seen, desired), desired, {})
        self._confirm()

    def _carry_out(self, actions: Iterable[Action]) -> dict[str, str]:
        """Do it; what failed, by scope. Flows that could not be cut are cut the next time."""
        actions = list(actions)
        cuts = [action.addresses for action in actions if isinstance(action, CutFlows)]
        owed = self._to_cut.union(*cuts)
        actions = [action for action in actions if not isinstance(action, CutFlows)]
        failed = self._actor.carry_out([*actions, *([CutFlows(owed)] if owed else ())])
        self._to_cut = owed if CutFlows.scope in failed else frozenset()
        self._failures += len(failed)
        if FILTER not in failed and any(isinstance(action, LoadFilter) for action in actions):
            self.hub.put(FilterLoaded())
        return failed

    def _pass(self) -> None:
        """Look, act, look again until nothing is left to do or something fails."""
        self._looked_at = self._monotonic()
        self._clock = self._look_at_clock()
        if self._clock.synchronised:
            self._ratchet.raise_floor()
        try:
            for _round in range(ROUNDS):
                observed = self._look()
                self._routes_there = observed.forwarding.routes
                desired = self._desired(own_addresses(dict(observed.links), TUNNELS))
                actions = self._decider.plan(desired, observed)
                if not any(action.scope == FILTER for action in actions):
                    self.memory.agree(desired.reaches)
                failed = self._carry_out(actions)
                self._tell_of_new_interfaces(desired, actions)
                if actions:
                    self._listed_at = float("-inf")
                else:
                    observed = _agreed(observed, desired)
                self._seen, self._blind = Seen(observed, desired, failed), ""
                if failed or not actions:
                    break
        except (Failed, ValueError, OSError) as err:
            self._seen, self._blind = None, f"the machine cannot be looked at: {err}"[:300]
            log.warning("%s", self._blind)
            return
        # peers are not in force as they should be only on an interface that is there and failed
        if not any(name in failed for name in (*observed.devices, FILTER, CutFlows.scope)):
            self._confirm()
        done = complete(self._state, desired, observed)
        if done and not self._state.complete:
            before, self._state = self._state, replace(self._state, complete=True)
            self._remember(before)

    def _tell_of_new_interfaces(self, desired: Desired, actions: Iterable[Action]) -> None:
        """Whatever gets its key now has no session of before."""
        given = {action.argv for action in actions if isinstance(action, Command)}
        at = int(self._wall() * 1000)
        for plan in desired.slots:
            if set_key(plan.interface, plan.key_file) in given:
                self.hub.put(InterfaceMade(plan.interface, at))

    def _look(self) -> Observed:
        """At everything; at each single peer only as often as that is cheap."""
        seen, now = self._seen, self._monotonic()
        due = self._listed_at + min(LIST_AT_LEAST_EVERY, self._listing_cost / SHARE)
        if seen is None or now >= due or self._drain.begun:
            devices = list_devices(self._dumps)
            self._listed_at, self._listing_cost = now, self._monotonic() - now
        else:
            devices = seen.observed.devices
        return observe(
            self.environment.client_pool,
            self.paths,
            self.memory,
            devices,
            self._route_reader,
            kernel_wireguard=self._kernel_wireguard,
        )

    def _confirm(self) -> None:
        """Everything that is known is in force."""
        if self._state.known is not None:
            self._applied = self._state.known.generation

    # -------------------------------------------------------------- telling

    def _publish(self) -> None:
        state, seen = self._state, self._seen
        if seen is None:
            verdicts = dict.fromkeys(SLOTS, Verdict((self._blind or "starting",)))
        else:
            verdicts = {
                slot: verdict(
                    slot,
                    state,
                    seen.desired,
                    seen.observed,
                    self._clock,
                    drain=self._drain,
                    more=() if self._was_ready else unready(state),
                )
                for slot in SLOTS
            }
        ready = state.complete and all(one.healthy for one in verdicts.values())
        self._was_ready = self._was_ready or ready
        before = self.board.status.verdicts
        for slot, now in verdicts.items():
            if now != before.get(slot):
                log.info("slot %d: %s", slot, "; ".join(now.reasons) or "healthy")
        faults = self._faults()
        self.board.publish(
            Status(
                state=state,
                devices=seen.observed.devices if seen else {},
                admitted=self._admitted,
                applied=self._applied,
                verdicts=verdicts,
                clock=self._clock,
                faults=faults,
                failures=self._failures,
                unreadable=self._unreadable,
                sessions=self.hub.view,
                carried=self._mover.carried,
                drain=self._drain,
                drained=self._rid,
                record=self._record(faults, verdicts),
                at=self._monotonic(),
            )
        )

    def _faults(self) -> tuple[str, ...]:
        state, seen = self._state, self._seen
        control = state.control
        found = [state.served_fault, self._blind]
        found.append(drain.HELD_UP if self._drain.held_up else "")
        found += [
            f"key generation {number}: {fault.why}" for number, fault in state.key_faults.items()
        ]
        found += [f"{scope}: {why}" for scope, why in (seen.failed if seen else {}).items()]
        found += [f"{part}: {why}" for part, why in state.trouble.items()]
        found += [
            f"peer {name} is left out: its address or key is another's, or not of clientPool"
            for name in self._admitted.unusable
        ]
        if unreadable := state.known.unreadable if state.known else 0:
            found.append(f"peers: {unreadable} cannot be read; `scripts/peers list` names them")
        found += [
            f"peer {name}: a rule cannot be read and allows nothing"
            for name in self._admitted.misruled
        ]
        found += [
            f"peer {name} is left out: its pre-shared key: {state.preshared_faults[seal]}"
            for name, seal in self._admitted.sealed.items()
            if seal in state.preshared_faults  # others are being decrypted
        ]
        found.append(self._ratchet.fault)
        if not self._clock.synchronised:
            found.append(f"clock: {self._clock.why}")
        if control is not None and (control.port, control.client_pool) != (
            self.environment.port,
            self.environment.client_pool,
        ):
            found.append("control names another port or client pool than this instance has")
        return tuple(text for text in found if text)[:20]

    @property
    def _rid(self) -> bool:
        """Drained, and the interfaces are down."""
        return self._drain.done and self._seen is not None and not self._seen.observed.devices

    def _word(self, verdicts: Mapping[int, Verdict]) -> str:
        """What this gateway does for clients."""
        if self._drain.begun:
            return DRAINED if self._rid else DRAINING
        well = self._state.complete and all(verdict.healthy for verdict in verdicts.values())
        return SERVING if well else UNWELL

    def _record(
        self, faults: tuple[str, ...], verdicts: Mapping[int, Verdict]
    ) -> GatewayRecord | None:
        state, seen, identity = self._state, self._seen, self._state.identity
        if identity is None:
            return None
        served = {
            number: key
            for number, key in state.keys.items()
            if seen is not None and not serves(number, seen.desired, seen.observed)
        }
        return GatewayRecord(
            arn=identity.arn,
            instance_id=identity.instance_id,
            zone=identity.zone,
            address=identity.address,
            boot_id=self.boot_id,
            applied=self._applied,
            epoch=state.known.epoch if state.known else "",
            keys=served,
            version=self.environment.version,
            faults=faults,
            state=self._word(verdicts),
        )
