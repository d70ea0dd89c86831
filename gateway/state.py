"""What the agent knows, and how each message changes it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from gateway.generations import next_served
from gateway.messages import (
    ChangesSeen,
    GatewaysSeen,
    HeadSeen,
    IdentityFound,
    KeyDated,
    KeyFault,
    KeyReady,
    LifecycleSeen,
    OwnersMove,
    PeersRead,
    PresharedSeen,
    RoutesSeen,
    SessionsMove,
    Trouble,
)
from gateway.peers import KnownPeers, advance, why_held
from gateway.preshared import seal
from gateway.routes.view import RoutesView
from registry.items import Command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from gateway.messages import Message
    from gateway.metadata import Identity
    from gateway.preshared import Opened
    from registry.items import Change, Control


@dataclass(frozen=True)
class State:
    """Everything a decision may depend on, apart from the machine itself."""

    identity: Identity | None = None
    control: Control | None = None
    command: Command = field(default_factory=Command)
    """The operators' orders, as they were last readable."""
    served: tuple[int, ...] = ()
    """Key generations to serve, the newest last; what is really up also needs its key."""
    complete: bool = False
    """All of `served` have been up at the same time: since then one bad key costs its slot only."""
    served_fault: str = ""
    keys: Mapping[int, str] = field(default_factory=dict)
    """Generation -> public key, for private keys that are on disk."""
    verified: frozenset[int] = frozenset()
    """Generations whose key has been compared with the registry since the start."""
    key_faults: Mapping[int, KeyFault] = field(default_factory=dict)
    key_dates: Mapping[int, int] = field(default_factory=dict)
    """Generation -> when its public key was published, epoch seconds, as far as it is known."""
    preshared: Opened = field(default_factory=dict)
    """Pre-shared keys that are on disk."""
    preshared_faults: Mapping[str, str] = field(default_factory=dict)
    """Why others are not, by seal."""
    known: KnownPeers | None = None
    """None: the peers have never been read, here or before a restart."""
    recent: tuple[Change, ...] = ()
    """The last changes that led to `known`, without a gap: what other gateways may still lack."""
    needs_full: bool = True
    """The peers have to be read in full: after a start, a gap or a restore."""
    head_generation: int = 0
    contact: float | None = None
    """When the registry last gave an answer that can be gone by, also before a restart; monotonic
    seconds. None: never. One that was emptied answers, and nobody can go by that."""
    gateways: frozenset[IPv4Address] = frozenset()
    serving: Mapping[str, int] = field(default_factory=dict)
    """Other gateways in service that say they are healthy, and when they said so last: epoch s."""
    members: Mapping[str, str] = field(default_factory=dict)
    """Of the Auto Scaling group, this gateway among them: instance id -> lifecycle state."""
    target_groups: tuple[str, ...] = ()
    """ARNs of the load balancer's target groups."""
    routes: RoutesView = field(default_factory=RoutesView)
    """The VPC's routes to the clients, as far as they concern this gateway."""
    ending: bool = False
    """Auto Scaling wants the instance gone."""
    trouble: Mapping[str, str] = field(default_factory=dict)

    def unverified(self) -> tuple[int, ...]:
        """The generations whose keys are still to be obtained or compared."""
        return tuple(number for number in self.served if number not in self.verified)

    def undated(self) -> tuple[int, ...]:
        """The generations whose key is published, nobody here knowing since when."""
        return tuple(
            number
            for number in self.served
            if number in self.verified and number not in self.key_dates
        )


def receive(state: State, message: Message) -> State:  # noqa: C901, PLR0911, PLR0912 - one line each
    """The state after a message."""
    match message:
        case IdentityFound(identity):
            return replace(state, identity=identity)
        case HeadSeen():
            return _head(state, message)
        case ChangesSeen():
            return _changes(state, message)
        case PeersRead():
            return _full(state, message)
        case KeyReady(generation) | KeyFault(generation) | KeyDated(generation) if (
            generation not in state.served
        ):
            return state  # it was retired while its key was being obtained
        case KeyReady(generation, public_key):
            return replace(
                state,
                keys={**state.keys, generation: public_key},
                verified=state.verified | {generation},
                key_faults=_without(state.key_faults, generation),
            )
        case KeyFault(generation):
            # A key that is served is taken down only by a refusal, not by AWS being away
            keys = _without(state.keys, generation) if message.refused else state.keys
            faults = {**state.key_faults, generation: message}
            return replace(state, keys=keys, key_faults=faults)
        case KeyDated(generation, published):
            return replace(state, key_dates={**state.key_dates, generation: published})
        case PresharedSeen():
            return _preshared(state, message)
        case GatewaysSeen(addresses, serving, members, target_groups):
            return replace(
                state,
                gateways=addresses,
                serving=serving,
                members=members,
                target_groups=target_groups,
            )
        case RoutesSeen(view):
            return replace(state, routes=view)
        case LifecycleSeen(ending):
            return replace(state, ending=ending)
        case SessionsMove() | OwnersMove():
            return state  # sessions are the machine's, and the takeover thread's
        case Trouble(part, why):
            rest = _without(state.trouble, part)
            return replace(state, trouble={**rest, part: why} if why else rest)


def _preshared(state: State, message: PresharedSeen) -> State:
    faults = state.preshared_faults if message.faults == state.preshared_faults else message.faults
    gone = message.gone & state.preshared.keys()
    if gone and state.known is not None:
        # a peer that needs one may have come back meanwhile
        gone -= {seal(peer) for peer in state.known.peers.values() if peer.preshared}
    if not (gone or message.opened):
        return replace(state, preshared_faults=faults)
    rest = {name: key for name, key in state.preshared.items() if name not in gone}
    return replace(state, preshared={**rest, **message.opened}, preshared_faults=faults)


def _without(mapping: Mapping, key: object) -> dict:
    return {name: value for name, value in mapping.items() if name != key}


def _head(state: State, message: HeadSeen) -> State:
    head = message.head
    # without an epoch, or while it is restored, the counter says nothing about the peers
    counts = bool(head.epoch) and head.restoring is None
    restored = counts and state.known is not None and head.epoch != state.known.epoch
    state = replace(
        state,
        contact=state.contact if why_held(head, state.known) else message.at,
        head_generation=head.generation if counts else state.head_generation,
        needs_full=state.needs_full or restored,
        command=state.command if head.command is None else head.command,
    )
    if head.control is None:
        why = head.control_fault
        return replace(state, served_fault=f"control is not readable: {why}") if why else state
    served = next_served(state.served, head.control.key_generations, state.command.burnt)
    fresh = set(served.generations) - set(state.served)
    gone = set(state.served) - set(served.generations)
    return replace(
        state,
        control=head.control,
        served=served.generations,
        served_fault=served.fault,
        keys={number: key for number, key in state.keys.items() if number not in gone},
        key_faults={
            number: fault for number, fault in state.key_faults.items() if number not in gone
        },
        key_dates={number: at for number, at in state.key_dates.items() if number not in gone},
        verified=state.verified - fresh - gone,
    )


RECENT = 1000
"""Changes that are kept for other gateways; one that is further behind reads the registry."""


def _full(state: State, message: PeersRead) -> State:
    known, read = state.known, message.known
    if known is not None and known.epoch == read.epoch and known.generation > read.generation:
        return state  # overtaken by changes: applying it would undo them for a while
    if known == read:
        return replace(state, needs_full=False)  # nothing to work out, or to write, again
    same = known is not None and (known.epoch, known.generation) == (read.epoch, read.generation)
    return replace(state, known=read, needs_full=False, recent=state.recent if same else ())


def _changes(state: State, message: ChangesSeen) -> State:
    known = state.known
    if known is None or message.epoch != known.epoch:
        return state if message.heard else replace(state, needs_full=True)
    step = advance(known, message.changes)
    if step.known is known and (message.heard or not step.gap):
        return state
    return replace(
        state,
        known=step.known,
        recent=(*state.recent, *step.applied)[-RECENT:],
        needs_full=state.needs_full or (step.gap and not message.heard),
    )
