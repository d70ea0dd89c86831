"""What an earlier minute of the registry becomes today. Pure.

Restored is who was in, and how: their addresses, owners, ends and rules. Not restored is what was
given since, and nothing that was taken away since comes back: revoked peers stay out, old keys stay
refused, access that was shortened or narrowed stays so. A key that was ever used stays used.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING

from registry import items
from registry.allow import parse as parse_rule
from registry.items import ItemError, Peer, Resting

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registry.items import Head, Item, Key
    from registry.records import Record

Items = Mapping[str, "Item"]
"""The items of one partition, by sort key."""

ORDER = ("remove", "change", "add")
"""In which steps are told."""

NONE = "none"
"""What an audit item has in place of an end or of rules that are not there."""


@dataclass(frozen=True)
class Snapshot:
    """What one table says."""

    head: Head
    peers: Items
    addresses: Items
    keys: Items
    audit: Items

    def readable(self) -> tuple[dict[str, Peer], dict[str, str]]:
        """The peers by name; and why the others do not parse."""
        good: dict[str, Peer] = {}
        bad: dict[str, str] = {}
        for name, item in self.peers.items():
            try:
                good[name] = Peer.from_item(item)
            except ItemError as err:
                bad[name] = err.why
        return good, bad


@dataclass(frozen=True)
class Step:
    """One peer that will be another."""

    action: str
    """`remove`, `change` or `add`."""
    name: str
    what: tuple[str, ...] = ()
    """For people: what will be different, or why."""


@dataclass(frozen=True)
class Recovery:
    """What makes a table say what it should."""

    steps: tuple[Step, ...]
    kept_out: Mapping[str, str]
    """Who was in and does not come back, with the reason."""
    not_restored: tuple[str, ...]
    """Who was let in later, and is not in the table any more anyway."""
    retired: Mapping[str, str]
    """Keys that are spent from now on, with whose they were."""
    first: tuple[Item, ...]
    """Keys, addresses and audit items: to be written before any peer."""
    peers: tuple[Item, ...]
    gone: tuple[Key, ...]
    """Peers to delete."""
    counted: bool = True
    """Whether the table has its counter, and no restore that is to be finished."""

    @property
    def needed(self) -> bool:
        """Whether anybody enters, or is refused, otherwise than today."""
        return bool(self.steps or self.retired or not self.counted)

    def count(self, action: str) -> int:
        """How many steps of one kind there are."""
        return sum(step.action == action for step in self.steps)


def plan(
    then: Snapshot,
    now: Snapshot,
    records: Sequence[Record],
    *,
    generation: int,
    at: str,
    lost: bool,
) -> Recovery:
    """What to write into the table that says `now`, so that it says `then`, less what was taken.

    `records` are of all changes since. What is written gets the number `generation` and the moment
    `at` (ISO 8601). `lost` says that the table may have forgotten what it said: then the addresses
    of everybody who was ever mentioned rest, because nobody knows whether gateways still serve
    them. The result leads to the same table when part of it has been written already.
    """
    peers, kept_out = _survivors(then, now, records)
    there, broken = now.readable()
    gone = sorted(name for name in now.peers if name not in peers)
    steps = [Step("remove", name, (kept_out.get(name, "was let in later"),)) for name in gone]
    written: list[Peer] = []
    for name, peer in sorted(peers.items()):
        before = there.get(name)
        if before is not None and replace(before, generation=peer.generation) == peer:
            continue
        action = "add" if name not in now.peers else "change"
        what = _differences(before, peer) if before else (broken.get(name) or _described(peer),)
        steps.append(Step(action, name, what))
        written.append(replace(peer, generation=generation))
    keys, retired = _keys(peers, then, now, records, at)
    later = {
        record.audit.name
        for record in records
        # the archive's and the trail's go further back than the moment
        if record.audit.action == "add" and record.generation > then.head.generation
    }
    return Recovery(
        steps=tuple(sorted(steps, key=lambda step: ORDER.index(step.action))),
        kept_out={name: why for name, why in sorted(kept_out.items()) if name not in now.peers},
        not_restored=tuple(sorted(later - peers.keys() - kept_out.keys() - set(gone))),
        retired=retired,
        first=(
            *keys,
            *_resting(peers, then, now, records if lost else None, generation),
            *_audit(then, now, records if lost else (), generation),
        ),
        peers=tuple(peer.to_item() for peer in written),
        gone=tuple(map(items.peer_key, gone)),
        counted=bool(now.head.epoch) and now.head.restoring is None,
    )


# ------------------------------------------------------------------ who is in


def _survivors(
    then: Snapshot, now: Snapshot, records: Sequence[Record]
) -> tuple[dict[str, Peer], dict[str, str]]:
    """The peers of `then` as they may be today, by name; and why the others may not."""
    spent = {key for record in records for key in record.retired}
    spent |= {
        key
        for table in (then, now)
        for key, item in table.keys.items()
        if item.get("revoked") == {"BOOL": True}
    }
    since: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.generation):
        since[record.audit.name].append(record)
    found, bad = then.readable()
    kept_out = {name: f"cannot be read: {why}" for name, why in bad.items()}
    peers: dict[str, Peer] = {}
    owners: dict[str, str] = {}
    # whoever has an address or a key longer keeps it, as on the gateways
    for peer in sorted(found.values(), key=lambda peer: (peer.generation, peer.name)):
        try:
            today = _today(peer, since[peer.name])
        except _Out as out:
            kept_out[peer.name] = str(out)
            continue
        if today.public_key in spent:
            kept_out[peer.name] = "its key was revoked"
        elif owner := owners.get(today.public_key) or owners.get(str(today.address)):
            kept_out[peer.name] = f"{owner} has its address or its key"
        else:
            owners |= {today.public_key: peer.name, str(today.address): peer.name}
            peers[peer.name] = today
    return peers, kept_out


class _Out(Exception):  # noqa: N818 - it is a verdict
    """A peer may not come back; the message says why."""


def _today(peer: Peer, records: Iterable[Record]) -> Peer:
    """A peer after what was done to its name, as far as that took something away.

    A record that the peer as it was restored already knows of has no part in it: a table restored
    to a moment may have some items of a change and not yet the others. Raises `_Out`.
    """
    for record in records:
        audit = record.audit
        if record.generation <= peer.generation:
            continue
        if audit.action == "revoke":
            raise _Out(f"revoked since, by change {audit.generation}")
        if audit.action == "add":
            raise _Out(f"its name was given to another key since, by change {audit.generation}")
        before = audit.details.get("before")
        if isinstance(before, Mapping):
            peer = _narrowed(peer, {name: audit.details.get(name, NONE) for name in before})
    return peer


def _narrowed(peer: Peer, given: Mapping[str, object]) -> Peer:
    """A peer with those of the values `given` to it that take something away; each new key does."""
    if "public_key" in given:
        # the pre-shared key was the former key's: with the new one comes what came with it
        peer = replace(peer, public_key=str(given["public_key"]), preshared="")
    if (sealed := given.get("preshared_key", NONE)) != NONE:
        peer = replace(peer, preshared=str(sealed))
    if isinstance(ends := given.get("expires"), int):
        peer = replace(peer, expires=ends if peer.expires is None else min(ends, peer.expires))
    if "allow" in given:
        allow = given["allow"]
        rules = tuple(map(str, allow)) if isinstance(allow, (list, tuple)) else ()
        peer = peer if _covered(peer.allow, rules) else replace(peer, allow=rules)
    return peer


def _covered(rules: Sequence[str], others: Sequence[str]) -> bool:
    """Whether `others` let through all that `rules` do; no rules are everything."""
    if not others:
        return True
    wide = [parse_rule(text) for text in others]
    return bool(rules) and all(
        any(one.covers(rule) for one in wide) for rule in map(parse_rule, rules)
    )


# ------------------------------------------------------------------ keys, addresses, audit


def _keys(
    peers: Mapping[str, Peer], then: Snapshot, now: Snapshot, records: Iterable[Record], at: str
) -> tuple[list[Item], dict[str, str]]:
    """The key items to write; and those keys among them that are spent from now on."""
    known: dict[str, str] = {}
    for record in records:
        if isinstance(key := record.audit.details.get("public_key"), str):
            known[key] = record.audit.name
        known |= record.retired
    for table in (then, now):
        known |= {peer.public_key: peer.name for peer in table.readable()[0].values()}
        known |= {key: _name(item) for key, item in table.keys.items()}
    holders = {peer.public_key: peer.name for peer in peers.values()}
    written: list[Item] = []
    retired: dict[str, str] = {}
    for key, name in (known | holders).items():
        there = now.keys.get(key)
        if key in holders:
            wanted = {**items.used_key(key), **items.attributes({"name": name})}
            if there != wanted:
                written.append(wanted)
        elif there is None or there.get("revoked") != {"BOOL": True}:
            spent = items.attributes({"name": name, "revoked": True, "at": at})
            written.append({**items.used_key(key), **spent})
            retired[key] = name
    return written, retired


def _resting(
    peers: Mapping[str, Peer],
    then: Snapshot,
    now: Snapshot,
    records: Iterable[Record] | None,
    generation: int,
) -> list[Item]:
    """The address items to write: a peer's are its own, all others that somebody had rest.

    `records` tell whose addresses a lost table has forgotten.
    """
    known = {address: _name(item) for address, item in now.addresses.items()}
    known |= {str(peer.address): peer.name for peer in now.readable()[0].values()}
    if records is not None:
        known |= {address: _name(item) for address, item in then.addresses.items()}
        known |= {
            address: record.audit.name
            for record in records
            if isinstance(address := record.audit.details.get("address"), str)
        }
    held = {str(peer.address): name for name, peer in peers.items()}
    written: list[Item] = []
    for address, name in (known | held).items():
        there = now.addresses.get(address)
        try:
            where = items.address_key(IPv4Address(address))
        except AddressValueError:
            continue  # whatever it is, nobody can be given it
        if address in held:
            wanted = {**where, **items.attributes({"name": name})}
            if there != wanted:
                written.append(wanted)
        elif there is None or "resting" not in there:
            written.append(Resting(IPv4Address(address), name, generation).to_item())
    return written


def _audit(then: Snapshot, now: Snapshot, records: Iterable[Record], generation: int) -> list[Item]:
    """The audit items that the table has lost, of numbers below that of the restore.

    Of two records that claim one number neither is taken: nobody knows which it was.
    """
    lost = {number: item for number, item in then.audit.items() if number not in now.audit}
    claims: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.generation < generation:
            claims[items.numbered(record.generation)].append(record)
    for number, found in claims.items():
        if len(found) == 1 and number not in now.audit:
            lost[number] = found[0].audit.to_item()
    return list(lost.values())


def _name(item: Item) -> str:
    return item.get("name", {}).get("S", "")


# ------------------------------------------------------------------ for people


def _described(peer: Peer) -> str:
    return f"public_key {peer.public_key}, address {peer.address}"


def _differences(before: Peer, after: Peer) -> tuple[str, ...]:
    pairs = (
        ("public_key", before.public_key, after.public_key),
        ("address", before.address, after.address),
        ("owner", before.owner or NONE, after.owner or NONE),
        ("created", before.created or NONE, after.created or NONE),
        ("expires", _instant(before.expires), _instant(after.expires)),
        ("allow", ", ".join(before.allow) or "all", ", ".join(after.allow) or "all"),
        ("preshared_key", _kept(before.preshared), _kept(after.preshared)),
    )
    return tuple(f"{name} {old} -> {new}" for name, old, new in pairs if old != new)


def _kept(sealed: str) -> str:
    """Which one, for people: enough of it to tell two apart."""
    return hashlib.sha256(sealed.encode()).hexdigest()[:8] if sealed else NONE


def _instant(seconds: int | None) -> str:
    if seconds is None:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
