"""Peers and their tunnels as commands show them: for people, and as JSON. Never a private key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from client import config

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from client.config import Tunnel
    from registry.confirmation import Member
    from registry.connections import Connections, Event
    from registry.items import Audit, Peer
    from registry.situation import Gateway, Situation
    from registry.waiting import Answer, Waited

COLUMNS = ("NAME", "ADDRESS", "EXPIRES", "PSK", "OWNER", "PUBLIC KEY")


def instant(seconds: int) -> str:
    """Epoch seconds as ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def end(peer: Peer, now: datetime) -> str:
    """When a peer's access ends."""
    if peer.expires is None:
        return "never"
    return instant(peer.expires) + (" (expired)" if over(peer, now) else "")


def over(peer: Peer, now: datetime) -> bool:
    """Whether a peer's access has ended: it is registered, and no gateway lets it in."""
    return peer.expires is not None and peer.expires <= now.timestamp()


def row(peer: Peer, now: datetime) -> tuple[str, ...]:
    """A peer under `COLUMNS`."""
    preshared = "yes" if peer.preshared else "-"
    return peer.name, str(peer.address), end(peer, now), preshared, peer.owner, peer.public_key


def lines(peer: Peer, now: datetime) -> list[str]:
    """A peer, an attribute a line."""
    shown = {
        "name": peer.name,
        "address": peer.address,
        "public key": peer.public_key,
        "owner": peer.owner or "-",
        "created": peer.created,
        "expires": end(peer, now),
        "pre-shared": "yes" if peer.preshared else "no",
        "reaches": ", ".join(peer.allow) or "all that the stack lets peers reach",
        "last change": peer.generation,
    }
    return [f"{label + ':':<13}{value}" for label, value in shown.items()]


def peer_json(peer: Peer, now: datetime) -> dict[str, object]:
    """A peer."""
    return {
        "name": peer.name,
        "address": str(peer.address),
        "public_key": peer.public_key,
        "preshared_key": bool(peer.preshared),
        "owner": peer.owner,
        "created": peer.created,
        "expires": None if peer.expires is None else instant(peer.expires),
        "expired": over(peer, now),
        "allow": list(peer.allow),
        "generation": peer.generation,
    }


AUDIT_COLUMNS = ("AT", "GENERATION", "ACTION", "NAME", "CALLER", "DETAILS")


def audit_row(entry: Audit) -> tuple[str, ...]:
    """An audit item under `AUDIT_COLUMNS`."""
    shown = _unsealed(entry.details)
    details = "; ".join(f"{name}: {_brief(value)}" for name, value in shown.items())
    return entry.at, str(entry.generation), entry.action, entry.name, entry.caller, details


def _unsealed(details: Mapping[str, Any]) -> dict[str, Any]:
    """The details with a word in place of each ciphertext, which tells nobody anything."""
    shown = dict(details)
    if isinstance(before := shown.get("before"), dict):
        shown["before"] = _unsealed(before)
    if "preshared_key" in shown:
        shown["preshared_key"] = "none" if shown["preshared_key"] == "none" else "encrypted"
    return shown


def _brief(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_brief(part)}" for name, part in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def audit_json(entry: Audit) -> dict[str, object]:
    """An audit item."""
    return {
        "at": entry.at,
        "generation": entry.generation,
        "action": entry.action,
        "name": entry.name,
        "caller": entry.caller,
        "details": _unsealed(entry.details),
    }


def connection_rows(found: Connections) -> list[tuple[str, tuple[str, ...]]]:
    """Connections, and how many have no record, under `AUDIT_COLUMNS`; each with its time."""
    rows = []
    for one in (*found.ended, *found.left_out):
        says, at = one.says, moment(one.at)
        if "id" in says:
            at, action, details = says["start"], "connect", _connection(says)
        else:
            action, details = "left out", f"{says['count']} connections: {says['why']}"
        cells = at, "-", action, says.get("peer", "-") or says["client"], one.gateway, details
        rows.append((at, cells))
    return rows


def _connection(says: Mapping[str, Any]) -> str:
    port = "" if says["port"] is None else f":{says['port']}"
    state = "" if says["event"] == "end" or says["closed"] else ", open then"
    return (
        f"{says['source']} to {says['destination']}{port} {says['protocol']}; "
        f"sent {says['sent']}, received {says['received']} bytes; {says['seconds']} s{state}"
    )


def connections_json(found: Connections) -> dict[str, object]:
    """Connections as the gateways recorded them."""
    return {
        "connections": [_recorded(one) for one in found.ended],
        "left_out": [_recorded(one) for one in found.left_out],
        "complete": found.complete,
    }


def _recorded(one: Event) -> dict[str, object]:
    return {"at": moment(one.at), "gateway": one.gateway, **one.says}


def moment(milliseconds: int) -> str:
    """Epoch milliseconds as ISO 8601."""
    text = datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def tunnel_json(tunnel: Tunnel, preshared: str | None = None) -> dict[str, object]:
    """A tunnel, with the config's text, in which the private key is a placeholder.

    A pre-shared key is in it only if it is given here.
    """
    return {
        "server_public_key": tunnel.server_public_key,
        "key_generation": tunnel.key_generation,
        "endpoint": f"{tunnel.endpoint}:{tunnel.port}",
        "allowed_ips": [str(network) for network in tunnel.allowed],
        "mtu": tunnel.mtu,
        "dns": list(tunnel.dns),
        "config": config.render(tunnel, config.Secrets(preshared=preshared)),
    }


def waited_json(waited: Waited) -> list[dict[str, object]]:
    """Every member, with its confirmation."""
    return [_member(member, waited.answers.get(member.instance_id)) for member in waited.members]


def _member(member: Member, answer: Answer | None) -> dict[str, object]:
    return {
        "id": member.instance_id,
        "zone": member.zone,
        "lifecycle": member.lifecycle,
        "confirmed": answer is not None,
        "seconds": None if answer is None else round(answer.seconds, 3),
        "relayed_by": (answer.confirmed.relayed_by or None) if answer else None,
    }


def situation_json(situation: Situation) -> dict[str, object]:
    """The gateways."""
    return {
        "generation": situation.generation,
        "desired": situation.desired,
        "well": situation.well,
        "routes": {table: who or None for table, who in sorted(situation.holders.items())},
        "gateways": [_gateway_json(gateway) for gateway in situation.gateways],
    }


def _gateway_json(gateway: Gateway) -> dict[str, object]:
    record, confirmed = gateway.record, gateway.confirmed
    said = {
        "address": None,
        "applied": None,
        "keys": {},
        "version": None,
        "state": None,
        "faults": [],
        "updated": None,
    }
    if record is not None:
        said = {
            "address": record.address,
            "applied": record.applied,
            "keys": {str(number): key for number, key in sorted(record.keys.items())},
            "version": record.version,
            "state": record.state or None,
            "faults": list(record.faults),
            "updated": instant(record.updated),
        }
    return {
        "id": gateway.member.instance_id,
        "zone": gateway.member.zone,
        "lifecycle": gateway.member.lifecycle,
        "health": list(gateway.health),
        "healthy": gateway.healthy,
        "confirmed": confirmed is not None,
        "routes": list(gateway.routes),
        "relayed_by": (confirmed.relayed_by or None) if confirmed else None,
        **said,
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines with columns as wide as their widest cell."""
    everything = [head, *rows]
    widths = [max(len(line[column]) for line in everything) for column in range(len(head))]
    for line in everything:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        yield "  ".join(cells).rstrip()
