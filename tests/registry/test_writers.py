"""Many operators at once: nothing is lost, nothing is shared, and a reader is never ahead."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from fake_registry import CALLER, Fake

from gateway.peers import KnownPeers, advance

if TYPE_CHECKING:
    from registry.items import Peer

WRITERS, EACH = 8, 25
TOTAL = WRITERS * EACH


class Reader:
    """Follows the registry as a gateway does, and compares each step with a reading in full."""

    def __init__(self, fake: Fake) -> None:
        self._fake, self.known = fake, KnownPeers()
        self.seen: list[int] = []
        self._over = threading.Event()

    def follow(self) -> None:
        """Until told to stop, and then to the end."""
        over = False
        while not over:
            over = self._over.wait(0.05)
            self.step()

    def stop(self) -> None:
        self._over.set()

    def step(self) -> None:
        head = self._fake.registry.head()
        step = advance(self.known, self._fake.registry.changes_after(self.known.generation))
        assert not step.gap
        self.known = step.known
        assert self.known.generation >= head.generation, "it reads what is there, at least"
        self.seen.append(self.known.generation)
        # everybody whose change is in what it says it has applied is among its peers
        assert sorted(peer.generation for peer in self.known.peers.values()) == list(
            range(1, self.known.generation + 1)
        )


def test_eight_writers_at_once_lose_nothing_and_share_nothing_while_a_gateway_reads(
    fake: Fake,
) -> None:
    barrier = threading.Barrier(WRITERS)
    reader = Reader(fake)

    def write(writer: int) -> list[Peer]:
        barrier.wait(timeout=10)
        return [fake.add(f"p-{writer}-{turn}", writer * 100 + turn + 1) for turn in range(EACH)]

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        following = pool.submit(reader.follow)
        try:
            peers = [peer for made in pool.map(write, range(WRITERS)) for peer in made]
        finally:
            reader.stop()
        following.result(timeout=30)
    assert len(peers) == len({peer.address for peer in peers}) == TOTAL
    assert fake.registry.head().generation == TOTAL
    assert sorted(peer.generation for peer in peers) == list(range(1, TOTAL + 1))
    assert reader.known.peers == {peer.name: peer for peer in peers}
    assert reader.seen == sorted(reader.seen)
    assert len(set(reader.seen)) > 2, "it read while they wrote"
    entries, unreadable = fake.registry.audit()
    assert unreadable == []
    assert [entry.generation for entry in entries] == list(range(1, TOTAL + 1))
    assert {(entry.name, entry.generation) for entry in entries} == {
        (peer.name, peer.generation) for peer in peers
    }
    assert {entry.caller for entry in entries} == {CALLER}
    assert len(fake.items("address")) == len(fake.items("key")) == TOTAL


def test_revocations_and_additions_at_once_leave_what_the_changes_say(fake: Fake) -> None:
    for number in range(1, 13):
        fake.add(f"old-{number}", number)

    def revoke(number: int) -> None:
        fake.registry.revoke_peer(f"old-{number}", caller=CALLER)

    def add(number: int) -> None:
        fake.add(f"new-{number}", 100 + number)

    with ThreadPoolExecutor(6) as pool:
        work = [pool.submit(revoke, number) for number in range(1, 13)]
        work += [pool.submit(add, number) for number in range(1, 13)]
        for done in work:
            done.result(timeout=30)
    there = {peer.name: peer for peer in fake.registry.peers()[0]}
    assert set(there) == {f"new-{number}" for number in range(1, 13)}
    followed = advance(KnownPeers(), fake.registry.changes_after(0))
    assert (followed.gap, followed.known.generation) == (False, 36)
    assert followed.known.peers == there
    resting = {rest.address for rest in fake.registry.resting()}
    assert len(resting) == 12
    assert resting.isdisjoint(peer.address for peer in there.values())
