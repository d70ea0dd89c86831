"""The registry as operators have it: peers are added, altered and revoked.

Each change is one transaction (registry/transactions.py) with its audit item. What has been done is
in force on a gateway once that gateway confirms its generation (registry/confirmation.py).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from effects import Refusal
from registry import items, preshared, validation
from registry.admission import Admission
from registry.allow import canonical
from registry.items import Audit, Change, Head, Peer, Resting
from registry.refusals import Absent, Taken
from registry.store import Registry, now
from registry.transactions import Writes, commit, delete, put, put_new, recorded, settled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ipaddress import IPv4Address, IPv4Network

    from registry.archive import Archive
    from registry.items import Control
    from registry.requests import Once

T = TypeVar("T")


@dataclass(frozen=True)
class NewPeer:
    """What an operator asks for; the registry adds the address and the dates.

    Construction checks it all and raises `Refusal`.
    """

    name: str
    public_key: str
    owner: str = ""
    expires: int | None = None
    allow: tuple[str, ...] = ()
    preshared: str = ""
    """Ciphertext of a pre-shared key, made for this public key."""

    def __post_init__(self) -> None:
        """Refuse what no gateway would take."""
        _refuse_garbled(self.preshared)
        validation.peer_name(self.name)
        validation.public_key(self.public_key)
        validation.owner(self.owner)
        for text in self.allow:
            canonical(text)


@dataclass(frozen=True)
class Altered:
    """A peer after a change, and the registry's epoch in which its generation counts."""

    peer: Peer
    epoch: str
    former: Peer
    """As it was before."""


@dataclass(frozen=True)
class Revocation:
    """A peer that may not enter any more, as of `generation` of `epoch`."""

    name: str
    address: IPv4Address
    """Rests until every gateway has confirmed."""
    generation: int
    epoch: str
    again: bool = False
    """It had been revoked before this call."""


class OperatorRegistry(Registry):
    """What operators may do: all a `Registry` reads, and changes of peers.

    Each change has its record in `archive` before it is in the table. `caller` is the ARN of an AWS
    identity, for the audit. `stage` is called before each try with the peer as it will be written,
    and last with the one that is returned: what must exist before the peer does is made there, and
    an exception from it stops the change. Every change raises `Refusal` when it must not be, and
    what `transactions.commit` raises. With `once` a change is noted with the request that asked for
    it, and raises `Repeated` if that was done before.
    """

    def __init__(self, client: Any, table: str, archive: Archive, once: Once | None = None) -> None:
        super().__init__(client, table)
        self.archive, self._once = archive, once
        self._admission = Admission(self._table)

    def add_peer(
        self,
        new: NewPeer,
        *,
        pool: IPv4Network,
        caller: str,
        stage: Callable[[Peer], None] | None = None,
        confirmed: Callable[[], int] | None = None,
    ) -> Peer:
        """Let a peer in, with a free address of `pool`.

        `confirmed` is asked when the pool is full: the generation that every gateway has confirmed,
        up to which the addresses of revoked peers are free again.
        """
        created = now()

        def plan(unsure: bool) -> tuple[Peer, Writes | None]:
            peer, head = self._admit(new, pool, unsure=unsure, confirmed=confirmed)
            if head is not None:
                peer = replace(peer, created=created, generation=head.generation + 1)
            if stage is not None:
                stage(peer)
            if head is None:
                return peer, None
            return peer, self._recorded(
                head,
                Change(0, "put", peer, created),
                Audit(0, created, "add", peer.name, caller, _details(peer)),
                self._new(peer.to_item()),
                self._new({**items.address_key(peer.address), **_owned_by(peer)}),
                self._new({**items.used_key(peer.public_key), **_owned_by(peer)}),
            )

        return self._commit(plan)

    def alter_peer(
        self,
        name: str,
        alter: Callable[[Peer], Peer],
        *,
        action: str,
        caller: str,
        stage: Callable[[Peer], None] | None = None,
    ) -> Altered:
        """Change a peer: its keys, owner, end or rules; name, address and creation stay.

        `alter` gets the peer as it is and returns it as it should be; where that is the same,
        nothing is written. A former key is revoked with the change. `action` is the audit's word.
        """
        at = now()

        def plan(unsure: bool) -> tuple[Altered, Writes | None]:
            del unsure  # a change that is there already leaves nothing to do
            head, former = self._peer_with_head(name)
            if former is None:
                raise _nobody(name)
            wanted = alter(former)
            peer = replace(
                former,
                public_key=validation.public_key(wanted.public_key),
                owner=validation.owner(wanted.owner),
                expires=wanted.expires,
                allow=tuple(map(canonical, wanted.allow)),
                preshared=wanted.preshared,
            )
            _refuse_garbled(peer.preshared)
            if peer == former:
                if stage is not None:
                    stage(peer)
                return Altered(peer, head.epoch, former), None
            peer = replace(peer, generation=head.generation + 1)
            rekeyed = () if peer.public_key == former.public_key else self._rekey(peer, former, at)
            if rekeyed:
                self._refuse_used(peer.public_key, head.control)
                _refuse_kept(former, peer)
            if stage is not None:
                stage(peer)
            return Altered(peer, head.epoch, former), self._recorded(
                head,
                Change(0, "put", peer, at),
                Audit(0, at, action, name, caller, _differences(former, peer)),
                put(self._table.name, peer.to_item()),
                *rekeyed,
            )

        done = self._commit(plan)
        return replace(done, epoch=done.epoch or self.head().epoch)

    def revoke_peer(self, name: str, *, caller: str) -> Revocation:
        """Let a peer in no more. Its key never comes back; its address rests.

        For a peer whose revocation is not confirmed yet (its address still rests) that revocation
        is returned, so that it can be waited for again.
        """
        at = now()

        def plan(unsure: bool) -> tuple[Revocation, Writes | None]:
            del unsure  # a revocation that is there already is found as one made before
            head, peer = self._peer_with_head(name)
            if peer is None:
                return self._revoked_before(name, head), None
            generation = head.generation + 1
            (owned,) = self._table.get((items.address_key(peer.address),))
            rests = []
            if owned is None or owned.get("name") in (None, {"S": name}):
                rest = Resting(peer.address, name, generation)
                rests = [put(self._table.name, rest.to_item())]
            return Revocation(name, peer.address, generation, head.epoch), self._recorded(
                head,
                Change(0, "remove", replace(peer, generation=generation), at),
                Audit(0, at, "revoke", name, caller, _details(peer)),
                delete(self._table.name, items.peer_key(name)),
                put(self._table.name, _revoked_key(peer, at)),
                *rests,
            )

        done = self._commit(plan)
        return replace(done, epoch=done.epoch or self.head().epoch)

    def free_address(self, revocation: Revocation) -> bool:
        """End the rest of a revoked peer's address, once every gateway has confirmed."""
        rest = Resting(revocation.address, revocation.name, revocation.generation)
        return self._admission.free(rest)

    def free_addresses(self, generation: int) -> None:
        """End the rest of all addresses up to a generation that every gateway has confirmed."""
        for rest in self.resting():
            if rest.generation <= generation:
                self._admission.free(rest)

    def used_keys(self, public_keys: Iterable[str]) -> Mapping[str, str]:
        """Those of these keys that are or were somebody's, with whose; the gateways' own too."""
        keys = list(public_keys)
        control = self.head().control if keys else None
        generations = () if control is None else control.key_generations
        gateways = {self.server_key(number) for number in generations}
        used = {key: "the gateways" for key in keys if key in gateways}
        found = self._table.get([items.used_key(key) for key in keys])
        for key, item in zip(keys, found, strict=True):
            if item is not None:
                used[key] = item.get("name", {}).get("S", "another peer")
        return used

    # -------------------------------------------------------------- parts of the changes

    def _commit(self, plan: Callable[[bool], tuple[T, Writes | None]]) -> T:
        def once(unsure: bool) -> tuple[T, Writes | None]:
            if self._once is not None:
                note, counter = self._table.get((self._once.key, items.GENERATION_KEY))
                self._once.refuse_repeated(note, Head.from_items(counter, None).epoch)
            return plan(unsure)

        return commit(self._table.client, once, self._archive_ahead)

    def _admit(
        self,
        new: NewPeer,
        pool: IPv4Network,
        *,
        unsure: bool,
        confirmed: Callable[[], int] | None,
    ) -> tuple[Peer, Head | None]:
        """The peer with an address that is free, and the head it was read with.

        No head means that the very peer is there already, written by a try whose answer was lost.
        """
        drawn = self._admission.draw(pool)
        counter, control, named, used, *taken = self._table.get(
            (
                items.GENERATION_KEY,
                items.CONTROL_KEY,
                items.peer_key(new.name),
                items.used_key(new.public_key),
                *map(items.address_key, drawn),
            )
        )
        head = settled(Head.from_items(counter, control))
        if unsure and named is not None:
            there = Peer.from_item(named)
            if there.public_key == new.public_key:
                return there, None
        if named is not None:
            raise Taken(
                f"peer {new.name}", "there is one of that name", "choose another name for this one"
            )
        self._admission.refuse_used(new.public_key, used, head.control)
        peer = Peer(
            name=new.name,
            public_key=new.public_key,
            address=self._admission.address(pool, drawn, taken, confirmed),
            owner=validation.owner(new.owner),
            expires=new.expires,
            allow=tuple(map(canonical, new.allow)),
            preshared=new.preshared,
        )
        return peer, head

    def _peer_with_head(self, name: str) -> tuple[Head, Peer | None]:
        counter, control, named = self._table.get(
            (items.GENERATION_KEY, items.CONTROL_KEY, items.peer_key(name))
        )
        head = settled(Head.from_items(counter, control))
        return head, None if named is None else Peer.from_item(named)

    def _rekey(self, peer: Peer, former: Peer, at: str) -> tuple[Mapping[str, Any], ...]:
        return (
            put(self._table.name, _revoked_key(former, at)),
            self._new({**items.used_key(peer.public_key), **_owned_by(peer)}),
        )

    def _refuse_used(self, public_key: str, control: Control | None) -> None:
        (used,) = self._table.get((items.used_key(public_key),))
        self._admission.refuse_used(public_key, used, control)

    def _revoked_before(self, name: str, head: Head) -> Revocation:
        resting = [rest for rest in self.resting() if rest.name == name]
        if not resting:
            raise _nobody(name)
        last = max(resting, key=lambda rest: rest.generation)
        return Revocation(name, last.address, last.generation, head.epoch, again=True)

    def _archive_ahead(self, writes: Writes) -> None:
        """Put the record of a change that is about to be written into the archive.

        A table without a counter whose archive knows of changes was emptied. A first change there
        would make every gateway take what is left for all there is, so it is refused.
        """
        if not writes.head.epoch and self.archive.used() and not self.head().epoch:
            raise Refusal(
                "registry",
                "the table has no counter, but its archive has records: it was emptied",
                "restore it with `peers restore --to TIME --from-archive`",
            )
        self.archive.write(writes.record)

    def _recorded(
        self, head: Head, change: Change, audit: Audit, *entries: Mapping[str, Any]
    ) -> Writes:
        if self._once is not None:
            note = self._once.note(
                self._table.name,
                generation=head.generation + 1,
                epoch=head.epoch,
                name=change.peer.name,
                address=change.peer.address,
            )
            entries = (*entries, note)
        return recorded(self._table.name, head, change, audit, *entries)

    def _new(self, item: items.Item) -> Mapping[str, Any]:
        return put_new(self._table.name, item)


def _nobody(name: str) -> Absent:
    return Absent(f"peer {name}", "there is none of that name", "see `peers list`")


def _refuse_garbled(sealed: str) -> None:
    if sealed:
        preshared.ciphertext(sealed)


def _refuse_kept(former: Peer, peer: Peer) -> None:
    """No gateway could decrypt it: the ciphertext is bound to the former public key."""
    if peer.preshared and peer.preshared == former.preshared:
        raise Refusal(
            f"peer {peer.name}",
            "its pre-shared key belongs to its former public key",
            "make another one with the new key: `peers rotate` does",
        )


def _owned_by(peer: Peer) -> items.Item:
    return items.attributes({"name": peer.name})


def _revoked_key(peer: Peer, at: str) -> items.Item:
    values = items.attributes({"name": peer.name, "revoked": True, "at": at})
    return {**items.used_key(peer.public_key), **values}


def _details(peer: Peer) -> dict[str, object]:
    """What the audit says of a peer."""
    return {
        "public_key": peer.public_key,
        "address": str(peer.address),
        "owner": peer.owner,
        **({"expires": peer.expires} if peer.expires is not None else {}),
        **({"allow": peer.allow} if peer.allow else {}),
        **({"preshared_key": peer.preshared} if peer.preshared else {}),
    }


def _differences(former: Peer, peer: Peer) -> dict[str, object]:
    """What the audit says of a change: each detail that is another now, with what it was."""
    before, after = _details(former), _details(peer)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return {
        "address": str(peer.address),
        **{name: after.get(name, "none") for name in names},
        "before": {name: before.get(name, "none") for name in names},
    }
