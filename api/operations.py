"""The operations, and the one table of them from which requests are served and documented.

What they do is the registry's, as for the commands: the same rules, the same transactions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from api import fields
from api.messages import Response
from api.problems import fault, refused
from client import config, describe
from effects import Refusal
from registry import allow
from registry.admission import NEW_KEY
from registry.confirmation import Awaited
from registry.operators import NewPeer, Revocation
from registry.refusals import Taken
from registry.requests import Repeated
from registry.revoking import settle
from registry.situation import look
from registry.waiting import wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from api.calls import Call
    from api.fields import Field
    from registry.items import Peer, Unreadable
    from registry.preshared import Preshared
    from registry.waiting import Waited


@dataclass(frozen=True)
class Operation:
    """One thing that may be asked for."""

    id: str
    method: str
    path: str
    """With `{name}` where a peer's name stands."""
    summary: str
    run: Callable[[Call], Response]
    answers: Mapping[int, str]
    """Status -> name of the answer's schema (api/schemas.py), where it is no problem."""
    problems: tuple[int, ...] = ()
    """Statuses of its own, beside those that every operation may answer."""
    query: tuple[Field, ...] = ()
    body: tuple[Field, ...] = ()
    changes: bool = False
    """Whether it changes the registry, and takes an Idempotency-Key."""

    @property
    def named(self) -> tuple[Field, ...]:
        """What stands in its path."""
        return (fields.NAME,) if "{name}" in self.path else ()


# ------------------------------------------------------------------ reading


def list_peers(call: Call) -> Response:
    """Every peer, those too whose access has expired."""
    peers, unreadable = call.stack.registry.peers()
    everyone = [describe.peer_json(peer, call.now) for peer in peers]
    return _answer(call, {"peers": everyone, "unreadable": _unreadable(unreadable)})


def show_peer(call: Call) -> Response:
    """One peer."""
    return _answer(call, _peer(call, call.stack.wanted(call.values["name"])))


def show_config(call: Call) -> Response:
    """One peer's config, with a placeholder for the private key."""
    peer = call.stack.wanted(call.values["name"])
    return _answer(call, {**_peer(call, peer), **_tunnel(call, peer, call.stack.server_key())})


def audit(call: Call) -> Response:
    """Who did what, oldest first."""
    entries, unreadable = call.stack.registry.audit(call.values["name"])
    found = [describe.audit_json(entry) for entry in entries]
    return _answer(call, {"audit": found, "unreadable": _unreadable(unreadable)})


def list_gateways(call: Call) -> Response:
    """The gateways: health, applied changes, keys."""
    return _answer(call, describe.situation_json(look(call.stack)))


# ------------------------------------------------------------------ changing


def add_peer(call: Call) -> Response:
    """Let a peer in, by its public key."""
    given = call.values
    rules = _within_reach(call, given["allow"])
    made = _sealed(call) if given["preshared_key"] else None
    new = NewPeer(
        given["name"],
        given["public_key"],
        given["owner"],
        given["expires"],
        rules,
        made.ciphertext if made else "",
    )
    key = call.stack.server_key()  # without one there is no config to answer with
    try:
        peer = call.stack.registry.add_peer(
            new,
            pool=call.stack.environment.client_pool,
            caller=call.caller,
            confirmed=call.stack.confirmed,
        )
    except Repeated as err:
        peer, made = call.stack.wanted(err.name), None  # what was made then is nowhere any more
    facts = {**_peer(call, peer), **_tunnel(call, peer, key, made)}
    return _answer(call, facts, status=201, headers={"location": f"/peers/{peer.name}"})


def extend_peer(call: Call) -> Response:
    """Set when a peer's access ends."""
    name, expires = call.values["name"], call.values["expires"]
    try:
        peer = call.stack.registry.alter_peer(
            name, lambda peer: replace(peer, expires=expires), action="extend", caller=call.caller
        ).peer
    except Repeated:
        peer = call.stack.wanted(name)
    return _answer(call, _peer(call, peer))


def rotate_peer(call: Call) -> Response:
    """Give a peer a new key, and wait until every gateway refuses the old one."""
    name, public_key = call.values["name"], call.values["public_key"]
    key = call.stack.server_key()
    if call.once is None:
        _refuse_own_key(call.stack.wanted(name), public_key)

    make = cache(partial(call.stack.sealer.make, public_key))  # once, however often it is tried

    def rekeyed(peer: Peer) -> Peer:
        # a repeated request has been told apart by now, and finds the key it brought itself
        if call.once is not None:
            _refuse_own_key(peer, public_key)
        sealed = make().ciphertext if peer.preshared else ""
        return replace(peer, public_key=public_key, preshared=sealed)

    try:
        altered = call.stack.registry.alter_peer(name, rekeyed, action="rotate", caller=call.caller)
        peer, awaited = altered.peer, Awaited(altered.peer.generation, altered.epoch)
        made = make() if peer.preshared else None
    except Repeated as err:
        peer, made = call.stack.wanted(name), None
        awaited = Awaited(err.generation, call.stack.registry.head().epoch)
    waited = wait(
        call.stack.fleet, awaited, began=call.began, timeout=_left(call), tell=lambda *_: None
    )
    return _confirmed(call, {**_peer(call, peer), **_tunnel(call, peer, key, made)}, waited)


def revoke_peer(call: Call) -> Response:
    """Cut a peer off on every gateway, and wait for the proof."""
    name = call.values["name"]
    try:
        revocation = call.stack.registry.revoke_peer(name, caller=call.caller)
    except Repeated as err:
        epoch = call.stack.registry.head().epoch
        revocation = Revocation(err.name, err.address, err.generation, epoch, again=True)
    waited = settle(
        call.stack, revocation, began=call.began, timeout=_left(call), tell=lambda *_: None
    )
    facts = {
        "name": revocation.name,
        "address": str(revocation.address),
        "generation": revocation.generation,
        "revoked_before": revocation.again,
    }
    return _confirmed(call, facts, waited)


# ------------------------------------------------------------------ parts


def _answer(
    call: Call,
    facts: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    return Response(status, {"stack": call.stack.name, **facts}, headers or {})


def _confirmed(call: Call, facts: Mapping[str, Any], waited: Waited) -> Response:
    """200 when every gateway has confirmed, 202 with those that have not."""
    outcome = {
        "seconds": round(time.monotonic() - call.began, 3),
        "confirmed": waited.complete,
        "gateways": describe.waited_json(waited),
        "missing": [member.instance_id for member in waited.silent],
        "trouble": waited.trouble,
    }
    return _answer(call, {**facts, **outcome}, status=200 if waited.complete else 202)


def _refuse_own_key(peer: Peer, public_key: str) -> None:
    if peer.public_key == public_key:
        raise Taken(f"public key {public_key!r}", f"is the key that {peer.name} has", NEW_KEY)


def _left(call: Call) -> float:
    """Seconds: the change itself has taken its share of what the caller would wait."""
    return max(0.0, call.values["wait"] - (time.monotonic() - call.began))


def _peer(call: Call, peer: Peer) -> dict[str, object]:
    return {"peer": describe.peer_json(peer, call.now)}


def _tunnel(
    call: Call, peer: Peer, key: tuple[int, str], made: Preshared | None = None
) -> dict[str, object]:
    """The tunnel; `made` is the pre-shared key if this is the answer that hands it out."""
    generation, public_key = key
    environment = call.stack.environment
    return describe.tunnel_json(
        config.tunnel(environment, peer, key_generation=generation, server_public_key=public_key),
        made.clear if made else None,
    )


def _sealed(call: Call) -> Preshared:
    try:
        return call.stack.sealer.make(call.values["public_key"])
    except Refusal as err:
        raise refused([fault("preshared_key", True, err)]) from err


def _within_reach(call: Call, texts: Iterable[str]) -> tuple[str, ...]:
    try:
        return allow.rules(texts, call.stack.environment.reach)
    except Refusal as err:
        raise refused([fault("allow", list(texts), err)]) from err


def _unreadable(found: Iterable[Unreadable]) -> list[dict[str, str]]:
    return [{"key": item.key, "why": item.why} for item in found]


# ------------------------------------------------------------------ the table

ADD = (
    fields.NAME,
    fields.PUBLIC_KEY,
    fields.OWNER,
    fields.EXPIRES,
    fields.ALLOW,
    fields.PRESHARED,
)

OPERATIONS = (
    Operation(
        "listPeers",
        "GET",
        "/peers",
        "Every peer, those too whose access has expired",
        list_peers,
        {200: "Peers"},
    ),
    Operation(
        "addPeer",
        "POST",
        "/peers",
        "Let a peer in, by its public key; the answer has its config, without the private key",
        add_peer,
        {201: "PeerWithTunnel"},
        (409,),
        body=ADD,
        changes=True,
    ),
    Operation("showPeer", "GET", "/peers/{name}", "One peer", show_peer, {200: "OnePeer"}, (404,)),
    Operation(
        "revokePeer",
        "DELETE",
        "/peers/{name}",
        "Cut a peer off on every gateway, and wait for the proof: 200 once every gateway has "
        "confirmed, 202 with those that have not; called again, it waits again",
        revoke_peer,
        {200: "Revocation", 202: "Revocation"},
        (404,),
        query=(fields.WAIT,),
        changes=True,
    ),
    Operation(
        "showConfig",
        "GET",
        "/peers/{name}/config",
        "One peer's config, with a placeholder for the private key",
        show_config,
        {200: "PeerWithTunnel"},
        (404, 409),
    ),
    Operation(
        "extendPeer",
        "POST",
        "/peers/{name}/extend",
        "Set when a peer's access ends: later, earlier, or never",
        extend_peer,
        {200: "OnePeer"},
        (404,),
        body=(fields.NEW_END,),
        changes=True,
    ),
    Operation(
        "rotatePeer",
        "POST",
        "/peers/{name}/rotate",
        "Give a peer a new key, and wait until every gateway refuses the old one (200, or 202 with "
        "those that have not confirmed); one with a pre-shared key gets a new one, in the config",
        rotate_peer,
        {200: "Rotation", 202: "Rotation"},
        (404, 409),
        query=(fields.WAIT,),
        body=(fields.PUBLIC_KEY,),
        changes=True,
    ),
    Operation(
        "audit",
        "GET",
        "/audit",
        "Who did what, oldest first",
        audit,
        {200: "AuditTrail"},
        query=(fields.OF_PEER,),
    ),
    Operation(
        "listGateways",
        "GET",
        "/gateways",
        "The gateways: health, applied changes, keys",
        list_gateways,
        {200: "Gateways"},
    ),
)
